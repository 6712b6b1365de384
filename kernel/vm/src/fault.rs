//! Missed: map entry, object, no page (page's life, step 3: Missed).
//!
//! The fault engine. It looks a page up, does at once what can be done at once (enter, zero, copy), and otherwise says what the caller must do:
//! ask the pager, wait, find memory, or tell the thread. Whoever woke up comes here again; nothing is remembered between.

use alloc::sync::Arc;

use abi::Code;
use abi::vm::{PAGE_SIZE, Protection};
use frames::{Frame, FrameNumber, Purpose};

use crate::core_state::Counter;
use crate::entry::Entry;
use crate::frame_table::Owner;
use crate::leaf::{Cell, LEAF_PAGES, Leaf, LeafInner, LeafRef};
use crate::map::Map;
use crate::object::{Inner, Kind, Object, Pager, PagerId};
use crate::page::Page;
use crate::source::NotPushed;
use crate::{Pmap, Vm};

/// What an access tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
    Execute,
}

impl Access {
    /// The right that it needs.
    #[must_use]
    pub const fn needs(self) -> Protection {
        match self {
            Self::Read => Protection::READ,
            Self::Write => Protection::WRITE,
            Self::Execute => Protection::EXECUTE,
        }
    }
}

/// A request to a pager: these pages are marked as requested, and must be answered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    pub pager: PagerId,
    /// The first page's number at the pager.
    pub first: u64,
    pub pages: u32,
    pub write: bool,
    /// What the thread waits for after it has asked.
    pub key: u64,
}

/// What the caller must do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: the page is there.
    Done,
    /// Come back at once: a lock was busy.
    Again,
    /// Wait until this key is woken, then come back.
    Wait(u64),
    /// Ask the pager, then wait for the key.
    Ask(Ask),
    /// Wait for memory.
    Shortage,
    /// It can't be: the thread gets an exception.
    Refuse(Code),
}

/// Where a page shall be entered.
pub(crate) struct Target<'a, P> {
    pub(crate) pmap: &'a Arc<P>,
    pub(crate) address: u64,
    pub(crate) protection: Protection,
    pub(crate) wired: bool,
    /// Pages of the entry that follow this one.
    pub(crate) following: u64,
}

/// What a look at a page says.
enum Found {
    Enter {
        frame: FrameNumber,
        writable: bool,
    },
    /// It is shared with another copy and shall be written.
    Copy,
    /// There is nothing yet.
    Missing,
    /// Its pager has it.
    AtPager,
    /// It was about to go to its pager, and doesn't go now.
    Unsent {
        frame: FrameNumber,
    },
    Wait(u64),
    Refuse(Code),
}

/// Neighbours that are entered with a page, if they are there.
const AROUND: usize = 16;

impl<P: Pmap> Vm<P> {
    /// A thread's access to `address` failed.
    pub fn fault(&self, map: &Map<P>, address: u64, access: Access) -> Outcome {
        self.core.count(Counter::Faults, 1);
        let address = address & !(PAGE_SIZE - 1);
        let mut inner = map.lock();
        let purpose = inner.purpose();
        let Some((start, entry)) = inner.entry_at(address) else { return Outcome::Refuse(Code::INVALID_ADDRESS) };
        if !entry.protection.contains(access.needs()) {
            return Outcome::Refuse(Code::PROTECTION_FAILURE);
        }
        self.fault_entry(map, start, entry, address, access == Access::Write, purpose)
    }

    /// Makes a page of an entry resident and enters it.
    pub(crate) fn fault_entry(&self, map: &Map<P>, start: u64, entry: &mut Entry, address: u64, write: bool, purpose: Purpose) -> Outcome {
        let target = Target {
            pmap: map.pmap(),
            address,
            protection: entry.protection,
            wired: entry.wired > 0,
            following: (entry.end - address) / PAGE_SIZE - 1,
        };
        let page = (entry.offset + (address - start)) / PAGE_SIZE;
        let object = entry.object_or_new(self.core);
        self.resolve(object.arc(), page, write, Some(&target), purpose)
    }

