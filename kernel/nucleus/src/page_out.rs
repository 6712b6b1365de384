//! When memory is short: runs the page-out engine until enough is free or on its way, and decides when nothing can be done any more.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use abi::Code;
use vm::Outcome;

use crate::fault::Next;
use crate::kernel::Kernel;
use crate::mach_msg::trap_return;
use crate::machine::Machine;
use crate::run::Step;
use crate::thread::{Body, Resume, Thread};

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

/// What one trap on each of eight CPUs can need at most for its small records.
const ROOM_FRAMES: usize = 16;

/// Steps that find nothing before the hand has certainly been over all frames often enough.
const ROUNDS: usize = 4;

impl<M: Machine> Kernel<M> {
    /// Between two exceptions, if memory is low: a few steps.
    pub(crate) fn page_out_if_needed(&self) {
        if self.pool.is_low() && self.machine.now() >= self.page_out_rest.load(Ordering::Relaxed) && !self.page_out_steps(self.low_goal()) {
            self.page_out_rest.store(self.machine.now() + REST_NS, Ordering::Relaxed);
            // Whoever waits doesn't look again before something changes: this is a look for them.
            if self.memory_waiters.load(Ordering::Relaxed) && self.vm.core().returning() == 0 && !self.transfers_pending() {
                self.hopeless_since.fetch_min(self.machine.now(), Ordering::Relaxed);
            }
        }
        self.wake_memory_waiters_if_any();
    }

    /// Whether there is memory for the kernel's records of what a thread asks for: tables, messages, names. The last reserve is for what frees
    /// memory, so a pager always goes on: an answer that it could not send would never come.
    fn has_room(&self, thread: &Thread<M>) -> bool {
        self.pool.available() >= ROOM_FRAMES || thread.task.map.is_pagers()
    }

    /// Likewise, as an engine says it.
    pub(crate) fn room(&self, thread: &Thread<M>) -> Outcome {
        if self.has_room(thread) { Outcome::Done } else { Outcome::Shortage }
    }

    /// A trap found no room: waits for some and begins it again, or ends it with a code if there will be none.
    pub(crate) fn await_room(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>, refusal: Code) -> Step {
        let _ = self.take_delivery(thread);
        let next = self.until(thread, || self.room(thread));
        body.resume = Resume::Trap;
        match next {
            Next::Go => Step::Continue,
            Next::Leave => Step::Leave,
            Next::Refused(_) => trap_return(body, refusal),
        }
    }

    /// An operation found no memory.
    pub(crate) fn find_memory(&self) -> Found {
        // Not what another CPU finds meanwhile, which may be nothing: bounded work, so it is waited for.
        let progress = self.page_out_turn(&self.page_out.lock(), self.low_goal());
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
        self.page_out.try_lock().is_none_or(|turn| self.page_out_turn(&turn, goal))
    }

    fn page_out_turn(&self, _turn: &spin::MutexGuard<'_, ()>, goal: usize) -> bool {
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
