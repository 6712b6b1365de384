//! Where anonymous pages live at the default pager: one memory object with a sparse offset space, given out in extents of 64 pages.
//!
//! The kernel keeps the map (an extent belongs to a leaf, or to pages that were shared out of one) and the pager only moves blocks, so no
//! copy, fork or collapse ever moves anything at the pager. An extent that holds nothing any more is reported by a discard and then used again.

#[cfg(any(test, feature = "fake"))]
pub(crate) mod check;
mod extents;

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};

use crate::NoMemory;
use crate::leaf::{LEAF_PAGES, Leaf, SharedPage};
use extents::{Chain, Extents};

/// A page number in the swap object.
pub(crate) type HomePage = u64;

enum Owner {
    /// On the free list.
    Free,
    /// Waits for what is owed, then for its discard.
    Dead,
    /// Being discarded.
    Discarding,
    /// Page i of the leaf is page i here.
    Leaf(Weak<Leaf>),
    /// Single pages.
    Pages(Box<[Weak<SharedPage>; LEAF_PAGES]>),
}

struct Extent {
    owner: Owner,
    /// The leaf, or the shared pages that live here, and one more while pages are still being given out of it.
    users: u32,
    /// A bit for each page that the pager has been asked about and owes an answer for. Until it came the extent is not used again: a late answer
    /// would be taken for one about the page that lives there next.
    owed: u64,
    /// The next of the same chain.
    next: u32,
}

/// The extents.
pub(crate) struct SwapSpace {
    extents: Extents,
    free: Chain,
    dead: Chain,
    /// The extent that shared pages are given homes in, and the next page of it.
    open: Option<(u32, usize)>,
}

/// Who has a home page.
pub(crate) enum Resident {
    Leaf(Arc<Leaf>, usize),
    Page(Arc<SharedPage>),
}

impl SwapSpace {
    pub(crate) const fn new() -> Self {
        Self { extents: Extents::new(), free: Chain::new(), dead: Chain::new(), open: None }
    }

    /// Makes room early.
    pub(crate) fn prepare(&mut self) -> Result<(), NoMemory> {
        self.extents.prepare()
    }

    fn claim(&mut self, owner: Owner, users: u32) -> Result<u32, NoMemory> {
        let extent = Extent::used(owner, users);
        match self.free.pop(&self.extents) {
            Some(number) => {
                self.extents[number] = extent;
                Ok(number)
            }
            None => self.extents.push(extent),
        }
    }

    /// An extent for a leaf.
    pub(crate) fn claim_for_leaf(&mut self, leaf: Weak<Leaf>) -> Result<u32, NoMemory> {
        self.claim(Owner::Leaf(leaf), 1)
    }

    /// A home for a shared page that never had one; consecutive calls give consecutive pages.
    pub(crate) fn claim_for_page(&mut self, page: Weak<SharedPage>) -> Result<HomePage, NoMemory> {
        let (extent, at) = match self.open.take() {
            Some(open) => open,
            None => (self.claim(Owner::Pages(Box::new([const { Weak::new() }; LEAF_PAGES])), 1)?, 0),
        };
        let record = &mut self.extents[extent];
        record.users += 1;
        if let Owner::Pages(pages) = &mut record.owner {
            pages[at] = page;
        }
        if at + 1 < LEAF_PAGES {
            self.open = Some((extent, at + 1))
        } else {
            self.release(extent)
        }
        Ok(u64::from(extent) * LEAF_PAGES as u64 + at as u64)
    }

    /// A leaf's pages become shared ones: its extent is theirs now.
    pub(crate) fn share_out(&mut self, extent: u32, pages: Box<[Weak<SharedPage>; LEAF_PAGES]>, users: u32) {
        let record = &mut self.extents[extent];
        record.owner = Owner::Pages(pages);
        record.users = users + 1;
        self.release(extent);
    }

    /// One user less.
    pub(crate) fn release(&mut self, extent: u32) {
        let record = &mut self.extents[extent];
        record.users -= 1;
        if record.users == 0 {
            record.owner = Owner::Dead;
            self.bury(extent);
        }
    }

    /// Nobody uses the extent: it is discarded when nothing is owed for it any more.
    fn bury(&mut self, extent: u32) {
        if self.extents[extent].owed == 0 {
            self.dead.push(&mut self.extents, extent);
        }
    }

    /// The pager is asked about a page.
    pub(crate) fn asked(&mut self, home: HomePage) {
        self.extents[(home / LEAF_PAGES as u64) as u32].owed |= 1 << (home % LEAF_PAGES as u64);
    }

    /// Whether the pager owes an answer about a page.
    pub(crate) fn owes(&self, home: HomePage) -> bool {
        self.extents[(home / LEAF_PAGES as u64) as u32].owed >> (home % LEAF_PAGES as u64) & 1 != 0
    }

    /// The pager answered. It may name any page whatever.
    pub(crate) fn answered(&mut self, home: HomePage) {
        let Ok(extent) = u32::try_from(home / LEAF_PAGES as u64) else { return };
        let Some(record) = self.extents.get_mut(extent.into()) else { return };
        let bit = 1 << (home % LEAF_PAGES as u64);
        if record.owed & bit != 0 {
            record.owed &= !bit;
            if matches!(record.owner, Owner::Dead) {
                self.bury(extent);
            }
        }
    }

    /// Extents that there were at a time.
    pub(crate) fn extents_ever(&self) -> u64 {
        self.extents.len() as u64
    }

    /// The pager is gone: what it owes for extents that nobody uses any more will not come.
    pub(crate) fn forgive(&mut self) {
        for extent in 0..self.extents.len() as u32 {
            let record = &mut self.extents[extent];
            if matches!(record.owner, Owner::Dead) && record.owed != 0 {
                record.owed = 0;
                self.bury(extent);
            }
        }
    }

    /// One user less of the extent of a page.
    pub(crate) fn release_page(&mut self, home: HomePage) {
        self.release((home / LEAF_PAGES as u64) as u32);
    }

    /// Whether there is an extent to discard.
    pub(crate) fn has_dead(&self) -> bool {
        !self.dead.is_empty()
    }

    /// An extent to discard.
    pub(crate) fn take_dead(&mut self) -> Option<u32> {
        let extent = self.dead.pop(&self.extents)?;
        self.extents[extent].owner = Owner::Discarding;
        Some(extent)
    }

    /// The extent was discarded.
    pub(crate) fn reuse(&mut self, extent: u32) {
        if let Some(record) = self.extents.get_mut(extent.into()).filter(|record| matches!(record.owner, Owner::Discarding)) {
            record.owner = Owner::Free;
            self.free.push(&mut self.extents, extent);
        }
    }

    /// Who lives at a home page. The caller drops it after the swap space's lock.
    pub(crate) fn resident(&self, home: HomePage) -> Option<Resident> {
        let at = (home % LEAF_PAGES as u64) as usize;
        match &self.extents.get(home / LEAF_PAGES as u64)?.owner {
            Owner::Leaf(leaf) => Some(Resident::Leaf(leaf.upgrade()?, at)),
            Owner::Pages(pages) => Some(Resident::Page(pages[at].upgrade()?)),
            Owner::Free | Owner::Dead | Owner::Discarding => None,
        }
    }
}