    /// Makes a page of an object resident, ready to be written if asked, and enters it.
    pub(crate) fn resolve(
        &self,
        object: &Arc<Object>,
        page: u64,
        write: bool,
        target: Option<&Target<'_, P>>,
        purpose: Purpose,
    ) -> Outcome {
        if let Kind::Device { first, pages } = object.kind() {
            return Self::enter_device(*first, *pages, page, target);
        }
        let mut inner = object.lock();
        let at = (page % LEAF_PAGES as u64) as usize;
        let leaf = match write {
            true => Arc::clone(self.own_leaf(&mut inner, page).arc()),
            false => Arc::clone(inner.leaf(self.core, page).arc()),
        };
        if write && !inner.copies.is_empty() && leaf.with(at, |cell| cell.page.frame().is_some()) {
            if let Err(NotPushed(outcome)) = self.push(&mut inner, page) {
                return outcome;
            }
        }
        let mut locked = leaf.lock();
        match leaf.with_locked(&mut locked, at, |cell| look(cell, write)) {
            Found::Enter { frame, writable } => self.enter(&leaf, &mut locked, at, frame, writable, target),
            Found::Unsent { frame } => {
                self.core.add_returning(-1);
                self.enter(&leaf, &mut locked, at, frame, true, target)
            }
            Found::Copy => self.copy_page(&leaf, &mut locked, at, target, purpose),
            Found::AtPager => self.ask(object, &mut inner, locked, page, write),
            Found::Wait(key) => Outcome::Wait(key),
            Found::Refuse(code) => Outcome::Refuse(code),
            Found::Missing => match (object.kind(), &inner.source) {
                (Kind::Pager(_), _) => self.ask(object, &mut inner, locked, page, write),
                (_, Some(source)) if source.covers(page) => {
                    let source = Arc::clone(&source.object);
                    self.from_source(&source, &leaf, &mut locked, page, write, target, purpose).unwrap_or_else(|| {
                        drop(locked);
                        drop(inner);
                        match self.resolve(&source, page, false, None, purpose) {
                            Outcome::Done => Outcome::Again,
                            other => other,
                        }
                    })
                }
                _ => self.zero_fill(&leaf, &mut locked, at, write, target, purpose),
            },
        }
    }

