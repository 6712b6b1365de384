//! Supplied: frames enter the object (page's life, step 8: Supplied).
//!
//! What pagers answer. Each answer is for pages that were marked `Requested` (or are being returned); for any other page it is counted and dropped,
//! so that an answer that comes twice, late, or unasked harms nothing. A pager's frames move in; a device's are filled by DMA
//! while a [`Transfer`] owns them.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Code;
use frames::{Frame, Pool, Purpose};

use crate::copy::Copy;
use crate::core_state::Counter;
use crate::fault::{Need, Outcome};
use crate::home::Home;
use crate::leaf::{Cell, LEAF_PAGES};
use crate::object::Object;
use crate::page::Page;
use crate::source::NotPushed;
use crate::transfer::{Transfer, add};
use crate::want::Want;
use crate::{Pmap, Vm};

/// How a supply went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supplied {
    /// Pages that were taken.
    pub pages: u64,
    /// The first page that was there already, if any.
    pub present: Option<u64>,
}

/// Pages of the largest object: offsets in bytes are 64 bits.
const OBJECT_PAGES: u64 = 1 << (64 - abi::vm::PAGE_SHIFT);

/// What waits for a page, to be woken.
pub type Wake<'a> = &'a mut dyn FnMut(u64);

impl<P: Pmap> Vm<P> {
    /// memory_object_data_supply. `Err(outcome)`: the n-th page of the data isn't resident itself; do this and come back with `skip = n`.
    pub fn supply(&self, home: &Home, first: u64, data: &Copy, skip: u64, dirty: bool, wake: Wake<'_>) -> Result<Supplied, (u64, Outcome)> {
        let mut supplied = Supplied { pages: 0, present: None };
        for number in skip..data.bytes() / abi::vm::PAGE_SIZE {
            let Some(page) = first.checked_add(number).filter(|page| *page < OBJECT_PAGES) else { break };
            if !self.wants(home, page) {
                self.core.count(Counter::Unasked, 1);
                self.answered(home, page);
                supplied.present.get_or_insert(page);
                continue;
            }
            let Some((object, from)) = data.page(number) else { break };
            let frame = match self.take_page(data, object, from) {
                Some(frame) => frame,
                None => self.copied_page(object, from).map_err(|outcome| (number, outcome))?,
            };
            match self.install(home, page, frame, dirty) {
                Ok(()) => supplied.pages += 1,
                Err(frame) => self.core.pool().free(frame),
            }
            wake(home.key(page));
        }
        self.core.count(Counter::PagesSupplied, supplied.pages);
        Ok(supplied)
    }

    /// A supplied page that the pager keeps, or shares: copied.
    fn copied_page(&self, object: &Arc<Object>, page: u64) -> Result<Frame, Outcome> {
        let frame = self.core.pool().allocate(Purpose::Pager).ok_or(Outcome::Shortage)?;
        let copy = &mut |pool: &Pool, from: &Frame| pool.copy(from, &frame);
        match self.resolve(object, Need::to_read(page, Purpose::Pager), &mut Want::Bytes(copy)) {
            Outcome::Done => {
                self.core.count(Counter::BytesCopiedIn, abi::vm::PAGE_SIZE);
                Ok(frame)
            }
            other => {
                self.core.pool().free(frame);
                Err(other)
            }
        }
    }

    /// Whether a supply of this page would be taken: it was asked for; or it is read-ahead of an object's pager's own, if memory isn't short.
    fn wants(&self, home: &Home, page: u64) -> bool {
        let is_absent = |cell: Cell<'_>| matches!(cell.page, Page::Empty | Page::Paged);
        let is_requested = |cell: Cell<'_>| matches!(cell.page, Page::Requested { .. });
        match home {
            Home::Swap => home.with(self.core, page, is_requested).unwrap_or(false),
            Home::Object(object) if object.pager_id().is_none() || home.is_dead() => false,
            Home::Object(_) => {
                home.with(self.core, page, is_requested).unwrap_or(false)
                    || (home.with(self.core, page, is_absent).unwrap_or(true) && !self.core.pool().is_low())
            }
        }
    }

