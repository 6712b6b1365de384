//! Returned: memory is short, the dirty page goes home (page's life, step 10: Returned).
//!
//! The page-out engine: a clock whose hand goes over the frames. A page that wasn't used between two passes goes, and the idle pages around it in
//! its leaf with it, so that what is written and read back later is runs. Clean pages are dropped at once; dirty runs become an [`Action`] for the
//! nucleus. It never waits and needs no memory to speak of: a few words for the action.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use abi::Code;
use frames::Frame;

use crate::copy::Copy;
use crate::core_state::Counter;
use crate::frame_table::{Owner, Seen};
use crate::home::Home;
use crate::leaf::{LEAF_PAGES, Leaf, LeafInner, SharedPage};
use crate::object::{Object, PagerId};
use crate::page::Page;
use crate::supply::{Transfer, Wake, add, pages_of};
use crate::{Pmap, Vm};

/// What page-out asks of the caller.
pub enum Action {
    /// Ask the pager where these dirty pages shall go (memory_object_return_request).
    Request { pager: PagerId, first: u64, pages: u32 },
    /// Hand these pages over (memory_object_data_return, or data_initialize).
    Data { pager: PagerId, first: u64, data: Copy },
}

/// Frames that the hand passes in one step.
const STEP: usize = 512;

enum Evicted {
    No,
    Dropped,
    /// It waits to go to this page of its pager.
    Dirty(u64),
}

/// Dirty pages in a row, on their way out of one leaf.
struct Run {
    home: Home,
    as_data: bool,
    first: u64,
    frames: Vec<Frame>,
    pages: u32,
}

impl<P: Pmap> Vm<P> {
    /// One bounded step of page-out: says what to do, and whether anything was found to evict.
    pub fn page_out(&self, actions: &mut Vec<Action>) -> bool {
        let span = self.core.pool().span();
        for _ in 0..STEP {
            let index = self.hand.fetch_add(1, Ordering::Relaxed) % span;
            let Seen::Idle(owner) = self.frames.pass(index) else { continue };
            let found = match owner {
                Owner::None => false,
                Owner::Leaf(leaf) => leaf.upgrade().is_some_and(|leaf| self.evict_leaf(&leaf, actions)),
                Owner::Page(page) => page.upgrade().is_some_and(|page| self.evict_shared(&page, actions)),
            };
            if found {
                return true;
            }
        }
        false
    }

    /// Evicts the idle pages of a leaf.
    fn evict_leaf(&self, leaf: &Arc<Leaf>, actions: &mut Vec<Action>) -> bool {
        let Some(mut run) = self.run_of(leaf) else { return false };
        let mut found = false;
        let mut locked = leaf.lock();
        for at in 0..LEAF_PAGES {
            // Shared pages are evicted one by one, when the hand comes to them: several leaves have them.
            if locked.shared_at(at).is_some() {
                self.end_run(&mut run, actions);
                continue;
            }
            let mut next = None;
            let home = |locked: &mut LeafInner| leaf.home_page(locked, at);
            match self.evict_one(&mut locked, leaf, at, &run, home, &mut next) {
                Evicted::No => self.end_run(&mut run, actions),
                Evicted::Dropped => {
                    found = true;
                    self.end_run(&mut run, actions);
                }
                Evicted::Dirty(page) => {
                    found = true;
                    self.add_to_run(&mut run, page, next, actions);
                }
            }
        }
        drop(locked);
        self.end_run(&mut run, actions);
        found
    }

    /// Where a leaf's dirty pages can go; none if they can go nowhere, but clean ones can still be dropped.
    fn run_of(&self, leaf: &Leaf) -> Option<Run> {
        let home = leaf.pager_home()?;
        Some(self.run_to(home))
    }

    fn run_to(&self, home: Home) -> Run {
        let as_data = !self.policy_of(&home).is_some_and(|policy| policy.return_requests);
        Run { home, as_data, first: 0, frames: Vec::new(), pages: 0 }
    }

    fn policy_of(&self, home: &Home) -> Option<crate::PagerPolicy> {
        match home {
            Home::Swap => self.core.default_policy(),
            Home::Object(object) => object.is_alive().then(|| object.policy()),
        }
    }

