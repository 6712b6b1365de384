//! An address map: a task's entries in order of their addresses, and the calls that change them.
//!
//! Every call checks everything first and then changes: an error means that nothing happened (MACH.md, A20).

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use spin::{Mutex, MutexGuard};

use abi::Code;
use abi::vm::{Inherit, PAGE_SIZE, Protection, USER_END, USER_START};
use frames::Purpose;

use crate::entry::Entry;
use crate::object::ObjectRef;
use crate::range::PageRange;
use crate::{Pmap, Vm};

/// A task's address space.
pub struct Map<P: Pmap> {
    pmap: Arc<P>,
    inner: Mutex<MapInner>,
}

pub(crate) struct MapInner {
    entries: BTreeMap<u64, Entry>,
    /// Bytes mapped.
    size: u64,
    /// What is mapped from now on is wired.
    wire_future: bool,
}

/// Where new memory goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// At this address, or not at all.
    At(u64),
    /// In the best-fitting hole, at a multiple of `mask + 1`.
    Anywhere { mask: u64 },
}

/// What a new entry shows, and with which rights.
#[derive(Clone)]
pub struct Showing {
    /// None for zero-filled memory.
    pub object: Option<ObjectRef>,
    /// Byte offset in it, page aligned.
    pub offset: u64,
    pub protection: Protection,
    pub max_protection: Protection,
    pub inherit: Inherit,
}

impl Showing {
    /// Zero-filled memory with Mach's default rights.
    pub const ZERO: Self =
        Self { object: None, offset: 0, protection: Protection::DEFAULT, max_protection: Protection::ALL, inherit: Inherit::Copy };
}

/// An entry as vm_region tells it.
#[derive(Clone)]
pub struct Region {
    pub start: u64,
    pub end: u64,
    pub protection: Protection,
    pub max_protection: Protection,
    pub inherit: Inherit,
    pub is_shared: bool,
    pub object: Option<ObjectRef>,
    pub offset: u64,
}

impl<P: Pmap> Map<P> {
    /// An empty map.
    pub fn new(pmap: P) -> Self {
        Self { pmap: Arc::new(pmap), inner: Mutex::new(MapInner { entries: BTreeMap::new(), size: 0, wire_future: false }) }
    }

