//! One client of a server: our half of the protocol over a socket, with as many requests in flight as wanted.
//!
//! Everything the load generator, the checkers and the soak do goes through here, so this is also the only file that knows
//! how the protocol crate is driven.

use std::io;
use std::time::{Duration, Instant};

use nbd::client::{Client, Event, Session, TlsWish, Wishes};
use nbd::{Command, NbdError, Request};

use crate::error::BenchError;
use crate::in_flight::InFlight;
use crate::stream::Stream;
use crate::target::Target;
use crate::wire::Wire;

/// A server that owes an answer for longer than this is given up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Input is taken in pieces of this size: depth 32 at 4 KiB fits, and so does a piece of a large READ.
const INPUT_BYTES: usize = 256 * 1024;

#[derive(Debug)]
struct Entry<T> {
    tag: T,
    sent: Instant,
    data: Option<Vec<u8>>,
}

/// A finished request.
#[derive(Debug)]
pub struct Done<T> {
    /// What the caller gave with the request.
    pub tag: T,
    /// What was asked.
    pub request: Request,
    /// What the server answered.
    pub result: Result<(), NbdError>,
    /// What was read, if it was to be kept.
    pub data: Option<Vec<u8>>,
    /// From the call that queued it to the last byte of its answer.
    pub latency: Duration,
}

/// A connection that has chosen its export.
#[derive(Debug)]
pub struct Connection<T> {
    wire: Wire,
    client: Client,
    in_flight: InFlight<Entry<T>>,
    output: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
    spare: Vec<Vec<u8>>,
    patience: Duration,
}

impl<T> Connection<T> {
    /// Connects and does the handshake.
    ///
    /// # Errors
    /// Nobody listens, or the server has no such export for us.
    pub fn open(target: &Target) -> Result<Self, BenchError> {
        Self::open_with(target, PATIENCE)
    }

