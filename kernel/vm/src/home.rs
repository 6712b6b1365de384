//! Where a pager's answer goes: the pages of one object, or the anonymous pages that live at the default pager.

use alloc::sync::Arc;

use crate::core_state::Core;
use crate::leaf::{Cell, LEAF_PAGES};
use crate::object::{Object, PagerId};
use crate::swap::Resident;

/// The pages that one memory object at a pager stands for, by their numbers there.
#[derive(Clone)]
pub enum Home {
    /// An object with a pager of its own.
    Object(Arc<Object>),
    /// Anonymous memory.
    Swap,
}

impl Home {
    /// The pager's object.
    #[must_use]
    pub fn pager(&self) -> PagerId {
        match self {
            Self::Object(object) => object.pager_id().unwrap_or(PagerId::DEFAULT),
            Self::Swap => PagerId::DEFAULT,
        }
    }

    /// Works on a page, if there is any record of it.
    pub(crate) fn with<R>(&self, core: &Core, page: u64, work: impl FnOnce(Cell<'_>) -> R) -> Option<R> {
        match self {
            Self::Object(object) => {
                let leaf = object.existing_leaf(page)?;
                Some(leaf.with((page % LEAF_PAGES as u64) as usize, work))
            }
            Self::Swap => {
                let resident = core.swap.lock().resident(page);
                match resident? {
                    Resident::Leaf(leaf, at) => Some(leaf.with(at, work)),
                    Resident::Page(page) => Some(page.with(false, work)),
                }
            }
        }
    }
}
