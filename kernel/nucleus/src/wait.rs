//! What a thread can wait for, and how the wait is taken back.

use abi::Code;
use ipc::WaitToken;

use crate::kernel::Kernel;
use crate::kobject::Ipc;
use crate::machine::Machine;
use crate::thread::Delivery;

/// What a thread waits for.
pub(crate) enum Waiting<M: Machine> {
    Nothing,
    /// A message, until a time.
    Receive { token: WaitToken<Ipc<M>>, timeout: Option<sched::Timeout> },
    /// Room in a queue, until a time.
    Send { token: WaitToken<Ipc<M>>, timeout: Option<sched::Timeout> },
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
        match waiting {
            Waiting::Nothing => false,
            Waiting::Receive { token, timeout } | Waiting::Send { token, timeout } => {
                if let Some(timeout) = timeout {
                    let _ = self.timeouts.cancel(timeout);
                }
                ipc::cancel(&token)
            }
            Waiting::Key(token) => self.waits.remove(token).is_some(),
            Waiting::Reply => true,
            Waiting::Time(timeout) => self.timeouts.cancel(timeout).is_some(),
        }
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
        while let Some(thread) = self.timeouts.expired(now) {
            let waiting = {
                let mut control = thread.control.lock();
                core::mem::replace(&mut control.waiting, Waiting::Nothing)
            };
            let code = waiting.timed_out();
            let delivery = match waiting {
                Waiting::Time(_) => Delivery::Wake,
                _ => Delivery::Code(code),
            };
            let is_ours = match waiting {
                Waiting::Nothing => false,
                Waiting::Time(_) => true,
                Waiting::Receive { token, .. } | Waiting::Send { token, .. } => ipc::cancel(&token),
                other => {
                    thread.control.lock().waiting = other;
                    false
                }
            };
            if is_ours {
                self.deliver(&thread, delivery);
            }
        }
    }
}