    /// Its translations.
    pub const fn pmap(&self) -> &Arc<P> {
        &self.pmap
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, MapInner> {
        self.inner.lock()
    }

    /// Bytes mapped.
    pub fn size(&self) -> u64 {
        self.lock().size
    }

    /// Maps `size` bytes; gives the address.
    pub fn enter(&self, placement: Placement, size: u64, showing: Showing) -> Result<u64, Code> {
        if let Placement::At(address) = placement {
            PageRange::containing(address & !(PAGE_SIZE - 1), size)?;
        }
        let size = PageRange::size_of(size)?;
        if size == 0 || !showing.offset.is_multiple_of(PAGE_SIZE) || !showing.max_protection.contains(showing.protection) {
            return Err(Code::INVALID_ARGUMENT);
        }
        if showing.offset.checked_add(size).is_none() {
            return Err(Code::INVALID_ARGUMENT);
        }
        let mut inner = self.lock();
        let start = match placement {
            Placement::At(address) => {
                let range = PageRange::containing(address & !(PAGE_SIZE - 1), size)?;
                if range.start() < USER_START {
                    return Err(Code::INVALID_ADDRESS);
                }
                if inner.is_used(range) {
                    return Err(Code::NO_SPACE);
                }
                range.start()
            }
            Placement::Anywhere { mask } => inner.find_hole(size, mask).ok_or(Code::NO_SPACE)?,
        };
        inner.insert(start, size, showing);
        Ok(start)
    }

    /// vm_protect.
    pub fn protect(&self, range: PageRange, set_maximum: bool, protection: Protection) -> Result<(), Code> {
        let mut inner = self.lock();
        inner.check_covered(range)?;
        let too_much = |entry: &Entry| !entry.max_protection.contains(protection);
        if !set_maximum && inner.overlapping(range).any(|(_, entry)| too_much(entry)) {
            return Err(Code::PROTECTION_FAILURE);
        }
        inner.clip(range);
        for (_, entry) in inner.inside_mut(range) {
            if set_maximum {
                entry.max_protection = entry.max_protection.intersection(protection);
                entry.protection = entry.protection.intersection(protection);
            } else {
                entry.protection = protection;
            }
        }
        inner.merge(range);
        self.pmap.restrict(range.start(), range.end(), protection);
        Ok(())
    }

    /// vm_inherit.
    pub fn inherit(&self, range: PageRange, inherit: Inherit) -> Result<(), Code> {
        let mut inner = self.lock();
        inner.check_covered(range)?;
        inner.clip(range);
        inner.inside_mut(range).for_each(|(_, entry)| entry.inherit = inherit);
        inner.merge(range);
        Ok(())
    }

    /// The entry at or after an address.
    pub fn region(&self, address: u64) -> Option<Region> {
        let inner = self.lock();
        let start = inner.containing(address).map(|(start, _)| start).or_else(|| inner.entries.range(address..).next().map(|(s, _)| *s))?;
        let entry = &inner.entries[&start];
        Some(Region {
            start,
            end: entry.end,
            protection: entry.protection,
            max_protection: entry.max_protection,
            inherit: entry.inherit,
            is_shared: entry.object.as_ref().is_some_and(|object| !object.is_exclusive()),
            object: entry.object.clone(),
            offset: entry.offset,
        })
    }

    /// Everything that is mapped from now on is wired when it is touched, and its memory comes out of the pagers' reserve.
    pub fn wire_future(&self) {
        self.lock().wire_future = true;
    }

    /// Whether it may use the pagers' reserve.
    pub fn is_pagers(&self) -> bool {
        self.lock().wire_future
    }
}

impl<P: Pmap> Vm<P> {
    /// vm_deallocate: holes are fine. A map must be emptied by this before it is dropped: frames are freed only after their translations. Pages of anonymous memory that nobody else can see are freed now.
    pub fn deallocate(&self, map: &Map<P>, range: PageRange) {
        let mut inner = map.lock();
        inner.clip(range);
        self.remove_translations(map, range);
        let removed = inner.remove(range);
        self.drop_entries(&inner, removed);
    }

    /// Takes the translations of a range away.
    pub(crate) fn remove_translations(&self, map: &Map<P>, range: PageRange) {
        let pool = self.core.pool();
        map.pmap.remove(range.start(), range.end(), &mut |removed| {
            if pool.contains(removed.frame) {
                self.frames.forget(removed.frame, &map.pmap, removed.address);
            }
        });
    }
}

impl MapInner {
    /// The entry that contains an address.
    fn containing(&self, address: u64) -> Option<(u64, &Entry)> {
        let (start, entry) = self.entries.range(..=address).next_back()?;
        (address < entry.end).then_some((*start, entry))
    }

    pub(crate) fn entry_at(&mut self, address: u64) -> Option<(u64, &mut Entry)> {
        let (start, entry) = self.entries.range_mut(..=address).next_back()?;
        (address < entry.end).then_some((*start, entry))
    }

    /// Where the first entry after an address begins.
    pub(crate) fn next_entry(&self, address: u64) -> Option<u64> {
        self.entries.range(address..).next().map(|(start, _)| *start)
    }

    /// Whose reserve its faults may use: a map that is wired is a pager's.
    pub(crate) const fn purpose(&self) -> Purpose {
        if self.wire_future { Purpose::Pager } else { Purpose::User }
    }

    /// Entries that a range touches, in order.
    pub(crate) fn overlapping(&self, range: PageRange) -> impl Iterator<Item = (u64, &Entry)> {
        let first = self.containing(range.start()).map_or(range.start(), |(start, _)| start);
        let end = if range.is_empty() { first } else { range.end() };
        self.entries.range(first..end).map(|(start, entry)| (*start, entry))
    }

    fn is_used(&self, range: PageRange) -> bool {
        self.overlapping(range).next().is_some()
    }

    /// INVALID_ADDRESS if there is a hole in the range.
    pub(crate) fn check_covered(&self, range: PageRange) -> Result<(), Code> {
        let mut at = range.start();
        for (start, entry) in self.overlapping(range) {
            if start > at {
                return Err(Code::INVALID_ADDRESS);
            }
            at = entry.end;
        }
        if at < range.end() { Err(Code::INVALID_ADDRESS) } else { Ok(()) }
    }

