//! 64 consecutive pages of an object, and the pages that copies share.
//!
//! A copy of an object holds the same leaves. The first write through either splits the leaf: its pages move into [`SharedPage`]s, which
//! both leaves then hold; the first write to one of those copies that page alone. So a page is found in two steps at most, after any
//! number of copies, and what it costs to write one doesn't depend on them either.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use core::ops::Deref;
use core::sync::atomic::{AtomicU32, Ordering};
use spin::Mutex;

use frames::Frame;

use crate::core_state::Core;
use crate::frame_table::Owner;
use crate::home::{Home, key_in, swap_key};
use crate::object::Object;
use crate::page::Page;
use crate::swap::HomePage;

/// Pages in a leaf.
pub(crate) const LEAF_PAGES: usize = 64;

/// A leaf. Objects hold it by [`LeafRef`], which counts them; frame records and the swap space hold it weakly.
pub(crate) struct Leaf {
    core: &'static Core,
    /// The pager's object that it is part of, and its first page there. Anonymous memory has none, and lives in the swap space.
    part_of: Option<(Weak<Object>, u64)>,
    holders: AtomicU32,
    inner: Mutex<LeafInner>,
}

pub(crate) struct LeafInner {
    /// Where its pages live in the swap space; not for objects with a pager of their own.
    pub(crate) extent: Option<u32>,
    pages: [Page; LEAF_PAGES],
    shared: Option<Box<[Option<SharedRef>; LEAF_PAGES]>>,
}

/// A page that several leaves hold.
pub(crate) struct SharedPage {
    core: &'static Core,
    holders: AtomicU32,
    pub(crate) inner: Mutex<SharedInner>,
}

pub(crate) struct SharedInner {
    pub(crate) home: Option<HomePage>,
    pub(crate) page: Page,
}

