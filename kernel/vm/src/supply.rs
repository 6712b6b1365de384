//! Supplied: frames enter the object (page's life, step 8: Supplied).
//!
//! What pagers answer. Each answer is for pages that were marked `Requested` (or are being returned); for any other page it is counted and dropped,
//! so that an answer that comes twice, late, or unasked harms nothing. A pager's frames move in; a device's are filled by DMA
//! while a [`Transfer`] owns them.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Code;
use frames::{Frame, Purpose};

use crate::copy::Copy;
use crate::core_state::Counter;
use crate::fault::Outcome;
use crate::home::Home;
use crate::leaf::LEAF_PAGES;
use crate::object::{Kind, Object};
use crate::page::Page;
use crate::source::NotPushed;
use crate::{Pmap, Vm, push};

/// How a supply went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supplied {
    /// Pages that were taken.
    pub pages: u64,
    /// The first page that was there already, if any.
    pub present: Option<u64>,
}

/// Frames on their way from or to a device; nobody else owns them meanwhile.
pub struct Transfer {
    pub home: Home,
    pub first: u64,
    pub frames: Vec<Frame>,
}

/// What waits for a page, to be woken.
pub type Wake<'a> = &'a mut dyn FnMut(u64);

impl<P: Pmap> Vm<P> {
    /// memory_object_data_supply. `Err(outcome)`: the n-th page of the data isn't resident itself; do this and come back with `skip = n`.
    pub fn supply(&self, home: &Home, first: u64, data: &Copy, skip: u64, dirty: bool, wake: Wake<'_>) -> Result<Supplied, (u64, Outcome)> {
        let mut supplied = Supplied { pages: 0, present: None };
        for number in skip..data.bytes() / abi::vm::PAGE_SIZE {
            let page = first + number;
            if !self.wants(home, page) {
                self.core.count(Counter::Unasked, 1);
                supplied.present.get_or_insert(page);
                continue;
            }
            let Some((object, from)) = data.page(number) else { break };
            let frame = match self.take_page(object, from) {
                Some(frame) => frame,
                None => self.copied_page(data, number).map_err(|outcome| (number, outcome))?,
            };
            match self.install(home, page, frame, dirty, wake) {
                Ok(()) => supplied.pages += 1,
                Err(frame) => self.core.pool().free(frame),
            }
        }
        self.core.count(Counter::PagesSupplied, supplied.pages);
        Ok(supplied)
    }

    /// A supplied page that the pager keeps, or shares: copied.
    fn copied_page(&self, data: &Copy, number: u64) -> Result<Frame, Outcome> {
        match self.resolve_copy(data, number) {
            Outcome::Done => (),
            other => return Err(other),
        }
        let frame = self.core.pool().allocate(Purpose::Pager).ok_or(Outcome::Shortage)?;
        let Some((object, page)) = data.page(number) else { return Err(Outcome::Refuse(Code::INVALID_ARGUMENT)) };
        let copied = self.with_frame(object, page, |pool, from| pool.copy(from, &frame)).is_some();
        if copied {
            self.core.count(Counter::BytesCopiedIn, abi::vm::PAGE_SIZE);
            Ok(frame)
        } else {
            self.core.pool().free(frame);
            Err(Outcome::Again)
        }
    }

    /// Whether a supply of this page would be taken: it was asked for; or it is read-ahead of the pager's own, if memory isn't short.
    fn wants(&self, home: &Home, page: u64) -> bool {
        match home
            .with(self.core, page, |cell| (matches!(cell.page, Page::Requested { .. }), matches!(cell.page, Page::Empty | Page::Paged)))
        {
            Some((true, _)) => true,
            Some((_, true)) => !self.core.pool().is_low(),
            Some(_) => false,
            None => matches!(home, Home::Object(object) if matches!(object.kind(), Kind::Pager(_))) && !self.core.pool().is_low(),
        }
    }

    /// Puts a frame in a page's place; gives it back if the page has no use for it.
    fn install(&self, home: &Home, page: u64, frame: Frame, dirty: bool, wake: Wake<'_>) -> Result<(), Frame> {
        if let Home::Object(object) = home {
            let _ = object.lock().leaf(self.core, page);
        }
        let mut frame = Some(frame);
        let key = home.with(self.core, page, |cell| match cell.page {
            Page::Requested { .. } | Page::Empty | Page::Paged => {
                if let Some(frame) = frame.take() {
                    self.frames.adopt(&frame, cell.owner);
                    *cell.page = Page::Resident { frame, dirty, kept: !dirty };
                }
                Some(cell.key)
            }
            _ => None,
        });
        if let Some(key) = key.flatten() {
            wake(key);
        }
        frame.map_or(Ok(()), Err)
    }

    /// Pages of a range that wait for their pager become something else.
    fn settle(&self, home: &Home, first: u64, pages: u64, wake: Wake<'_>, mut to: impl FnMut(bool) -> Page) -> u64 {
        let mut settled = 0;
        for page in pages_of(home, first, pages) {
            let key = home.with(self.core, page, |cell| match cell.page {
                Page::Requested { known } => {
                    *cell.page = to(*known);
                    Some(cell.key)
                }
                _ => None,
            });
            if let Some(key) = key.flatten() {
                wake(key);
                settled += 1;
            }
        }
        settled
    }

