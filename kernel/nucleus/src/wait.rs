//! What a thread can wait for, and how the wait is taken back.

use alloc::sync::Arc;

use abi::Code;
use ipc::WaitToken;

use crate::kernel::Kernel;
use crate::kobject::Ipc;
use crate::machine::Machine;
use crate::thread::{Delivery, Thread};

/// What a thread waits for.
pub(crate) enum Waiting<M: Machine> {
    Nothing,
    /// A message, until a time.
    Receive {
        token: WaitToken<Ipc<M>>,
        timeout: Option<sched::Timeout>,
    },
    /// Room in a queue, until a time.
    Send {
        token: WaitToken<Ipc<M>>,
        timeout: Option<sched::Timeout>,
    },
    /// A page, memory, or anything else with a key.
    Key(sched::ParkToken),
    /// The reply to an exception.
    Reply,
    /// A time.
    Time(sched::Timeout),
}

impl<M: Machine> Waiting<M> {
    /// The code of a wait that was aborted.
    pub(crate) const fn interrupted(&self) -> Code {
        match self {
            Self::Send { .. } => Code::SEND_INTERRUPTED,
            Self::Receive { .. } => Code::RCV_INTERRUPTED,
            _ => Code::ABORTED,
        }
    }

    /// The code of a wait that took too long.
    pub(crate) const fn timed_out(&self) -> Code {
        match self {
            Self::Send { .. } => Code::SEND_TIMED_OUT,
            _ => Code::RCV_TIMED_OUT,
        }
    }
}

impl<M: Machine> Kernel<M> {
    /// Takes a wait back. False if what was waited for is on its way already.
    pub(crate) fn cancel(&self, waiting: Waiting<M>) -> bool {
        #[cfg(test)]
        crate::fake::race();
        match waiting {
            Waiting::Nothing => false,
            Waiting::Receive { ref token, .. } | Waiting::Send { ref token, .. } => {
                self.forget_timeout(&waiting);
                ipc::cancel(token)
            }
            Waiting::Key(token) => self.waits.remove(token).is_some(),
            Waiting::Reply => true,
            Waiting::Time(timeout) => self.timeouts.cancel(timeout).is_some(),
        }
    }

    /// A wait is over: its time doesn't matter any more.
    pub(crate) fn forget_timeout(&self, waiting: &Waiting<M>) {
        if let Waiting::Receive { timeout: Some(timeout), .. } | Waiting::Send { timeout: Some(timeout), .. } | Waiting::Time(timeout) =
            waiting
        {
            let _ = self.timeouts.cancel(*timeout);
        }
    }

    /// A timeout for the next wait of the running thread.
    pub(crate) fn timeout_at(&self, thread: &Arc<Thread<M>>, due: u64) -> Option<sched::Timeout> {
        let wait = thread.control.lock().waits.wrapping_add(1);
        self.timeouts.add(due, (Arc::clone(thread), wait)).ok()
    }

    /// Wakes all that wait for a key.
    pub(crate) fn wake_all(&self, key: u64) {
        for thread in self.waits.wake_all(key) {
            self.deliver(&thread, Delivery::Wake);
        }
    }

    /// Wakes whose time has come.
    pub(crate) fn run_timeouts(&self) {
        let now = self.machine.now();
        while let Some((thread, wait)) = self.timeouts.expired(now) {
            let waiting = {
                let mut control = thread.control.lock();
                if control.waits != wait {
                    if control.waits.wrapping_add(1) == wait {
                        control.expired = wait;
                    }
                    continue;
                }
                core::mem::replace(&mut control.waiting, Waiting::Nothing)
            };
            let code = waiting.timed_out();
            match waiting {
                Waiting::Time(_) => self.deliver(&thread, Delivery::Wake),
                Waiting::Receive { token, .. } | Waiting::Send { token, .. } if ipc::cancel(&token) => {
                    self.deliver(&thread, Delivery::Code(code));
                }
                _ => (),
            }
        }
    }
}