    /// The leaf of a page, split from its copies so that its pages can be written.
    pub(crate) fn own_leaf<'a>(&self, inner: &'a mut Inner, page: u64) -> &'a mut LeafRef {
        let leaf = inner.leaf(self.core, page);
        if !leaf.is_exclusive() {
            *leaf = leaf.split(|frame, owner| self.frames.adopt(frame, owner));
        }
        leaf
    }

    fn enter_device(first: FrameNumber, pages: u64, page: u64, target: Option<&Target<'_, P>>) -> Outcome {
        let Some(target) = target.filter(|_| page < pages) else { return Outcome::Refuse(Code::MEMORY_ERROR) };
        let protection = target.protection.difference(Protection::EXECUTE);
        match target.pmap.enter(target.address, FrameNumber(first.0 + page as u32), protection) {
            Ok(()) => Outcome::Done,
            Err(_) => Outcome::Shortage,
        }
    }

    fn enter(
        &self,
        leaf: &Arc<Leaf>,
        locked: &mut LeafInner,
        at: usize,
        frame: FrameNumber,
        writable: bool,
        target: Option<&Target<'_, P>>,
    ) -> Outcome {
        let Some(target) = target else { return Outcome::Done };
        if self.enter_one(frame, target.address, writable, target).is_err() {
            return Outcome::Shortage;
        }
        if !target.wired {
            self.enter_around(leaf, locked, at, target);
        }
        Outcome::Done
    }

    fn enter_one(&self, frame: FrameNumber, address: u64, writable: bool, target: &Target<'_, P>) -> Result<(), crate::NoTables> {
        let protection = match writable {
            true => target.protection,
            false => target.protection.difference(Protection::WRITE),
        };
        self.frames.enter(frame, target.pmap, address, protection, target.wired)
    }

    /// A run arrives as a whole: what follows the page and is mapped nowhere yet is entered with it.
    fn enter_around(&self, leaf: &Arc<Leaf>, locked: &mut LeafInner, at: usize, target: &Target<'_, P>) {
        let most = AROUND.min(LEAF_PAGES - at).min(target.following as usize + 1);
        for next in 1..most {
            let neighbour = leaf.with_locked(locked, at + next, |cell| match cell.page {
                Page::Resident { frame, dirty, .. } => Some((frame.number(), *dirty && cell.exclusive)),
                _ => None,
            });
            let Some((frame, writable)) = neighbour.filter(|(frame, _)| !self.frames.is_mapped(*frame)) else { return };
            if self.enter_one(frame, target.address + next as u64 * PAGE_SIZE, writable, target).is_err() {
                return;
            }
        }
    }

    fn zero_fill(
        &self,
        leaf: &Arc<Leaf>,
        locked: &mut LeafInner,
        at: usize,
        write: bool,
        target: Option<&Target<'_, P>>,
        purpose: Purpose,
    ) -> Outcome {
        let Some(frame) = self.core.pool().allocate(purpose) else { return Outcome::Shortage };
        self.core.pool().zero(&frame);
        self.core.count(Counter::ZeroFills, 1);
        self.place(leaf, locked, at, frame, write, target)
    }

    /// Puts a frame of the leaf's own in a slot that is empty or shared, and enters it.
    fn place(
        &self,
        leaf: &Arc<Leaf>,
        locked: &mut LeafInner,
        at: usize,
        frame: Frame,
        dirty: bool,
        target: Option<&Target<'_, P>>,
    ) -> Outcome {
        self.frames.adopt(&frame, Owner::Leaf(Arc::downgrade(leaf)));
        let number = frame.number();
        let _ = locked.replace(at, Page::Resident { frame, dirty, kept: false });
        self.enter(leaf, locked, at, number, dirty, target)
    }

    /// A write to a page that another copy shares.
    fn copy_page(&self, leaf: &Arc<Leaf>, locked: &mut LeafInner, at: usize, target: Option<&Target<'_, P>>, purpose: Purpose) -> Outcome {
        let Some(frame) = self.core.pool().allocate(purpose) else { return Outcome::Shortage };
        let copied = leaf.with_locked(locked, at, |cell| self.copy_out_of(cell.page, &frame));
        if !copied {
            self.core.pool().free(frame);
            return Outcome::Again;
        }
        self.core.count(Counter::CopyFaults, 1);
        self.place(leaf, locked, at, frame, true, target)
    }

    /// Copies a page that shall be left behind, and takes it away from whoever maps it: they come back and find the right one.
    fn copy_out_of(&self, page: &Page, to: &Frame) -> bool {
        let copied = match page {
            Page::Resident { frame, .. } | Page::Returning { frame, .. } => {
                self.core.pool().copy(frame, to);
                true
            }
            _ => false,
        };
        if let (true, Some(frame)) = (copied, page.frame()) {
            self.frames.unmap(frame);
        }
        copied
    }

    /// A page that a copy hasn't got: the source's is entered to be read, or copied to be written. None if the source must be asked first.
    #[expect(clippy::too_many_arguments, reason = "both ends of a copy, and where it goes")]
    fn from_source(
        &self,
        source: &Arc<Object>,
        leaf: &Arc<Leaf>,
        locked: &mut LeafInner,
        page: u64,
        write: bool,
        target: Option<&Target<'_, P>>,
        purpose: Purpose,
    ) -> Option<Outcome> {
        let at = (page % LEAF_PAGES as u64) as usize;
        let from = source.existing_leaf(page)?;
        if write {
            let Some(frame) = self.core.pool().allocate(purpose) else { return Some(Outcome::Shortage) };
            if !from.with(at, |cell| self.copy_out_of(cell.page, &frame)) {
                self.core.pool().free(frame);
                return None;
            }
            self.core.count(Counter::CopyFaults, 1);
            return Some(self.place(leaf, locked, at, frame, true, target));
        }
        from.with(at, |cell| {
            let frame = cell.page.frame()?;
            Some(match target.map(|target| self.enter_one(frame, target.address, false, target)) {
                Some(Err(_)) => Outcome::Shortage,
                _ => Outcome::Done,
            })
        })
    }

    /// Marks a run of absent pages as requested.
    fn ask(&self, object: &Arc<Object>, inner: &mut Inner, mut locked: spin::MutexGuard<'_, LeafInner>, page: u64, write: bool) -> Outcome {
        let (pager, most) = match object.kind() {
            Kind::Pager(id) => match object.pager() {
                Pager { dead: Some(code), .. } => return Outcome::Refuse(code),
                Pager { ready: false, .. } => return Outcome::Wait(object.ready_key()),
                Pager { policy, .. } => (*id, policy.run_pages),
            },
            _ => match self.core.default_policy() {
                Some(policy) => (PagerId::DEFAULT, policy.run_pages),
                None => return Outcome::Refuse(Code::MEMORY_FAILURE),
            },
        };
        let window = inner.read_ahead(page, most.min((self.core.pool().available() / 4) as u32));
        let at = (page % LEAF_PAGES as u64) as usize;
        let Some(leaf) = inner.leaf_if_any(page).map(|leaf| Arc::clone(leaf.arc())) else { return Outcome::Again };
        let (first, key) = match pager {
            PagerId::DEFAULT => match locked.home(at) {
                Some(home) => (home, leaf.with_locked(&mut locked, at, |cell| cell.key)),
                None => return Outcome::Refuse(Code::MEMORY_FAILURE),
            },
            _ => (page, leaf.with_locked(&mut locked, at, |cell| cell.key)),
        };
        let mut pages = mark_requested(&leaf, &mut locked, at, window, |locked, at, run| {
            pager != PagerId::DEFAULT || locked.home(at) == Some(first + u64::from(run))
        });
        drop(locked);
        while pager != PagerId::DEFAULT && pages < window && (page + u64::from(pages)).is_multiple_of(LEAF_PAGES as u64) {
            let leaf = Arc::clone(inner.leaf(self.core, page + u64::from(pages)).arc());
            let more = mark_requested(&leaf, &mut leaf.lock(), 0, window - pages, |_, _, _| true);
            if more == 0 {
                break;
            }
            pages += more;
        }
        inner.expected = page + u64::from(pages);
        self.core.count(Counter::Requests, 1);
        self.core.count(Counter::PagesRequested, u64::from(pages));
        Outcome::Ask(Ask { pager, first, pages, write, key })
    }
}

