//! One connection under load.

use std::sync::atomic::Ordering;

use nbd::{Command, ExportInfo, NbdError, Request, TransmissionFlags};

use super::histogram::Latencies;
use super::{Load, Shared};
use crate::connection::{Connection, Done};
use crate::content;
use crate::error::BenchError;
use crate::random::Random;

/// Data that is only written, never looked at again, is cut out of this much of it.
const POOL_BYTES: usize = 1 << 20;
/// A pass over all blocks keeps this many bytes in flight.
const FILL_BYTES: usize = 1 << 20;

/// Which blocks there are, and which of them belong to which connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    blocks: u64,
    connections: u64,
}

impl Share {
    /// Divides the span, if the export takes what the load wants to do to it.
    pub(super) fn new(load: &Load, export: ExportInfo) -> Result<Self, BenchError> {
        let span = load.span.unwrap_or(export.size);
        let wrong = |text: String| Err(BenchError::Usage(text));
        let writes = load.read_percent < 100 || load.prefill || load.verify;
        if writes && export.can(TransmissionFlags::READ_ONLY) {
            return wrong("the export is read-only".into());
        }
        if span > export.size {
            return wrong(format!("the export has {} bytes, and {span} are to be used", export.size));
        }
        if load.block == 0 || !load.block.is_multiple_of(export.block.minimum) || load.block > export.block.maximum {
            let (minimum, maximum) = (export.block.minimum, export.block.maximum);
            return wrong(format!("requests must be multiples of {minimum} bytes, and at most {maximum}"));
        }
        let share = Self { blocks: span / u64::from(load.block), connections: load.connections as u64 };
        // A block under verification has one request at a time.
        let needed = share.connections * if load.verify { load.depth as u64 } else { 1 };
        if share.blocks < needed {
            return wrong(format!("{span} bytes are too few: {needed} blocks of {} are needed", load.block));
        }
        if load.verify && share.blocks > 1 << 28 {
            return wrong("a span of so many blocks cannot be verified; say a smaller one".into());
        }
        Ok(share)
    }

    fn of(self, index: usize) -> std::ops::Range<u64> {
        let at = |index: u64| (u128::from(self.blocks) * u128::from(index) / u128::from(self.connections)) as u64;
        at(index as u64)..at(index as u64 + 1)
    }
}

/// What one connection did.
#[derive(Debug, Default)]
pub(super) struct Finished {
    pub(super) reads: Latencies,
    pub(super) writes: Latencies,
    /// Requests that the server answered with an error, one of the errors, and the server's words to it.
    pub(super) refused: u64,
    pub(super) error: Option<NbdError>,
    pub(super) words: String,
    /// Blocks whose content was compared.
    pub(super) verified: u64,
}

/// What a request was for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag {
    block: u64,
    version: u32,
}

/// One connection and its plan.
pub(super) struct Worker {
    connection: Connection<Tag>,
    load: Load,
    /// Its own blocks: where it goes when requests must not meet, or go in order.
    own: std::ops::Range<u64>,
    all: u64,
    next: u64,
    random: Random,
    pool: Vec<u8>,
    /// The version of each own block, if they are verified; the high bit says that a request is under way.
    versions: Vec<u32>,
    outcome: Finished,
}

const BUSY: u32 = 1 << 31;

impl Worker {
    pub(super) fn new(connection: Connection<Tag>, load: &Load, share: Share, index: usize) -> Self {
        let own = share.of(index);
        let mut pool = vec![0; if load.verify { 0 } else { POOL_BYTES + load.block as usize }];
        content::fill(&mut pool, load.seed, index as u64, 1);
        Self {
            connection,
            load: *load,
            next: own.start,
            versions: vec![0; if load.verify { (own.end - own.start) as usize } else { 0 }],
            own,
            all: share.blocks,
            random: Random::fork(load.seed, index as u64),
            pool,
            outcome: Finished::default(),
        }
    }

    pub(super) fn run(mut self, shared: &Shared) -> Result<Finished, BenchError> {
        let filled = if self.load.prefill || self.load.verify { self.fill() } else { Ok(()) };
        // Whoever failed must come too, or the others would wait for ever.
        shared.ready.wait();
        filled?;
        while !shared.over.load(Ordering::Relaxed) {
            while self.connection.in_flight() < self.load.depth {
                self.start()?;
            }
            self.turn(shared)?;
        }
        while self.connection.in_flight() > 0 {
            self.turn(shared)?;
        }
        self.connection.disconnect();
        Ok(self.outcome)
    }

    /// Writes every own block once.
    fn fill(&mut self) -> Result<(), BenchError> {
        let most = (FILL_BYTES / self.load.block as usize).max(1);
        for block in self.own.clone() {
            self.write(block, 1)?;
            while self.connection.in_flight() >= most {
                self.finish_fill()?;
            }
        }
        while self.connection.in_flight() > 0 {
            self.finish_fill()?;
        }
        self.versions.fill(1);
        Ok(())
    }