    /// Puts a frame in a page's place; gives it back if the page has no use for it.
    fn install(&self, home: &Home, page: u64, frame: Frame, dirty: bool) -> Result<(), Frame> {
        if let Home::Object(object) = home {
            let _ = object.lock().leaf(self.core, page);
        }
        let is_unasked_fine = matches!(home, Home::Object(_));
        let mut frame = Some(frame);
        home.with(self.core, page, |cell| {
            let is_wanted = match cell.page {
                Page::Requested { .. } => true,
                Page::Empty | Page::Paged => is_unasked_fine,
                _ => false,
            };
            if let Some(frame) = frame.take_if(|_| is_wanted) {
                self.fill(home, page, cell, frame, dirty);
            }
        });
        match frame {
            None => Ok(()),
            Some(frame) => {
                self.answered(home, page);
                Err(frame)
            }
        }
    }

    /// The page is in RAM. What a dead pager had is nowhere else.
    pub(crate) fn fill(&self, home: &Home, page: u64, cell: Cell<'_>, frame: Frame, dirty: bool) {
        let dirty = dirty || home.is_dead() || matches!(home, Home::Swap) && !self.core.has_default_pager();
        self.frames.adopt(&frame, cell.owner);
        *cell.page = Page::Resident { frame, dirty, kept: !dirty };
        if matches!(home, Home::Swap) {
            self.core.swap.lock().answered(page);
        }
    }

