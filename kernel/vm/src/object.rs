//! A memory object as the kernel keeps it: its pages, its pager, and its copies.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::ops::Deref;
use core::sync::atomic::{AtomicU32, Ordering};
use spin::{Mutex, MutexGuard};

use abi::Code;
use abi::policy::RUN_PAGES_MAX;
use frames::FrameNumber;

use crate::core_state::Core;
use crate::leaf::{LEAF_PAGES, Leaf, LeafRef};
use crate::source::Source;

/// A pager's object, as the nucleus numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PagerId(pub u64);

impl PagerId {
    /// The object that anonymous memory lives in at the default pager.
    pub const DEFAULT: Self = Self(0);
}

/// What a pager said of itself and its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagerPolicy {
    /// The most pages in a request.
    pub run_pages: u32,
    /// It answers return requests (`abi::policy::RETURN_REQUESTS`).
    pub return_requests: bool,
}

impl PagerPolicy {
    /// With a number of pages that requests may have.
    pub(crate) fn limited(self) -> Self {
        Self { run_pages: self.run_pages.clamp(1, RUN_PAGES_MAX), ..self }
    }
}

impl Default for PagerPolicy {
    fn default() -> Self {
        Self { run_pages: 1, return_requests: false }
    }
}

/// What stands behind an object.
pub(crate) enum Kind {
    Anonymous,
    Pager(PagerId),
    /// Frames that belong to a device: never paged.
    Device {
        first: FrameNumber,
        pages: u64,
    },
}

/// A memory object.
pub struct Object {
    core: &'static Core,
    kind: Kind,
    users: AtomicU32,
    /// What its pager said: apart from the rest, since page-out reads it with a leaf locked.
    pager: Mutex<Pager>,
    inner: Mutex<Inner>,
}

/// The state of an object's pager.
#[derive(Clone, Copy, Default)]
pub(crate) struct Pager {
    /// It said that it is ready.
    pub(crate) ready: bool,
    /// Why it will not answer any more.
    pub(crate) dead: Option<Code>,
    pub(crate) policy: PagerPolicy,
}

pub(crate) struct Inner {
    this: Weak<Object>,
    leaves: BTreeMap<u64, LeafRef>,
    /// What a page that isn't here is a copy of.
    pub(crate) source: Option<Source>,
    /// Copies that look here for what they don't have.
    pub(crate) copies: Vec<Weak<Object>>,
    /// Read-ahead: the page that a sequential reader would miss next, and the last run's pages.
    pub(crate) expected: u64,
    pub(crate) window: u32,
}

/// A use of an object by a map or a message. When the last one of a pager's object goes, its pager may be told.
pub struct ObjectRef(Arc<Object>);

impl ObjectRef {
    /// The object itself.
    #[must_use]
    pub const fn arc(&self) -> &Arc<Object> {
        &self.0
    }

    /// Whether this is its only use.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.0.users.load(Ordering::Acquire) == 1
    }
}

impl Clone for ObjectRef {
    fn clone(&self) -> Self {
        Object::used(&self.0)
    }
}

impl Drop for ObjectRef {
    fn drop(&mut self) {
        if self.0.users.fetch_sub(1, Ordering::AcqRel) == 1
            && let Kind::Pager(id) = self.0.kind
        {
            self.0.core.object_unused(id);
        }
    }
}

impl Deref for ObjectRef {
    type Target = Object;
    fn deref(&self) -> &Object {
        &self.0
    }
}

