//! What all objects share: the frame pool, the swap space, the counters, and the list of pager objects that nobody uses any more.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicIsize, AtomicU32, AtomicU64, Ordering};
use spin::Mutex;

pub use abi::info::VmCounter as Counter;
use frames::Pool;

use crate::object::{PagerId, PagerPolicy};
use crate::swap::SwapSpace;

/// Lives as long as the kernel, so that a page can free its frame wherever it is dropped.
pub struct Core {
    pool: &'static Pool,
    pub(crate) swap: Mutex<SwapSpace>,
    unused: Mutex<Vec<PagerId>>,
    default_policy: Mutex<Option<PagerPolicy>>,
    /// Counts default pagers' comings and goings: odd while there is one.
    reign: AtomicU32,
    swap_full: AtomicBool,
    returning: AtomicIsize,
    counters: [AtomicU64; Counter::COUNT],
}

impl Core {
    /// For a machine with this RAM.
    #[must_use]
    pub const fn new(pool: &'static Pool) -> Self {
        Self {
            pool,
            swap: Mutex::new(SwapSpace::new()),
            unused: Mutex::new(Vec::new()),
            default_policy: Mutex::new(None),
            reign: AtomicU32::new(0),
            swap_full: AtomicBool::new(false),
            returning: AtomicIsize::new(0),
            counters: [const { AtomicU64::new(0) }; Counter::COUNT],
        }
    }

    /// The frames.
    pub const fn pool(&self) -> &'static Pool {
        self.pool
    }

    /// Counts.
    pub fn count(&self, counter: Counter, by: u64) {
        self.counters[counter as usize].fetch_add(by, Ordering::Relaxed);
    }

    /// A counter's value. Those of frames are read from the pool.
    pub fn counter(&self, counter: Counter) -> u64 {
        match counter {
            Counter::Free => self.pool.available() as u64,
            Counter::Total => self.pool.total() as u64,
            _ => self.counters[counter as usize].load(Ordering::Relaxed),
        }
    }

    /// What the default pager can do; none while there is no default pager.
    pub fn default_policy(&self) -> Option<PagerPolicy> {
        *self.default_policy.lock()
    }

    /// There is a default pager, or there isn't any more.
    pub fn set_default_policy(&self, policy: Option<PagerPolicy>) {
        let mut current = self.default_policy.lock();
        if current.is_some() != policy.is_some() {
            self.reign.fetch_add(1, Ordering::AcqRel);
        }
        *current = policy.map(PagerPolicy::limited);
    }

    /// Which default pager's time it is.
    pub(crate) fn reign(&self) -> u32 {
        self.reign.load(Ordering::Acquire)
    }

    /// Whether there is a default pager.
    pub(crate) fn has_default_pager(&self) -> bool {
        self.reign() % 2 == 1
    }

    /// The default pager said that it has no room. It may have some again when an extent was discarded.
    pub fn is_swap_full(&self) -> bool {
        self.swap_full.load(Ordering::Relaxed)
    }

    pub(crate) fn set_swap_full(&self, full: bool) {
        self.swap_full.store(full, Ordering::Relaxed);
    }

    /// Pages that wait for an answer to a return request.
    pub fn returning(&self) -> usize {
        usize::try_from(self.returning.load(Ordering::Relaxed)).unwrap_or(0)
    }

    pub(crate) fn add_returning(&self, pages: isize) {
        self.returning.fetch_add(pages, Ordering::Relaxed);
    }

    /// An object of a pager lost its last user.
    pub fn object_unused(&self, pager: PagerId) {
        self.unused.lock().push(pager);
    }

    /// Whether there is anything for [`Core::take_unused`] or [`Core::take_dead_extent`] to give.
    pub fn has_chores(&self) -> bool {
        !self.unused.lock().is_empty() || self.swap.lock().has_dead()
    }

    /// The next pager object that lost its last user. Look whether it has found a new one since.
    pub fn take_unused(&self) -> Option<PagerId> {
        self.unused.lock().pop()
    }

    /// The next extent of swap space that holds nothing any more: page number at the pager, and pages. The pager is told, then the
    /// extent is given to [`Core::extent_discarded`].
    pub fn take_dead_extent(&self) -> Option<u32> {
        self.swap.lock().take_dead()
    }

    /// The pager was told to forget an extent: it can be used again.
    pub fn extent_discarded(&self, extent: u32) {
        self.swap.lock().reuse(extent);
        self.set_swap_full(false);
    }
}
