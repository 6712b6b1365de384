//! A kernel without our extension: pages come and go as messages, and this pager does the transfers itself.
//!
//! Such a kernel never sends a return request; the first pages that come unasked for give it away. It has no way to hear that a page
//! couldn't be written, and its copy is gone: such pages are kept here, in memory, until they are needed or written over.

use alloc::vec::Vec;

use abi::Code;
use abi::vm::PAGE_SIZE;
use pager::{Control, Returned, Run};
use runtime::Pages;

use crate::map::Key;
use crate::swap::{Place, Swap};

#[derive(Debug, PartialEq, Eq, Default, Clone, Copy)]
enum Mode {
    #[default]
    Unknown,
    Extension,
    Classic,
}

/// Pages that have no place on the device; the newest last.
#[derive(Debug)]
struct Kept {
    space: u16,
    run: Run,
    pages: Pages,
}

#[derive(Debug, Default)]
pub(crate) struct Classic {
    mode: Mode,
    kept: Vec<Kept>,
}

impl Classic {
    pub(crate) fn is_on(&self) -> bool {
        self.mode == Mode::Classic || !self.kept.is_empty()
    }

    pub(crate) fn extension_seen(&mut self) {
        self.mode = Mode::Extension;
    }

    fn find(&self, key: Key) -> Option<&[u8]> {
        let page = Run::of_pages(key.page.into(), 1)?;
        let kept = self.kept.iter().rev().find(|kept| kept.space == key.space && kept.run.overlap(page).is_some())?;
        let at = ((u64::from(key.page) - kept.run.first_page()) * PAGE_SIZE) as usize;
        kept.pages.get(at..at + PAGE_SIZE as usize)
    }

    /// Forgets what lies wholly inside a run. What lies partly inside stays: it costs memory and is never asked for.
    pub(crate) fn forget(&mut self, space: u16, run: Run) {
        self.kept.retain(|kept| kept.space != space || run.overlap(kept.run) != Some(kept.run));
    }

    pub(crate) fn forget_all(&mut self, space: u16) {
        self.kept.retain(|kept| kept.space != space);
    }
}

impl Swap {
    /// Pages came as data: they are written to slots before the next message is looked at.
    pub(crate) fn take_data(&mut self, object: &Control, run: Run, pages: Pages, how: Returned) {
        if self.classic.mode == Mode::Unknown {
            self.classic.mode = Mode::Classic;
        }
        let Some(first) = self.first_key(object, run) else { return };
        if !how.dirty {
            return;
        }
        let mut written = Ok(());
        self.stretches(first, run, |swap, part, key, place| {
            if how.initial && (place != Place::Nowhere || swap.classic.find(key).is_some()) {
                return;
            }
            let from = (part.offset() - run.offset()) as usize;
            if let Some(bytes) = pages.get(from..from + part.length() as usize) {
                written = written.and(swap.write_out(key, bytes));
            }
        });
        match written {
            Ok(()) => self.classic.forget(first.space, run),
            Err(code) => {
                self.counters.refused += run.pages();
                runtime::println!("swap: {} pages at {:#x} stay in memory: {code}", run.pages(), run.offset());
                self.classic.kept.push(Kept { space: first.space, run, pages });
            }
        }
    }

    /// Writes pages to new slots, in as many pieces as it takes.
    fn write_out(&mut self, first: Key, bytes: &[u8]) -> Result<(), Code> {
        let mut at = 0;
        while at < bytes.len() {
            let left = (bytes.len() - at) / PAGE_SIZE as usize;
            let slots = self.slots.allocate(left as u32).ok_or(Code::NO_SPACE)?;
            let end = at + slots.count as usize * PAGE_SIZE as usize;
            if let Err(code) = self.device.write(self.record(slots.first), &bytes[at..end]) {
                self.counters.write_errors += 1;
                slots.slots().for_each(|slot| self.slots.release(slot));
                return Err(code);
            }
            self.moved(Key { page: first.page + (at / PAGE_SIZE as usize) as u32, ..first }, slots, false);
            at = end;
        }
        Ok(())
    }

    /// Answers a request with bytes.
    pub(crate) fn supply_data(&mut self, object: &Control, first: Key, run: Run) {
        self.stretches(first, run, |swap, part, key, place| {
            // Pages that are kept here are newer than what a slot holds, so such a stretch goes page by page.
            let step = if swap.classic.kept.is_empty() { part.pages() } else { 1 };
            for piece in part.chunks(step) {
                let ahead = (piece.first_page() - part.first_page()) as u32;
                swap.supply_piece(object, Key { page: key.page + ahead, ..key }, piece, place, ahead);
            }
        });
    }

    fn supply_piece(&mut self, object: &Control, key: Key, piece: Run, place: Place, ahead: u32) {
        if let Some(bytes) = self.classic.find(key) {
            let copy = Pages::allocate(piece.length()).map(|mut copy| {
                copy.copy_from_slice(bytes);
                copy
            });
            return match copy {
                Ok(copy) => object.supply(piece.offset(), copy),
                Err(code) => object.error(piece, code),
            };
        }
        let Place::Slots { first, .. } = place else { return object.unavailable(piece) };
        match self.device.read(self.record(first + ahead), piece.length() as u32) {
            Ok(pages) if pages.size() == piece.length() => {
                self.counters.pages_in += piece.pages();
                object.supply(piece.offset(), pages);
            }
            Ok(_) => object.error(piece, Code::D_IO_ERROR),
            Err(code) => {
                self.counters.read_errors += 1;
                object.error(piece, code);
            }
        }
    }
}
