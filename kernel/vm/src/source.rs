//! Copies of an object that has a pager: what the copy doesn't have, it reads from its source.
//!
//! The source's pages belong to its pager and can't be shared for ever, so such a copy is anonymous memory with a link to the source, one level
//! deep whatever is copied from it. Before the source changes a page (a write, a supply over it, its death), the copies that lack the page get
//! their own: `push` below. The order of locks is copy before source, so `push` only tries.

use alloc::sync::Arc;

use frames::Purpose;

use crate::fault::Outcome;
use crate::frame_table::Owner;
use crate::leaf::LEAF_PAGES;
use crate::object::{Inner, Object};
use crate::page::Page;
use crate::{Pmap, Vm};

/// What a page that isn't here is a copy of: the same page of this object.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) object: Arc<Object>,
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
    /// Gives the contents of a source's page to the copies that lack it. The page is resident and its leaf is not locked.
    pub(crate) fn push(&self, source: &mut Inner, page: u64) -> Result<(), NotPushed> {
        if source.copies.is_empty() {
            return Ok(());
        }
        source.copies.retain(|copy| copy.strong_count() > 0);
        let at = (page % LEAF_PAGES as u64) as usize;
        let Some(leaf) = source.leaf_if_any(page).map(|leaf| Arc::clone(leaf.arc())) else { return Ok(()) };
        for copy in &source.copies {
            let Some(copy) = copy.upgrade() else { continue };
            let Some(mut inner) = copy.try_lock() else { return Err(NotPushed(Outcome::Again)) };
            if !inner.source.as_ref().is_some_and(|source| source.covers(page)) {
                continue;
            }
            let target = self.own_leaf(&mut inner, page).clone();
            let mut target_inner = target.lock();
            if !target_inner.is_empty(at) {
                continue;
            }
            let Some(frame) = self.core.pool().allocate(Purpose::User) else { return Err(NotPushed(Outcome::Shortage)) };
            let copied = leaf.with(at, |cell| match cell.page {
                Page::Resident { frame: from, .. } | Page::Returning { frame: from, .. } => {
                    self.core.pool().copy(from, &frame);
                    self.frames.unmap(from.number());
                    true
                }
                _ => false,
            });
            if !copied {
                self.core.pool().free(frame);
                return Err(NotPushed(Outcome::Again));
            }
            self.frames.adopt(&frame, Owner::Leaf(Arc::downgrade(target.arc())));
            let _ = target_inner.replace(at, Page::Resident { frame, dirty: true, kept: false });
        }
        Ok(())
    }
}

impl Object {
    fn try_lock(&self) -> Option<spin::MutexGuard<'_, Inner>> {
        self.inner_mutex().try_lock()
    }
}
