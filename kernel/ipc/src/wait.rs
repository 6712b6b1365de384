//! Threads that wait for a message or for room, and how such a wait is taken back.

use alloc::sync::Arc;

use crate::Host;
use crate::list::Place;
use crate::port::Port;
use crate::set::PortSet;

/// A thread that waits for a message.
pub(crate) struct Wait<H: Host> {
    pub(crate) waiter: H::Waiter,
    /// The largest message that it takes. A larger one stays queued and its size is told (RCV_LARGE).
    pub(crate) max_size: u32,
}

enum Queue<H: Host> {
    Port(Arc<Port<H>>),
    Set(Arc<PortSet<H>>),
    Senders(Arc<Port<H>>),
}

/// Where a thread waits: what [`cancel`] needs.
#[must_use = "without it the wait can't be cancelled"]
pub struct WaitToken<H: Host> {
    queue: Queue<H>,
    place: Place,
}

impl<H: Host> WaitToken<H> {
    pub(crate) const fn on_port(port: Arc<Port<H>>, place: Place) -> Self {
        Self { queue: Queue::Port(port), place }
    }

    pub(crate) const fn on_set(set: Arc<PortSet<H>>, place: Place) -> Self {
        Self { queue: Queue::Set(set), place }
    }

    pub(crate) const fn to_send(port: Arc<Port<H>>, place: Place) -> Self {
        Self { queue: Queue::Senders(port), place }
    }
}

/// Takes a wait back (a timeout, thread_abort). True if it was still waiting: it will then get neither message nor wake-up. False
/// if somebody has just taken it off its queue: a message or a wake-up for it is on its way and must be honoured.
pub fn cancel<H: Host>(token: &WaitToken<H>) -> bool {
    match &token.queue {
        Queue::Port(port) => port.state.lock().receivers.remove(token.place).is_some(),
        Queue::Set(set) => set.state.lock().waiting.remove(token.place).is_some(),
        Queue::Senders(port) => port.state.lock().senders.remove(token.place).is_some(),
    }
}

impl<H: Host> core::fmt::Debug for WaitToken<H> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "WaitToken({:?})", self.place)
    }
}
