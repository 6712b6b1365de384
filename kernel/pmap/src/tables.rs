//! An address space's translation tables: enter, restrict, accessed flags. Removal is in `remove.rs`.
//!
//! One spin lock for all of a space's tables; table walks by hardware go on meanwhile and may set accessed flags, so entries that are
//! valid are changed by atomic exchange only. Whatever is broken under the lock is flushed under the lock.

use crate::asid::Context;
use crate::flush::{Clean, Flush};
use crate::geometry::{ENTRIES, LEAF, USER_END, index, next, span};
use crate::hardware::Hardware;
use crate::pte::{MemoryType, Pte};
use abi::vm::Protection;
use frames::FrameNumber;
use spin::Mutex;

/// There was no memory for a translation table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTables;

/// Entries of the root that a user address can reach.
const ROOT_ENTRIES: usize = index(0, USER_END - 1) + 1;

/// Where an entry is.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    pub table: FrameNumber,
    pub index: usize,
}

/// An address space. Dropping it frees its tables: no CPU may have it in TTBR0 then.
pub struct Tables<H: Hardware> {
    pub(crate) hardware: H,
    pub(crate) root: FrameNumber,
    pub(crate) context: Context,
    pub(crate) lock: Mutex<()>,
}

impl<H: Hardware> Tables<H> {
    /// An empty space.
    pub fn new(hardware: H) -> Result<Self, NoTables> {
        let root = hardware.allocate_table().ok_or(NoTables)?;
        hardware.dsb_ishst();
        Ok(Self { hardware, root, context: Context::new(), lock: Mutex::new(()) })
    }

    /// The root table.
    pub fn root(&self) -> FrameNumber {
        self.root
    }

    /// Its ASID, for [`crate::Asids::activate`].
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// What TTBR0_EL1 is while it runs with this ASID (TCR_EL1.A1 = 0, no CnP).
    pub fn ttbr0(&self, asid: u16) -> u64 {
        u64::from(asid) << 48 | self.root.phys()
    }

    /// Translates the page at `address` to `frame` from now on, whatever it was translated to before. No CPU uses the old translation when this
    /// returns. An executable page is made coherent with the instruction cache first. With no rights at all the page is removed.
    pub fn enter(&self, address: u64, frame: FrameNumber, protection: Protection, memory: MemoryType) -> Result<(), NoTables> {
        debug_assert!(address < USER_END && address.is_multiple_of(span(LEAF)));
        if protection.is_empty() {
            self.remove(address, address + span(LEAF), &mut |_, _| {});
            return Ok(());
        }
        let new = Pte::page(frame, protection, memory);
        if new.protection().contains(Protection::EXECUTE) {
            self.hardware.sync_icache(frame);
        }
        let _held = self.lock.lock();
        let slot = self.reach(address)?;
        let old = self.load(slot);
        if !old.is_valid() {
            self.make(slot, new, Clean::was_invalid());
        } else if old.may_become(new) {
            self.change(slot, address, old, new);
        } else {
            let clean = self.break_page(slot, address);
            self.make(slot, new, clean);
        }
        Ok(())
    }

    /// Takes away the rights that are not in `protection` from all pages in `start..end`. Without the right to read nothing is left: the pages are removed.
    pub fn restrict(&self, start: u64, end: u64, protection: Protection) {
        if !protection.contains(Protection::READ) {
            return self.remove(start, end, &mut |_, _| {});
        }
        let end = end.min(USER_END);
        let mut at = start;
        while at < end {
            let _held = self.lock.lock();
            let mut flush = Flush::new();
            at = self.restrict_some(at, end, protection, &mut flush);
            flush.finish(&self.hardware, &self.context, &[]);
        }
    }

    /// Whether the page at `address` was accessed since the last call; forgets it. What a TLB holds counts as accessed no longer once the
    /// invalidation that is begun here is complete; it is not waited for, as nothing but the next answer depends on it.
    pub fn take_accessed(&self, address: u64) -> bool {
        let _held = self.lock.lock();
        let Some((_, old)) = self.update(address, |pte| pte.with_accessed(false)) else { return false };
        if old.is_accessed() {
            self.hardware.dsb_ishst();
            if let Some(asid) = self.context.asid() {
                self.hardware.tlbi_page(asid, address);
            }
        }
        old.is_accessed()
    }

    /// Sets the accessed flag of the page at `address`, for hardware that doesn't. False if there is no page. Needs no invalidation: entries
    /// without the flag are in no TLB.
    pub fn set_accessed(&self, address: u64) -> bool {
        let _held = self.lock.lock();
        let found = self.update(address, |pte| pte.with_accessed(true)).is_some();
        self.hardware.dsb_ishst();
        self.hardware.isb();
        found
    }

    /// The frame and the rights of the page at `address`.
    pub fn lookup(&self, address: u64) -> Option<(FrameNumber, Protection)> {
        let _held = self.lock.lock();
        let pte = self.load(self.find(address)?);
        pte.is_valid().then(|| (pte.frame(), pte.protection()))
    }

