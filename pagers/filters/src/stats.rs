//! Counts what the pager inside is asked, and how long it takes over it.

use abi::Code;
use abi::vm::Protection;
use pager::{Control, Info, Pager, Returned, Run};
use runtime::{Pages, println, time};

use crate::forward::forward;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub requests: u64,
    pub pages_in: u64,
    pub returns: u64,
    pub pages_out: u64,
    pub discards: u64,
    pub failures: u64,
    /// Time inside the pager for page-ins and page-outs.
    pub busy_ns: u64,
    pub longest_ns: u64,
}

/// Counts; prints the counts when somebody asks for default_pager_info.
pub struct Stats<P> {
    inner: P,
    counts: Counts,
}

impl<P> Stats<P> {
    /// Wraps a pager.
    #[must_use]
    pub fn new(inner: P) -> Self {
        Self { inner, counts: Counts::default() }
    }

    /// The pager inside.
    #[must_use]
    pub const fn inner(&self) -> &P {
        &self.inner
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    fn timed(&mut self, act: impl FnOnce(&mut P)) {
        let began = time::now_ns();
        act(&mut self.inner);
        let took = time::now_ns() - began;
        self.counts.busy_ns += took;
        self.counts.longest_ns = self.counts.longest_ns.max(took);
    }
}

impl<P: Pager> Pager for Stats<P> {
    forward!(create, init, adopt, data_unlock, lock_completed, supply_completed, terminate, gone, event, deadline, tick);

    fn data_request(&mut self, object: &Control, run: Run, access: Protection) {
        self.counts.requests += 1;
        self.counts.pages_in += run.pages();
        self.timed(|inner| inner.data_request(object, run, access));
    }

    fn data_return(&mut self, object: &Control, run: Run, pages: Pages, how: Returned) {
        self.counts.returns += 1;
        self.counts.pages_out += run.pages();
        self.timed(|inner| inner.data_return(object, run, pages, how));
    }

    fn return_request(&mut self, object: &Control, run: Run) {
        self.counts.returns += 1;
        self.counts.pages_out += run.pages();
        self.timed(|inner| inner.return_request(object, run));
    }

    fn discard(&mut self, object: &Control, run: Run) {
        self.counts.discards += 1;
        self.inner.discard(object, run);
    }

    fn device_failed(&mut self, object: &Control, run: Run, result: Code) {
        self.counts.failures += 1;
        self.inner.device_failed(object, run, result);
    }

    fn info(&mut self) -> Option<Info> {
        println!("{:?}", self.counts);
        self.inner.info()
    }
}
