//! What was asked of a server and what became of it, over connections that come and go.
//!
//! No socket, no clock: the driver says what happened, and this says what may be sent. The rules:
//!
//! 1. Writes that overlap are sent one after the other, in the order in which they were submitted.
//! 2. A read, a flush or a status request whose connection ended is sent again.
//! 3. A write whose connection ended is sent again, but not before the old connection is *settled*: the server has closed
//!    it, so that the server can no longer carry out the first copy after a later write. Until then the range is closed to
//!    writes. That also holds for a write whose caller has given up waiting.
//! 4. When the last connection is lost the server may have been restarted. Before anything else is sent, the witnesses are
//!    read back; if one has changed, the contents are lost and every call fails until that is accepted. Then all writes
//!    since the last flush are sent again, in order.
//! 5. A flush covers what was acknowledged before it was sent. So that rule 4 needs a bounded memory, a flush of our own is
//!    sent when much is unflushed, and writes wait while there is twice as much.

mod unflushed;
mod witness;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use super::call::{Call, Work};
use crate::range::overlap;
use unflushed::Unflushed;
use witness::Witnesses;

pub(super) use witness::Witness;

/// So many of the writes that a flush made durable are looked at as witnesses.
const WITNESSES_PER_FLUSH: usize = 16;

/// More ranges than that are taken together as one.
const DOUBTFUL_MAX: usize = 256;

/// Who waits for an answer.
#[derive(Debug)]
enum Owner<T> {
    Caller(T),
    /// The caller stopped waiting; the server may still carry it out.
    Nobody,
    /// A flush of our own.
    Ourselves,
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Waits for a write to the same range, or for a flush of our own.
    Held,
    /// May be sent.
    Ready,
    /// Was sent on this connection.
    Sent(u64),
    /// Was sent on this connection, which ended, and the server may not know that yet.
    Unsettled(u64),
}

#[derive(Debug)]
struct Job<T> {
    call: Call,
    owner: Owner<T>,
    place: Place,
    /// Of a flush: what it covers.
    mark: u64,
}

/// Whether the server can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// No connection is known to reach the server as we left it; this one is finding out.
    Recovering(Option<u64>),
    Lost(String),
}

/// What a new connection has to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// Send what [`Ledger::take`] hands out.
    Serve,
    /// Compare these, send those again one after the other, and say [`Ledger::recovered`].
    Recover { witnesses: Vec<Witness>, replay: Vec<Call> },
    /// Another connection is recovering, or the contents are lost.
    Wait,
}

/// All there is to know about one upstream's requests. `T` is what identifies a waiting caller.
#[derive(Debug)]
pub(super) struct Ledger<T> {
    jobs: BTreeMap<u64, Job<T>>,
    next: u64,
    ready: VecDeque<u64>,
    live: BTreeSet<u64>,
    phase: Phase,
    unflushed: Unflushed,
    unflushed_max: usize,
    /// Without FLUSH the server promises nothing that a replay could keep.
    can_flush: bool,
    flush_failed: bool,
    witnesses: Witnesses,
    /// Ranges where a write failed or was given up, so that nobody knows what is there. Emptied when nothing is unflushed.
    doubtful: Vec<Range<u64>>,
}

impl<T> Ledger<T> {
    pub(super) fn new(unflushed_max: usize, can_flush: bool) -> Self {
        Self {
            jobs: BTreeMap::new(),
            next: 0,
            ready: VecDeque::new(),
            live: BTreeSet::new(),
            phase: Phase::Recovering(None),
            unflushed: Unflushed::default(),
            unflushed_max,
            can_flush,
            flush_failed: false,
            witnesses: Witnesses::default(),
            doubtful: Vec::new(),
        }
    }

    /// Accepts a call and returns its number, or the reason why the contents are lost.
    pub(super) fn submit(&mut self, call: Call, tag: T) -> Result<u64, String> {
        if let Phase::Lost(reason) = &self.phase {
            return Err(reason.clone());
        }
        if call.changes_data() {
            self.witnesses.forget(&call.range());
        }
        Ok(self.add(call, Owner::Caller(tag)))
    }

    fn add(&mut self, call: Call, owner: Owner<T>) -> u64 {
        let id = self.next;
        self.next += 1;
        self.jobs.insert(id, Job { call, owner, place: Place::Held, mark: 0 });
        self.release(id);
        id
    }

