//! A connection in its transmission phase: calls become requests, replies become answers.

use std::io;
use std::time::Duration;

use nbd::client::{Client, ClientError, Event, RequestTable};
use nbd::{AllocationFlags, CommandFlags, NbdError, Request};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until};

use super::call::{Answer, Call, Work};
use super::config::BoxStream;
use super::dial::Link;

/// How many requests may be in flight on one connection.
pub(super) const IN_FLIGHT: usize = 64;
/// No more is encoded while so many bytes wait for the socket.
const UNSENT_MAX: usize = 1 << 20;
const INPUT_BYTES: usize = 256 << 10;
const ALLOCATION_CONTEXT: usize = 0;

/// Why a connection ended.
#[derive(Debug, Error)]
pub(super) enum PipeError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("{0}")]
    Nbd(#[from] ClientError),
    #[error("nothing has arrived for {0:?}")]
    Stalled(Duration),
    #[error("the server is shutting down")]
    Shutdown,
    #[error("the store was closed")]
    Finished,
}

impl PipeError {
    /// Whether the server has ended the connection too, and so can do nothing more that was asked on it.
    pub(super) fn is_settled(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Io(error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof
            ),
            _ => false,
        }
    }
}

/// Why the server did not do what was asked, in its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) error: NbdError,
    pub(super) text: String,
}

/// A finished call: its number in the ledger, and what came of it.
pub(super) type Finished = (u64, Result<Answer, Failure>);

struct Flight {
    id: u64,
    answer: Answer,
}

pub(super) struct Pipe {
    reader: ReadHalf<BoxStream>,
    writer: WriteHalf<BoxStream>,
    client: Client,
    table: RequestTable<Flight, IN_FLIGHT>,
    output: Vec<u8>,
    input: Vec<u8>,
    stall: Duration,
    heard: Instant,
}

impl Pipe {
    pub(super) fn new(link: Link, stall: Duration) -> Self {
        let (reader, writer) = tokio::io::split(link.stream);
        Self {
            reader,
            writer,
            client: link.client,
            table: RequestTable::new(),
            output: Vec::new(),
            input: vec![0; INPUT_BYTES],
            stall,
            heard: Instant::now(),
        }
    }

    /// The server's block size.
    pub(super) fn block(&self) -> u32 {
        self.client.session().map_or(1, |session| session.export.block.minimum)
    }

    pub(super) fn has_room(&self) -> bool {
        !self.table.is_full() && self.output.len() < UNSENT_MAX
    }

    /// Encodes a call.
    pub(super) fn send(&mut self, id: u64, call: &Call) -> Result<(), Failure> {
        let (request, answer) = request(call);
        let refused = |error, text: &str| Failure { error, text: text.into() };
        self.client.check(&request).map_err(|refusal| refused(refusal.error, refusal.reason))?;
        if self.table.is_empty() {
            self.heard = Instant::now();
        }
        let cookie = self.table.insert(request, Flight { id, answer }).map_err(|_| refused(NbdError::NoMemory, "too many requests"))?;
        match self.client.encode(cookie, &request) {
            Ok(header) => self.output.extend_from_slice(&header),
            Err(refusal) => {
                self.table.remove(cookie);
                return Err(refused(refusal.error, refusal.reason));
            }
        }
        if let Work::Write(data) = &call.work {
            self.output.extend_from_slice(data);
        }
        Ok(())
    }

    /// Moves bytes in either direction once; what arrived complete is added to `finished`. May be cancelled at any time.
    pub(super) async fn step(&mut self, finished: &mut Vec<Finished>) -> Result<(), PipeError> {
        let waits = !self.table.is_empty();
        let deadline = self.heard + self.stall;
        tokio::select! {
            biased;
            count = self.reader.read(&mut self.input) => {
                let count = count?;
                self.heard = Instant::now();
                if count == 0 { Err(PipeError::Closed) } else { self.received(count, finished) }
            }
            count = self.writer.write(&self.output), if !self.output.is_empty() => {
                let count = count?;
                if count == 0 {
                    return Err(PipeError::Closed);
                }
                self.output.drain(..count);
                if self.output.is_empty() {
                    // TLS keeps what it could not send; a plain socket has nothing to flush.
                    self.writer.flush().await?;
                }
                Ok(())
            }
            () = sleep_until(deadline), if waits => Err(PipeError::Stalled(self.stall)),
        }
    }

