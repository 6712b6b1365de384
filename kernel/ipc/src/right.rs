//! A right in the kernel's hands: in a message, on its way into a space, or held by a kernel object.
//!
//! Rights are counted, so one is never just dropped: it is moved on or given to [`Right::destroy`]. Tests fail if one is.

use alloc::sync::Arc;

use abi::message::kind;

use crate::effects::Effects;
use crate::notice::Event;
use crate::port::{Port, Receiver};
use crate::{Host, port};

/// Which right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RightKind {
    Receive,
    Send,
    SendOnce,
    /// A right to a port that was dead when the right was taken.
    Dead,
    /// The null port where a right is expected.
    Null,
}

/// A right, move-only.
#[must_use = "rights are counted: move it on or destroy it"]
pub struct Right<H: Host> {
    kind: RightKind,
    port: Option<Arc<Port<H>>>,
}

impl<H: Host> Right<H> {
    /// MACH_PORT_DEAD as a right.
    pub const fn dead() -> Self {
        Self { kind: RightKind::Dead, port: None }
    }

    /// MACH_PORT_NULL as a right.
    pub const fn null() -> Self {
        Self { kind: RightKind::Null, port: None }
    }

    /// Wraps a right that the port has counted.
    pub(crate) const fn counted(kind: RightKind, port: Arc<Port<H>>) -> Self {
        Self { kind, port: Some(port) }
    }

    /// Which right it is.
    #[must_use]
    pub const fn kind(&self) -> RightKind {
        self.kind
    }

    /// Its port. None for a dead right.
    #[must_use]
    pub const fn port(&self) -> Option<&Arc<Port<H>>> {
        self.port.as_ref()
    }

    /// The kernel object behind its port.
    #[must_use]
    pub fn object(&self) -> Option<H::Object> {
        self.port.as_ref()?.object()
    }

    /// Another send right to the port of this one. Dead if the port is, or if this isn't a send right.
    pub fn copy_send(&self) -> Self {
        match (&self.port, self.kind) {
            (Some(port), RightKind::Send) => port.copy_send().unwrap_or(Self::dead()),
            _ => Self::dead(),
        }
    }

    /// A new send right to the port of this receive right. Dead for any other right.
    pub fn make_send(&self) -> Self {
        match (&self.port, self.kind) {
            (Some(port), RightKind::Receive) => port.make_send(),
            _ => Self::dead(),
        }
    }

    /// Ends the right with all that follows: no-senders and send-once notifications, the port's death.
    pub fn destroy(self, effects: &mut Effects<H>) {
        let kind = self.kind;
        let Some(port) = self.into_port() else { return };
        match kind {
            RightKind::Send => port.state.lock().drop_send(effects),
            RightKind::SendOnce => {
                let mut state = port.state.lock();
                match state.receiver {
                    // A send-once right always produces one message, to the kernel's own ports too.
                    Receiver::Space { .. } | Receiver::Transit(_) | Receiver::Kernel(_) => {
                        drop(state);
                        effects.notify(Self::counted(kind, port), Event::SendOnce);
                    }
                    Receiver::Dead => state.send_onces -= 1,
                }
            }
            RightKind::Receive => port::end_receive(port, effects),
            RightKind::Dead | RightKind::Null => {}
        }
    }

    /// Ends a right whose use is over (the destination of a message that arrived): like [`Right::destroy`], but a send-once right
    /// makes no notification.
    pub fn consume(self, effects: &mut Effects<H>) {
        if self.kind == RightKind::SendOnce {
            if let Some(port) = self.into_port() {
                port.state.lock().send_onces -= 1;
            }
        } else {
            self.destroy(effects);
        }
    }

    /// Takes the port out: the caller now answers for the count.
    pub(crate) fn into_port(mut self) -> Option<Arc<Port<H>>> {
        self.port.take()
    }

    /// The type name that a receiver sees.
    pub(crate) const fn received_kind(&self) -> u8 {
        match self.kind {
            RightKind::Receive => kind::MOVE_RECEIVE,
            RightKind::Send | RightKind::Dead | RightKind::Null => kind::MOVE_SEND,
            RightKind::SendOnce => kind::MOVE_SEND_ONCE,
        }
    }
}

impl<H: Host> core::fmt::Debug for Right<H> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}({:?})", self.kind, self.port.as_ref().map(|port| port.id()))
    }
}

#[cfg(any(test, feature = "strict"))]
impl<H: Host> Drop for Right<H> {
    fn drop(&mut self) {
        assert!(self.port.is_none() || std::thread::panicking(), "a right was dropped");
    }
}
