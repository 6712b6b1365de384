//! From bytes to requests, each of which is answered at once or given to the pool.

use std::borrow::Cow;
use std::time::{Duration, Instant as Clock};

use nbd::server::Incoming;
use nbd::{Command, CommandFlags, NbdError, Request};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::question::Question;
use super::{Connection, ConnectionError, buffers};

/// A longer request would hold up the other clients of this worker, however fast its store.
const IMMEDIATE_MAX: u64 = 1024 * 1024;
/// The data of a large WRITE must come at least as fast as this, or others wait for its room.
const LARGE_BYTES_PER_SECOND: f64 = (1 << 20) as f64;
/// READs and WRITEs longer than this need a part of the room that all clients share.
const LARGE_BYTES: u64 = 64 * 1024;

/// A WRITE whose data has not all arrived.
pub(super) struct Write {
    question: Question,
    data: Vec<u8>,
    permit: Option<OwnedSemaphorePermit>,
    /// When all of it must have come.
    pub(super) deadline: Option<Instant>,
}

/// A request that waits for room.
pub(super) struct Large {
    question: Question,
    pub(super) kib: u32,
}

/// A reply from the pool.
pub(super) struct Answer {
    reply: Vec<u8>,
    request: Request,
    result: Result<(), NbdError>,
    since: Clock,
    weight: u64,
    permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// Looks at the input as far as there is room for what it asks.
    pub(super) fn parse(&mut self) -> Result<(), ConnectionError> {
        if self.parsed >= self.input.len() {
            return Ok(());
        }
        self.tally.arrived();
        if self.output.capacity() == 0 {
            self.output = buffers::take_output();
        }
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
            Incoming::Request { reply, request } => self.request(Question { reply, request }),
            Incoming::Payload { bytes, last } => self.payload(bytes, last),
            Incoming::Refused { reply, refusal } => {
                tracing::debug!("refused: {}", refusal.reason);
                self.tally.refused();
                reply.error(&mut self.output, refusal.error, refusal.reason);
            }
            Incoming::Disconnect => self.over = true,
        }
    }

    fn request(&mut self, question: Question) {
        let length = payload(&question.request);
        self.pay(length);
        if length <= LARGE_BYTES {
            return self.begin(question, None);
        }
        let kib = length.div_ceil(1024) as u32;
        match self.room.clone().try_acquire_many_owned(kib) {
            Ok(permit) => self.begin(question, Some(permit)),
            Err(_) => self.large = Some(Large { question, kib }),
        }
    }

    /// There is room for the request that waited for it.
    pub(super) fn begin_large(&mut self, permit: OwnedSemaphorePermit) {
        if let Some(Large { question, .. }) = self.large.take() {
            self.begin(question, Some(permit));
        }
    }

    fn begin(&mut self, question: Question, permit: Option<OwnedSemaphorePermit>) {
        match question.request.command {
            Command::Write => {
                let seconds = question.request.length as f64 / LARGE_BYTES_PER_SECOND;
                let patience = self.limits.stall + Duration::from_secs_f64(seconds);
                let deadline = permit.is_some().then(|| Instant::now() + patience);
                self.write = Some(Write { question, data: Vec::new(), permit, deadline });
            }
            _ => self.ask(question, Cow::Borrowed(&[]), permit),
        }
    }

    /// Takes a request and its bytes off the client's rates; the next one waits until that is paid.
    fn pay(&mut self, bytes: u64) {
        if let Some(throttle) = &self.seat.throttle {
            let wait = throttle.take(bytes);
            if !wait.is_zero() {
                self.paused = Some(Instant::now() + wait);
            }
        }
    }

    /// Writes once all data is there, so that nobody sees half a sector; straight from the input if it came in one piece.
    fn payload(&mut self, bytes: &[u8], last: bool) {
        let Some(mut write) = self.write.take() else { return };
        if last && write.data.is_empty() {
            return self.ask(write.question, Cow::Borrowed(bytes), write.permit);
        }
        if write.data.is_empty() {
            write.data.reserve_exact(write.question.request.length as usize);
        }
        write.data.extend_from_slice(bytes);
        match last {
            true => self.ask(write.question, Cow::Owned(write.data), write.permit),
            false => self.write = Some(write),
        }
    }

    /// Answers at once, or has the pool do it.
    fn ask(&mut self, question: Question, data: Cow<'_, [u8]>, permit: Option<OwnedSemaphorePermit>) {
        let Question { reply, request } = question;
        if let Err((error, text)) = self.may(&request) {
            self.tally.done(&request, Err(error));
            return reply.error(&mut self.output, error, &text);
        }
        if self.store.is_immediate() && request.length <= IMMEDIATE_MAX {
            self.turn_bytes += request.length as usize;
            let result = question.answer(&*self.store, &data, &mut self.output);
            self.tally.done(&request, result);
            self.held.extend(permit);
            return;
        }
        let weight = payload(&request);
        self.waiting += 1;
        self.waiting_bytes += weight;
        self.tally.begin();
        let (store, answers, data, since) = (self.store.clone(), self.answers.0.clone(), data.into_owned(), Clock::now());
        tokio::task::spawn_blocking(move || {
            let mut reply = Vec::new();
            let result = question.answer(&*store, &data, &mut reply);
            // If the client is gone, nobody wants to know.
            let _ = answers.send(Answer { reply, request, result, since, weight, permit });
        });
    }

    /// Takes a reply from the pool.
    pub(super) fn collect(&mut self, answer: Answer) {
        let Answer { reply, request, result, since, weight, permit } = answer;
        if self.output.is_empty() && self.output.capacity() < reply.len() {
            self.output = reply;
        } else {
            self.output.extend_from_slice(&reply);
        }
        self.held.extend(permit);
        self.waiting -= 1;
        self.waiting_bytes -= weight;
        self.tally.finished(&request, result, since.elapsed());
    }

    /// Whether a request may be done now, as far as it is the service's to say.
    fn may(&self, request: &Request) -> Result<(), (NbdError, Cow<'static, str>)> {
        if self.deadline.is_some() {
            return Err((NbdError::Shutdown, "the server is shutting down".into()));
        }
        let is_reservation = request.command == Command::WriteZeroes && request.flags.contains(CommandFlags::NO_HOLE);
        let grant = &self.seat.link.grant;
        if is_reservation && grant.limits.reserved_bytes.is_some() {
            let reserved = self.seat.catalogue.reserved_by(&self.seat.link.label);
            let allowed = grant.check_reserve(request.length, reserved);
            return allowed.map_err(|refusal| (NbdError::NoSpace, refusal.to_string().into()));
        }
        Ok(())
    }
}

/// How many bytes go over the wire for a request.
fn payload(request: &Request) -> u64 {
    match request.command {
        Command::Read | Command::Write => request.length,
        _ => 0,
    }
}
