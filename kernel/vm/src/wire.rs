//! vm_wire: pages that must not leave RAM.
//!
//! An entry counts how often it was wired; the translations that are entered through it are wired ones, and page-out leaves their frames alone.
//! No lock is held while a page is waited for: the caller comes back until all pages are in.

use abi::Code;
use abi::vm::{PAGE_SIZE, Protection};

use crate::fault::Outcome;
use crate::map::Map;
use crate::range::PageRange;
use crate::{Pmap, Vm};

impl<P: Pmap> Vm<P> {
    /// Counts a wiring of every entry of a range. Then call [`Vm::wire_pages`] until it is done.
    pub fn wire(&self, map: &Map<P>, range: PageRange, access: Protection) -> Result<(), Code> {
        let mut inner = map.lock();
        inner.check_covered(range)?;
        if inner.overlapping(range).any(|(_, entry)| !entry.protection.contains(access)) {
            return Err(Code::PROTECTION_FAILURE);
        }
        if inner.overlapping(range).any(|(_, entry)| entry.wired == u16::MAX) {
            return Err(Code::RESOURCE_SHORTAGE);
        }
        inner.clip(range);
        inner.inside_mut(range).for_each(|(_, entry)| entry.wired += 1);
        Ok(())
    }

    /// Makes the pages of a wired range resident, from `from` on. Gives where it stopped and why.
    pub fn wire_pages(&self, map: &Map<P>, range: PageRange, from: u64) -> Result<(), (u64, Outcome)> {
        for address in range.pages().skip_while(|address| *address < from) {
            let mut inner = map.lock();
            let purpose = inner.purpose();
            let Some((start, entry)) = inner.entry_at(address) else { continue };
            // Memory that nobody may touch has no pages to wire.
            if entry.protection.is_empty() {
                continue;
            }
            let write = entry.protection.contains(Protection::WRITE);
            match self.fault_entry(map, start, entry, address, write, purpose) {
                Outcome::Done => (),
                other => return Err((address, other)),
            }
        }
        Ok(())
    }

    /// Undoes a wiring.
    pub fn unwire(&self, map: &Map<P>, range: PageRange) -> Result<(), Code> {
        let mut inner = map.lock();
        inner.check_covered(range)?;
        inner.clip(range);
        for (start, entry) in inner.inside_mut(range) {
            entry.wired = entry.wired.saturating_sub(1);
            // Translations say whether they are wired: they are made again at the next touch.
            if entry.wired == 0 {
                self.remove_translations(map, PageRange::aligned(start, entry.end));
            }
        }
        inner.merge(range);
        Ok(())
    }

    /// The ranges that are mapped.
    pub fn mapped_ranges(&self, map: &Map<P>) -> alloc::vec::Vec<PageRange> {
        map.lock().entries().iter().map(|(start, entry)| PageRange::aligned(*start, entry.end)).collect()
    }

    /// Writes bytes inside one page of a map, as the task itself could.
    pub fn write_bytes(&self, map: &Map<P>, address: u64, bytes: &[u8]) -> Outcome {
        self.access_bytes(map, address, Protection::WRITE, |pool, frame, offset| pool.write(frame, offset, bytes))
    }

    fn access_bytes(
        &self,
        map: &Map<P>,
        address: u64,
        right: Protection,
        work: impl FnOnce(&frames::Pool, &frames::Frame, usize),
    ) -> Outcome {
        let mut inner = map.lock();
        let purpose = inner.purpose();
        let page_address = address & !(PAGE_SIZE - 1);
        let Some((start, entry)) = inner.entry_at(page_address) else { return Outcome::Refuse(Code::INVALID_ADDRESS) };
        if !entry.protection.contains(right) {
            return Outcome::Refuse(Code::PROTECTION_FAILURE);
        }
        let page = (entry.offset + (page_address - start)) / PAGE_SIZE;
        let object = entry.object_or_new(self.core).clone();
        match self.resolve(object.arc(), page, right == Protection::WRITE, None, purpose) {
            Outcome::Done => (),
            other => return other,
        }
        match self.with_frame(object.arc(), page, |pool, frame| work(pool, frame, (address - page_address) as usize)) {
            Some(()) => Outcome::Done,
            None => Outcome::Again,
        }
    }
}
