//! Returned: memory is short, the dirty page goes home (page's life, step 10: Returned).
//!
//! The page-out engine: a clock whose hand goes over the frames. A page that wasn't used between two passes goes, and the idle pages around it in
//! its leaf with it, so that what is written and read back later is runs. Clean pages are dropped at once; dirty runs become an [`Action`] for the
//! nucleus. It never waits and needs no memory to speak of: a few words for the action.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use abi::policy::RUN_PAGES_MAX;
use frames::Frame;

use crate::copy::{Copy, Segment};
use crate::core_state::Counter;
use crate::frame_table::{Owner, Seen};
use crate::home::Home;
use crate::leaf::{LEAF_PAGES, Leaf, LeafInner, SharedPage};
use crate::object::Object;
use crate::page::Page;
use crate::supply::pages_of;
use crate::{Pmap, Vm};

/// What page-out asks of the caller.
pub enum Action {
    /// Ask the pager where these dirty pages shall go (memory_object_return_request), or say that it can't be asked: [`Vm::return_unsent`].
    Request { home: Home, first: u64, pages: u32 },
    /// Hand these pages over (memory_object_data_return, or data_initialize), and say how that went: [`Vm::data_sent`], [`Vm::data_unsent`].
    Data { home: Home, first: u64, data: Copy },
}

/// Frames that the hand passes in one step.
pub const PAGE_OUT_STEP: usize = 512;

#[derive(PartialEq, Eq)]
enum Evicted {
    No,
    Dropped,
    /// It waits to go to this page of its pager.
    Dirty(u64),
}

/// Dirty pages in a row, on their way out of one leaf.
pub(crate) struct Run {
    home: Home,
    as_data: bool,
    first: u64,
    pages: u32,
    /// Those of pages that go as data.
    frames: Vec<Frame>,
    segments: Vec<Segment>,
}

impl Run {
    /// Whether there is memory to take one more page away.
    pub(crate) fn has_room(&mut self, actions: &mut Vec<Action>) -> bool {
        // Another run may have to begin with it.
        actions.try_reserve(2).is_ok() && (!self.as_data || self.frames.try_reserve(1).is_ok() && self.segments.try_reserve(1).is_ok())
    }
}

impl<P: Pmap> Vm<P> {
    /// One bounded step of page-out: says what to do, and whether anything was found to evict.
    pub fn page_out(&self, actions: &mut Vec<Action>) -> bool {
        let span = self.core.pool().span();
        // Not twice over the same frame: a page gets time to be used between two passes.
        for _ in 0..PAGE_OUT_STEP.min(span) {
            let index = self.hand.fetch_add(1, Ordering::Relaxed) % span;
            let Seen::Idle(owner) = self.frames.pass(index) else { continue };
            let found = match &owner {
                Owner::None => Some(false),
                Owner::Leaf(leaf) => leaf.upgrade().map(|leaf| self.evict_leaf(&leaf, actions)),
                Owner::Page(page) => page.upgrade().map(|page| self.evict_shared(&page, actions)),
            };
            match found {
                Some(true) => return true,
                Some(false) => (),
                // What is left of the page's leaf is freed with the last record that names it.
                None => self.frames.disown(index),
            }
        }
        false
    }

    /// Evicts the idle pages of a leaf.
    fn evict_leaf(&self, leaf: &Arc<Leaf>, actions: &mut Vec<Action>) -> bool {
        // Where its dirty pages go is settled once for all of them: their pager may die meanwhile.
        let Some(home) = leaf.pager_home() else { return false };
        let mut run = self.run_to(home);
        let mut found = false;
        let mut locked = leaf.lock();
        for at in 0..LEAF_PAGES {
            // Shared pages are evicted one by one, when the hand comes to them: several leaves have them.
            let evicted = match locked.shared_at(at) {
                Some(_) => Evicted::No,
                None => self.evict_one(leaf, &mut locked, at, &mut run, actions),
            };
            found |= evicted != Evicted::No;
            if !matches!(evicted, Evicted::Dirty(_)) {
                self.end_run(&mut run, actions);
            }
        }
        drop(locked);
        self.end_run(&mut run, actions);
        found
    }

    pub(crate) fn run_to(&self, home: Home) -> Run {
        let as_data = !self.policy_of(&home).is_some_and(|policy| policy.return_requests);
        Run { home, as_data, first: 0, pages: 0, frames: Vec::new(), segments: Vec::new() }
    }

