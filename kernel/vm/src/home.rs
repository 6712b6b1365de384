//! Where a pager's answer goes: the pages of one object, or the anonymous pages that live at the default pager.

use alloc::sync::Arc;

use crate::core_state::Core;
use crate::leaf::{Cell, LEAF_PAGES};
use crate::object::{Object, PagerId};
use crate::swap::{HomePage, Resident};

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

    /// What those wait for who wait for a page's pager. It can be told from the answer alone, so that they wake even if the page is gone by then.
    /// Two pages may have one key: whoever wakes looks again.
    pub(crate) fn key(&self, page: u64) -> u64 {
        match self {
            Self::Object(object) => key_in(Arc::as_ptr(object), page),
            Self::Swap => swap_key(page),
        }
    }

    /// Whether the pager is gone: nothing that it says counts any more.
    pub(crate) fn is_dead(&self) -> bool {
        matches!(self, Self::Object(object) if object.is_dead())
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

/// The key of a page of a pager's object.
pub(crate) fn key_in(object: *const Object, page: u64) -> u64 {
    (object.addr() as u64) ^ spread(page)
}

/// The key of a page of the swap space.
pub(crate) const fn swap_key(page: HomePage) -> u64 {
    spread(page)
}

/// Different numbers for different pages: the factor is odd.
const fn spread(page: u64) -> u64 {
    page.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
