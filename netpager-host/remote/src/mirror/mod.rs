//! The same bytes in two or more stores: reading and writing go on while at least one of them works.
//!
//! | module | what it is |
//! |---|---|
//! | [`roster`] | which members are live, syncing or down, and what each of them missed. No I/O |
//! | [`regions`] | a set of regions of 256 KiB |
//! | [`calls`] | one call to several members, with a deadline |
//! | [`read`] | reading from the fastest, and from a second one when that is late |
//! | [`keeper`] | probes members that are down, and copies what they missed |
//! | [`scrub`] | compares the members |
//! | [`stale_log`] | what must survive a restart of the mirror itself |
//! | [`witness`] | how a member that was emptied between two openings is noticed |
//!
//! A write is acknowledged when every live member has it. A member that fails or is late is not waited for again: it goes
//! down, what it missed is noted, and it serves no reads until all of that was copied. Overlapping writes reach all members
//! in the same order, because each holds its range locked.
//!
//! Locks, in this order: a range, `flushing`, `saved`, `roster`. None is held while `roster` is, and no member is called
//! with `roster` or `saved` held.

mod calls;
mod keeper;
mod read;
mod regions;
mod replica;
mod roster;
mod scrub;
mod stale_log;
mod status;
mod witness;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use store::{Content, Extent, Space, StateExtent, Store, StoreError, Usage};

pub use replica::{Plain, Replica};
pub use roster::MemberState;
pub use scrub::ScrubReport;
pub use stale_log::{StaleFile, StaleLog, StaleMemory, StaleRecord};
pub use status::{MemberStatus, MirrorStatus};
pub use witness::Witness;

use crate::lane::Lane;
use crate::range::{RangeLocks, check};
use roster::Roster;

/// How long a mirror waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MirrorConfig {
    /// How long a member may take for a read, a write or a zeroing before it is down.
    pub deadline: Duration,
    /// How long a member may take for a flush.
    pub flush_deadline: Duration,
    /// A read that takes longer than this, or four times the usual time if that is more, is also sent to a second member.
    pub hedge: Duration,
    /// How long after a failure a member is tried again.
    pub retry: Duration,
    /// How long opening waits for a member that has everything.
    pub open: Duration,
}

impl Default for MirrorConfig {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(2),
            flush_deadline: Duration::from_secs(30),
            hedge: Duration::from_millis(5),
            retry: Duration::from_millis(500),
            open: Duration::from_secs(10),
        }
    }
}

/// A store to be mirrored, under the name by which it is known in logs and in the [`StaleLog`].
pub struct Member {
    /// Unique in its mirror, and the same after a restart.
    pub name: String,
    /// The store itself.
    pub store: Arc<dyn Replica>,
}

/// A member, as its lane's threads see it.
type Peer = dyn Replica;

struct Seat {
    name: String,
    store: Arc<dyn Replica>,
    lane: Lane,
    /// Moving average of a read's time, in nanoseconds; 0 is unknown.
    read_ns: AtomicU64,
    errors: AtomicU64,
    incarnation: AtomicU64,
    last_error: Mutex<String>,
}

/// How far copying has come, for whoever watches.
#[derive(Default)]
struct Progress {
    done: AtomicU64,
    total: AtomicU64,
}

struct Shared {
    config: MirrorConfig,
    size: u64,
    seats: Vec<Seat>,
    roster: Mutex<Roster>,
    /// The roster has changed.
    changed: Condvar,
    ranges: RangeLocks,
    /// Held during a flush: two at once could not tell what each of them covers.
    flushing: Mutex<()>,
    log: Box<dyn StaleLog>,
    /// What the log holds, as far as is known.
    saved: Mutex<Option<StaleRecord>>,
    progress: Vec<Progress>,
    /// What each member must show before it is believed for the first time.
    witnesses: Vec<Witness>,
    reads: AtomicU64,
    is_closing: AtomicBool,
}

/// See the module's documentation.
pub struct Mirror {
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
}

fn invalid(text: String) -> StoreError {
    StoreError::Io(io::Error::new(io::ErrorKind::InvalidInput, text))
}

