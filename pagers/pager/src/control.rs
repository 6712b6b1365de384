//! The control of an object: all that a pager can say to the kernel about it.
//!
//! A control can be cloned and kept, so that answers may come later and in any order. What is said about an object that the kernel has
//! dropped goes nowhere, which is right: nobody waits for it.

use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::time::Duration;

use abi::call::mach::{
    memory_object_change_attributes, memory_object_data_error, memory_object_data_supply, memory_object_data_unavailable,
    memory_object_destroy, memory_object_lock_request, memory_object_ready,
};
use abi::call::pvmach_control::{
    memory_object_return_as_data, memory_object_return_refused, memory_object_return_to_device, memory_object_set_policy,
    memory_object_supply_from_device,
};
use abi::message::Port;
use abi::policy;
use abi::vm::{CopyStrategy, Protection};
use abi::{Code, Message};
use runtime::{Pages, SendRight, time};

use crate::{Book, Matched, ObjectId, Run, Tally};

/// What the kernel is told when an object becomes ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// May the kernel keep the object's pages after the last mapping is gone?
    pub may_cache: bool,
    pub copy_strategy: CopyStrategy,
    /// What the pager does beyond Mach's protocol; none leaves the kernel at Mach's.
    pub policy: Option<Policy>,
}

impl Default for Attributes {
    fn default() -> Self {
        Self { may_cache: false, copy_strategy: CopyStrategy::Delay, policy: None }
    }
}

/// The extension's half of the attributes; see `abi::policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Dirty pages are announced and stay with the kernel until the pager says where they go.
    pub return_requests: bool,
    /// The pager wants to know of pages that are needed no more.
    pub discards: bool,
    /// The longest run of one request.
    pub run_pages: u32,
    /// How long an answer may take; 0 is for ever.
    pub deadline_ms: u32,
    pub on_deadline: OnDeadline,
}

/// What the kernel does when an answer takes too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDeadline {
    /// Counts it, and waits.
    Wait,
    /// The faulting thread gets an exception.
    Error,
    /// The object is cut off from its pager.
    Adopt,
}

/// How pages are supplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Supply {
    /// Accesses that are not allowed before the pager unlocks them.
    pub lock: Protection,
    /// The pager keeps no copy: even clean pages come back.
    pub precious: bool,
    /// `Pager::supply_completed` is wanted.
    pub tell: bool,
}

/// What a lock request asks the kernel to do with pages that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// `abi::vm::{RETURN_NONE, RETURN_DIRTY, RETURN_ALL}`.
    pub should_return: u32,
    pub flush: bool,
    /// Forbidden accesses; none leaves them as they are.
    pub lock: Option<Protection>,
    /// `Pager::lock_completed` is wanted.
    pub tell: bool,
}

/// How often something is said again that the kernel had no memory for, and how long after.
const TRIES: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(1);

/// The control of one object, from its init to its terminate.
#[derive(Clone, Debug)]
pub struct Control {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    object: ObjectId,
    /// The object's own port, for answers of the kernel.
    object_port: u32,
    control: SendRight,
    requests: RefCell<Book>,
    returns: RefCell<Book>,
    tally: Rc<Cell<Tally>>,
}

impl Control {
    pub(crate) fn new(object: ObjectId, object_port: u32, control: SendRight, tally: Rc<Cell<Tally>>) -> Self {
        let (requests, returns) = (RefCell::new(Book::new()), RefCell::new(Book::new()));
        Self { inner: Rc::new(Inner { object, object_port, control, requests, returns, tally }) }
    }

    /// Which object.
    #[must_use]
    pub fn object(&self) -> ObjectId {
        self.inner.object
    }

    /// Pages that wait to be supplied.
    #[must_use]
    pub fn unanswered(&self) -> u64 {
        self.inner.requests.borrow().unanswered()
    }

    /// Pages that wait for a place to go.
    #[must_use]
    pub fn unreturned(&self) -> u64 {
        self.inner.returns.borrow().unanswered()
    }

    /// Since when the oldest open request waits.
    #[must_use]
    pub fn oldest_ns(&self) -> Option<u64> {
        let (requests, returns) = (self.inner.requests.borrow().oldest_ns(), self.inner.returns.borrow().oldest_ns());
        requests.into_iter().chain(returns).min()
    }

    /// The pages, moved to the kernel. They answer a request, or are read ahead.
    pub fn supply(&self, offset: u64, pages: Pages) {
        self.supply_with(offset, pages, Supply::default());
    }

    /// The pages, with conditions.
    pub fn supply_with(&self, offset: u64, pages: Pages, how: Supply) {
        let Some(run) = Run::new(offset, pages.size()) else { return self.count(|tally| tally.malformed += 1) };
        self.answered(run);
        let reply_to = if how.tell { Port::make_send_once(self.inner.object_port) } else { Port::NULL };
        let supply =
            |data| memory_object_data_supply::Request { offset, data, lock_value: how.lock.bits(), precious: how.precious, reply_to };
        let sent = pages.send(self.inner.control.name(), supply);
        if sent.is_err() {
            self.count(|tally| tally.unsent += 1);
        }
    }

    /// The pages are on a device, from this record on: the kernel fetches them.
    pub fn supply_from_device(&self, run: Run, device: &SendRight, record: u64) {
        self.answered(run);
        let (offset, length) = (run.offset(), run.length());
        self.say(&memory_object_supply_from_device::Request { offset, length, device: device.copy(), record });
    }

    /// There are no such pages: they are zero, or what an object below has.
    pub fn unavailable(&self, run: Run) {
        self.answered(run);
        self.say(&memory_object_data_unavailable::Request { offset: run.offset(), size: run.length() });
    }

