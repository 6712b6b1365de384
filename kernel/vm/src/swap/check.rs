//! What must always hold of the extents: each is used by exactly those who live in it, and whoever waits for an answer keeps it from being reused.

use alloc::collections::{BTreeMap, BTreeSet};

use super::{HomePage, Owner, SwapSpace};
use crate::leaf::{LEAF_PAGES, Leaf, SharedPage};

/// Who lives in the swap space, as their leaves and pages say.
#[derive(Default)]
pub(crate) struct Residents {
    pub(crate) leaves: BTreeMap<u32, *const Leaf>,
    pub(crate) pages: BTreeMap<HomePage, *const SharedPage>,
    /// Pages that wait for the default pager.
    pub(crate) waiting: BTreeSet<HomePage>,
}

impl SwapSpace {
    /// Asserts it.
    pub(crate) fn check(&self, residents: &Residents) {
        let (mut leaves, mut pages) = (0, 0);
        for (number, extent) in (0..).zip(self.extents.iter()) {
            let open = u32::from(self.open.is_some_and(|(open, _)| open == number));
            let first = u64::from(number) * LEAF_PAGES as u64;
            match &extent.owner {
                Owner::Free => {
                    assert!(extent.users == 0 && self.free.contains(&self.extents, number), "a free extent {number} is not listed")
                }
                Owner::Discarding => assert!(extent.users == 0 && extent.owed == 0, "extent {number} is discarded while it is used"),
                Owner::Dead => {
                    assert_eq!(extent.users, 0);
                    assert_eq!(
                        extent.owed == 0,
                        self.dead.contains(&self.extents, number),
                        "a dead extent {number} is listed when nothing is owed"
                    );
                }
                Owner::Leaf(leaf) => {
                    leaves += 1;
                    assert_eq!(extent.users, 1);
                    assert_eq!(residents.leaves.get(&number), Some(&leaf.as_ptr()), "extent {number} is its leaf's");
                }
                Owner::Pages(slots) => {
                    let here: alloc::vec::Vec<_> = residents.pages.range(first..first + LEAF_PAGES as u64).collect();
                    pages += here.len();
                    assert_eq!(extent.users as usize, here.len() + open as usize, "users of extent {number}");
                    for (home, page) in here {
                        assert_eq!(slots[(home - first) as usize].as_ptr(), *page, "page {home} knows its resident");
                    }
                }
            }
        }
        assert_eq!((leaves, pages), (residents.leaves.len(), residents.pages.len()), "everybody who has a home lives there");
        for page in &residents.waiting {
            assert!(self.owes(*page), "page {page} waits for an answer that nobody owes");
        }
    }

    /// Extents that hold something.
    pub(crate) fn in_use(&self) -> usize {
        self.extents.iter().filter(|extent| extent.users > 0).count()
            - usize::from(self.open.is_some_and(|(e, _)| self.extents[e].users == 1))
    }
}
