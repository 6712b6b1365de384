//! Makes page-ins wait: what a slow disk or a far host looks like.

use alloc::collections::VecDeque;
use core::time::Duration;

use abi::vm::Protection;
use pager::{Control, Pager, Run};
use runtime::time;

use crate::forward::forward;

struct Waiting {
    until_ns: u64,
    object: Control,
    run: Run,
    access: Protection,
}

/// Hands page-ins on after so long, in the order they came.
pub struct Delay<P> {
    inner: P,
    delay_ns: u64,
    waiting: VecDeque<Waiting>,
}

impl<P> Delay<P> {
    /// Wraps a pager.
    #[must_use]
    pub fn new(inner: P, delay: Duration) -> Self {
        Self { inner, delay_ns: u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX), waiting: VecDeque::new() }
    }

    /// The pager inside.
    #[must_use]
    pub const fn inner(&self) -> &P {
        &self.inner
    }
}

impl<P: Pager> Pager for Delay<P> {
    forward!(create, init, adopt, data_unlock, data_return, return_request, discard, device_failed, lock_completed, supply_completed);
    forward!(gone, info, event);

    fn data_request(&mut self, object: &Control, run: Run, access: Protection) {
        if self.delay_ns == 0 {
            return self.inner.data_request(object, run, access);
        }
        let until_ns = time::now_ns().saturating_add(self.delay_ns);
        self.waiting.push_back(Waiting { until_ns, object: object.clone(), run, access });
    }

    fn terminate(&mut self, object: &Control) {
        self.waiting.retain(|waiting| waiting.object.object() != object.object());
        self.inner.terminate(object);
    }

    fn deadline(&self) -> Option<u64> {
        let own = self.waiting.front().map(|waiting| waiting.until_ns);
        own.into_iter().chain(self.inner.deadline()).min()
    }

    fn tick(&mut self) {
        let now = time::now_ns();
        while self.waiting.front().is_some_and(|waiting| waiting.until_ns <= now) {
            let Some(waiting) = self.waiting.pop_front() else { break };
            self.inner.data_request(&waiting.object, waiting.run, waiting.access);
        }
        if self.inner.deadline().is_some_and(|deadline| deadline <= now) {
            self.inner.tick();
        }
    }
}