    /// The pages can't be had.
    pub fn error(&self, run: Run, error: Code) {
        self.answered(run);
        self.say(&memory_object_data_error::Request { offset: run.offset(), size: run.length(), error });
    }

    /// Pages of a return request go to a device, from this record on. False if the kernel can't be told.
    pub fn return_to_device(&self, run: Run, device: &SendRight, record: u64) -> bool {
        self.returned(run);
        let (offset, length) = (run.offset(), run.length());
        self.say(&memory_object_return_to_device::Request { offset, length, device: device.copy(), record })
    }

    /// Pages of a return request shall come by `Pager::data_return`.
    pub fn return_as_data(&self, run: Run) {
        self.returned(run);
        self.say(&memory_object_return_as_data::Request { offset: run.offset(), length: run.length() });
    }

    /// Pages of a return request have no place: they stay with the kernel.
    pub fn refuse(&self, run: Run, error: Code) {
        self.returned(run);
        self.say(&memory_object_return_refused::Request { offset: run.offset(), length: run.length(), error });
    }

    /// Faults may come now.
    pub fn ready(&self, attributes: Attributes) {
        if let Some(policy) = attributes.policy {
            self.set_policy(policy);
        }
        let copy_strategy = attributes.copy_strategy as u32;
        self.say(&memory_object_ready::Request { may_cache: attributes.may_cache, copy_strategy });
    }

    /// What the pager does beyond Mach's protocol.
    pub fn set_policy(&self, policy: Policy) {
        let returns = if policy.return_requests { policy::RETURN_REQUESTS } else { 0 };
        let discards = if policy.discards { policy::DISCARDS } else { 0 };
        let on_deadline = match policy.on_deadline {
            OnDeadline::Wait => policy::ON_DEADLINE_WAIT,
            OnDeadline::Error => policy::ON_DEADLINE_ERROR,
            OnDeadline::Adopt => policy::ON_DEADLINE_ADOPT,
        };
        let (run_pages, deadline_ms) = (policy.run_pages.min(policy::RUN_PAGES_MAX), policy.deadline_ms);
        self.say(&memory_object_set_policy::Request { flags: returns | discards, run_pages, deadline_ms, on_deadline });
    }

    /// Cleans, flushes, locks or unlocks pages that the kernel has.
    pub fn lock_request(&self, run: Run, lock: Lock) {
        let reply_to = if lock.tell { Port::make_send_once(self.inner.object_port) } else { Port::NULL };
        let lock_value = lock.lock.map_or(Protection::NO_CHANGE, |lock| lock.bits());
        let (offset, size) = (run.offset(), run.length());
        let (should_return, should_flush) = (lock.should_return, lock.flush);
        self.say(&memory_object_lock_request::Request { offset, size, should_return, should_flush, lock_value, reply_to });
    }

    /// Changes what `ready` said.
    pub fn change_attributes(&self, may_cache: bool, copy_strategy: CopyStrategy, tell: bool) {
        let reply_to = if tell { Port::make_send_once(self.inner.object_port) } else { Port::NULL };
        self.say(&memory_object_change_attributes::Request { may_cache, copy_strategy: copy_strategy as u32, reply_to });
    }

    /// Ends the object: who uses it from now on gets an error.
    pub fn destroy(&self, reason: Code) {
        self.say(&memory_object_destroy::Request { reason });
    }

    pub(crate) fn asked(&self, run: Run) {
        self.inner.requests.borrow_mut().ask(run, time::now_ns());
        self.count(|tally| {
            tally.requests += 1;
            tally.pages_requested += run.pages();
        });
    }

    pub(crate) fn asked_to_return(&self, run: Run) {
        self.inner.returns.borrow_mut().ask(run, time::now_ns());
        self.count(|tally| {
            tally.returns += 1;
            tally.pages_returned += run.pages();
        });
    }

    /// A transfer failed that answered for these pages of a request: another answer is due.
    pub fn supply_failed(&self, run: Run) {
        self.inner.requests.borrow_mut().reopen(run, time::now_ns());
    }

    /// A transfer failed that answered for these pages of a return request: another answer is due.
    pub fn return_failed(&self, run: Run) {
        self.inner.returns.borrow_mut().reopen(run, time::now_ns());
    }

    pub(crate) fn forget(&self) {
        self.inner.requests.borrow_mut().forget();
        self.inner.returns.borrow_mut().forget();
    }

    fn answered(&self, run: Run) {
        let matched = self.inner.requests.borrow_mut().answer(run);
        self.enter(matched);
    }

    fn returned(&self, run: Run) {
        let matched = self.inner.returns.borrow_mut().answer(run);
        self.enter(matched);
    }

    fn enter(&self, matched: Matched) {
        self.count(|tally| {
            tally.pages_answered += matched.answered;
            tally.answered_again += matched.again;
            tally.unasked += matched.unasked;
        });
    }

    fn count(&self, change: impl FnOnce(&mut Tally)) {
        let mut tally = self.inner.tally.get();
        change(&mut tally);
        self.inner.tally.set(tally);
    }

    fn say(&self, message: &impl Message) -> bool {
        let mut sent = self.inner.control.send(message);
        // Somebody waits for it: the kernel has memory again soon, not least by what pagers say.
        for _ in 0..TRIES {
            if sent != Err(Code::SEND_NO_BUFFER) {
                break;
            }
            time::sleep(PAUSE);
            sent = self.inner.control.send(message);
        }
        if sent.is_err() {
            self.count(|tally| tally.unsent += 1);
        }
        sent.is_ok()
    }
}
