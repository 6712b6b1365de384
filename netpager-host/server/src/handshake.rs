//! The handshake of one client, until it has a seat at an export or has gone away.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use nbd::server::{Handshake, Negotiated, Outcome, ServerError, TlsMode as Wanted};
use security::{TlsError, TlsMode, TlsServer};
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};

use crate::exports::{Catalogue, Seat, View, Visitor};
use crate::socket::{Arrival, Wire};

/// Options are small; requests that follow at once may be longer, and wait in the socket.
const INPUT_BYTES: usize = 4096;

/// Why a client did not get as far as its first request.
#[derive(Debug, Error)]
pub(crate) enum HandshakeError {
    #[error("it took too long to choose an export")]
    Timeout,
    #[error("{0}")]
    Protocol(#[from] ServerError),
    #[error("{0}")]
    Tls(#[from] TlsError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the export it entered is not there")]
    NoSeat,
}

/// A client that has chosen an export.
pub(crate) struct Ready {
    pub(crate) wire: Wire,
    pub(crate) seat: Seat,
    pub(crate) visitor: Visitor,
    pub(crate) negotiated: Negotiated,
    /// The beginning of its first requests, if it did not wait.
    pub(crate) early: Vec<u8>,
    /// How it is connected, in a few words.
    pub(crate) transport: String,
}

/// A handshake in progress.
struct Talk {
    wire: Wire,
    view: View,
    handshake: Box<Handshake>,
    tls: Option<Arc<TlsServer>>,
    input: Vec<u8>,
    out: Vec<u8>,
    /// The client's time is up then; what takes us long is not counted.
    deadline: Instant,
    transport: String,
}

/// Does the handshake; `None` if the client left politely.
pub(crate) async fn welcome(
    arrival: Arrival,
    catalogue: Arc<Catalogue>,
    tls: Option<Arc<TlsServer>>,
    limit: Duration,
) -> Result<Option<Ready>, HandshakeError> {
    let visitor = Visitor { identity: arrival.identity(), peer: arrival.peer };
    let mut out = Vec::new();
    let handshake = Box::new(Handshake::new(&mut out, wanted(arrival.tls)));
    let transport = arrival.socket.name().to_owned();
    let wire = arrival.socket.attach()?;
    let (view, deadline) = (View::new(catalogue, visitor), Instant::now() + limit);
    let talk = Talk { wire, view, handshake, tls, input: Vec::with_capacity(INPUT_BYTES), out, deadline, transport };
    // Dropped when it is no longer needed: an idle client must not hold the memory of its handshake.
    Box::pin(talk.run()).await
}

fn wanted(mode: TlsMode) -> Wanted {
    match mode {
        TlsMode::Off => Wanted::None,
        TlsMode::Offered => Wanted::Offered,
        TlsMode::Required => Wanted::Required,
    }
}

impl Talk {
    async fn run(mut self) -> Result<Option<Ready>, HandshakeError> {
        let mut used = 0;
        loop {
            let received = self.handshake.receive(&self.input[used..], &self.view, &mut self.out);
            self.view.forget();
            // What was said before a failure is part of the protocol too.
            self.send().await?;
            let (count, outcome) = received?;
            used += count;
            match outcome {
                None => {
                    used = 0;
                    if !self.read().await? {
                        return Ok(None);
                    }
                }
                Some(Outcome::Wait) => {
                    let since = Instant::now();
                    self.view.answer().await;
                    self.deadline += since.elapsed();
                }
                Some(Outcome::StartTls) => {
                    self = self.start_tls().await?;
                    used = 0;
                }
                Some(Outcome::Aborted) => return Ok(None),
                Some(Outcome::Transmission(negotiated)) => return self.ready(negotiated, used).map(Some),
            }
        }
    }

    fn ready(self, negotiated: Negotiated, used: usize) -> Result<Ready, HandshakeError> {
        let Self { wire, view, input, transport, .. } = self;
        let (seat, visitor) = view.into_seat().ok_or(HandshakeError::NoSeat)?;
        Ok(Ready { wire, seat, visitor, negotiated, early: input[used..].to_vec(), transport })
    }

    async fn send(&mut self) -> Result<(), HandshakeError> {
        if !self.out.is_empty() {
            let sending = async {
                self.wire.write_all(&self.out).await?;
                self.wire.flush().await
            };
            timeout_at(self.deadline, sending).await.map_err(|_| HandshakeError::Timeout)??;
            self.out.clear();
        }
        Ok(())
    }

    /// Waits for more input; false if there will be none.
    async fn read(&mut self) -> Result<bool, HandshakeError> {
        self.input.clear();
        let reading = self.wire.read_buf(&mut self.input);
        Ok(timeout_at(self.deadline, reading).await.map_err(|_| HandshakeError::Timeout)?? > 0)
    }

    /// From here on everything comes through TLS; nothing that was said before counts.
    async fn start_tls(mut self) -> Result<Self, HandshakeError> {
        let tls = self.tls.clone().ok_or_else(|| io::Error::other("there are no certificates"))?;
        let origin = self.view.visitor.identity.origin();
        let left = self.deadline.saturating_duration_since(Instant::now());
        let (stream, identity) = tls.accept(self.wire, origin, left).await?;
        let version = stream
            .get_ref()
            .1
            .protocol_version()
            .map_or("TLS".into(), |version| format!("{version:?}").replace("TLSv", "TLS ").replace('_', "."));
        self.transport = format!("{version} over {}", self.transport);
        self.view.visitor.identity = identity;
        self.handshake.secured();
        Ok(Self { wire: Box::new(stream), input: Vec::with_capacity(INPUT_BYTES), ..self })
    }
}
