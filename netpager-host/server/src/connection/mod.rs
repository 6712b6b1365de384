//! One client in the transmission phase: requests in, replies out, in whatever order they are ready.
//!
//! Back-pressure is by not reading: while too much is unanswered or unsent, the client's requests stay in its socket.
//!
//! | module | what it does |
//! |---|---|
//! | [`intake`] | from bytes to requests that are answered at once or given to the pool |
//! | [`question`] | from a request to its reply |
//! | [`buffers`] | memory that clients share |
//! | [`tally`] | what a client did, for metrics and the log |

mod buffers;
mod intake;
mod question;
mod tally;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use nbd::server::{Negotiated, Requests, ServerError};
use store::Store;
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::config::Limits;
use crate::exports::{Cut, Seat};
use crate::socket::Wire;
use intake::{Answer, Large, Write};
pub(crate) use tally::Tally;

/// No more requests are looked at while this much waits to be sent.
const OUTPUT_HIGH: usize = 256 * 1024;
/// Bytes read, written or zeroed at once before the other clients of this worker have their turn.
const TURN_BYTES: usize = 8 * 1024 * 1024;

/// Why a connection ended otherwise than by a goodbye.
#[derive(Debug, Error)]
pub(crate) enum ConnectionError {
    #[error("{0}")]
    Protocol(#[from] ServerError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Cut(Cut),
    #[error("for too long it has not taken what was sent to it, or not sent what it had begun")]
    Stalled,
}

/// What a connection is made of.
pub(crate) struct Parts {
    pub(crate) wire: Wire,
    pub(crate) seat: Seat,
    pub(crate) negotiated: Negotiated,
    /// The beginning of the first requests, if the client did not wait.
    pub(crate) early: Vec<u8>,
    pub(crate) tally: Tally,
    pub(crate) limits: Limits,
    /// Room for large requests, in KiB, that all clients share.
    pub(crate) room: Arc<Semaphore>,
}

/// A client.
pub(crate) struct Connection {
    wire: Wire,
    seat: Seat,
    store: Arc<dyn Store>,
    requests: Requests,
    limits: Limits,
    /// Bytes received; those before `parsed` were looked at.
    input: Vec<u8>,
    parsed: usize,
    output: Vec<u8>,
    write: Option<Write>,
    /// A large request that waits for room, and keeps what follows it waiting.
    large: Option<Large>,
    room: Arc<Semaphore>,
    /// Room held by what is in `output`.
    held: Vec<OwnedSemaphorePermit>,
    answers: (mpsc::UnboundedSender<Answer>, mpsc::UnboundedReceiver<Answer>),
    waiting: usize,
    waiting_bytes: u64,
    /// Bytes handled at once since the last turn of another client.
    turn_bytes: usize,
    /// The client has used up its rate until then.
    paused: Option<Instant>,
    tally: Tally,
    /// No more input will come.
    over: bool,
    /// The service is ending; at this time the connection is cut.
    deadline: Option<Instant>,
}

/// What ends a wait from outside.
enum Alarm {
    Cord(Cut),
    Deadline,
}

impl Connection {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { wire, seat, negotiated, early, tally, limits, room } = parts;
        Self {
            wire,
            store: seat.entry.store.clone(),
            seat,
            requests: Requests::new(negotiated),
            limits,
            input: early,
            parsed: 0,
            output: Vec::new(),
            write: None,
            large: None,
            room,
            held: Vec::new(),
            answers: mpsc::unbounded_channel(),
            waiting: 0,
            waiting_bytes: 0,
            turn_bytes: 0,
            paused: None,
            tally,
            over: false,
            deadline: None,
        }
    }

    /// Serves the client until it leaves, errs or is cut off. When this returns, nothing of what it asked goes on.
    pub(crate) async fn serve(mut self) -> (Result<(), ConnectionError>, Tally) {
        if self.seat.catalogue.is_ending() {
            self.deadline = Some(Instant::now() + self.limits.drain);
        }
        let result = self.talk().await;
        if result.is_ok() {
            // For TLS, the last word is "no more", lest the client take the end for an attack. It may be gone already.
            let _ = timeout(self.limits.drain, self.wire.shutdown()).await;
        }
        // The next to come must not be overtaken by a write of this one: only after the last the seat is given up.
        while self.waiting > 0 {
            let Some(answer) = self.answers.1.recv().await else { break };
            self.collect(answer);
        }
        buffers::give_input(self.input);
        buffers::give_output(self.output);
        (result, self.tally)
    }

    async fn talk(&mut self) -> Result<(), ConnectionError> {
        loop {
            self.parse()?;
            self.tally.settle();
            self.send().await?;
            self.turn_bytes = 0;
            if self.large.is_some() {
                self.make_room().await?;
                continue;
            }
            if self.parsed < self.input.len() && self.has_room() {
                // There is room again. The worker's other clients have their turn first.
                tokio::task::yield_now().await;
                continue;
            }
            if self.over && self.waiting == 0 && self.parsed >= self.input.len() {
                return Ok(());
            }
            self.wait().await?;
        }
    }

    fn has_room(&self) -> bool {
        self.waiting < self.limits.requests_per_connection as usize
            && self.waiting_bytes < self.limits.bytes_per_connection
            && self.output.len() < OUTPUT_HIGH
            && self.turn_bytes < TURN_BYTES
            && self.large.is_none()
            && self.paused.is_none_or(|until| until <= Instant::now())
    }