    /// The next request to send on `connection`.
    pub(super) fn take(&mut self, connection: u64) -> Option<(u64, Call)> {
        if !self.live.contains(&connection) {
            return None;
        }
        let id = self.ready.pop_front()?;
        let job = self.jobs.get_mut(&id)?;
        job.place = Place::Sent(connection);
        job.mark = self.unflushed.mark();
        Some((id, job.call.clone()))
    }

    pub(super) fn has_ready(&self) -> bool {
        self.phase == Phase::Serving && !self.ready.is_empty()
    }

    /// The server answered. Returns who waits for it, and whether a flush succeeded in vain.
    pub(super) fn answered(&mut self, id: u64, done: bool) -> Option<(T, bool)> {
        let job = self.jobs.remove(&id)?;
        let mut flush_failed = false;
        match (&job.call.work, done) {
            (Work::Flush, true) => {
                self.flushed(job.mark);
                // A flush of our own that failed before is for the next caller of flush to hear about.
                flush_failed = matches!(job.owner, Owner::Caller(_)) && std::mem::take(&mut self.flush_failed);
            }
            (Work::Flush, false) => self.flush_failed |= matches!(job.owner, Owner::Ourselves),
            (_, true) if job.call.changes_data() => self.acknowledged(job.call),
            (_, false) if job.call.changes_data() => self.doubt(job.call.range()),
            _ => {}
        }
        self.release_held();
        match job.owner {
            Owner::Caller(tag) => Some((tag, flush_failed)),
            Owner::Nobody | Owner::Ourselves => None,
        }
    }

    /// What lies before `mark` is durable: some of it becomes witnesses, unless it may have been overwritten since.
    fn flushed(&mut self, mark: u64) {
        let calls: Vec<Call> = self.unflushed.release(mark).collect();
        let step = calls.len() / WITNESSES_PER_FLUSH + 1;
        for (at, call) in calls.iter().enumerate().rev().step_by(step) {
            let range = call.range();
            let is_there = |other: &Call| other.changes_data() && overlap(&other.range(), &range);
            let is_overwritten = calls[at + 1..].iter().chain(self.unflushed.calls()).any(is_there)
                || self.jobs.values().any(|job| is_there(&job.call))
                || self.doubtful.iter().any(|doubtful| overlap(doubtful, &range));
            if !is_overwritten {
                self.witnesses.note(call);
            }
        }
        if self.unflushed.bytes() == 0 {
            self.doubtful.clear();
        }
    }

    /// Nobody knows what `range` holds now.
    fn doubt(&mut self, range: Range<u64>) {
        self.doubtful.push(range);
        if self.doubtful.len() > DOUBTFUL_MAX {
            let whole = self.doubtful.drain(..).reduce(|whole, range| whole.start.min(range.start)..whole.end.max(range.end));
            self.doubtful.extend(whole);
        }
    }

    fn acknowledged(&mut self, call: Call) {
        self.unflushed.push(call);
        if self.unflushed.bytes() <= self.unflushed_max {
            return;
        }
        if !self.can_flush {
            // As if half of it had been flushed.
            self.flushed(self.unflushed.middle());
        } else if !self.jobs.values().any(|job| matches!(job.owner, Owner::Ourselves)) {
            self.add(Call::new(Work::Flush, 0, 0), Owner::Ourselves);
        }
    }