    /// The same with another patience for every answer.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(target: &Target, patience: Duration) -> Result<Self, BenchError> {
        let tls = if target.is_secure() { TlsWish::Require } else { TlsWish::Never };
        let client = Client::with(target.export(), &Wishes { tls, ..Wishes::DEFAULT });
        let mut connection = Self {
            wire: Wire::Plain(Stream::connect(target.transport(), patience)?),
            client: client.ok_or_else(|| BenchError::Usage("the export's name is too long".into()))?,
            in_flight: InFlight::new(),
            output: Vec::new(),
            sent: 0,
            input: vec![0; 4096],
            spare: Vec::new(),
            patience,
        };
        while connection.client.session().is_none() {
            connection = connection.shake_hands(target)?;
        }
        Ok(connection)
    }

    /// One message of the handshake and what it makes us say.
    fn shake_hands(mut self, target: &Target) -> Result<Self, BenchError> {
        let count = self.wire.receive(&mut self.input).map_err(|error| self.silent(error))?;
        let mut start = 0;
        while let (used, Some(event)) = self.client.receive(&self.input[start..count], &mut self.in_flight)? {
            start += used;
            if event == Event::StartTls {
                // The server waits for TLS now; there is nothing behind its word, and nothing to be sent before.
                self.wire = self.wire.secure(target)?;
                self.client.secured();
            }
        }
        let waiting = self.client.transmit().len();
        self.output.extend_from_slice(self.client.transmit());
        self.client.transmitted(waiting);
        while !self.wire.push(&mut self.output, &mut self.sent)? {
            self.wire.wait(self.patience)?;
        }
        Ok(self)
    }

    /// What the handshake agreed on.
    ///
    /// # Panics
    /// Never: a connection exists only after its handshake.
    #[must_use]
    pub fn session(&self) -> Session {
        *self.client.session().expect("the handshake is over")
    }

    /// How many bytes the export has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.session().export.size
    }

    /// The server's words to the error that was received last.
    #[must_use]
    pub fn error_text(&self) -> String {
        self.client.error_text().to_string()
    }

    /// How many requests wait for their answer.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Queues a request. `payload` fills the bytes of a WRITE; `keep` says that a READ's data is wanted.
    ///
    /// # Errors
    /// The export does not take it; nothing was queued.
    pub fn submit(&mut self, request: Request, keep: bool, tag: T, payload: impl FnOnce(&mut [u8])) -> Result<(), BenchError> {
        self.client.check(&request)?;
        let data = (keep && request.command == Command::Read).then(|| self.buffer(request.length as usize));
        let cookie = self.in_flight.insert(request, Entry { tag, sent: Instant::now(), data });
        let header = self.client.encode(cookie, &request)?;
        self.output.extend_from_slice(&header);
        let start = self.output.len();
        let length = request.payload_length() as usize;
        if length > 0 {
            self.output.resize(start + length, 0);
            payload(&mut self.output[start..]);
        }
        Ok(())
    }

    /// Sends what is queued, waits for input, and hands over the requests it finishes (perhaps none).
    ///
    /// # Errors
    /// The connection is over; [`Self::lost`] says what was in flight.
    pub fn turn(&mut self, mut done: impl FnMut(Done<T>)) -> Result<(), BenchError> {
        let all = self.wire.push(&mut self.output, &mut self.sent)?;
        if !all && !self.wire.wait(self.patience).map_err(|error| self.silent(error))? {
            return Ok(());
        }
        self.receive(&mut done)
    }

    /// Runs one request to its end, with nothing else in flight.
    ///
    /// # Errors
    /// The connection is over.
    ///
    /// # Panics
    /// If something else is in flight.
    pub fn ask(&mut self, request: Request, tag: T, payload: &[u8]) -> Result<Done<T>, BenchError> {
        assert_eq!(self.in_flight(), 0, "the answer could be another request's");
        self.submit(request, true, tag, |bytes| bytes.copy_from_slice(payload))?;
        let mut finished = None;
        while self.in_flight() > 0 {
            self.turn(|done| finished = Some(done))?;
        }
        Ok(finished.expect("one request, one answer"))
    }

    /// Gives a buffer back for later READs.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        self.spare.push(buffer);
    }

    /// The requests whose outcome is unknown, when the connection was lost.
    pub fn lost(&mut self) -> Vec<(Request, T)> {
        self.in_flight.drain().into_iter().map(|(request, entry)| (request, entry.tag)).collect()
    }

    /// The polite end.
    pub fn disconnect(mut self) {
        self.output.extend_from_slice(&self.client.disconnect());
        // The server may be gone: then there is nobody to be polite to.
        let _ = self.wire.push(&mut self.output, &mut self.sent);
    }

    fn buffer(&mut self, length: usize) -> Vec<u8> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.resize(length, 0);
        buffer
    }

    fn receive(&mut self, done: &mut impl FnMut(Done<T>)) -> Result<(), BenchError> {
        // Not before: an idle connection costs no large buffer.
        self.input.resize(INPUT_BYTES, 0);
        let count = self.wire.receive(&mut self.input).map_err(|error| self.silent(error))?;
        let mut start = 0;
        loop {
            let (used, event) = self.client.receive(&self.input[start..count], &mut self.in_flight)?;
            let Some(event) = event else { return Ok(()) };
            take(event, &mut self.in_flight, done);
            start += used;
        }
    }

    fn silent(&self, error: io::Error) -> BenchError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => BenchError::Silent(self.patience.as_secs()),
            _ => error.into(),
        }
    }
}

/// Puts an event's bytes where they belong, and hands over what is finished.
fn take<T>(event: Event<'_>, in_flight: &mut InFlight<Entry<T>>, done: &mut impl FnMut(Done<T>)) {
    match event {
        Event::Data { cookie, offset, bytes } => {
            if let Some(place) = place(in_flight, cookie, offset, bytes.len()) {
                place.copy_from_slice(bytes);
            }
        }
        Event::Hole { cookie, offset, length } => {
            if let Some(place) = place(in_flight, cookie, offset, length as usize) {
                place.fill(0);
            }
        }
        Event::Done { cookie, result } => {
            if let Some((request, Entry { tag, sent, data })) = in_flight.remove(cookie) {
                done(Done { tag, request, result, data, latency: sent.elapsed() });
            }
        }
        // Whatever else a session has to say is for others.
        _ => {}
    }
}

/// Where in its READ's buffer a piece goes; `None` if its data is not kept.
fn place<T>(in_flight: &mut InFlight<Entry<T>>, cookie: u64, offset: u64, length: usize) -> Option<&mut [u8]> {
    let (pending, entry) = in_flight.get_mut(cookie)?;
    let start = (offset - pending.request().offset) as usize;
    entry.data.as_mut().map(|data| &mut data[start..start + length])
}
