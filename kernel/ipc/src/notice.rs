//! What the kernel tells of ports (notify.defs), as messages.

use alloc::vec::Vec;

use abi::call::notify::{
    mach_notify_dead_name, mach_notify_no_senders, mach_notify_port_deleted, mach_notify_port_destroyed, mach_notify_send_once,
};
use abi::item::PortName;
use abi::message::{Port, kind};

use crate::Host;
use crate::effects::Effects;
use crate::message::{Capability, Message};
use crate::right::Right;

/// What happened.
pub(crate) enum Event<H: Host> {
    /// The name that a request was made for is gone.
    PortDeleted(u32),
    /// The receive right would have been destroyed.
    PortDestroyed(Right<H>),
    /// The last send right is gone; the make-send count tells whether that is news.
    NoSenders(u32),
    /// A send-once right was destroyed unused: the right that the message consumes.
    SendOnce,
    /// The port behind a name died.
    DeadName(u32),
}

/// Builds the message. None if there is no memory: the notification is lost, its rights are not.
pub(crate) fn message<H: Host>(to: Right<H>, event: Event<H>, effects: &mut Effects<H>) -> Option<Message<H>> {
    let name = |name| PortName(name);
    match event {
        Event::PortDeleted(gone) => {
            Message::from_kernel(to, None, &mach_notify_port_deleted::Request { name: name(gone) }, Vec::new(), effects)
        }
        Event::NoSenders(mscount) => Message::from_kernel(to, None, &mach_notify_no_senders::Request { mscount }, Vec::new(), effects),
        Event::SendOnce => Message::from_kernel(to, None, &mach_notify_send_once::Request {}, Vec::new(), effects),
        Event::DeadName(dead) => Message::from_kernel(to, None, &mach_notify_dead_name::Request { name: name(dead) }, Vec::new(), effects),
        Event::PortDestroyed(receive) => {
            let mut capabilities = Vec::new();
            if capabilities.try_reserve_exact(1).is_err() {
                effects.doom(receive);
                effects.doom(to);
                return None;
            }
            capabilities.push(Some(Capability::Right(receive)));
            let request = mach_notify_port_destroyed::Request { receive: Port { name: 0, kind: kind::MOVE_RECEIVE } };
            Message::from_kernel(to, None, &request, capabilities, effects)
        }
    }
    .ok()
}
