//! Rights as values: a right is given back when its value is dropped, and moves with the message it is put into.

use abi::call::mach_port::right;
use abi::message::{Port, kind};
use abi::{Code, Message, Routine};

use crate::{port, rpc, task, trap};

/// A right to send, or the dead name it turned into: one user reference of it.
#[derive(Debug, PartialEq, Eq)]
pub struct SendRight(u32);

/// A right to send one message.
#[derive(Debug, PartialEq, Eq)]
pub struct SendOnceRight(u32);

/// The right to receive from a port. Dropping it kills the port.
#[derive(Debug, PartialEq, Eq)]
pub struct ReceiveRight(u32);

/// A port set. Dropping it leaves its members alone.
#[derive(Debug, PartialEq, Eq)]
pub struct PortSet(u32);

macro_rules! names {
    ($($type:ident, $drop:expr;)*) => {$(
        impl $type {
            /// Takes charge of a name.
            #[must_use]
            pub const fn from_name(name: u32) -> Self {
                Self(name)
            }

            /// The name, for messages that don't move the right.
            #[must_use]
            pub const fn name(&self) -> u32 {
                self.0
            }

            /// The name, which is no longer given back.
            #[must_use]
            pub fn into_name(self) -> u32 {
                let name = self.0;
                core::mem::forget(self);
                name
            }
        }

        impl Drop for $type {
            fn drop(&mut self) {
                let give_back: fn(u32) = $drop;
                give_back(self.0);
            }
        }
    )*};
}

names! {
    SendRight, port::deallocate;
    SendOnceRight, port::deallocate;
    ReceiveRight, port::drop_receive;
    PortSet, |name| {
        let given = port::mod_refs(name, right::PORT_SET, -1);
        debug_assert!(given.is_ok(), "giving up port set {name}: {given:?}");
    };
}

impl SendRight {
    /// The right that came in a reply; none if it is null, dead, or no right to send.
    #[must_use]
    pub fn from_port(from: Port) -> Option<Self> {
        (from.kind == kind::MOVE_SEND && port::is_valid(from.name)).then_some(Self(from.name))
    }

    /// This host's port.
    #[must_use]
    pub fn host_self() -> Self {
        Self(trap::mach_host_self())
    }

    /// The calling thread's port.
    #[must_use]
    pub fn thread_self() -> Self {
        Self(trap::mach_thread_self())
    }

    /// To be put into a message: a copy of the right.
    #[must_use]
    pub const fn copy(&self) -> Port {
        Port::copy_send(self.0)
    }

    /// To be put into a message: the right itself.
    #[must_use]
    pub fn into_port(self) -> Port {
        Port::move_send(self.into_name())
    }

    /// One more reference.
    pub fn try_clone(&self) -> Result<Self, Code> {
        port::mod_refs(self.0, right::SEND, 1)?;
        Ok(Self(self.0))
    }

    /// Asks and waits for the answer.
    pub fn call<R: Routine>(&self, request: &R) -> Result<R::Reply, Code> {
        rpc::call(self.0, request)
    }

    /// Sends; there is no answer.
    pub fn send<M: Message>(&self, message: &M) -> Result<(), Code> {
        rpc::send(self.0, message)
    }
}

impl ReceiveRight {
    /// A right to send to the port.
    pub fn make_send(&self) -> Result<SendRight, Code> {
        trap::mach_port_insert_right(task::own(), self.0, self.0, kind::MAKE_SEND)?;
        Ok(SendRight(self.0))
    }

    /// To be put into a message: a new right to send.
    #[must_use]
    pub const fn send_port(&self) -> Port {
        Port::make_send(self.0)
    }

    /// To be put into a message: a new right to send once.
    #[must_use]
    pub const fn send_once_port(&self) -> Port {
        Port::make_send_once(self.0)
    }

    /// To be put into a message: the right itself.
    #[must_use]
    pub fn into_port(self) -> Port {
        Port { name: self.into_name(), kind: kind::MOVE_RECEIVE }
    }
}

impl SendOnceRight {
    /// To be put into a message: the right itself.
    #[must_use]
    pub fn into_port(self) -> Port {
        Port { name: self.into_name(), kind: kind::MOVE_SEND_ONCE }
    }

    /// Sends the one message. The right is gone if that succeeds.
    pub fn send<M: Message>(self, message: &M) -> Result<(), Code> {
        rpc::send_to(Port { name: self.0, kind: kind::MOVE_SEND_ONCE }, message)?;
        core::mem::forget(self);
        Ok(())
    }
}

impl PortSet {
    /// Makes a port a member.
    pub fn add(&self, member: &ReceiveRight) -> Result<(), Code> {
        port::move_member(member.name(), self.0)
    }
}