    /// The caller stops waiting. What was sent may still be carried out.
    pub(super) fn give_up(&mut self, id: u64) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if job.call.changes_data() && matches!(job.place, Place::Sent(_) | Place::Unsettled(_)) {
            job.owner = Owner::Nobody;
            return;
        }
        self.jobs.remove(&id);
        self.ready.retain(|&other| other != id);
        self.release_held();
    }

    /// A handshake is over: what is this connection to do?
    pub(super) fn opened(&mut self, connection: u64) -> Duty {
        match &self.phase {
            Phase::Serving => {
                self.live.insert(connection);
                Duty::Serve
            }
            Phase::Recovering(None) => {
                self.phase = Phase::Recovering(Some(connection));
                Duty::Recover { witnesses: self.witnesses.kept().to_vec(), replay: self.unflushed.calls().cloned().collect() }
            }
            Phase::Recovering(Some(_)) | Phase::Lost(_) => Duty::Wait,
        }
    }

    /// The server has all it had before.
    pub(super) fn recovered(&mut self, connection: u64) {
        if self.phase == Phase::Recovering(Some(connection)) {
            self.phase = Phase::Serving;
            self.live.insert(connection);
        }
    }

    /// The server has lost its contents. Returns everybody who waits.
    pub(super) fn lost(&mut self, reason: &str) -> Vec<T> {
        self.phase = Phase::Lost(reason.into());
        self.live.clear();
        self.ready.clear();
        let mut waiting = Vec::new();
        self.jobs.retain(|_, job| {
            if let Owner::Caller(tag) = std::mem::replace(&mut job.owner, Owner::Nobody) {
                waiting.push(tag);
            }
            job.call.changes_data() && matches!(job.place, Place::Sent(_) | Place::Unsettled(_))
        });
        waiting
    }

    pub(super) const fn loss(&self) -> Option<&String> {
        match &self.phase {
            Phase::Lost(reason) => Some(reason),
            _ => None,
        }
    }

    /// The loss is known to whoever uses the contents: start again with what the server has now.
    pub(super) fn accept_loss(&mut self) {
        if matches!(self.phase, Phase::Lost(_)) {
            self.unflushed.clear();
            self.witnesses.clear();
            self.doubtful.clear();
            self.flush_failed = false;
            self.phase = Phase::Recovering(None);
        }
    }

    /// A connection is over. `settled` says that the server knows it too and can do nothing more that was asked on it.
    pub(super) fn ended(&mut self, connection: u64, settled: bool) {
        self.live.remove(&connection);
        match self.phase {
            Phase::Serving if self.live.is_empty() => self.phase = Phase::Recovering(None),
            Phase::Recovering(Some(by)) if by == connection => self.phase = Phase::Recovering(None),
            _ => {}
        }
        let sent: Vec<u64> = self.jobs.iter().filter(|(_, job)| job.place == Place::Sent(connection)).map(|(&id, _)| id).collect();
        for &id in sent.iter().rev() {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            if job.call.changes_data() {
                job.place = Place::Unsettled(connection);
            } else {
                job.place = Place::Ready;
                self.ready.push_front(id);
            }
        }
        if settled {
            self.settled(connection);
        }
    }

    /// The server can do nothing more that was asked on `connection`.
    pub(super) fn settled(&mut self, connection: u64) {
        let ids: Vec<u64> = self.jobs.iter().filter(|(_, job)| job.place == Place::Unsettled(connection)).map(|(&id, _)| id).collect();
        for &id in ids.iter().rev() {
            match self.jobs.get_mut(&id) {
                Some(job) if matches!(job.owner, Owner::Caller(_)) => {
                    job.place = Place::Ready;
                    self.ready.push_front(id);
                }
                _ => {
                    if let Some(job) = self.jobs.remove(&id) {
                        self.doubt(job.call.range());
                    }
                }
            }
        }
        self.release_held();
    }

    /// The server has ended every connection but this one, and what was asked on them.
    pub(super) fn fenced(&mut self) {
        let unsettled: BTreeSet<u64> = self
            .jobs
            .values()
            .filter_map(|job| match job.place {
                Place::Unsettled(connection) => Some(connection),
                _ => None,
            })
            .collect();
        unsettled.into_iter().for_each(|connection| self.settled(connection));
    }

    pub(super) fn connections(&self) -> usize {
        self.live.len()
    }

    /// Bytes of writes that are acknowledged and not flushed.
    pub(super) const fn unflushed_bytes(&self) -> usize {
        self.unflushed.bytes()
    }

    fn release_held(&mut self) {
        let held: Vec<u64> = self.jobs.iter().filter(|(_, job)| job.place == Place::Held).map(|(&id, _)| id).collect();
        for id in held {
            self.release(id);
        }
    }

    /// Makes a held job ready if nothing stands in its way.
    fn release(&mut self, id: u64) {
        let Some(job) = self.jobs.get(&id) else { return };
        if job.call.changes_data() {
            let range = job.call.range();
            let full = self.can_flush && self.unflushed.bytes() > 2 * self.unflushed_max;
            if full || self.jobs.range(..id).any(|(_, other)| other.call.changes_data() && overlap(&other.call.range(), &range)) {
                return;
            }
        }
        if let Some(job) = self.jobs.get_mut(&id) {
            job.place = Place::Ready;
            self.ready.push_back(id);
        }
    }
}
