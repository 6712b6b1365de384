//! What has to be done on the server, and in which order.
//!
//! Two jobs that touch the same bytes of the export and don't both read are done one after the other, as they came; all others in any
//! order. So a read behind a write sees it, and a write behind a write wins, whatever connections they use. A job stays here until it is done.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Rc;
use alloc::vec::Vec;

use nbd::Request;
use pager::{Control, ObjectId, Run};
use runtime::Pages;

use crate::quarantine::Quarantine;
use crate::seal::Stamp;

/// A job, in the order in which they came.
pub(crate) type JobId = u64;

/// Why it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Somebody waits for it.
    Demand,
    /// Nobody does.
    Background,
}

/// What is done.
#[derive(Debug)]
pub(crate) enum Work {
    /// Pages that the kernel asked for. The memory comes when it is sent.
    Read { control: Control, run: Run, pages: Option<Pages>, stamps: Vec<Stamp> },
    /// Pages that came home: some bytes of what came in one message.
    Write { object: ObjectId, first_page: u64, data: Rc<Pages>, from: usize },
    /// Pages that are all zero now. The server may forget them; nothing is lost if it doesn't.
    Zeroes,
    /// The end of an extent's use. The server may forget it.
    Release { extent: u32 },
}

impl Work {
    /// Whether it changes what the server has.
    const fn changes(&self) -> bool {
        !matches!(self, Self::Read { .. })
    }

    pub(crate) const fn class(&self) -> Class {
        match self {
            Self::Read { .. } => Class::Demand,
            _ => Class::Background,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a queue, or waiting for earlier ones.
    Waiting,
    Sent,
    /// Failed, or kept from a place in quarantine, and to be tried again then.
    Resting {
        until_ns: u64,
    },
}

#[derive(Debug)]
pub(crate) struct Job {
    /// Where in the export.
    pub(crate) at: u64,
    pub(crate) length: u32,
    pub(crate) work: Work,
    state: State,
    /// Earlier jobs that must be done first.
    blockers: u32,
}

impl Job {
    /// What the server is asked.
    pub(crate) const fn request(&self) -> Request {
        match self.work {
            Work::Read { .. } => Request::read(self.at, self.length),
            Work::Write { .. } => Request::write(self.at, self.length),
            Work::Zeroes => Request::write_zeroes(self.at, self.length as u64),
            Work::Release { .. } => Request::trim(self.at, self.length as u64),
        }
    }

    const fn conflicts(&self, other: &Self) -> bool {
        let overlap = self.at < other.at + other.length as u64 && other.at < self.at + self.length as u64;
        overlap && !(matches!(self.work, Work::Read { .. }) && matches!(other.work, Work::Read { .. }))
    }
}

/// All jobs.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    all: BTreeMap<JobId, Job>,
    demand: VecDeque<JobId>,
    background: VecDeque<JobId>,
    next: JobId,
    /// Bytes of all writes that aren't done.
    write_bytes: u64,
    quarantine: Quarantine,
}

/// Bytes of writes that wait for a quarantine to end, and don't keep others from coming.
const HELD_BYTES_MAX: u64 = 4 << 20;

impl Jobs {
    /// Jobs that aren't done.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn get(&self, id: JobId) -> Option<&Job> {
        self.all.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: JobId) -> Option<&mut Job> {
        self.all.get_mut(&id)
    }

    /// Bytes that came home and aren't on the server, but for those that could not be sent if there were a better server.
    pub(crate) fn write_bytes(&self) -> u64 {
        if self.quarantine.is_empty() {
            return self.write_bytes;
        }
        let is_held = |job: &&Job| matches!((&job.work, job.state), (Work::Write { .. }, State::Resting { .. }));
        let held: u64 = self.all.values().filter(is_held).map(|job| u64::from(job.length)).sum();
        self.write_bytes - held.min(HELD_BYTES_MAX)
    }

    fn queue(&mut self, class: Class) -> &mut VecDeque<JobId> {
        match class {
            Class::Demand => &mut self.demand,
            Class::Background => &mut self.background,
        }
    }

