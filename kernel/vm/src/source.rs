//! Copies of an object that has a pager: what the copy doesn't have, it reads from its source.
//!
//! The source's pages belong to its pager and can't be shared for ever, so such a copy is anonymous memory with a link to the source, one level
//! deep whatever is copied from it. Before the source changes a page (a write, a supply over it, its death), the copies that lack the page get
//! their own: `push` below. The order of locks is copy before source, so `push` only tries.

use alloc::sync::Arc;

use frames::{Frame, Purpose};

use crate::core_state::Counter;
use crate::fault::Outcome;
use crate::frame_table::Owner;
use crate::leaf::{LEAF_PAGES, Leaf};
use crate::object::{Inner, Object, ObjectRef};
use crate::page::Page;
use crate::{NoMemory, Pmap, Vm, push};

/// What a page that isn't here is a copy of: the same page of this object.
#[derive(Clone)]
pub(crate) struct Source {
    /// A use: the pager must not be told that nobody needs it.
    pub(crate) object: ObjectRef,
    /// Pages of the range that was copied.
    pub(crate) first: u64,
    pub(crate) end: u64,
}

impl Source {
    /// Whether a page is in the copied range.
    pub(crate) const fn covers(&self, page: u64) -> bool {
        self.first <= page && page < self.end
    }
}

/// A push has to be tried again: a copy was busy, or there was no memory.
pub(crate) struct NotPushed(pub(crate) Outcome);

impl<P: Pmap> Vm<P> {
    /// Gives the contents of a source's page to the copies that lack it. Does nothing if the page isn't resident. Its leaf is not locked; while the
    /// source stays locked, no other copy can come to lack the page.
    pub(crate) fn push(&self, source: &mut Inner, page: u64) -> Result<(), NotPushed> {
        source.forget_dead_copies();
        let at = (page % LEAF_PAGES as u64) as usize;
        let Some(leaf) = source.leaf_if_any(page).map(|leaf| Arc::clone(leaf.arc())) else { return Ok(()) };
        for copy in &source.copies {
            let Some(copy) = copy.upgrade() else { continue };
            let Some(mut inner) = copy.try_lock() else { return Err(NotPushed(Outcome::Again)) };
            if !inner.source.as_ref().is_some_and(|source| source.covers(page)) {
                continue;
            }
            if inner.leaf_if_any(page).is_some_and(|leaf| !leaf.arc().lock().is_empty(at)) {
                continue;
            }
            let Some(frame) = self.core.pool().allocate(Purpose::User) else { return Err(NotPushed(Outcome::Shortage)) };
            if let Err(not) = self.push_to(&leaf, at, &mut inner, page, frame) {
                return not.map_or(Ok(()), |outcome| Err(NotPushed(outcome)));
            }
        }
        Ok(())
    }

    /// Gives a copy of a page to one copy. `Err(None)`: the page isn't resident any more.
    fn push_to(&self, from: &Arc<Leaf>, at: usize, copy: &mut Inner, page: u64, frame: Frame) -> Result<(), Option<Outcome>> {
        let target = Arc::clone(self.own_leaf(copy, page).arc());
        let mut target_inner = target.lock();
        let not = from.with(at, |cell| match cell.page {
            Page::Resident { frame: from, .. } | Page::Returning { frame: from, .. } => {
                self.frames.unmap(from.number());
                self.core.pool().copy(from, &frame);
                None
            }
            Page::Cleaning { .. } => Some(Some(Outcome::Wait(cell.key))),
            _ => Some(None),
        });
        if let Some(not) = not {
            self.core.pool().free(frame);
            return Err(not);
        }
        self.core.count(Counter::CopyFaults, 1);
        self.frames.adopt(&frame, Owner::Leaf(Arc::downgrade(&target)));
        drop(target_inner.replace(at, Page::Resident { frame, dirty: true, kept: false }));
        Ok(())
    }
}

impl Object {
    fn try_lock(&self) -> Option<spin::MutexGuard<'_, Inner>> {
        self.inner_mutex().try_lock()
    }
}

impl Inner {
    /// Copies come and go without telling.
    pub(crate) fn forget_dead_copies(&mut self) {
        self.copies.retain(|copy| copy.strong_count() > 0);
    }

    /// Another copy looks here for what it doesn't have.
    pub(crate) fn add_copy(&mut self, copy: &Arc<Object>) -> Result<(), NoMemory> {
        self.forget_dead_copies();
        push(&mut self.copies, Arc::downgrade(copy))
    }
}
