//! What pagers say of the dirty pages that they were asked about: where they go, that they want them as data, or that they have no room.
//!
//! Page-out (`pageout.rs`) marked them `Returning`. A page that was written since is `Resident` again, and an answer for it does nothing: the pager is told
//! that it wasn't written. As in `supply.rs`, answers that come late, twice or unasked harm nothing.

use alloc::vec::Vec;

use abi::Code;
use abi::vm::PAGE_SIZE;

use crate::copy::Copy;
use crate::core_state::Counter;
use crate::home::Home;
use crate::leaf::Cell;
use crate::page::Page;
use crate::pageout::Action;
use crate::supply::{Wake, pages_of};
use crate::transfer::{Transfer, add};
use crate::{Pmap, Vm};

impl<P: Pmap> Vm<P> {
    /// The pager said where pages of a return request go: transfers for those that nobody wrote since. Each must be ended. Pages that are in none of
    /// them are not written: the pager must be told, or it would look for them there.
    pub fn begin_return(&self, home: &Home, first: u64, pages: u64) -> Vec<Transfer> {
        let mut transfers = Vec::new();
        self.each_returning(home, first, pages, |page, slot| {
            let Page::Returning { frame, .. } = core::mem::take(slot) else { return };
            let number = frame.number();
            *slot = match add(&mut transfers, self.core.reign(), home, page, frame) {
                Ok(()) => Page::Cleaning { frame: number },
                Err(frame) => Page::Resident { frame, dirty: true, kept: false },
            };
        });
        transfers
    }

    /// The device has written the pages, or couldn't.
    pub fn end_return(&self, transfer: Transfer, result: Result<(), Code>, wake: Wake<'_>) {
        if result.is_ok() {
            self.core.count(Counter::PagesReturned, transfer.frames.len() as u64);
        }
        let is_kept = result.is_ok() && self.is_current(&transfer);
        self.end_transfer(transfer, wake, |_, _, cell, frame| {
            if !matches!(*cell.page, Page::Cleaning { frame: number } if number == frame.number()) {
                return Some(frame);
            }
            // Whoever read it meanwhile still wants it.
            if !is_kept || self.frames.is_mapped(frame.number()) {
                // It may have become a shared page meanwhile.
                self.frames.adopt(&frame, cell.owner);
                *cell.page = Page::Resident { frame, dirty: !is_kept, kept: is_kept };
                None
            } else {
                *cell.page = Page::Paged;
                Some(frame)
            }
        });
    }

    /// The pager wants the pages of a return request as data. Those that were wired since stay.
    pub fn return_as_data(&self, home: &Home, first: u64, pages: u64, actions: &mut Vec<Action>) {
        let mut run = self.data_run_to(home.clone());
        self.each_returning(home, first, pages, |page, slot| {
            let Page::Returning { frame } = core::mem::take(slot) else { return };
            if self.frames.is_wired(frame.number()) || !run.has_room(actions) {
                *slot = Page::Resident { frame, dirty: true, kept: false };
                return;
            }
            // It may have been entered again, to be read.
            self.frames.unmap(frame.number());
            *slot = Page::Leaving;
            self.add_to_run(&mut run, page, Some(frame), actions);
        });
        self.end_run(&mut run, actions);
    }

    /// The pager has no room: the pages stay, dirty.
    pub fn return_refused(&self, home: &Home, first: u64, pages: u64) {
        if matches!(home, Home::Swap) {
            self.core.set_swap_full(true);
        }
        self.return_unsent(home, first, pages);
    }

    /// The pager could not be told: the pages stay, dirty, and are offered again.
    pub fn return_unsent(&self, home: &Home, first: u64, pages: u64) {
        self.each_returning(home, first, pages, |_, slot| {
            let Page::Returning { frame, .. } = core::mem::take(slot) else { return };
            *slot = Page::Resident { frame, dirty: true, kept: false };
        });
    }

    /// Pages are about to be sent to their pager as data: what it doesn't take soon may be paged out.
    pub fn data_leaves(&self, home: &Home, data: &Copy) {
        // To send pages of the default pager's home once more while they are on their way there would free nothing.
        if let Home::Object(_) = home {
            self.adopt_copy(data);
        }
    }

    /// Pages went to their pager as data: what is asked for from now on is asked after that, on the same port.
    pub fn data_sent(&self, home: &Home, first: u64, pages: u64, wake: Wake<'_>) {
        self.each_leaving(home, first, pages, wake, |_, cell| {
            *cell.page = match home {
                Home::Object(object) if object.is_dead() => Page::Empty,
                Home::Swap if !self.core.has_default_pager() => Page::Lost { code: Code::MEMORY_FAILURE },
                _ => Page::Paged,
            }
        });
    }

    /// Pages could not be sent to their pager: they are back, dirty.
    pub fn data_unsent(&self, home: &Home, first: u64, data: &Copy, wake: Wake<'_>) {
        self.each_leaving(home, first, data.bytes() / PAGE_SIZE, wake, |page, cell| {
            let frame = data.page(page - first).and_then(|(object, from)| self.take_page(data, object, from));
            if let Some(frame) = frame {
                self.fill(home, page, cell, frame, true);
            }
        });
    }

    fn each_leaving(&self, home: &Home, first: u64, pages: u64, wake: Wake<'_>, mut work: impl FnMut(u64, Cell<'_>)) {
        for page in first..first + pages {
            home.with(self.core, page, |cell| {
                if matches!(cell.page, Page::Leaving) {
                    work(page, cell);
                }
            });
            self.answered(home, page);
            wake(home.key(page));
        }
    }

    fn each_returning(&self, home: &Home, first: u64, pages: u64, mut work: impl FnMut(u64, &mut Page)) {
        if home.is_dead() {
            return;
        }
        for page in pages_of(home, first, pages) {
            home.with(self.core, page, |cell| {
                if matches!(cell.page, Page::Returning { .. }) {
                    self.core.add_returning(-1);
                    work(page, cell.page);
                }
            });
            self.answered(home, page);
        }
    }

    /// A page that doesn't go to its pager after all.
    pub(crate) fn not_returning(&self, page: &mut Page) {
        if let Page::Returning { frame } = core::mem::take(page) {
            self.core.add_returning(-1);
            *page = Page::Resident { frame, dirty: true, kept: false };
        }
    }
}