    pub(crate) fn add(&mut self, at: u64, length: u32, work: Work) -> JobId {
        let (id, class) = (self.next, work.class());
        self.next += 1;
        if matches!(work, Work::Write { .. }) {
            self.write_bytes += u64::from(length);
        }
        let mut job = Job { at, length, work, state: State::Waiting, blockers: 0 };
        job.blockers = self.all.values().filter(|earlier| earlier.conflicts(&job)).count() as u32;
        match (job.blockers, self.held_until(id, &job)) {
            (0, Some(until_ns)) => job.state = State::Resting { until_ns },
            (0, None) => self.queue(class).push_back(id),
            _ => {}
        }
        self.all.insert(id, job);
        id
    }

    /// Until when a job that could be done must not be.
    fn held_until(&self, id: JobId, job: &Job) -> Option<u64> {
        self.quarantine.until(job.at, job.length, id).filter(|_| job.work.changes())
    }

    /// Bytes are about to be written anew: earlier writes that nobody has sent yet, and that no reader waits for, need not be.
    pub(crate) fn supersede(&mut self, at: u64, length: u32) {
        let end = at + u64::from(length);
        let is_within = |job: &Job| at <= job.at && job.at + u64::from(job.length) <= end;
        let is_idle = |job: &Job| matches!(job.work, Work::Write { .. }) && job.state != State::Sent;
        let is_read = |job: &Job| self.all.values().any(|other| !other.work.changes() && other.conflicts(job));
        let stale = self.all.iter().filter(|(_, job)| is_idle(job) && is_within(job) && !is_read(job));
        for id in stale.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.finish(id);
        }
    }

    /// A job's connection is gone: it may be done late, or never. It is next in line again, and the only one that may touch its place for a while.
    pub(crate) fn cut_off(&mut self, id: JobId, now_ns: u64) {
        if let Some(job) = self.all.get(&id).filter(|job| job.work.changes()) {
            self.quarantine.add(job.at, job.length, id, now_ns);
        }
        self.again(id);
    }

    /// Whatever was cut off is done or will never be.
    pub(crate) fn fenced(&mut self) {
        self.quarantine.clear();
        for job in self.all.values_mut() {
            if let State::Resting { until_ns } = &mut job.state {
                *until_ns = 0;
            }
        }
    }

    /// The next job of a class that may be sent, without taking it.
    pub(crate) fn peek(&mut self, class: Class) -> Option<JobId> {
        loop {
            let id = *self.queue(class).front()?;
            if self.all.contains_key(&id) {
                return Some(id);
            }
            self.queue(class).pop_front();
        }
    }

    /// The job that `peek` gave is being sent.
    pub(crate) fn sent(&mut self, id: JobId) {
        if let Some(job) = self.all.get_mut(&id) {
            job.state = State::Sent;
            let class = job.work.class();
            self.queue(class).pop_front();
        }
    }

    /// A job that wasn't done is next in line again.
    pub(crate) fn again(&mut self, id: JobId) {
        let held = self.all.get(&id).and_then(|job| self.held_until(id, job));
        if let Some(job) = self.all.get_mut(&id) {
            if let Some(until_ns) = held {
                job.state = State::Resting { until_ns };
                return;
            }
            job.state = State::Waiting;
            let class = job.work.class();
            self.queue(class).push_front(id);
        }
    }

    /// A job failed, and is to be tried again later.
    pub(crate) fn rest(&mut self, id: JobId, until_ns: u64) {
        if let Some(job) = self.all.get_mut(&id) {
            job.state = State::Resting { until_ns };
        }
    }

    /// When the first job has rested enough.
    pub(crate) fn rested_ns(&self) -> Option<u64> {
        let until = |job: &Job| if let State::Resting { until_ns } = job.state { Some(until_ns) } else { None };
        self.all.values().filter_map(until).min()
    }

    /// Jobs that have rested enough are next in line.
    pub(crate) fn wake(&mut self, now_ns: u64) {
        self.quarantine.expire(now_ns);
        let is_due = |job: &Job| matches!(job.state, State::Resting { until_ns } if until_ns <= now_ns);
        let due: Vec<_> = self.all.iter().filter(|(_, job)| is_due(job)).map(|(id, _)| *id).collect();
        due.into_iter().rev().for_each(|id| self.again(id));
    }

    /// A job is done, or will never be: those that waited for it may go.
    pub(crate) fn finish(&mut self, id: JobId) -> Option<Job> {
        let job = self.all.remove(&id)?;
        if matches!(job.work, Work::Write { .. }) {
            self.write_bytes -= u64::from(job.length);
        }
        for (later, waiting) in self.all.range_mut(id..) {
            if waiting.conflicts(&job) {
                waiting.blockers -= 1;
                let held = self.quarantine.until(waiting.at, waiting.length, *later).filter(|_| waiting.work.changes());
                if let (0, Some(until_ns)) = (waiting.blockers, held) {
                    waiting.state = State::Resting { until_ns };
                } else if waiting.blockers == 0 {
                    let queue = if waiting.work.class() == Class::Demand { &mut self.demand } else { &mut self.background };
                    queue.push_back(*later);
                }
            }
        }
        Some(job)
    }

    /// The jobs that aren't on their way and satisfy a condition.
    pub(crate) fn waiting(&self, wanted: impl Fn(&Job) -> bool) -> Vec<JobId> {
        self.all.iter().filter(|(_, job)| job.state != State::Sent && wanted(job)).map(|(id, _)| *id).collect()
    }

    /// The newest content of pages of an object that is on its way to the server: for each write its pages and its bytes, oldest first.
    pub(crate) fn writes_of(&self, wanted: ObjectId, run: Run) -> Vec<(Run, &[u8])> {
        let write = |job: &'_ Job| -> Option<Run> {
            let Work::Write { object, first_page, .. } = &job.work else { return None };
            let pages = Run::of_pages(*first_page, u64::from(job.length) / abi::vm::PAGE_SIZE)?;
            (*object == wanted && pages.overlap(run).is_some()).then_some(pages)
        };
        let bytes = |job: &'_ Job| -> Option<(usize, usize)> {
            let Work::Write { from, .. } = &job.work else { return None };
            Some((*from, *from + job.length as usize))
        };
        let mut found = Vec::new();
        for job in self.all.values() {
            if let (Some(pages), Some((from, to)), Work::Write { data, .. }) = (write(job), bytes(job), &job.work)
                && let Some(bytes) = data.get(from..to)
            {
                found.push((pages, bytes));
            }
        }
        found
    }

    /// Blockers are counted right, and what can go is in its queue once.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check(&self) {
        for (id, job) in &self.all {
            let blockers = self.all.range(..id).filter(|(_, earlier)| earlier.conflicts(job)).count();
            assert_eq!(blockers as u32, job.blockers, "job {id}");
            let queue = if job.work.class() == Class::Demand { &self.demand } else { &self.background };
            let queued = queue.iter().filter(|queued| *queued == id).count();
            let may_go = job.blockers == 0 && job.state == State::Waiting;
            assert_eq!(queued, usize::from(may_go), "job {id} is {:?} with {blockers} blockers", job.state);
        }
        let writes = self.all.values().filter(|job| matches!(job.work, Work::Write { .. }));
        assert_eq!(self.write_bytes, writes.map(|job| u64::from(job.length)).sum::<u64>());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Class, Jobs, Work};

    proptest! {
        /// Zeroes and releases stand for all that doesn't read: jobs that overlap are under way one at a time, in the order they came.
        #[test]
        fn what_overlaps_goes_in_order(steps in proptest::collection::vec((0..5_u8, 0..12_u64, 1..4_u32), 0..120)) {
            let mut jobs = Jobs::default();
            let mut sent: Vec<(u64, u64, u32)> = Vec::new();
            let mut done = Vec::new();
            for (step, at, length) in steps {
                match step {
                    0 | 1 => { jobs.add(at, length, Work::Zeroes); }
                    2 => if let Some(id) = jobs.peek(Class::Background) {
                        jobs.sent(id);
                        let job = jobs.get(id).unwrap();
                        let (at, length) = (job.at, job.length);
                        prop_assert!(sent.iter().all(|(_, other, size)| at + u64::from(length) <= *other || other + u64::from(*size) <= at));
                        sent.push((id, at, length));
                    },
                    3 => if !sent.is_empty() {
                        let (id, at, length) = sent.remove(at as usize % sent.len());
                        jobs.finish(id).unwrap();
                        let earlier = done.iter().filter(|(other, start, size): &&(u64, u64, u32)| {
                            *start < at + u64::from(length) && at < start + u64::from(*size) && *other > id
                        });
                        prop_assert_eq!(earlier.count(), 0, "job {} was done after a later one", id);
                        done.push((id, at, length));
                    },
                    _ => if let Some((id, ..)) = sent.pop() {
                        if length == 1 { jobs.rest(id, at) } else { jobs.again(id) }
                        jobs.wake(at);
                    },
                }
                jobs.check();
            }
        }
    }
}