    /// A run that goes as data whatever its pager said.
    pub(crate) fn data_run_to(&self, home: Home) -> Run {
        Run { as_data: true, ..self.run_to(home) }
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

    /// Evicts one page of a leaf's own.
    fn evict_one(&self, leaf: &Arc<Leaf>, locked: &mut LeafInner, at: usize, run: &mut Run, actions: &mut Vec<Action>) -> Evicted {
        let idle = leaf.with_locked(locked, at, |cell| self.idle(cell.page));
        match idle {
            None => Evicted::No,
            Some(false) => leaf.with_locked(locked, at, |cell| self.drop_clean(cell.page)),
            Some(true) if !self.may_return(run) => Evicted::No,
            Some(true) => match leaf.home_page(&run.home, locked, at) {
                Some(home) => leaf.with_locked(locked, at, |cell| self.send_home(cell.page, home, run, actions)),
                None => Evicted::No,
            },
        }
    }

    /// Whether a page is dirty, if it may go.
    fn idle(&self, page: &Page) -> Option<bool> {
        match page {
            Page::Resident { frame, dirty, .. } => self.frames.is_idle(frame.number()).then_some(*dirty),
            _ => None,
        }
    }

    fn evict_shared(&self, page: &Arc<SharedPage>, actions: &mut Vec<Action>) -> bool {
        let mut run = self.run_to(Home::Swap);
        let mut inner = page.inner.lock();
        let evicted = match self.idle(&inner.page) {
            None => Evicted::No,
            Some(false) => self.drop_clean(&mut inner.page),
            Some(true) if !self.may_return(&run) => Evicted::No,
            Some(true) => {
                if inner.home.is_none() {
                    inner.home = self.core.swap.lock().claim_for_page(Arc::downgrade(page)).ok();
                }
                match inner.home {
                    Some(home) => self.send_home(&mut inner.page, home, &mut run, actions),
                    None => Evicted::No,
                }
            }
        };
        drop(inner);
        self.end_run(&mut run, actions);
        evicted != Evicted::No
    }

    fn drop_clean(&self, page: &mut Page) -> Evicted {
        let Page::Resident { frame, kept, .. } = core::mem::take(page) else { return Evicted::No };
        self.frames.unmap(frame.number());
        *page = Page::absent(kept);
        self.core.pool().free(frame);
        self.core.count(Counter::PagesDropped, 1);
        Evicted::Dropped
    }

    /// Takes a dirty page away from who maps it and adds it to the run. A page that its pager was asked about before waits for that answer first:
    /// two requests could be answered by two places, and only one of them would be written.
    fn send_home(&self, page: &mut Page, home: u64, run: &mut Run, actions: &mut Vec<Action>) -> Evicted {
        let is_swap = matches!(run.home, Home::Swap);
        if !run.has_room(actions) || is_swap && self.core.swap.lock().owes(home) {
            return Evicted::No;
        }
        let Page::Resident { frame, .. } = core::mem::take(page) else { return Evicted::No };
        self.frames.unmap(frame.number());
        if is_swap {
            self.core.swap.lock().asked(home);
        }
        if run.as_data {
            *page = Page::Leaving;
            self.add_to_run(run, home, Some(frame), actions);
        } else {
            *page = Page::Returning { frame };
            self.core.add_returning(1);
            self.add_to_run(run, home, None, actions);
        }
        Evicted::Dirty(home)
    }

    pub(crate) fn add_to_run(&self, run: &mut Run, page: u64, data: Option<Frame>, actions: &mut Vec<Action>) {
        if run.pages > 0 && page != run.first + u64::from(run.pages) {
            self.end_run(run, actions);
        }
        if run.pages == 0 {
            run.first = page;
        }
        run.pages += 1;
        run.frames.extend(data);
    }

    /// Says what to do with a run. One that continues the last run joins it: shared pages come one by one.
    pub(crate) fn end_run(&self, run: &mut Run, actions: &mut Vec<Action>) {
        let pages = core::mem::take(&mut run.pages);
        if pages == 0 {
            return;
        }
        let first = run.first;
        if run.as_data {
            self.core.count(Counter::Returns, 1);
            self.core.count(Counter::PagesReturned, u64::from(pages));
            let mut segments = core::mem::take(&mut run.segments);
            segments.push(Segment::of_frames(self.core, core::mem::take(&mut run.frames)));
            let data = Copy { segments };
            // Until they are sent they may have to come back.
            self.disown_copy(&data);
            actions.push(Action::Data { home: run.home.clone(), first, data });
            return;
        }
        if let Some(Action::Request { home: last_home, first: last_first, pages: last }) = actions.last_mut()
            && last_home.pager() == run.home.pager()
            && *last_first + u64::from(*last) == first
            && *last + pages <= RUN_PAGES_MAX
        {
            *last += pages;
            return;
        }
        self.core.count(Counter::Returns, 1);
        actions.push(Action::Request { home: run.home.clone(), first, pages });
    }

    /// Sends all dirty pages of a range of a pager's object home now, used or not. Wired ones stay.
    pub fn clean(&self, object: &Arc<Object>, first: u64, pages: u64, actions: &mut Vec<Action>) {
        let home = Home::Object(Arc::clone(object));
        let mut run = self.run_to(home.clone());
        if self.policy_of(&home).is_none() {
            return;
        }
        for page in pages_of(&home, first, pages) {
            let sent = home.with(self.core, page, |cell| match cell.page {
                Page::Resident { dirty: true, frame, .. } if !self.frames.is_wired(frame.number()) => {
                    self.send_home(cell.page, page, &mut run, actions)
                }
                _ => Evicted::No,
            });
            if sent.is_none_or(|sent| sent == Evicted::No) {
                self.end_run(&mut run, actions);
            }
        }
        self.end_run(&mut run, actions);
    }
}