impl Mirror {
    /// Opens a mirror and waits until one member is live, but not for ever.
    ///
    /// # Errors
    /// Fewer than two members, unequal sizes, names that are not unique; the log cannot be read or written; no member that
    /// has everything answers.
    pub fn open(members: Vec<Member>, config: MirrorConfig, log: Box<dyn StaleLog>) -> Result<Self, StoreError> {
        let size = members.first().map_or(0, |member| member.store.size());
        if members.len() < 2 {
            return Err(invalid("a mirror needs at least two members".into()));
        }
        if let Some(other) = members.iter().find(|member| member.store.size() != size) {
            let (name, other_size) = (&other.name, other.store.size());
            return Err(invalid(format!("the mirror's first member has {size} bytes, but {name} has {other_size}")));
        }
        let names: HashSet<&String> = members.iter().map(|member| &member.name).collect();
        if names.len() != members.len() || members.iter().any(|member| member.name.contains('\n')) {
            return Err(invalid("the names of a mirror's members must differ and have no line breaks".into()));
        }
        let record = log.load()?;
        let stale: Vec<bool> = members.iter().map(|member| record.stale.contains(&member.name)).collect();
        if stale.iter().all(|&stale| stale) {
            return Err(StoreError::Unavailable(
                "no member of the mirror has everything that was written; if what they have will do, remove the mirror's record".into(),
            ));
        }
        let shared = Arc::new(Shared::new(members, config, log, Roster::new(&stale, !record.is_open, size), record.witnesses));
        shared.save_roster()?;
        let keeper = keeper::start(&shared)?;
        let mirror = Self { shared, keeper: Some(keeper) };
        mirror.shared.wait_for_live(Instant::now() + config.open)?;
        Ok(mirror)
    }

    /// How the members are doing.
    #[must_use]
    pub fn status(&self) -> MirrorStatus {
        status::of(&self.shared)
    }

    /// Compares all members region by region, while they are in use. `on_region` hears how many bytes of how many were
    /// compared and may end it by returning false. With `repair` the first live member's bytes are written to those that
    /// differ, unless most of the others agree on something else.
    ///
    /// # Errors
    /// A member could not be read or written; what was found so far is in the log.
    pub fn scrub(&self, repair: bool, on_region: impl FnMut(u64, u64) -> bool) -> Result<ScrubReport, StoreError> {
        scrub::run(&self.shared, repair, on_region)
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        {
            // Under the lock, so that the keeper cannot look just before and sleep just after.
            let _roster = self.shared.roster();
            self.shared.is_closing.store(true, Ordering::Release);
        }
        self.shared.changed.notify_all();
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
        // What is not recorded as closed is copied again at the next start: slow, never wrong.
        if self.shared.flush().is_ok() && self.shared.roster().is_settled() {
            let witnesses = witness::choose(&self.shared);
            let record = StaleRecord { is_open: false, witnesses, ..self.shared.record() };
            if let Err(error) = self.shared.log.save(&record) {
                tracing::warn!("the mirror was closed, but that could not be recorded: {error}");
            }
        }
    }
}