    /// Whether a dirty page may be sent home now.
    fn may_return(&self, run: &Run) -> bool {
        let room = !matches!(run.home, Home::Swap) || !self.core.is_swap_full();
        room && self.policy_of(&run.home).is_some() && self.core.returning() < (self.core.pool().total() / 8).max(128)
    }

    /// Evicts one page of a leaf's own. The frame of a dirty page that goes as data is put in `data`.
    fn evict_one(
        &self,
        locked: &mut LeafInner,
        leaf: &Arc<Leaf>,
        at: usize,
        run: &Run,
        home: impl FnOnce(&mut LeafInner) -> Option<u64>,
        data: &mut Option<Frame>,
    ) -> Evicted {
        let idle = leaf.with_locked(locked, at, |cell| match cell.page {
            Page::Resident { frame, dirty, .. } => self.frames.is_idle(frame.number()).then_some(*dirty),
            _ => None,
        });
        match idle {
            None => Evicted::No,
            Some(false) => leaf.with_locked(locked, at, |cell| self.drop_clean(cell.page)),
            Some(true) if !self.may_return(run) => Evicted::No,
            Some(true) => match home(locked) {
                Some(home) => leaf.with_locked(locked, at, |cell| self.send_home(cell.page, run.as_data, home, data)),
                None => Evicted::No,
            },
        }
    }

    fn evict_shared(&self, page: &Arc<SharedPage>, actions: &mut Vec<Action>) -> bool {
        let mut run = self.run_to(Home::Swap);
        let mut data = None;
        let mut inner = page.inner.lock();
        let Page::Resident { frame, dirty, .. } = &inner.page else { return false };
        if !self.frames.is_idle(frame.number()) {
            return false;
        }
        let evicted = match *dirty {
            false => self.drop_clean(&mut inner.page),
            true if !self.may_return(&run) => Evicted::No,
            true => {
                let home = match inner.home {
                    Some(home) => Some(home),
                    None => self.core.swap.lock().claim_for_page(Arc::downgrade(page)).ok(),
                };
                inner.home = home;
                home.map_or(Evicted::No, |home| self.send_home(&mut inner.page, run.as_data, home, &mut data))
            }
        };
        drop(inner);
        if let Evicted::Dirty(home) = evicted {
            self.add_to_run(&mut run, home, data, actions);
            self.end_run(&mut run, actions);
        }
        !matches!(evicted, Evicted::No)
    }

    fn drop_clean(&self, page: &mut Page) -> Evicted {
        let Page::Resident { frame, kept, .. } = core::mem::take(page) else { return Evicted::No };
        self.frames.unmap(frame.number());
        *page = Page::absent(kept);
        self.core.pool().free(frame);
        self.core.count(Counter::PagesDropped, 1);
        Evicted::Dropped
    }

    fn send_home(&self, page: &mut Page, as_data: bool, home: u64, data: &mut Option<Frame>) -> Evicted {
        let Page::Resident { frame, .. } = core::mem::take(page) else { return Evicted::No };
        self.frames.unmap(frame.number());
        if as_data {
            // What is asked for from now on is asked after this was sent, on the same port.
            *page = Page::Paged;
            *data = Some(frame);
        } else {
            *page = Page::Returning { frame };
            self.core.add_returning(1);
        }
        Evicted::Dirty(home)
    }

    fn add_to_run(&self, run: &mut Run, page: u64, data: Option<Frame>, actions: &mut Vec<Action>) {
        if run.pages > 0 && page != run.first + u64::from(run.pages) {
            self.end_run(run, actions);
        }
        if run.pages == 0 {
            run.first = page;
        }
        run.pages += 1;
        if let Some(frame) = data {
            run.frames.push(frame);
        }
    }

    fn end_run(&self, run: &mut Run, actions: &mut Vec<Action>) {
        let pages = core::mem::take(&mut run.pages);
        if pages == 0 {
            return;
        }
        self.core.count(Counter::Returns, 1);
        let (pager, first) = (run.home.pager(), run.first);
        if run.as_data {
            self.core.count(Counter::PagesReturned, u64::from(pages));
            if let Ok(data) = Copy::of_frames(self.core, core::mem::take(&mut run.frames)) {
                self.adopt_copy(&data);
                actions.push(Action::Data { pager, first, data });
            }
        } else {
            actions.push(Action::Request { pager, first, pages });
        }
    }