    fn received(&mut self, count: usize, finished: &mut Vec<Finished>) -> Result<(), PipeError> {
        let Self { client, table, input, .. } = self;
        let mut rest = &input[..count];
        loop {
            let (used, event) = client.receive(rest, table)?;
            rest = &rest[used..];
            match event {
                None => return Ok(()),
                Some(Event::Data { cookie, offset, bytes }) => {
                    if let Some((pending, flight)) = table.get_mut(cookie)
                        && let Answer::Bytes(buffer) = &mut flight.answer
                    {
                        let at = (offset - pending.request().offset) as usize;
                        buffer[at..at + bytes.len()].copy_from_slice(bytes);
                    }
                }
                Some(Event::Extent { cookie, context: ALLOCATION_CONTEXT, length, flags, .. }) => {
                    if let Some((_, Flight { answer: Answer::Extents(extents), .. })) = table.get_mut(cookie) {
                        extents.push((length, flags & u64::from(AllocationFlags::ZERO.bits()) != 0));
                    }
                }
                Some(Event::Done { cookie, result: Err(NbdError::Shutdown) }) => {
                    // Not carried out. The ledger sends it again when this connection has ended.
                    let _ = cookie;
                    return Err(PipeError::Shutdown);
                }
                Some(Event::Done { cookie, result }) => {
                    let text = client.error_text().to_string();
                    if let Some((_, flight)) = table.remove(cookie) {
                        finished.push((flight.id, result.map(|()| flight.answer).map_err(|error| Failure { error, text })));
                    }
                }
                // Zeroes that were not sent: the buffer is zeroes already.
                Some(Event::Hole { .. } | Event::Chunk { .. } | Event::Extent { .. }) => {}
                Some(Event::Ready(_) | Event::StartTls) => return Err(ClientError::AlreadyFailed.into()),
            }
        }
    }

    /// One call, with nothing else in flight.
    pub(super) async fn call(&mut self, call: &Call) -> Result<Result<Answer, Failure>, PipeError> {
        let mut finished = Vec::new();
        if let Err(failure) = self.send(0, call) {
            return Ok(Err(failure));
        }
        loop {
            self.step(&mut finished).await?;
            if let Some((_, result)) = finished.pop() {
                return Ok(result);
            }
        }
    }

    /// Says good-bye.
    pub(super) async fn disconnect(mut self) {
        let farewell = self.client.disconnect();
        let _ = self.writer.write_all(&farewell).await;
        let _ = self.writer.shutdown().await;
    }

    /// Sends nothing more and waits until the server ends the connection too. False if no end ever comes.
    pub(super) async fn drain(mut self) -> bool {
        let _ = self.writer.shutdown().await;
        loop {
            match self.reader.read(&mut self.input).await {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return PipeError::Io(error).is_settled(),
            }
        }
    }
}

fn request(call: &Call) -> (Request, Answer) {
    let (offset, length) = (call.offset, call.length);
    match &call.work {
        // The caller never asks for more than the server's maximum, which is less than 4 GiB.
        Work::Read => (Request::read(offset, length as u32), Answer::Bytes(vec![0; length as usize])),
        Work::Write(_) => (Request::write(offset, length as u32), Answer::Done),
        Work::Zeroes { reserve } => {
            let flags = if *reserve { CommandFlags::NO_HOLE } else { CommandFlags::empty() };
            (Request::write_zeroes(offset, length).with(flags), Answer::Done)
        }
        Work::Trim => (Request::trim(offset, length), Answer::Done),
        Work::Flush => (Request::flush(), Answer::Done),
        Work::Status => (Request::block_status(offset, length), Answer::Extents(Vec::new())),
    }
}
