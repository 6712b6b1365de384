//! The pager's rules.
//!
//! *A page's newest content is in exactly one place that counts.* When the kernel asks where a dirty page goes, the kernel has the only
//! good copy, and keeps it until the transfer succeeded; what an old slot holds is worth nothing from then on. So the page gets a new
//! slot at the head of the log, and the old one is free as soon as the kernel has been told. The kernel tells only of transfers that
//! failed. Until something shows that a page arrived, its slot is *in doubt*: the next request for the page shows it, since the kernel
//! would not ask for a page that it has. So a failure is that of a page-out exactly when the slot is in doubt.
//!
//! The kernel's duty in this: it discards a page, or returns it again, only when no transfer of it is under way.

use abi::Code;
use abi::vm::{PAGE_SIZE, Protection};
use alloc::collections::TryReserveError;
use pager::{Attributes, Control, Info, ObjectId, OnDeadline, Pager, Policy, Returned, Run};
use runtime::Pages;
use runtime::device::{Device, Records};

use crate::classic::Classic;
use crate::map::{Key, PageMap};
use crate::slots::{SLOTS_MAX, SlotRun, Slots};
use crate::spaces::Spaces;

/// After so many failed page-outs in a row it is the device that fails, not a slot.
const FAILURES_MAX: u32 = 4;
/// How long the kernel waits before it counts an answer as late. The default pager is never cut off: there is no other.
const DEADLINE_MS: u32 = 10_000;

/// Where pages of a run are: as many as are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In slots side by side, from this one on.
    Slots {
        first: u32,
        in_doubt: bool,
    },
    Nowhere,
}

/// What happened, for default_pager_info.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub pages_in: u64,
    pub pages_out: u64,
    pub runs_out: u64,
    pub overwritten: u64,
    pub refused: u64,
    pub read_errors: u64,
    pub write_errors: u64,
    pub bad_slots: u32,
}

/// The default pager.
#[derive(Debug)]
pub struct Swap {
    pub(crate) device: Device,
    pub(crate) records: Records,
    pub(crate) map: PageMap,
    pub(crate) slots: Slots,
    spaces: Spaces,
    failures_in_a_row: u32,
    pub(crate) counters: Counters,
    pub(crate) classic: Classic,
}

impl Swap {
    /// Makes all tables for a device.
    pub fn new(device: Device, records: Records) -> Result<Self, TryReserveError> {
        let bytes = records.count.saturating_mul(u64::from(records.size));
        let slots = u32::try_from(bytes / PAGE_SIZE).unwrap_or(SLOTS_MAX).min(SLOTS_MAX);
        Ok(Self {
            device,
            records,
            map: PageMap::new(slots)?,
            slots: Slots::new(slots)?,
            spaces: Spaces::default(),
            failures_in_a_row: 0,
            counters: Counters::default(),
            classic: Classic::default(),
        })
    }

