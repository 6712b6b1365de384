//! What a client did: for the metrics, and for the line in the log when it leaves.

use std::time::{Duration, Instant};

use admin::{Command as Label, Outcome, Recorder};
use nbd::{Command, NbdError, Request};

/// The count of one connection.
pub(crate) struct Tally {
    recorder: Recorder,
    /// Requests answered at once, whose time is that of their batch: reading the clock costs more than some of them.
    batch: Vec<(Label, Outcome, u64)>,
    batch_since: Option<Instant>,
    pub(crate) requests: u64,
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
    since: Instant,
}

impl Tally {
    pub(crate) fn new(recorder: Recorder) -> Self {
        let (batch, batch_since, since) = (Vec::new(), None, Instant::now());
        Self { recorder, batch, batch_since, requests: 0, read_bytes: 0, written_bytes: 0, since }
    }

    /// The connection's number.
    pub(crate) fn number(&self) -> u64 {
        self.recorder.id()
    }

    /// How long the client has been here.
    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Input has come, and is looked at now.
    pub(super) fn arrived(&mut self) {
        self.batch_since.get_or_insert_with(Instant::now);
    }

    /// A request was given to the pool.
    pub(super) fn begin(&mut self) {
        self.recorder.begin();
    }

    /// A request was answered by the pool.
    pub(super) fn finished(&mut self, request: &Request, result: Result<(), NbdError>, latency: Duration) {
        let (label, outcome, bytes) = self.count(request, result);
        self.recorder.finish(label, outcome, bytes, latency);
    }

    /// A request was answered at once.
    pub(super) fn done(&mut self, request: &Request, result: Result<(), NbdError>) {
        self.recorder.begin();
        let counted = self.count(request, result);
        self.batch.push(counted);
    }

    /// A request was not even begun, and belongs to no command that metrics have.
    pub(super) fn refused(&mut self) {
        self.requests += 1;
    }

    /// The batch is over.
    pub(super) fn settle(&mut self) {
        let Some(since) = self.batch_since.take() else { return };
        let latency = since.elapsed();
        for (label, outcome, bytes) in self.batch.drain(..) {
            self.recorder.finish(label, outcome, bytes, latency);
        }
        if self.batch.capacity() > 1024 {
            self.batch = Vec::new();
        }
    }

    fn count(&mut self, request: &Request, result: Result<(), NbdError>) -> (Label, Outcome, u64) {
        self.requests += 1;
        let bytes = if result.is_ok() { request.length } else { 0 };
        match request.command {
            Command::Read => self.read_bytes += bytes,
            Command::Write => self.written_bytes += bytes,
            _ => {}
        }
        (label(request.command), outcome(result), bytes)
    }
}

const fn label(command: Command) -> Label {
    match command {
        Command::Read => Label::Read,
        Command::Write => Label::Write,
        Command::Flush => Label::Flush,
        Command::Trim => Label::Trim,
        Command::WriteZeroes => Label::WriteZeroes,
        Command::Cache => Label::Cache,
        Command::BlockStatus => Label::BlockStatus,
    }
}

fn outcome(result: Result<(), NbdError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Ok,
        Err(NbdError::NotPermitted) => Outcome::NotPermitted,
        Err(NbdError::NoMemory) => Outcome::NoMemory,
        Err(NbdError::Invalid) => Outcome::Invalid,
        Err(NbdError::NoSpace) => Outcome::NoSpace,
        Err(NbdError::Overflow) => Outcome::Overflow,
        Err(NbdError::NotSupported) => Outcome::NotSupported,
        Err(NbdError::Shutdown) => Outcome::Shutdown,
        Err(_) => Outcome::InputOutput,
    }
}
