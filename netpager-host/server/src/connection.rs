//! One client in the transmission phase: requests in, replies out, in whatever order they are ready.
//!
//! Back-pressure is by not reading: while too much is unanswered or unsent, the client's requests stay in its socket.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use nbd::server::{Incoming, Negotiated, Requests, ServerError, put_error, put_simple};
use nbd::{Command, NbdError};
use store::Store;
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::answer::Question;
use crate::socket::Socket;

/// How much is read at a time. Untouched parts of the buffer cost an idle client nothing.
const INPUT_BYTES: usize = 256 * 1024;
/// No more requests are looked at while this much waits to be sent.
const OUTPUT_HIGH: usize = 1024 * 1024;
/// An output buffer that grew beyond this for one large READ is given back.
const OUTPUT_KEPT: usize = 4 * 1024 * 1024;
/// Requests waiting for a slow store, per client.
const WAITING_MAX: usize = 256;
/// Bytes read or written by requests waiting for a slow store, per client.
const WAITING_BYTES_MAX: usize = 50 * 1024 * 1024;
/// A longer request would hold up the other clients of this worker, however fast its store.
const IMMEDIATE_MAX: u32 = 1024 * 1024;
/// Bytes read, written or zeroed at once before the other clients of this worker have their turn.
const TURN_BYTES: usize = 8 * 1024 * 1024;
/// How long clients may still talk after the service was told to end.
pub(crate) const DRAIN: Duration = Duration::from_secs(2);

/// Why a connection ended otherwise than by a goodbye.
#[derive(Debug, Error)]
pub(crate) enum ConnectionError {
    #[error("{0}")]
    Protocol(#[from] ServerError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the service is ending")]
    Drained,
}

/// A WRITE whose data has not all arrived.
struct Write {
    question: Question,
    data: Vec<u8>,
}

/// A reply from the pool.
struct Answer {
    reply: Vec<u8>,
    weight: usize,
}

/// A client.
pub(crate) struct Connection {
    socket: Socket,
    store: Arc<dyn Store>,
    requests: Requests,
    structured: bool,
    /// Bytes received; those before `parsed` were looked at.
    input: Vec<u8>,
    parsed: usize,
    output: Vec<u8>,
    write: Option<Write>,
    answers: (mpsc::UnboundedSender<Answer>, mpsc::UnboundedReceiver<Answer>),
    waiting: usize,
    waiting_bytes: usize,
    /// Bytes handled at once since the last turn of another client.
    turn_bytes: usize,
    /// No more input will come.
    over: bool,
    /// The service is ending; at this time the connection is cut.
    deadline: Option<Instant>,
}

impl Connection {
    pub(crate) fn new(socket: Socket, store: Arc<dyn Store>, negotiated: Negotiated, early: Vec<u8>) -> Self {
        Self {
            socket,
            store,
            requests: Requests::new(negotiated),
            structured: negotiated.structured,
            input: early,
            parsed: 0,
            output: Vec::new(),
            write: None,
            answers: mpsc::unbounded_channel(),
            waiting: 0,
            waiting_bytes: 0,
            turn_bytes: 0,
            over: false,
            deadline: None,
        }
    }

    /// Serves the client until it leaves, errs, or `ending` turns true.
    pub(crate) async fn serve(mut self, mut ending: watch::Receiver<bool>) -> Result<(), ConnectionError> {
        loop {
            self.parse()?;
            self.send(&mut ending).await?;
            self.turn_bytes = 0;
            if self.parsed < self.input.len() && self.has_room() {
                // There is room again. The worker's other clients have their turn first.
                tokio::task::yield_now().await;
                continue;
            }
            if self.over && self.waiting == 0 {
                return Ok(());
            }
            self.wait(&mut ending).await?;
        }
    }

    fn has_room(&self) -> bool {
        self.waiting < WAITING_MAX
            && self.waiting_bytes < WAITING_BYTES_MAX
            && self.output.len() < OUTPUT_HIGH
            && self.turn_bytes < TURN_BYTES
    }

    /// Waits until there is something to do: input, an answer, or the end.
    async fn wait(&mut self, ending: &mut watch::Receiver<bool>) -> Result<(), ConnectionError> {
        let may_read = !self.over && self.has_room();
        if may_read {
            self.input.clear();
            self.parsed = 0;
            self.input.reserve(INPUT_BYTES);
        }
        tokio::select! {
            biased;
            Some(answer) = self.answers.1.recv(), if self.waiting > 0 => self.collect(answer),
            read = self.socket.stream().read_buf(&mut self.input), if may_read => self.over = read? == 0,
            deadline = alarm(self.deadline, ending) => self.deadline = Some(deadline.ok_or(ConnectionError::Drained)?),
        }
        Ok(())
    }