impl Shared {
    fn new(members: Vec<Member>, config: MirrorConfig, log: Box<dyn StaleLog>, roster: Roster, witnesses: Vec<Witness>) -> Self {
        let size = members.first().map_or(0, |member| member.store.size());
        let progress = members.iter().map(|_| Progress::default()).collect();
        let seat = |Member { name, store }: Member| Seat {
            incarnation: AtomicU64::new(store.incarnation()),
            name,
            store,
            lane: Lane::default(),
            read_ns: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            last_error: Mutex::new(String::new()),
        };
        Self {
            config,
            size,
            seats: members.into_iter().map(seat).collect(),
            roster: Mutex::new(roster),
            changed: Condvar::new(),
            ranges: RangeLocks::default(),
            flushing: Mutex::new(()),
            log,
            saved: Mutex::new(None),
            progress,
            witnesses,
            reads: AtomicU64::new(0),
            is_closing: AtomicBool::new(false),
        }
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What should be in the log now.
    fn record(&self) -> StaleRecord {
        let stale = self.roster().stale();
        let names = self.seats.iter().zip(stale).filter(|(_, stale)| *stale).map(|(seat, _)| seat.name.clone());
        StaleRecord { is_open: true, stale: names.collect(), witnesses: Vec::new() }
    }

    /// Makes the log say what the roster says.
    fn save_roster(&self) -> Result<(), StoreError> {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let record = self.record();
        if saved.as_ref() != Some(&record) {
            // In doubt until it has succeeded.
            *saved = None;
            self.log.save(&record)?;
            *saved = Some(record);
        }
        Ok(())
    }

    /// Waits until somebody can be read.
    fn wait_for_live(&self, deadline: Instant) -> Result<(), StoreError> {
        let mut roster = self.roster();
        while roster.live().next().is_none() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                drop(roster);
                return Err(StoreError::Unavailable(format!("no member of the mirror answers: {}", self.troubles())));
            };
            roster = self.changed.wait_timeout(roster, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    fn troubles(&self) -> String {
        let trouble = |seat: &Seat| format!("{}: {}", seat.name, seat.last_error.lock().unwrap_or_else(PoisonError::into_inner));
        self.seats.iter().map(trouble).collect::<Vec<_>>().join("; ")
    }

    /// Changes a range in all members.
    fn change<W>(&self, range: Range<u64>, work: W) -> Result<(), StoreError>
    where
        W: Fn(&Peer) -> Result<(), StoreError> + Clone + Send + 'static,
    {
        if range.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + self.config.deadline;
        let late = || StoreError::Unavailable("an earlier write to the same range has not ended".into());
        let _guard = self.ranges.lock(range.clone(), deadline + self.config.deadline).ok_or_else(late)?;
        self.wait_for_live(deadline)?;
        let targets = self.roster().targets(&range);
        let outcomes = self.call(&targets, Instant::now() + self.config.deadline, work);
        let is_acknowledged = self.judge(&outcomes, |roster, verdicts| roster.wrote(&range, verdicts));
        self.save_roster()?;
        if is_acknowledged { Ok(()) } else { Err(calls::first_error(outcomes)) }
    }

    fn flush(&self) -> Result<(), StoreError> {
        let _guard = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        self.wait_for_live(Instant::now() + self.config.deadline)?;
        let live: Vec<usize> = {
            let mut roster = self.roster();
            roster.flush_begins();
            roster.live().collect()
        };
        let outcomes = self.call(&live, Instant::now() + self.config.flush_deadline, |store| store.flush());
        let is_acknowledged = self.judge(&outcomes, roster::Roster::flushed);
        self.save_roster()?;
        if is_acknowledged { Ok(()) } else { Err(calls::first_error(outcomes)) }
    }

    /// The first live member, for questions that any of them can answer.
    fn some_live(&self) -> Result<Arc<dyn Replica>, StoreError> {
        self.wait_for_live(Instant::now() + self.config.deadline)?;
        let first = self.roster().live().next();
        first.map(|index| self.seats[index].store.clone()).ok_or_else(|| StoreError::Unavailable(self.troubles()))
    }
}

impl Store for Mirror {
    fn size(&self) -> u64 {
        self.shared.size
    }

    fn is_immediate(&self) -> bool {
        false
    }

    fn is_zeroing_fast(&self) -> bool {
        self.shared.seats.iter().all(|seat| seat.store.is_zeroing_fast())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        check(self.shared.size, offset, buffer.len() as u64)?;
        read::read_at(&self.shared, offset, buffer)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        check(self.shared.size, offset, data.len() as u64)?;
        let bytes: Arc<[u8]> = data.into();
        self.shared.change(offset..offset + data.len() as u64, move |store| store.write_at(offset, &bytes))
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.shared.flush()
    }

    /// Members may differ in what a trim leaves behind, and must not: so the range is zeroed where that is quick.
    fn trim(&self, offset: u64, length: u64) -> Result<(), StoreError> {
        check(self.shared.size, offset, length)?;
        if self.is_zeroing_fast() { self.write_zeroes(offset, length, Space::Release) } else { Ok(()) }
    }

    fn write_zeroes(&self, offset: u64, length: u64, space: Space) -> Result<(), StoreError> {
        check(self.shared.size, offset, length)?;
        self.shared.change(offset..offset + length, move |store| store.write_zeroes(offset, length, space))
    }

    fn extent_at(&self, offset: u64, length: u64) -> Result<Extent, StoreError> {
        check(self.shared.size, offset, length)?;
        read::ask(&self.shared, move |store| store.extent_at(offset, length)).or(Ok(Extent { length, content: Content::Data }))
    }

    fn state_at(&self, offset: u64, length: u64) -> Result<StateExtent, StoreError> {
        check(self.shared.size, offset, length)?;
        read::ask(&self.shared, move |store| store.state_at(offset, length))
    }

    fn usage(&self) -> Usage {
        self.shared.some_live().map(|store| store.usage()).unwrap_or_default()
    }
}