    /// A pager has answered for a page, whatever became of it: if nothing is under way any more, nothing is owed. Call it when the page is settled.
    pub(crate) fn answered(&self, home: &Home, page: u64) {
        if !matches!(home, Home::Swap) {
            return;
        }
        let settle = |cell: Cell<'_>| {
            if !cell.page.is_waiting() {
                self.core.swap.lock().answered(page);
            }
        };
        if home.with(self.core, page, settle).is_none() {
            self.core.swap.lock().answered(page);
        }
    }

    /// Pages of a range that wait for their pager become something else.
    fn settle(&self, home: &Home, first: u64, pages: u64, wake: Wake<'_>, mut to: impl FnMut(bool) -> Page) -> u64 {
        let mut settled = 0;
        for page in pages_of(home, first, pages) {
            let was_waiting = home.with(self.core, page, |cell| match cell.page {
                Page::Requested { known } => {
                    *cell.page = to(*known);
                    true
                }
                _ => false,
            });
            self.answered(home, page);
            settled += u64::from(was_waiting == Some(true));
            wake(home.key(page));
        }
        settled
    }

    /// Whether a page was asked for. An answer for one that wasn't is counted, and does nothing.
    fn is_awaited(&self, home: &Home, page: u64) -> bool {
        let is_awaited = home.with(self.core, page, |cell| matches!(cell.page, Page::Requested { .. })).unwrap_or(false);
        if !is_awaited {
            self.core.count(Counter::Unasked, 1);
            self.answered(home, page);
        }
        is_awaited
    }

    /// memory_object_data_unavailable: the pages are zero.
    pub fn unavailable(&self, home: &Home, first: u64, pages: u64, wake: Wake<'_>) {
        for page in pages_of(home, first, pages) {
            if !self.is_awaited(home, page) {
                continue;
            }
            let Some(frame) = self.core.pool().allocate(Purpose::Pager) else {
                // The page is asked for again when there is memory.
                self.settle(home, page, 1, wake, Page::absent);
                continue;
            };
            self.core.pool().zero(&frame);
            self.core.count(Counter::ZeroFills, 1);
            if let Err(frame) = self.install(home, page, frame, false) {
                self.core.pool().free(frame);
            }
            wake(home.key(page));
        }
    }

    /// memory_object_data_error: whoever waits is told.
    pub fn failed(&self, home: &Home, first: u64, pages: u64, code: Code, wake: Wake<'_>) {
        if self.settle(home, first, pages, wake, |known| Page::Failed { code, known }) == 0 {
            self.core.count(Counter::Unasked, 1);
        }
    }

    /// A request that could not be sent, or shall be forgotten: the next access asks again.
    pub fn forget_request(&self, home: &Home, first: u64, pages: u64, wake: Wake<'_>) {
        self.settle(home, first, pages, wake, Page::absent);
    }

    /// Frames to read requested pages into: a transfer for each run of pages that are still wanted. Pages for which there is no memory are asked
    /// for again later. Each transfer must be ended.
    pub fn begin_supply(&self, home: &Home, first: u64, pages: u64, wake: Wake<'_>) -> Vec<Transfer> {
        let mut transfers: Vec<Transfer> = Vec::new();
        for page in pages_of(home, first, pages) {
            if !self.is_awaited(home, page) {
                continue;
            }
            let Some(frame) = self.core.pool().allocate(Purpose::Pager) else {
                self.settle(home, page, 1, wake, Page::absent);
                continue;
            };
            let number = frame.number();
            if let Err(frame) = add(&mut transfers, self.core.reign(), home, page, frame) {
                self.core.pool().free(frame);
                self.settle(home, page, 1, wake, Page::absent);
                continue;
            }
            // If somebody else answered meanwhile, the transfer will find that its page has no use for it.
            home.with(self.core, page, |cell| {
                if let Page::Requested { known } = *cell.page {
                    *cell.page = Page::Filling { frame: number, known };
                }
            });
        }
        transfers
    }

    /// The device has read the pages, or couldn't.
    pub fn end_supply(&self, transfer: Transfer, result: Result<(), Code>, wake: Wake<'_>) {
        let is_current = self.is_current(&transfer);
        self.end_transfer(transfer, wake, |home, page, cell, frame| {
            let Page::Filling { frame: number, known } = *cell.page else { return Some(frame) };
            if number != frame.number() {
                return Some(frame);
            }
            match result {
                Ok(()) => {
                    self.core.count(Counter::PagesSupplied, 1);
                    self.fill(home, page, cell, frame, !is_current);
                    None
                }
                Err(code) => {
                    *cell.page = Page::Failed { code, known };
                    Some(frame)
                }
            }
        });
    }

    /// The pager is gone: whoever waits is told, and nobody will ask it again. What is in RAM is adopted by the default pager; the rest is lost.
    pub fn pager_died(&self, object: &Arc<Object>, code: Code, wake: Wake<'_>) {
        object.set_dead(code);
        let home = Home::Object(Arc::clone(object));
        for page in pages_of(&home, 0, u64::MAX) {
            home.with(self.core, page, |cell| match cell.page {
                Page::Requested { .. } => *cell.page = Page::Failed { code, known: false },
                Page::Failed { known, .. } | Page::Filling { known, .. } => *known = false,
                Page::Paged => *cell.page = Page::Empty,
                Page::Resident { dirty, kept, .. } => (*dirty, *kept) = (true, false),
                Page::Returning { .. } => self.not_returning(cell.page),
                Page::Empty | Page::Cleaning { .. } | Page::Leaving | Page::Lost { .. } | Page::Shared => (),
            });
            wake(home.key(page));
        }
        wake(object.ready_key());
    }

    /// memory_object_lock_request with flush, for pages that aren't dirty, and for all if `discard`: drops them. What is dirty stays.
    pub fn flush(&self, object: &Arc<Object>, first: u64, pages: u64, discard: bool) -> Result<(), Outcome> {
        let home = Home::Object(Arc::clone(object));
        if home.is_dead() {
            return Ok(());
        }
        for page in pages_of(&home, first, pages) {
            // Until its page is gone, the object stays locked: no new copy can come to need it.
            let mut inner = object.lock();
            self.push(&mut inner, page).map_err(|NotPushed(outcome)| outcome)?;
            let Some(leaf) = inner.leaf_if_any(page).map(|leaf| Arc::clone(leaf.arc())) else { continue };
            let frame = leaf.with((page % LEAF_PAGES as u64) as usize, |cell| match cell.page {
                Page::Resident { dirty, frame, .. } if (discard || !*dirty) && !self.frames.is_wired(frame.number()) => {
                    self.frames.unmap(frame.number());
                    cell.page.take_frame()
                }
                _ => None,
            });
            drop(inner);
            if let Some(frame) = frame {
                self.core.pool().free(frame);
            }
        }
        Ok(())
    }
}

/// The pages of a range that there can be records of: a pager may name any length it likes, and costs only its own pages.
pub(crate) fn pages_of(home: &Home, first: u64, pages: u64) -> Pages<'_> {
    let end = first.saturating_add(pages).min(OBJECT_PAGES);
    match home {
        Home::Swap => {
            let end = end.min(first.saturating_add(u64::from(abi::policy::RUN_PAGES_MAX)));
            Pages { object: None, at: first, end, known: end }
        }
        Home::Object(object) => Pages { object: Some(object), at: first, end, known: first },
    }
}

/// The iterator; see [`pages_of`].
pub(crate) struct Pages<'a> {
    object: Option<&'a Arc<Object>>,
    at: u64,
    end: u64,
    /// The end of the leaf that `at` is in.
    known: u64,
}

impl Iterator for Pages<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.at >= self.end {
            return None;
        }
        if self.at >= self.known
            && let Some(object) = self.object
        {
            let leaf = object.next_leaf(self.at)?;
            self.at = self.at.max(leaf);
            self.known = leaf + LEAF_PAGES as u64;
        }
        let page = self.at;
        self.at += 1;
        (page < self.end).then_some(page)
    }
}