    fn collect(&mut self, answer: Answer) {
        let mut next = Some(answer);
        while let Some(Answer { reply, weight }) = next {
            self.output.extend_from_slice(&reply);
            self.waiting -= 1;
            self.waiting_bytes -= weight;
            next = self.answers.1.try_recv().ok();
        }
    }

    /// Sends what is to be sent, in one go. A client that takes nothing cannot hold up the end of the service.
    async fn send(&mut self, ending: &mut watch::Receiver<bool>) -> Result<(), ConnectionError> {
        let mut sent = 0;
        while sent < self.output.len() {
            tokio::select! {
                biased;
                count = self.socket.stream().write(&self.output[sent..]) => match count? {
                    0 => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                    count => sent += count,
                },
                deadline = alarm(self.deadline, ending) => self.deadline = Some(deadline.ok_or(ConnectionError::Drained)?),
            }
        }
        self.output.clear();
        if self.output.capacity() > OUTPUT_KEPT {
            self.output = Vec::new();
        }
        Ok(())
    }

    /// Looks at the input as far as there is room for what it asks.
    fn parse(&mut self) -> Result<(), ConnectionError> {
        // Taken out while it is borrowed, so that what is in it need not be copied.
        let input = std::mem::take(&mut self.input);
        let result = self.parse_input(&input);
        self.input = input;
        result
    }

    fn parse_input(&mut self, input: &[u8]) -> Result<(), ConnectionError> {
        while self.has_room() {
            let (used, incoming) = self.requests.receive(&input[self.parsed..])?;
            self.parsed += used;
            match incoming {
                None => return Ok(()),
                Some(incoming) => self.take(incoming),
            }
        }
        Ok(())
    }

    fn take(&mut self, incoming: Incoming<'_>) {
        match incoming {
            Incoming::Request { cookie, request } => {
                let question = Question { cookie, request, structured: self.structured };
                match request.command {
                    Command::Write => self.write = Some(Write { question, data: Vec::new() }),
                    _ => self.ask(question, Cow::Borrowed(&[])),
                }
            }
            Incoming::Payload { bytes, last } => self.payload(bytes, last),
            Incoming::Refused { cookie, refusal } => {
                tracing::debug!("refused: {}", refusal.reason);
                put_error(&mut self.output, self.structured, cookie, refusal.error, refusal.reason);
            }
            Incoming::Disconnect => self.over = true,
        }
    }

    /// Writes once all data is there, so that nobody sees half a sector; straight from the input if it came in one piece.
    fn payload(&mut self, bytes: &[u8], last: bool) {
        let Some(mut write) = self.write.take() else { return };
        match last {
            true if write.data.is_empty() => self.ask(write.question, Cow::Borrowed(bytes)),
            true => {
                write.data.extend_from_slice(bytes);
                self.ask(write.question, Cow::Owned(write.data));
            }
            false => {
                write.data.extend_from_slice(bytes);
                self.write = Some(write);
            }
        }
    }

    /// Answers at once, or has the pool do it.
    fn ask(&mut self, question: Question, data: Cow<'_, [u8]>) {
        if self.deadline.is_some() {
            return put_shutdown(&mut self.output, &question);
        }
        if self.store.is_immediate() && question.request.length <= IMMEDIATE_MAX {
            self.turn_bytes += question.request.length as usize;
            return question.answer(&*self.store, &data, &mut self.output);
        }
        let weight = match question.request.command {
            Command::Read | Command::Write => question.request.length as usize,
            _ => 0,
        };
        self.waiting += 1;
        self.waiting_bytes += weight;
        let (store, answers, data) = (self.store.clone(), self.answers.0.clone(), data.into_owned());
        tokio::task::spawn_blocking(move || {
            let mut reply = Vec::new();
            question.answer(&*store, &data, &mut reply);
            // If the client is gone, nobody wants to know.
            let _ = answers.send(Answer { reply, weight });
        });
    }
}

/// Waits for the service to end, which sets a deadline, or else for the deadline, after which there is none.
async fn alarm(deadline: Option<Instant>, ending: &mut watch::Receiver<bool>) -> Option<Instant> {
    if let Some(deadline) = deadline {
        sleep_until(deadline).await;
        return None;
    }
    // An error means that whoever could say so is gone, which is an end as well.
    let _ = ending.wait_for(|&ending| ending).await;
    Some(Instant::now() + DRAIN)
}

fn put_shutdown(out: &mut Vec<u8>, question: &Question) {
    match question.structured {
        true => put_error(out, true, question.cookie, NbdError::Shutdown, "the server is shutting down"),
        false => put_simple(out, question.cookie, Err(NbdError::Shutdown)),
    }
}