    /// Sends all dirty pages of a range of a pager's object home now, used or not; with `flush`, they leave RAM.
    pub fn clean(&self, object: &Arc<Object>, first: u64, pages: u64, actions: &mut Vec<Action>) {
        let home = Home::Object(Arc::clone(object));
        let mut run = self.run_to(home.clone());
        for page in pages_of(&home, first, pages) {
            let mut data = None;
            let sent = home.with(self.core, page, |cell| match cell.page {
                Page::Resident { dirty: true, frame, .. } if !self.frames.is_wired(frame.number()) => {
                    self.send_home(cell.page, run.as_data, page, &mut data)
                }
                _ => Evicted::No,
            });
            match sent {
                Some(Evicted::Dirty(page)) => self.add_to_run(&mut run, page, data, actions),
                _ => self.end_run(&mut run, actions),
            }
        }
        self.end_run(&mut run, actions);
    }

    /// The pager said where pages of a return request go: transfers for those that nobody wrote since.
    pub fn begin_return(&self, home: &Home, first: u64, pages: u64) -> Vec<Transfer> {
        let mut transfers = Vec::new();
        self.each_returning(home, first, pages, |page, slot| {
            let Page::Returning { frame, .. } = core::mem::take(slot) else { return };
            let number = frame.number();
            *slot = match add(&mut transfers, home, page, frame) {
                Ok(()) => Page::Cleaning { frame: number },
                Err(frame) => Page::Resident { frame, dirty: true, kept: false },
            };
        });
        transfers
    }

    /// The device has written the pages, or couldn't.
    pub fn end_return(&self, transfer: Transfer, result: Result<(), Code>, wake: Wake<'_>) {
        let Transfer { home, first, frames } = transfer;
        if result.is_ok() {
            self.core.count(Counter::PagesReturned, frames.len() as u64);
        }
        for (page, frame) in (first..).zip(frames) {
            let mut frame = Some(frame);
            let key = home.with(self.core, page, |cell| {
                let Page::Cleaning { frame: number } = *cell.page else { return None };
                let frame = frame.take_if(|frame| frame.number() == number)?;
                // Whoever read it meanwhile still wants it.
                if result.is_ok() && !self.frames.is_mapped(number) {
                    *cell.page = Page::Paged;
                    self.core.pool().free(frame);
                } else {
                    let dirty = result.is_err();
                    *cell.page = Page::Resident { frame, dirty, kept: !dirty };
                }
                Some(cell.key)
            });
            if let Some(frame) = frame {
                self.core.pool().free(frame);
            }
            if let Some(key) = key.flatten() {
                wake(key);
            }
        }
    }

    /// The pager wants the pages of a return request as data.
    pub fn return_as_data(&self, home: &Home, first: u64, pages: u64, actions: &mut Vec<Action>) {
        let mut run = Run { as_data: true, ..self.run_to(home.clone()) };
        let mut frames = Vec::new();
        self.each_returning(home, first, pages, |page, slot| {
            let Page::Returning { frame, .. } = core::mem::take(slot) else { return };
            *slot = Page::Paged;
            frames.push((page, frame));
        });
        for (page, frame) in frames {
            self.add_to_run(&mut run, page, Some(frame), actions);
        }
        self.end_run(&mut run, actions);
    }

    /// The pager has no room: the pages stay, dirty.
    pub fn return_refused(&self, home: &Home, first: u64, pages: u64) {
        if matches!(home, Home::Swap) {
            self.core.set_swap_full(true);
        }
        self.each_returning(home, first, pages, |_, slot| {
            let Page::Returning { frame, .. } = core::mem::take(slot) else { return };
            *slot = Page::Resident { frame, dirty: true, kept: false };
        });
    }

    fn each_returning(&self, home: &Home, first: u64, pages: u64, mut work: impl FnMut(u64, &mut Page)) {
        for page in pages_of(home, first, pages) {
            home.with(self.core, page, |cell| {
                if matches!(cell.page, Page::Returning { .. }) {
                    self.core.add_returning(-1);
                    work(page, cell.page);
                }
            });
        }
    }
}