impl Object {
    fn with_kind(core: &'static Core, kind: Kind) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            core,
            kind,
            users: AtomicU32::new(0),
            pager: Mutex::new(Pager::default()),
            inner: Mutex::new(Inner {
                this: Weak::clone(this),
                leaves: BTreeMap::new(),
                source: None,
                copies: Vec::new(),
                expected: 0,
                window: 0,
            }),
        })
    }

    /// Zero-filled memory.
    #[must_use]
    pub fn anonymous(core: &'static Core) -> ObjectRef {
        Self::used(&Self::with_kind(core, Kind::Anonymous))
    }

    /// An object of a pager that isn't ready yet.
    #[must_use]
    pub fn with_pager(core: &'static Core, pager: PagerId) -> Arc<Self> {
        Self::with_kind(core, Kind::Pager(pager))
    }

    /// Frames of a device, which outlive the object.
    #[must_use]
    pub fn device(core: &'static Core, first: FrameNumber, pages: u64) -> Arc<Self> {
        Self::with_kind(core, Kind::Device { first, pages })
    }

    /// A use of it.
    #[must_use]
    pub fn used(this: &Arc<Self>) -> ObjectRef {
        this.users.fetch_add(1, Ordering::AcqRel);
        ObjectRef(Arc::clone(this))
    }

    /// How many use it.
    #[must_use]
    pub fn users(&self) -> u32 {
        self.users.load(Ordering::Acquire)
    }

    /// Whether anybody uses it.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.users.load(Ordering::Acquire) != 0
    }

    /// Its pager's number, if it has a pager of its own.
    #[must_use]
    pub const fn pager_id(&self) -> Option<PagerId> {
        match self.kind {
            Kind::Pager(id) => Some(id),
            _ => None,
        }
    }

    /// Whether it is a device's.
    #[must_use]
    pub const fn is_device(&self) -> bool {
        matches!(self.kind, Kind::Device { .. })
    }

    pub(crate) const fn kind(&self) -> &Kind {
        &self.kind
    }

    pub(crate) const fn inner_mutex(&self) -> &Mutex<Inner> {
        &self.inner
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// What threads wait for until the pager is ready.
    #[must_use]
    pub fn ready_key(&self) -> u64 {
        core::ptr::from_ref(self).addr() as u64
    }

    /// The pager is ready.
    pub fn set_ready(&self) {
        self.pager.lock().ready = true;
    }

    /// Whether its pager said that it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.pager().ready
    }

    /// Whether its pager can be asked.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let pager = self.pager();
        pager.ready && pager.dead.is_none()
    }

    /// The pager said more of itself.
    pub fn set_policy(&self, policy: PagerPolicy) {
        self.pager.lock().policy = policy.limited();
    }

    /// What its pager said.
    #[must_use]
    pub fn policy(&self) -> PagerPolicy {
        self.pager().policy
    }

    /// Whether its pager died.
    pub(crate) fn is_dead(&self) -> bool {
        self.pager().dead.is_some()
    }

    pub(crate) fn pager(&self) -> Pager {
        *self.pager.lock()
    }

    pub(crate) fn set_dead(&self, code: Code) {
        self.pager.lock().dead = Some(code);
    }

    /// The first page of the first leaf that reaches past `page`.
    pub(crate) fn next_leaf(&self, page: u64) -> Option<u64> {
        self.lock().leaves.range(page / LEAF_PAGES as u64..).next().map(|(number, _)| number * LEAF_PAGES as u64)
    }

    /// The leaves of a range, to look at, with the numbers of their first pages.
    pub(crate) fn leaves_of(&self, first: u64, end: u64) -> Vec<(u64, Arc<Leaf>)> {
        let leaves = first / LEAF_PAGES as u64..end.div_ceil(LEAF_PAGES as u64);
        self.lock().leaves.range(leaves).map(|(number, leaf)| (number * LEAF_PAGES as u64, Arc::clone(leaf.arc()))).collect()
    }

    /// A leaf that exists.
    pub(crate) fn existing_leaf(&self, page: u64) -> Option<Arc<Leaf>> {
        self.lock().leaves.get(&(page / LEAF_PAGES as u64)).map(|leaf| Arc::clone(leaf.arc()))
    }
}

impl Inner {
    /// The leaf of a page, made if it wasn't there.
    pub(crate) fn leaf(&mut self, core: &'static Core, page: u64) -> &mut LeafRef {
        let number = page / LEAF_PAGES as u64;
        let this = &self.this;
        self.leaves.entry(number).or_insert_with(|| {
            let is_pagers = this.upgrade().is_some_and(|object| object.pager_id().is_some());
            LeafRef::new(core, is_pagers.then(|| (Weak::clone(this), number * LEAF_PAGES as u64)))
        })
    }

    /// The leaf of a page, if it is there.
    pub(crate) fn leaf_if_any(&self, page: u64) -> Option<&LeafRef> {
        self.leaves.get(&(page / LEAF_PAGES as u64))
    }

    /// Shares the leaves of a range of pages.
    pub(crate) fn share_leaves(&self, first: u64, end: u64) -> BTreeMap<u64, LeafRef> {
        let leaves = first / LEAF_PAGES as u64..end.div_ceil(LEAF_PAGES as u64);
        self.leaves.range(leaves).map(|(number, leaf)| (*number, leaf.clone())).collect()
    }

    pub(crate) fn set_leaves(&mut self, leaves: BTreeMap<u64, LeafRef>) {
        self.leaves = leaves;
    }

    /// Takes the whole leaves inside a range out.
    pub(crate) fn take_leaves(&mut self, first: u64, end: u64) -> BTreeMap<u64, LeafRef> {
        let (from, to) = (first.div_ceil(LEAF_PAGES as u64), end / LEAF_PAGES as u64);
        if from >= to {
            return BTreeMap::new();
        }
        let mut inside = self.leaves.split_off(&from);
        let mut after = inside.split_off(&to);
        self.leaves.append(&mut after);
        inside
    }
}
