//! When memory is short: runs the page-out engine until enough is free or on its way, and decides when nothing can be done any more.

use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use crate::kernel::Kernel;
use crate::machine::Machine;

/// What threads wait for when there is no memory. No page has this key: it is no address.
pub(crate) const MEMORY_KEY: u64 = 1;

/// What a search for memory came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// There is some.
    Memory,
    /// Some is on its way: wait.
    Coming,
    /// There is none, and none will come.
    None,
}

/// How long page-out rests between two exceptions after it found nothing.
const REST_NS: u64 = 5_000_000;
/// How long no memory may be found before a thread is told.
const PATIENCE_NS: u64 = 2_000_000_000;
/// Not since any time.
const NEVER: u64 = u64::MAX;

/// Steps that find nothing before the hand has certainly been over all frames often enough.
const ROUNDS: usize = 4;

impl<M: Machine> Kernel<M> {
    /// Between two exceptions, if memory is low: a few steps.
    pub(crate) fn page_out_if_needed(&self) {
        if self.pool.is_low() && self.machine.now() >= self.page_out_rest.load(Ordering::Relaxed) && !self.page_out_steps(self.low_goal()) {
            self.page_out_rest.store(self.machine.now() + REST_NS, Ordering::Relaxed);
        }
        self.wake_memory_waiters_if_any();
    }

    /// An operation found no memory.
    pub(crate) fn find_memory(&self) -> Found {
        let progress = self.page_out_steps(self.low_goal());
        if self.pool.available() > self.pool.reserves().user {
            self.hopeless_since.store(NEVER, Ordering::Relaxed);
            return Found::Memory;
        }
        if progress || self.vm.core().returning() > 0 || self.transfers_pending() {
            self.hopeless_since.store(NEVER, Ordering::Relaxed);
            return Found::Coming;
        }
        // Dirty pages that have nowhere to go stay for ever; pages that are merely all in use do not.
        let core = self.vm.core();
        let nowhere = core.is_swap_full() || core.default_policy().is_none();
        let since = self.hopeless_since.fetch_min(self.machine.now(), Ordering::Relaxed);
        if nowhere || since != NEVER && self.machine.now() - since > PATIENCE_NS { Found::None } else { Found::Coming }
    }

    /// Frames to free or send home.
    fn low_goal(&self) -> usize {
        let high = self.pool.reserves().high;
        high.saturating_sub(self.pool.available()).saturating_sub(self.vm.core().returning())
    }

    /// Evicts until the goal is met or nothing is left to evict. True if anything was found.
    fn page_out_steps(&self, goal: usize) -> bool {
        let Some(_turn) = self.page_out.try_lock() else { return true };
        let before = self.pool.available() + self.vm.core().returning();
        let steps = self.pool.span().div_ceil(vm::PAGE_OUT_STEP) * ROUNDS;
        let mut found = false;
        for _ in 0..steps {
            let now = self.pool.available() + self.vm.core().returning();
            if now >= before + goal {
                break;
            }
            let mut actions = Vec::new();
            found |= self.vm.page_out(&mut actions);
            self.act(actions);
        }
        found
    }

    fn wake_memory_waiters_if_any(&self) {
        if self.pool.available() > self.pool.reserves().user || self.is_hopeless() {
            self.wake_memory_waiters();
        }
    }

    /// Whether whoever waits for memory has waited long enough, in vain.
    fn is_hopeless(&self) -> bool {
        let since = self.hopeless_since.load(Ordering::Relaxed);
        since != NEVER && self.machine.now().saturating_sub(since) > PATIENCE_NS
    }
}
