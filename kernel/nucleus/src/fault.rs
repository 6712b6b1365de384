//! Faulted: the abort becomes a value (page's life, step 2: Faulted).
//!
//! Does what the fault engine of `vm` decides: asks pagers, waits for pages, raises exceptions.

use alloc::sync::Arc;

use abi::Code;
use abi::trace::Step as Life;
use sched::Unparked;
use vm::{Access, Outcome, Pmap};

use crate::exception::Raise;
use crate::kernel::Kernel;
use crate::machine::{self, Abort, Machine};
use crate::page_out::{Found, MEMORY_KEY};
use crate::run::Step;
use crate::thread::{Body, Resume, Thread};
use crate::wait::Waiting;

/// What became of an outcome.
pub(crate) enum Next {
    /// The page is there, or it may be: go on.
    Go,
    /// Wait was begun; write down how to go on and leave.
    Leave,
    Refused(Code),
}

/// How a wait began.
enum Parked {
    Yes,
    /// What is waited for may be there.
    Raced,
    /// The wait could not be noted.
    NoMemory,
}

enum Heeded {
    Next(Next),
    Again,
    Wait(u64),
}

const fn access(abort: Abort) -> Access {
    match abort.access {
        machine::Access::Read => Access::Read,
        machine::Access::Write => Access::Write,
        machine::Access::Execute => Access::Execute,
    }
}

impl<M: Machine> Kernel<M> {
    /// An access at EL0 missed.
    pub(crate) fn fault(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>, abort: Abort) -> Step {
        match self.resolve(thread, abort) {
            Next::Go => Step::Continue,
            Next::Leave => {
                body.resume = Resume::Fault(abort);
                Step::Leave
            }
            Next::Refused(code) => {
                let raise = Raise { exception: abi::call::exc::EXC_BAD_ACCESS, code: code.0, subcode: abort.address as i64 };
                self.raise(thread, body, raise)
            }
        }
    }

    /// A trap touched memory that isn't there: then the trap from the start. If it can't be, the trap fails with its own code.
    pub(crate) fn trap_fault(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>, abort: Abort) -> Step {
        match self.resolve(thread, abort) {
            Next::Go => {
                body.resume = Resume::Trap;
                Step::Continue
            }
            Next::Leave => {
                body.resume = Resume::TrapFault(abort);
                Step::Leave
            }
            Next::Refused(code) => self.trap_refused(thread, body, abort, code),
        }
    }

    /// Makes the page of an access resident and enters it.
    pub(crate) fn resolve(&self, thread: &Arc<Thread<M>>, abort: Abort) -> Next {
        let map = &thread.task.map;
        let _ = self.take_delivery(thread);
        if abort.access_flag && map.pmap().set_accessed(abort.address & !(abi::vm::PAGE_SIZE - 1)) {
            return Next::Go;
        }
        self.trace.step(self.machine, Life::Touched, abort.address);
        self.trace.step(self.machine, Life::Faulted, abort.address);
        // Even a page that is there may need tables.
        let next = self.until(thread, || match self.room(thread) {
            Outcome::Done => self.vm.fault(map, abort.address, access(abort)),
            shortage => shortage,
        });
        if let Next::Go = next {
            self.trace.step(self.machine, Life::Entered, abort.address);
        }
        next
    }

    /// Does what an engine says until it is done, must wait, or can't be.
    pub(crate) fn until(&self, thread: &Arc<Thread<M>>, mut engine: impl FnMut() -> Outcome) -> Next {
        loop {
            let key = match self.heed(engine()) {
                Heeded::Next(next) => return next,
                Heeded::Again => continue,
                Heeded::Wait(key) => key,
            };
            // The ticket is drawn before the last look, so that a wake-up after that look is seen.
            let ticket = self.waits.ticket(key);
            match self.heed(engine()) {
                Heeded::Next(next) => return next,
                Heeded::Wait(again) if again == key => (),
                Heeded::Wait(_) | Heeded::Again => continue,
            }
            match self.park(thread, key, ticket) {
                Parked::Raced if !thread.control.lock().must_end => (),
                // It waits; or it goes to the end of its queue, and comes back or ends.
                _ => return Next::Leave,
            }
        }
    }

    fn heed(&self, outcome: Outcome) -> Heeded {
        match outcome {
            Outcome::Done => Heeded::Next(Next::Go),
            Outcome::Again => Heeded::Again,
            Outcome::Refuse(code) => Heeded::Next(Next::Refused(code)),
            Outcome::Wait(key) => Heeded::Wait(key),
            Outcome::Ask(ask) if self.ask(ask) => Heeded::Again,
            Outcome::Ask(_) | Outcome::Shortage => self.short(),
        }
    }

    /// There is no memory for something.
    fn short(&self) -> Heeded {
        self.memory_waiters.store(true, core::sync::atomic::Ordering::SeqCst);
        match self.find_memory() {
            Found::Memory => Heeded::Again,
            Found::Coming => Heeded::Wait(MEMORY_KEY),
            Found::None => Heeded::Next(Next::Refused(Code::RESOURCE_SHORTAGE)),
        }
    }

    /// Waits for a key.
    fn park(&self, thread: &Arc<Thread<M>>, key: u64, ticket: sched::Ticket) -> Parked {
        #[cfg(test)]
        crate::fake::race();
        let token = match self.waits.park(key, ticket, Arc::clone(thread)) {
            Ok(token) => token,
            Err(Unparked::Raced(_)) => return Parked::Raced,
            Err(Unparked::NoMemory(_)) => return Parked::NoMemory,
        };
        if self.block(thread, Waiting::Key(token)) {
            return Parked::Yes;
        }
        let _ = self.waits.remove(token);
        let _ = self.take_delivery(thread);
        Parked::Raced
    }
}