    /// memory_object_data_unavailable: the pages are zero.
    pub fn unavailable(&self, home: &Home, first: u64, pages: u64, wake: Wake<'_>) {
        for page in pages_of(home, first, pages) {
            let is_wanted = home.with(self.core, page, |cell| matches!(cell.page, Page::Requested { .. })).unwrap_or(false);
            if !is_wanted {
                self.core.count(Counter::Unasked, 1);
                continue;
            }
            let Some(frame) = self.core.pool().allocate(Purpose::Pager) else {
                // The page is asked for again when there is memory.
                self.settle(home, page, 1, wake, Page::absent);
                continue;
            };
            self.core.pool().zero(&frame);
            self.core.count(Counter::ZeroFills, 1);
            if let Err(frame) = self.install(home, page, frame, false, wake) {
                self.core.pool().free(frame);
            }
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
    /// for again later.
    pub fn begin_supply(&self, home: &Home, first: u64, pages: u64, wake: Wake<'_>) -> Vec<Transfer> {
        let mut transfers: Vec<Transfer> = Vec::new();
        for page in pages_of(home, first, pages) {
            if !home.with(self.core, page, |cell| matches!(cell.page, Page::Requested { .. })).unwrap_or(false) {
                self.core.count(Counter::Unasked, 1);
                continue;
            }
            let frame = self.core.pool().allocate(Purpose::Pager);
            let taken = frame.and_then(|frame| add(&mut transfers, home, page, frame).err());
            if let Some(frame) = taken {
                self.core.pool().free(frame);
                self.settle(home, page, 1, wake, Page::absent);
            } else if !transfers.last().is_some_and(|last| last.end() == page + 1) {
                self.settle(home, page, 1, wake, Page::absent);
            }
        }
        transfers
    }

    /// The device has read the pages, or couldn't.
    pub fn end_supply(&self, transfer: Transfer, result: Result<(), Code>, wake: Wake<'_>) {
        let Transfer { home, first, frames } = transfer;
        if result.is_ok() {
            self.core.count(Counter::PagesSupplied, frames.len() as u64);
        }
        for (page, frame) in (first..).zip(frames) {
            let refused = match result {
                Ok(()) => self.install(&home, page, frame, false, wake).err(),
                Err(code) => {
                    self.failed(&home, page, 1, code, wake);
                    Some(frame)
                }
            };
            if let Some(frame) = refused {
                self.core.pool().free(frame);
            }
        }
    }

    /// The pager is gone: whoever waits is told, and nobody will ask again.
    pub fn pager_died(&self, object: &Arc<Object>, code: Code, wake: Wake<'_>) {
        object.set_dead(code);
        let home = Home::Object(Arc::clone(object));
        for (first, _) in object.all_leaves() {
            self.failed(&home, first, LEAF_PAGES as u64, code, wake);
        }
        wake(object.ready_key());
    }

    /// memory_object_lock_request with flush, for pages that aren't dirty, and for all if `discard`: drops them. What is dirty stays.
    pub fn flush(&self, object: &Arc<Object>, first: u64, pages: u64, discard: bool) -> Result<(), Outcome> {
        let home = Home::Object(Arc::clone(object));
        for page in pages_of(&home, first, pages) {
            let mut inner = object.lock();
            self.push(&mut inner, page).map_err(|NotPushed(outcome)| outcome)?;
            drop(inner);
            let frame = home.with(self.core, page, |cell| match cell.page {
                Page::Resident { dirty, frame, .. } if (discard || !*dirty) && !self.frames.is_wired(frame.number()) => {
                    self.frames.unmap(frame.number());
                    cell.page.take_frame()
                }
                _ => None,
            });
            if let Some(frame) = frame.flatten() {
                self.core.pool().free(frame);
            }
        }
        Ok(())
    }
}

impl Transfer {
    /// The page after its last.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }
}

/// Adds a frame to the last transfer, or begins another.
pub(crate) fn add(transfers: &mut Vec<Transfer>, home: &Home, page: u64, frame: Frame) -> Result<(), Frame> {
    if !transfers.last().is_some_and(|last| last.end() == page) {
        let transfer = Transfer { home: home.clone(), first: page, frames: Vec::new() };
        if push(transfers, transfer).is_err() {
            return Err(frame);
        }
    }
    let Some(last) = transfers.last_mut() else { return Err(frame) };
    if last.frames.try_reserve(1).is_err() {
        return Err(frame);
    }
    last.frames.push(frame);
    Ok(())
}

/// The pages of a range that there can be records of: a pager may name any length it likes, and costs only its own pages.
pub(crate) fn pages_of(home: &Home, first: u64, pages: u64) -> Vec<u64> {
    let end = first.saturating_add(pages);
    match home {
        Home::Swap => (first..end.min(first + u64::from(abi::policy::RUN_PAGES_MAX))).collect(),
        Home::Object(object) => object.leaf_pages(first, end),
    }
}