    /// Pages that fit.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.slots.total()
    }

    /// Bytes of the tables.
    #[must_use]
    pub const fn table_bytes(&self) -> usize {
        self.map.bytes() + self.slots.total() as usize / 8
    }

    /// The counters.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// The keys of a run's pages; none if the object isn't ours or the run lies past the last page that a key can name.
    pub(crate) fn first_key(&self, object: &Control, run: Run) -> Option<Key> {
        let space = self.spaces.get(object.object())?;
        u32::try_from(run.first_page() + run.pages() - 1).ok()?;
        Some(Key { space, page: run.first_page() as u32 })
    }

    /// The first record of a slot.
    pub(crate) fn record(&self, slot: u32) -> u64 {
        u64::from(slot) * (PAGE_SIZE / u64::from(self.records.size))
    }

    fn place(&self, key: Key) -> Place {
        self.map.get(key).map_or(Place::Nowhere, |found| Place::Slots { first: found.slot, in_doubt: found.in_doubt })
    }

    /// Where the run's pages are from this one on: the place, and of how many pages.
    pub(crate) fn alike(&self, first: Key, at: u64, pages: u64) -> (Place, u64) {
        let key = |page: u64| Key { page: first.page + page as u32, ..first };
        let place = self.place(key(at));
        let same = |page: &u64| match place {
            Place::Nowhere => self.place(key(*page)) == Place::Nowhere,
            Place::Slots { first, in_doubt } => self.place(key(*page)) == Place::Slots { first: first + (page - at) as u32, in_doubt },
        };
        (place, 1 + (at + 1..pages).take_while(same).count() as u64)
    }

    /// Calls for each stretch of a run whose pages are alike.
    pub(crate) fn stretches(&mut self, first: Key, run: Run, mut act: impl FnMut(&mut Self, Run, Key, Place)) {
        let mut at = 0;
        while at < run.pages() {
            let (place, pages) = self.alike(first, at, run.pages());
            if let Some(part) = run.part(at, pages) {
                act(self, part, Key { page: first.page + at as u32, ..first }, place);
            }
            at += pages;
        }
    }

    /// Pages go to new slots: the map says so, and their old slots are free.
    pub(crate) fn moved(&mut self, first: Key, run: SlotRun, in_doubt: bool) {
        for (page, slot) in run.slots().enumerate() {
            if let Some(old) = self.map.insert(Key { page: first.page + page as u32, ..first }, slot, in_doubt) {
                self.slots.release(old);
            }
        }
        self.counters.pages_out += u64::from(run.count);
        self.counters.runs_out += 1;
    }

    /// There is no free slot: pages that have one are written over, which is as good, the others stay with the kernel.
    fn overwrite(&mut self, object: &Control, first: Key, run: Run) {
        self.stretches(first, run, |swap, part, _, place| match place {
            Place::Slots { first, .. } => {
                if object.return_to_device(part, swap.device.port(), swap.record(first)) {
                    let end = first + part.pages() as u32;
                    (first..end).for_each(|slot| swap.map.set_in_doubt(slot, true));
                    swap.counters.overwritten += part.pages();
                }
            }
            Place::Nowhere => {
                swap.counters.refused += part.pages();
                object.refuse(part, Code::NO_SPACE);
            }
        });
    }

    fn page_out(&mut self, object: &Control, run: Run) {
        let Some(first) = self.first_key(object, run) else { return object.refuse(run, Code::INVALID_ARGUMENT) };
        let mut at = 0;
        while at < run.pages() {
            let Some(rest) = run.part(at, run.pages() - at) else { return };
            let key = Key { page: first.page + at as u32, ..first };
            let wanted = u32::try_from(rest.pages()).unwrap_or(u32::MAX);
            let Some(slots) = self.slots.allocate(wanted) else { return self.overwrite(object, key, rest) };
            let Some(part) = rest.part(0, slots.count.into()) else { return };
            if object.return_to_device(part, self.device.port(), self.record(slots.first)) {
                self.moved(key, slots, true);
            } else {
                slots.slots().for_each(|slot| self.slots.release(slot));
            }
            at += u64::from(slots.count);
        }
    }

    /// A page-out failed. The kernel still has the pages; their slots are worth nothing.
    fn write_failed(&mut self, object: &Control, part: Run, first: Key, result: Code) {
        self.counters.write_errors += 1;
        self.failures_in_a_row += 1;
        // If it is the device, no slot is to blame; and at most one in sixteen is.
        let is_bad = self.failures_in_a_row <= FAILURES_MAX && self.counters.bad_slots < self.slots.total() / 16;
        for page in 0..part.pages() as u32 {
            match self.map.remove(Key { page: first.page + page, ..first }) {
                Some(_) if is_bad => self.counters.bad_slots += 1,
                Some(slot) => self.slots.release(slot),
                None => {}
            }
        }
        object.return_failed(part);
        if self.failures_in_a_row > FAILURES_MAX {
            self.counters.refused += part.pages();
            object.refuse(part, result);
        } else {
            self.page_out(object, part);
        }
    }

    /// Forgets pages.
    fn forget(&mut self, first: Key, pages: u64) {
        let range = first.page..=first.page.saturating_add(pages.saturating_sub(1).min(u64::from(u32::MAX)) as u32);
        if pages <= u64::from(self.map.used()) {
            for page in range {
                if let Some(slot) = self.map.remove(Key { page, ..first }) {
                    self.slots.release(slot);
                }
            }
            return;
        }
        // More pages than there can be: looking at each slot is less work.
        for slot in 0..self.slots.total() {
            if let Some(key) = self.map.key_of(slot).filter(|key| key.space == first.space && range.contains(&key.page)) {
                self.map.remove(key);
                self.slots.release(slot);
            }
        }
    }

    const fn policy() -> Policy {
        let run_pages = abi::policy::RUN_PAGES_MAX;
        Policy { return_requests: true, discards: true, run_pages, deadline_ms: DEADLINE_MS, on_deadline: OnDeadline::Wait }
    }

    /// Every slot is free, holds one page, or is bad.
    #[cfg(any(test, debug_assertions))]
    pub fn check(&self) {
        self.map.check();
        self.slots.check();
        assert_eq!(self.slots.total(), self.slots.free() + self.map.used() + self.counters.bad_slots);
        for slot in 0..self.slots.total() {
            assert!(!(self.slots.is_free(slot) && self.map.key_of(slot).is_some()), "slot {slot} is free and holds a page");
        }
    }
}