    pub(crate) fn load(&self, slot: Slot) -> Pte {
        Pte(self.hardware.load(slot.table, slot.index))
    }

    /// Invalid to valid.
    fn make(&self, slot: Slot, pte: Pte, _no_tlb_holds_the_old: Clean) {
        self.hardware.store(slot.table, slot.index, pte.0);
        self.hardware.dsb_ishst();
        self.hardware.isb();
    }

    /// Valid to invalid, and known to all.
    fn break_page(&self, slot: Slot, address: u64) -> Clean {
        self.hardware.exchange(slot.table, slot.index, Pte::INVALID.0);
        let mut flush = Flush::new();
        flush.page(address);
        flush.finish(&self.hardware, &self.context, &[])
    }

    /// Other rights for a valid page. More rights are flushed too: a TLB that holds fewer would fault again and again.
    fn change(&self, slot: Slot, address: u64, old: Pte, new: Pte) {
        if let Some(old) = self.replace(slot, old, |_| new).filter(|old| old.with_accessed(true) != new) {
            debug_assert!(old.may_become(new));
            let mut flush = Flush::new();
            flush.page(address);
            flush.finish(&self.hardware, &self.context, &[]);
        }
    }

    /// Changes a valid entry that hardware may change too. What it was; None where it was not valid.
    fn replace(&self, slot: Slot, mut old: Pte, change: impl Fn(Pte) -> Pte) -> Option<Pte> {
        while old.is_valid() && change(old) != old {
            match self.hardware.compare_exchange(slot.table, slot.index, old.0, change(old).0) {
                Ok(()) => break,
                Err(now) => old = Pte(now),
            }
        }
        old.is_valid().then_some(old)
    }

    /// Changes the page at `address`, if there is one.
    fn update(&self, address: u64, change: impl Fn(Pte) -> Pte) -> Option<(Slot, Pte)> {
        let slot = self.find(address)?;
        Some((slot, self.replace(slot, self.load(slot), change)?))
    }

    /// Restricts pages up to the end of one leaf table or absent subtree; returns where to go on.
    fn restrict_some(&self, start: u64, end: u64, protection: Protection, flush: &mut Flush) -> u64 {
        let (slot, level) = self.deepest(start);
        if level < LEAF {
            return next(level, start);
        }
        let stop = next(LEAF - 1, start).min(end);
        for at in (start..stop).step_by(span(LEAF) as usize) {
            let slot = Slot { index: index(LEAF, at), ..slot };
            let old = self.replace(slot, self.load(slot), |pte| pte.restricted(protection));
            if old.is_some_and(|old| old.restricted(protection) != old) {
                flush.page(at);
            }
        }
        stop
    }

    /// The entry for an address at the deepest level that has a table, and that level.
    fn deepest(&self, address: u64) -> (Slot, u32) {
        let mut slot = Slot { table: self.root, index: index(0, address) };
        for level in 1..=LEAF {
            let entry = self.load(slot);
            if !entry.is_valid() {
                return (slot, level - 1);
            }
            slot = Slot { table: entry.frame(), index: index(level, address) };
        }
        (slot, LEAF)
    }

    /// The page entry for an address, if its table exists.
    fn find(&self, address: u64) -> Option<Slot> {
        let (slot, level) = self.deepest(address);
        (address < USER_END && level == LEAF).then_some(slot)
    }

    /// The page entry for an address; makes the tables that are missing. Those made before memory ran out stay, empty.
    fn reach(&self, address: u64) -> Result<Slot, NoTables> {
        let (mut slot, level) = self.deepest(address);
        for level in level + 1..=LEAF {
            let table = self.hardware.allocate_table().ok_or(NoTables)?;
            self.hardware.dsb_ishst(); // The zeroes before the link.
            self.make(slot, Pte::table(table), Clean::was_invalid());
            slot = Slot { table, index: index(level, address) };
        }
        Ok(slot)
    }

    /// Frees the tables below the entries of a table of this level that nobody can reach any more.
    fn free_below(&self, table: FrameNumber, level: u32, entries: usize) {
        for index in 0..entries {
            let entry = self.load(Slot { table, index });
            if level < LEAF && entry.is_valid() {
                self.free_below(entry.frame(), level + 1, ENTRIES);
                self.hardware.free_table(entry.frame());
            }
        }
    }
}

impl<H: Hardware> Drop for Tables<H> {
    /// Entries are not broken one by one: no CPU has the root any more, so forgetting the ASID is enough.
    fn drop(&mut self) {
        self.hardware.dsb_ishst();
        if let Some(asid) = self.context.asid() {
            self.hardware.tlbi_asid(asid);
        }
        self.hardware.dsb_ish();
        self.free_below(self.root, 0, ROOT_ENTRIES);
        self.hardware.free_table(self.root);
    }
}