/// Marks absent pages from a slot on, as many as there are in a row; gives how many.
fn mark_requested(leaf: &Arc<Leaf>, locked: &mut LeafInner, at: usize, most: u32, belongs: impl Fn(&LeafInner, usize, u32) -> bool) -> u32 {
    let mut run = 0;
    while run < most && at + (run as usize) < LEAF_PAGES && belongs(locked, at + run as usize, run) {
        let marked = leaf.with_locked(locked, at + run as usize, |cell| match cell.page {
            Page::Paged => {
                *cell.page = Page::Requested { known: true };
                true
            }
            Page::Empty => {
                *cell.page = Page::Requested { known: false };
                true
            }
            _ => false,
        });
        if !marked {
            break;
        }
        run += 1;
    }
    run
}

impl Inner {
    /// How many pages to ask for at a miss: twice as many as last time for a sequential reader, fewer for any other.
    fn read_ahead(&mut self, page: u64, most: u32) -> u32 {
        self.window = match page == self.expected {
            true => (self.window * 2).max(8),
            false => self.window / 4,
        };
        self.window = self.window.clamp(1, most.max(1));
        self.window
    }
}

/// What an access does to a page.
fn look(cell: Cell<'_>, write: bool) -> Found {
    match cell.page {
        Page::Empty => Found::Missing,
        Page::Paged => Found::AtPager,
        Page::Requested { .. } => Found::Wait(cell.key),
        Page::Failed { code, known } => {
            let code = *code;
            *cell.page = Page::absent(*known);
            Found::Refuse(code)
        }
        Page::Cleaning { .. } if write => Found::Wait(cell.key),
        Page::Cleaning { frame } => Found::Enter { frame: *frame, writable: false },
        Page::Resident { .. } | Page::Returning { .. } if write && !cell.exclusive => Found::Copy,
        Page::Resident { frame, dirty, kept } => {
            *dirty |= write;
            *kept &= !write;
            Found::Enter { frame: frame.number(), writable: *dirty && cell.exclusive }
        }
        Page::Returning { .. } if write => {
            let Page::Returning { frame, .. } = core::mem::take(cell.page) else { return Found::Missing };
            let number = frame.number();
            *cell.page = Page::Resident { frame, dirty: true, kept: false };
            Found::Unsent { frame: number }
        }
        Page::Returning { frame, .. } => Found::Enter { frame: frame.number(), writable: false },
        Page::Shared => Found::Wait(cell.key),
    }
}