impl Pager for Swap {
    fn create(&mut self, object: ObjectId, size: u64) -> Result<(), Code> {
        if size.div_ceil(PAGE_SIZE) > 1 << 32 {
            return Err(Code::INVALID_ARGUMENT);
        }
        self.spaces.add(object)
    }

    fn init(&mut self, _: &Control) -> Option<Attributes> {
        Some(Attributes { policy: Some(Self::policy()), ..Attributes::default() })
    }

    fn adopt(&mut self, object: &Control, _: u64) {
        match self.spaces.add(object.object()) {
            Ok(()) => object.set_policy(Self::policy()),
            Err(code) => object.destroy(code),
        }
    }

    fn data_request(&mut self, object: &Control, run: Run, _: Protection) {
        let Some(first) = self.first_key(object, run) else { return object.error(run, Code::INVALID_ARGUMENT) };
        if self.classic.is_on() {
            return self.supply_data(object, first, run);
        }
        self.stretches(first, run, |swap, part, _, place| match place {
            Place::Nowhere => object.unavailable(part),
            Place::Slots { first, in_doubt } => {
                if in_doubt {
                    let end = first + part.pages() as u32;
                    (first..end).for_each(|slot| swap.map.set_in_doubt(slot, false));
                    swap.failures_in_a_row = 0;
                }
                swap.counters.pages_in += part.pages();
                object.supply_from_device(part, swap.device.port(), swap.record(first));
            }
        });
    }

    fn return_request(&mut self, object: &Control, run: Run) {
        self.classic.extension_seen();
        self.page_out(object, run);
    }

    fn data_return(&mut self, object: &Control, run: Run, pages: Pages, how: Returned) {
        self.take_data(object, run, pages, how);
    }

    fn device_failed(&mut self, object: &Control, run: Run, result: Code) {
        let Some(first) = self.first_key(object, run) else { return };
        self.stretches(first, run, |swap, part, key, place| match place {
            Place::Slots { in_doubt: true, .. } => swap.write_failed(object, part, key, result),
            Place::Slots { in_doubt: false, .. } => {
                swap.counters.read_errors += 1;
                object.supply_failed(part);
                object.error(part, result);
            }
            // Discarded meanwhile: nobody waits.
            Place::Nowhere => {}
        });
    }

    fn discard(&mut self, object: &Control, run: Run) {
        if let Some(space) = self.spaces.get(object.object())
            && let Ok(page) = u32::try_from(run.first_page())
        {
            self.classic.forget(space, run);
            self.forget(Key { space, page }, run.pages());
        }
    }

    fn gone(&mut self, object: ObjectId) {
        if let Some(space) = self.spaces.remove(object) {
            self.classic.forget_all(space);
            self.forget(Key { space, page: 0 }, 1 << 32);
        }
    }

    fn info(&mut self) -> Option<Info> {
        runtime::println!("swap: {:?}, {} of {} slots free", self.counters, self.slots.free(), self.slots.total());
        let bytes = |slots: u32| u64::from(slots) * PAGE_SIZE;
        Some(Info { total: bytes(self.slots.total()), free: bytes(self.slots.free()) })
    }
}
