//! vm_wire: pages that must not leave RAM.
//!
//! An entry counts how often it was wired; the translations that are entered through it are wired ones, and page-out leaves their frames alone.
//! No lock is held while a page is waited for: the caller comes back until all pages are in.

use abi::Code;
use abi::vm::{PAGE_SIZE, Protection};

use crate::fault::{Access, Need, Outcome};
use crate::map::Map;
use crate::range::PageRange;
use crate::want::Want;
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

    /// Makes the pages of a wired range resident, from `from` on. Gives where it stopped and why. It ends with memory, if not before: what
    /// is wired stays.
    pub fn wire_pages(&self, map: &Map<P>, range: PageRange, from: u64) -> Result<(), (u64, Outcome)> {
        let mut address = from.max(range.start());
        while address < range.end() {
            let mut inner = map.lock();
            let purpose = inner.purpose();
            let Some((start, entry)) = inner.entry_at(address) else {
                address = inner.next_entry(address).unwrap_or(range.end());
                continue;
            };
            // Memory that nobody may touch has no pages to wire.
            if entry.protection.is_empty() {
                address = entry.end;
                continue;
            }
            let access = if entry.protection.contains(Protection::WRITE) { Access::Write } else { Access::Read };
            match self.fault_entry(map, start, entry, address, access, purpose) {
                Outcome::Done => address += PAGE_SIZE,
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
        let page_address = address & !(PAGE_SIZE - 1);
        let offset = (address - page_address) as usize;
        if bytes.len() > PAGE_SIZE as usize - offset {
            return Outcome::Refuse(Code::INVALID_ARGUMENT);
        }
        let mut inner = map.lock();
        let purpose = inner.purpose();
        let Some((start, entry)) = inner.entry_at(page_address) else { return Outcome::Refuse(Code::INVALID_ADDRESS) };
        if !entry.protection.contains(Protection::WRITE) {
            return Outcome::Refuse(Code::PROTECTION_FAILURE);
        }
        let page = (entry.offset + (page_address - start)) / PAGE_SIZE;
        let need = Need { page, write: true, reach: (entry.end - page_address) / PAGE_SIZE, purpose };
        let object = entry.object_or_new(self.core);
        self.resolve(object.arc(), need, &mut Want::Bytes(&mut |pool, frame| pool.write(frame, offset, bytes)))
    }
}
