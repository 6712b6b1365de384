//! Names of ports: making them, giving references back, and being told what happens to them.

use abi::Code;
use abi::call::mach_port::{
    mach_port_extract_right, mach_port_mod_refs, mach_port_move_member, mach_port_request_notification, mach_port_set_qlimit, right,
};
use abi::item::PortName;
use abi::message::{Port, kind};

use crate::{PortSet, ReceiveRight, SendOnceRight, rpc, task, trap};

/// MACH_PORT_DEAD: what stands where a right was whose port died in transit.
pub const DEAD: u32 = u32::MAX;

/// Notification ids of [`request_notification`].
pub mod notification {
    pub const PORT_DESTROYED: i32 = 69;
    pub const NO_SENDERS: i32 = 70;
    pub const DEAD_NAME: i32 = 72;
}

/// Whether the name stands for something.
#[must_use]
pub const fn is_valid(name: u32) -> bool {
    name != 0 && name != DEAD
}

/// A new port; this task receives from it.
pub fn allocate() -> Result<ReceiveRight, Code> {
    trap::mach_port_allocate(task::own(), right::RECEIVE).map(ReceiveRight::from_name)
}

/// A new, empty port set.
pub fn allocate_set() -> Result<PortSet, Code> {
    trap::mach_port_allocate(task::own(), right::PORT_SET).map(PortSet::from_name)
}

/// Gives one reference to a send right, a send-once right or a dead name back.
pub fn deallocate(name: u32) {
    if is_valid(name) {
        // A name that isn't ours is a mistake of this program that has no better place to show than a debugger.
        let given = trap::mach_port_deallocate(task::own(), name);
        debug_assert!(given.is_ok(), "mach_port_deallocate({name}): {given:?}");
    }
}

/// Changes a count of references.
pub fn mod_refs(name: u32, right: u32, delta: i32) -> Result<(), Code> {
    rpc::call(task::own(), &mach_port_mod_refs::Request { name: PortName(name), right, delta }).map(drop)
}

/// Gives a receive right up: the port dies.
pub fn drop_receive(name: u32) {
    if is_valid(name) {
        let given = mod_refs(name, right::RECEIVE, -1);
        debug_assert!(given.is_ok(), "giving up receive right {name}: {given:?}");
    }
}

/// Puts a receive right into a set; none takes it out of its set.
pub fn move_member(member: u32, set: u32) -> Result<(), Code> {
    rpc::call(task::own(), &mach_port_move_member::Request { member: PortName(member), after: PortName(set) }).map(drop)
}

/// A right to send one message to a port of this task.
pub fn make_send_once(receive: &ReceiveRight) -> Result<SendOnceRight, Code> {
    let request = mach_port_extract_right::Request { name: PortName(receive.name()), kind: kind::MAKE_SEND_ONCE.into() };
    let reply = rpc::call(task::own(), &request)?;
    Ok(SendOnceRight::from_name(reply.poly.name))
}

/// How many messages may wait on a port.
pub fn set_queue_limit(name: u32, limit: u32) -> Result<(), Code> {
    rpc::call(task::own(), &mach_port_set_qlimit::Request { name: PortName(name), qlimit: limit }).map(drop)
}

/// Asks to be told: `id` is of [`notification`], `notify` a send-once right. Who was to be told before is told no more.
pub fn request_notification(name: u32, id: i32, sync: u32, notify: Port) -> Result<(), Code> {
    let request = mach_port_request_notification::Request { name: PortName(name), id, sync, notify };
    let reply = rpc::call(task::own(), &request)?;
    deallocate(reply.previous.name);
    Ok(())
}