    /// Entries that begin and end in the range; call `clip` first.
    pub(crate) fn inside_mut(&mut self, range: PageRange) -> impl Iterator<Item = (u64, &mut Entry)> {
        self.entries.range_mut(range.start()..range.end()).map(|(start, entry)| (*start, entry))
    }

    /// Splits the entries that cross an end of the range.
    pub(crate) fn clip(&mut self, range: PageRange) {
        if range.is_empty() {
            return;
        }
        for at in [range.start(), range.end()] {
            if let Some((start, entry)) = self.entry_at(at).filter(|(start, _)| *start < at) {
                let tail = entry.split_off(start, at);
                self.entries.insert(at, tail);
            }
        }
    }

    /// Joins neighbours that are alike, at both ends of a range and inside it.
    pub(crate) fn merge(&mut self, range: PageRange) {
        let mut at = match self.entries.range(..range.start()).next_back() {
            Some((start, _)) => *start,
            None => range.start(),
        };
        while at <= range.end() {
            let Some((start, entry)) = self.entries.range(at..).next().map(|(start, entry)| (*start, entry)) else { return };
            let end = entry.end;
            let joins = self.entries.get(&end).is_some_and(|next| entry.continues_with(next, start));
            match joins.then(|| self.entries.remove(&end)).flatten() {
                Some(next) => {
                    if let Some(entry) = self.entries.get_mut(&start) {
                        entry.end = next.end;
                    }
                    at = start;
                }
                None => at = end,
            }
        }
    }

    /// Takes the entries of a range out; call `clip` first.
    pub(crate) fn remove(&mut self, range: PageRange) -> BTreeMap<u64, Entry> {
        let mut removed = BTreeMap::new();
        while let Some(start) = self.entries.range(range.start()..range.end()).next().map(|(start, _)| *start) {
            if let Some(entry) = self.entries.remove(&start) {
                self.size -= entry.end - start;
                removed.insert(start, entry);
            }
        }
        removed
    }

    /// Puts an entry in a hole.
    pub(crate) fn insert(&mut self, start: u64, size: u64, showing: Showing) {
        let Showing { object, offset, protection, max_protection, inherit } = showing;
        let wired = u16::from(self.wire_future);
        let entry = Entry { end: start + size, object, offset, protection, max_protection, inherit, wired };
        self.insert_entry(start, entry);
        self.merge(PageRange::aligned(start, start + size));
    }

    pub(crate) fn insert_entry(&mut self, start: u64, entry: Entry) {
        debug_assert!(start < entry.end, "an entry shows something");
        self.size += entry.end - start;
        self.entries.insert(start, entry);
    }

    #[cfg(any(test, feature = "fake"))]
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    pub(crate) const fn entries(&self) -> &BTreeMap<u64, Entry> {
        &self.entries
    }

    /// The smallest hole that fits, lowest first. The bits above the highest zero of `mask` are a ceiling, those below an alignment.
    pub(crate) fn find_hole(&self, size: u64, mask: u64) -> Option<u64> {
        let ceiling_bits = mask.leading_ones();
        let below = u64::MAX.checked_shr(ceiling_bits).unwrap_or(0);
        let ceiling = if ceiling_bits == 0 { USER_END } else { USER_END.min(below + 1) };
        let low = mask & below;
        let align = (low | (PAGE_SIZE - 1)) + 1;
        if !align.is_power_of_two() {
            return None;
        }
        let mut best: Option<(u64, u64)> = None;
        let mut at = USER_START;
        let ends = self.entries.iter().map(|(start, entry)| (*start, entry.end)).chain([(ceiling, ceiling)]);
        for (start, end) in ends {
            let hole_end = start.min(ceiling);
            let Some(address) = at.checked_next_multiple_of(align) else { break };
            let fits = address.checked_add(size).is_some_and(|end| end <= hole_end);
            if fits && best.is_none_or(|(bytes, _)| hole_end - at < bytes) {
                best = Some((hole_end - at, address));
            }
            at = end;
        }
        best.map(|(_, address)| address)
    }
}
