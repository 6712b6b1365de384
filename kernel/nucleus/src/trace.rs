//! The trace of pages' lives: a line on the console for each step, if it is on (`abi::trace`).

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use abi::trace::Step;

use crate::machine::Machine;

/// Whether to trace, and how many lines are left for each step: the console is slow, and the first steps are the most frequent.
pub(crate) struct Trace {
    on: AtomicBool,
    /// A page had to come from a pager.
    missed: AtomicBool,
    left: [AtomicU32; Step::ALL.len()],
}

const LINES: u32 = 32;

impl Trace {
    pub(crate) const fn new(on: bool) -> Self {
        Self { on: AtomicBool::new(on), missed: AtomicBool::new(false), left: [const { AtomicU32::new(LINES) }; Step::ALL.len()] }
    }

    fn refill(&self) {
        self.left.iter().for_each(|left| left.store(LINES, Ordering::Relaxed));
    }

    pub(crate) fn set(&self, on: bool) {
        self.refill();
        self.missed.store(false, Ordering::Relaxed);
        self.on.store(on, Ordering::Relaxed);
    }

    /// A page took a step; `at` is its address, or its offset at the pager.
    pub(crate) fn step<M: Machine>(&self, machine: &M, step: Step, at: u64) {
        if !self.on.load(Ordering::Relaxed) {
            return;
        }
        // Life before the first page comes from a pager is all zeroes, and would use the lines up.
        if step == Step::Missed && !self.missed.swap(true, Ordering::Relaxed) {
            self.refill();
        }
        let left = self.left[step as usize - 1].fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_ok() {
            let line = alloc::format!("@trace {} {} ns {at:#x}\n", step.name(), machine.now());
            machine.console(line.as_bytes());
        }
    }
}