    /// Waits until there is something to do: input, an answer, the end of a pause, or the end.
    async fn wait(&mut self) -> Result<(), ConnectionError> {
        let may_read = !self.over && self.has_room();
        if may_read {
            buffers::give_input(std::mem::take(&mut self.input));
            self.parsed = 0;
        }
        let paused = self.paused.filter(|_| !may_read);
        let overdue = self.write.as_ref().and_then(|write| write.deadline).filter(|_| may_read);
        let mut answer = None;
        let alarm = tokio::select! {
            biased;
            next = self.answers.1.recv(), if self.waiting > 0 => {
                answer = next;
                None
            }
            read = fill(&mut self.wire, &mut self.input), if may_read => {
                self.over = at_end(read)?;
                None
            }
            () = sleep_until(paused.unwrap_or_else(Instant::now)), if paused.is_some() => {
                self.paused = None;
                None
            }
            () = sleep_until(overdue.unwrap_or_else(Instant::now)), if overdue.is_some() => return Err(ConnectionError::Stalled),
            alarm = alarm(&mut self.seat.cord, self.deadline) => Some(alarm),
        };
        while let Some(next) = answer {
            self.collect(next);
            answer = self.answers.1.try_recv().ok();
        }
        alarm.map_or(Ok(()), |alarm| self.heed(alarm))
    }

    /// Waits for room for a large request. Everything is sent, so nothing is held that others wait for.
    async fn make_room(&mut self) -> Result<(), ConnectionError> {
        let Some(Large { kib, .. }) = &self.large else { return Ok(()) };
        let alarm = tokio::select! {
            biased;
            permit = self.room.clone().acquire_many_owned(*kib) => {
                let permit = permit.expect("the room is never closed");
                self.begin_large(permit);
                return Ok(());
            }
            alarm = alarm(&mut self.seat.cord, self.deadline) => alarm,
        };
        self.heed(alarm)
    }

    fn heed(&mut self, alarm: Alarm) -> Result<(), ConnectionError> {
        match alarm {
            Alarm::Cord(Cut::Ending) => {
                self.deadline.get_or_insert_with(|| Instant::now() + self.limits.drain);
                Ok(())
            }
            Alarm::Cord(why) => Err(ConnectionError::Cut(why)),
            Alarm::Deadline => Err(ConnectionError::Cut(Cut::Ending)),
        }
    }

    /// Sends what is to be sent, in one go. A client that takes nothing cannot hold up the end of the service, nor keep its
    /// memory for ever.
    async fn send(&mut self) -> Result<(), ConnectionError> {
        let mut sent = 0;
        while sent < self.output.len() {
            let alarm = tokio::select! {
                biased;
                count = self.wire.write(&self.output[sent..]) => match count? {
                    0 => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                    count => {
                        sent += count;
                        continue;
                    }
                },
                alarm = alarm(&mut self.seat.cord, self.deadline) => alarm,
                () = sleep(self.limits.stall) => return Err(ConnectionError::Stalled),
            };
            self.heed(alarm)?;
        }
        if sent > 0 {
            self.flush().await?;
        }
        self.held.clear();
        buffers::give_output(std::mem::take(&mut self.output));
        Ok(())
    }

    /// Has the wire send what it has buffered itself, as TLS does.
    async fn flush(&mut self) -> Result<(), ConnectionError> {
        loop {
            let alarm = tokio::select! {
                biased;
                flushed = self.wire.flush() => return Ok(flushed?),
                alarm = alarm(&mut self.seat.cord, self.deadline) => alarm,
                () = sleep(self.limits.stall) => return Err(ConnectionError::Stalled),
            };
            self.heed(alarm)?;
        }
    }
}

/// Whether that was the end. Many TLS clients close their socket without a word; as NBD has a goodbye of its own, that tells
/// no less than the end of a plain connection.
fn at_end(read: io::Result<usize>) -> io::Result<bool> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(true),
        read => read.map(|count| count == 0),
    }
}

/// Waits for input and reads it, into a buffer that is only taken once there is some. Returns how much it was.
async fn fill(wire: &mut Wire, input: &mut Vec<u8>) -> io::Result<usize> {
    poll_fn(|context| {
        let mut buffer = buffers::take_input();
        let read = pin!(wire.read_buf(&mut buffer)).poll(context);
        match read {
            Poll::Ready(Ok(count)) => {
                *input = buffer;
                Poll::Ready(Ok(count))
            }
            read => {
                buffers::give_input(buffer);
                read
            }
        }
    })
    .await
}

/// Waits until somebody pulls the cord, or for the deadline.
async fn alarm(cord: &mut watch::Receiver<Option<Cut>>, deadline: Option<Instant>) -> Alarm {
    let pulled = async {
        loop {
            // The other end is held by the seat, and so are we.
            if cord.changed().await.is_err() {
                return Alarm::Cord(Cut::Removed);
            }
            if let Some(why) = *cord.borrow_and_update() {
                return Alarm::Cord(why);
            }
        }
    };
    match deadline {
        None => pulled.await,
        Some(deadline) => tokio::select! {
            biased;
            alarm = pulled => alarm,
            () = sleep_until(deadline) => Alarm::Deadline,
        },
    }
}