macro_rules! counted {
    ($(#[$doc:meta])* $name:ident of $target:ident) => {
        $(#[$doc])*
        pub(crate) struct $name(Arc<$target>);
        impl $name {
            /// Whether this is the only one.
            pub(crate) fn is_exclusive(&self) -> bool {
                self.0.holders.load(Ordering::Acquire) == 1
            }
            pub(crate) const fn arc(&self) -> &Arc<$target> {
                &self.0
            }
        }
        #[cfg(any(test, feature = "fake"))]
        impl $target {
            /// How many hold it.
            pub(crate) fn holders(&self) -> u32 {
                self.holders.load(Ordering::Acquire)
            }
        }
        impl Clone for $name {
            fn clone(&self) -> Self {
                self.0.holders.fetch_add(1, Ordering::AcqRel);
                Self(Arc::clone(&self.0))
            }
        }
        impl Drop for $name {
            fn drop(&mut self) {
                self.0.holders.fetch_sub(1, Ordering::AcqRel);
            }
        }
        impl Deref for $name {
            type Target = $target;
            fn deref(&self) -> &$target {
                &self.0
            }
        }
    };
}

counted! { /// An object's hold on a leaf.
LeafRef of Leaf }
counted! { /// A leaf's hold on a shared page.
SharedRef of SharedPage }

/// A page with the locks that guard it held.
pub(crate) struct Cell<'a> {
    pub(crate) page: &'a mut Page,
    /// What its waiters wait for.
    pub(crate) key: u64,
    /// Whether no other copy has it, so that it may be written. It stays so while the object that holds the leaf is locked.
    pub(crate) exclusive: bool,
    /// What its frame's record says.
    pub(crate) owner: Owner,
}

impl LeafRef {
    /// An empty leaf.
    pub(crate) fn new(core: &'static Core, part_of: Option<(Weak<Object>, u64)>) -> Self {
        let inner = LeafInner { extent: None, pages: [const { Page::Empty }; LEAF_PAGES], shared: None };
        Self(Arc::new(Leaf { core, part_of, holders: AtomicU32::new(1), inner: Mutex::new(inner) }))
    }

    /// A leaf of the caller's own with the same contents. `adopt` is told of frames whose owner is a shared page from now on.
    pub(crate) fn split(&self, mut adopt: impl FnMut(&Frame, Owner)) -> Self {
        let mut inner = self.inner.lock();
        let extent = inner.extent.take();
        let mut homes: Option<Box<[Weak<SharedPage>; LEAF_PAGES]>> = extent.map(|_| Box::new([const { Weak::new() }; LEAF_PAGES]));
        let mut users = 0;
        let LeafInner { pages, shared, .. } = &mut *inner;
        let table = shared.get_or_insert_with(|| Box::new([const { None }; LEAF_PAGES]));
        for (at, page) in pages.iter_mut().enumerate() {
            if matches!(page, Page::Empty | Page::Shared) {
                continue;
            }
            let page = core::mem::replace(page, Page::Shared);
            let home = extent.filter(|_| page.is_at_home()).map(|extent| page_of(extent, at));
            let shared = SharedRef(Arc::new(SharedPage {
                core: self.core,
                holders: AtomicU32::new(1),
                inner: Mutex::new(SharedInner { home, page }),
            }));
            if let (Some(homes), Some(_)) = (&mut homes, home) {
                homes[at] = Arc::downgrade(shared.arc());
                users += 1;
            }
            if let Page::Resident { frame, .. } | Page::Returning { frame, .. } = &shared.inner.lock().page {
                adopt(frame, Owner::Page(Arc::downgrade(shared.arc())));
            }
            table[at] = Some(shared);
        }
        if let (Some(extent), Some(homes)) = (extent, homes) {
            self.core.swap.lock().share_out(extent, homes, users);
        }
        let mut copies = [const { Page::Empty }; LEAF_PAGES];
        for (copy, page) in copies.iter_mut().zip(pages.iter()) {
            if matches!(page, Page::Shared) {
                *copy = Page::Shared;
            }
        }
        let inner = LeafInner { extent: None, pages: copies, shared: Some(table.clone()) };
        Self(Arc::new(Leaf { core: self.core, part_of: None, holders: AtomicU32::new(1), inner: Mutex::new(inner) }))
    }
}

/// The n-th page of an extent.
fn page_of(extent: u32, at: usize) -> HomePage {
    u64::from(extent) * LEAF_PAGES as u64 + at as u64
}

impl Leaf {
    /// Locks the leaf and works on the page in one of its slots, its own or a shared one.
    pub(crate) fn with<R>(self: &Arc<Self>, at: usize, work: impl FnOnce(Cell<'_>) -> R) -> R {
        let mut inner = self.inner.lock();
        self.with_locked(&mut inner, at, work)
    }

    /// Likewise, the leaf being locked.
    pub(crate) fn with_locked<R>(self: &Arc<Self>, inner: &mut LeafInner, at: usize, work: impl FnOnce(Cell<'_>) -> R) -> R {
        if let Some(shared) = inner.shared_at(at) {
            let exclusive = shared.is_exclusive() && self.is_exclusive();
            return shared.arc().with(exclusive, work);
        }
        let key = self.key(inner, at);
        let exclusive = self.is_exclusive();
        work(Cell { page: &mut inner.pages[at], key, exclusive, owner: Owner::Leaf(Arc::downgrade(self)) })
    }

    /// Whether one object holds it. Stable only while that object is locked.
    fn is_exclusive(&self) -> bool {
        self.holders.load(Ordering::Acquire) == 1
    }

    /// What waiters for a page of its own wait for: that of the page's home. A page without a home is waited for by nobody.
    fn key(&self, inner: &LeafInner, at: usize) -> u64 {
        match (inner.extent, &self.part_of) {
            (Some(extent), _) => swap_key(page_of(extent, at)),
            (None, Some((object, first))) => key_in(object.as_ptr(), first + at as u64),
            (None, None) => 0,
        }
    }

    /// Where its pages go when they are dirty; none if the object they are part of is gone. The default pager adopts what is in RAM of
    /// an object whose pager died.
    pub(crate) fn pager_home(&self) -> Option<Home> {
        match &self.part_of {
            None => Some(Home::Swap),
            Some((object, _)) => {
                let object = object.upgrade()?;
                Some(if object.is_dead() { Home::Swap } else { Home::Object(object) })
            }
        }
    }

    /// A page's number at its pager, which is `home`'s; given now if it had none.
    pub(crate) fn home_page(self: &Arc<Self>, home: &Home, locked: &mut LeafInner, at: usize) -> Option<u64> {
        if let (Home::Object(_), Some((_, first))) = (home, &self.part_of) {
            return Some(first + at as u64);
        }
        if locked.extent.is_none() {
            locked.extent = self.core.swap.lock().claim_for_leaf(Arc::downgrade(self)).ok();
        }
        locked.home(at)
    }

    /// Locks the leaf for several steps.
    pub(crate) fn lock(&self) -> spin::MutexGuard<'_, LeafInner> {
        self.inner.lock()
    }
}

impl SharedPage {
    /// Locks the page and works on it.
    pub(crate) fn with<R>(self: &Arc<Self>, exclusive: bool, work: impl FnOnce(Cell<'_>) -> R) -> R {
        let mut inner = self.inner.lock();
        let key = inner.home.map_or(0, swap_key);
        work(Cell { page: &mut inner.page, key, exclusive, owner: Owner::Page(Arc::downgrade(self)) })
    }
}

impl LeafInner {
    pub(crate) fn shared_at(&self, at: usize) -> Option<&SharedRef> {
        self.shared.as_ref().and_then(|table| table[at].as_ref())
    }

    /// Puts a page of the leaf's own in a slot, letting go of what was there.
    pub(crate) fn replace(&mut self, at: usize, page: Page) -> (Page, Option<SharedRef>) {
        let shared = self.shared.as_mut().and_then(|table| table[at].take());
        (core::mem::replace(&mut self.pages[at], page), shared)
    }

    /// The page in a slot, if it isn't a shared one.
    #[cfg(any(test, feature = "fake"))]
    pub(crate) const fn own_page(&self, at: usize) -> &Page {
        &self.pages[at]
    }

    /// Whether a slot is empty.
    pub(crate) const fn is_empty(&self, at: usize) -> bool {
        matches!(self.pages[at], Page::Empty)
    }

    /// Where a page lives in the swap space, if it has a home already.
    pub(crate) fn home(&self, at: usize) -> Option<HomePage> {
        match self.shared_at(at) {
            Some(shared) => shared.inner.lock().home,
            None => self.extent.map(|extent| page_of(extent, at)),
        }
    }
}

impl Drop for LeafInner {
    fn drop(&mut self) {
        // Frames are freed in Leaf's drop, which knows the pool.
        debug_assert!(self.pages.iter().all(|page| !matches!(page, Page::Resident { .. } | Page::Returning { .. })));
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        for page in &mut inner.pages {
            page.discard(self.core);
        }
        if let Some(extent) = inner.extent.take() {
            self.core.swap.lock().release(extent);
        }
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        inner.page.discard(self.core);
        if let Some(home) = inner.home.take() {
            self.core.swap.lock().release_page(home);
        }
    }
}