    fn finish_fill(&mut self) -> Result<(), BenchError> {
        let mut refused = None;
        self.connection.turn(|done| refused = refused.take().or(done.result.err()))?;
        match refused {
            Some(error) => Err(BenchError::Wrong(format!("the export cannot be filled: {error}: {}", self.connection.error_text()))),
            None => Ok(()),
        }
    }

    fn start(&mut self) -> Result<(), BenchError> {
        let block = self.choose();
        if !self.load.verify {
            return if self.random.percent(self.load.read_percent) { self.read(block, 0) } else { self.write(block, 0) };
        }
        let version = &mut self.versions[(block - self.own.start) as usize];
        let now = *version;
        *version |= BUSY;
        if self.random.percent(self.load.read_percent) { self.read(block, now) } else { self.write(block, now + 1) }
    }

    fn choose(&mut self) -> u64 {
        if !self.load.sequential && !self.load.verify {
            return self.random.below(self.all);
        }
        if !self.load.sequential {
            self.next = self.own.start + self.random.below(self.own.end - self.own.start);
        }
        // Verified blocks wait for their last request; there are at least as many blocks as requests.
        while self.load.verify && self.versions[(self.next - self.own.start) as usize] & BUSY != 0 {
            self.next = self.after(self.next);
        }
        let block = self.next;
        self.next = self.after(block);
        block
    }

    fn after(&self, block: u64) -> u64 {
        if block + 1 < self.own.end { block + 1 } else { self.own.start }
    }

    fn read(&mut self, block: u64, version: u32) -> Result<(), BenchError> {
        let length = self.load.block;
        let tag = Tag { block, version };
        self.connection.submit(Request::read(block * u64::from(length), length), self.load.verify, tag, |_| ())
    }

    fn write(&mut self, block: u64, version: u32) -> Result<(), BenchError> {
        let Load { block: length, seed, verify, .. } = self.load;
        let from = if verify { 0 } else { self.random.below(POOL_BYTES as u64 / 8) as usize * 8 };
        let pool = &self.pool;
        let tag = Tag { block, version };
        self.connection.submit(Request::write(block * u64::from(length), length), false, tag, |bytes| match verify {
            true => content::fill(bytes, seed, block, version),
            false => bytes.copy_from_slice(&pool[from..from + length as usize]),
        })
    }

    fn turn(&mut self, shared: &Shared) -> Result<(), BenchError> {
        let (measuring, refused) = (shared.measuring.load(Ordering::Relaxed), self.outcome.refused);
        let (outcome, load, own, versions) = (&mut self.outcome, &self.load, &self.own, &mut self.versions);
        let mut answered = 0;
        let mut kept = Vec::new();
        let mut wrong = None;
        self.connection.turn(|mut done| {
            answered += 1;
            outcome.count(&done, measuring);
            if load.verify {
                match settle(&done, load.seed, &mut versions[(done.tag.block - own.start) as usize]) {
                    Ok(verified) => outcome.verified += u64::from(verified),
                    Err(text) => wrong = Some(text),
                }
            }
            kept.extend(done.data.take());
        })?;
        kept.into_iter().for_each(|buffer| self.connection.recycle(buffer));
        shared.requests.fetch_add(answered, Ordering::Relaxed);
        if refused == 0 && self.outcome.refused > 0 {
            self.outcome.words = self.connection.error_text();
        }
        wrong.map_or(Ok(()), |text| Err(BenchError::Wrong(text)))
    }
}

/// Ends a verified block's request: whether its data was compared, or what is wrong with it.
fn settle(done: &Done<Tag>, seed: u64, version: &mut u32) -> Result<bool, String> {
    *version &= !BUSY;
    let Tag { block, version: expected, .. } = done.tag;
    match (&done.data, done.result) {
        (Some(data), Ok(())) if content::is(data, seed, block, expected) => Ok(true),
        (Some(_), Ok(())) => Err(format!("block {block} (of {} bytes) was read and is not what was written", done.request.length)),
        (None, Ok(())) if done.request.command == Command::Write => {
            *version = expected;
            Ok(false)
        }
        (_, Err(error)) if done.request.command == Command::Write => {
            Err(format!("a WRITE of block {block} was answered with {error}; what it holds cannot be verified any more"))
        }
        _ => Ok(false),
    }
}

impl Finished {
    fn count(&mut self, done: &Done<Tag>, measuring: bool) {
        if let Err(error) = done.result {
            self.refused += 1;
            self.error.get_or_insert(error);
        } else if measuring {
            match done.request.command {
                Command::Read => self.reads.record(done.latency),
                _ => self.writes.record(done.latency),
            }
        }
    }

    /// Adds another connection's.
    pub(super) fn add(&mut self, other: Self) {
        self.reads.add(&other.reads);
        self.writes.add(&other.writes);
        self.refused += other.refused;
        self.verified += other.verified;
        if self.error.is_none() {
            (self.error, self.words) = (other.error, other.words);
        }
    }
}
