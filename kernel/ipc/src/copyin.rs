//! From a task's bytes to a message: names become rights, addresses become memory.
//!
//! The header is atomic; the body is not: when it turns out bad, what was taken so far has left the sender and ends (MACH.md C3).

use alloc::vec::Vec;

use abi::message::kind;
use abi::{Code, Header};

use crate::effects::Effects;
use crate::header;
use crate::item::{Item, Items};
use crate::message::{Capability, Message, is_sized, received};
use crate::right::{Right, RightKind};
use crate::space::Space;
use crate::{Carrier, Host, NAME_DEAD, NAME_NULL};

/// The most rights in one array out of line.
const PORTS_MAX: u32 = 16 * 1024;

/// Takes a message in. `bytes` is all of it, header included; `header` is what `abi::Header::read` gives for it.
pub fn copyin<H: Host>(
    space: &Space<H>,
    header: &Header,
    bytes: Vec<u8>,
    carrier: &mut impl Carrier<H>,
    effects: &mut Effects<H>,
) -> Result<Message<H>, Code> {
    if !is_sized(bytes.len()) {
        return Err(Code::SEND_MSG_TOO_SMALL);
    }
    let size = bytes.len() as u32;
    let mut message = Message::new(Header::default(), bytes).map_err(|_| Code::SEND_NO_BUFFER)?;
    let (header, rights) = header::copyin(space, header, effects)?;
    message.header = Header { size, ..header };
    (message.remote, message.local) = (rights.remote, rights.local);
    if !header.is_complex() {
        return Ok(message);
    }
    match body(space, &mut message, carrier, effects) {
        Ok(()) => Ok(message),
        Err(code) => {
            message.destroy(effects);
            Err(code)
        }
    }
}

fn body<H: Host>(space: &Space<H>, message: &mut Message<H>, carrier: &mut impl Carrier<H>, effects: &mut Effects<H>) -> Result<(), Code> {
    let mut items = Items::new();
    while let Some(item) = items.next(&message.bytes) {
        let item = item?;
        match (item.is_right(), item.descriptor.inline) {
            (true, true) => inline_rights(space, &item, message, effects)?,
            (true, false) => array(space, &item, message, carrier, effects)?,
            (false, false) => memory(&item, message, carrier)?,
            (false, true) => {}
        }
    }
    if message.capabilities.is_empty() {
        message.header.bits &= !abi::message::COMPLEX;
    }
    Ok(())
}

fn take_right<H: Host>(space: &Space<H>, name: u32, kind: u8, effects: &mut Effects<H>) -> Result<Right<H>, Code> {
    match name {
        NAME_NULL => Ok(Right::null()),
        NAME_DEAD => Ok(Right::dead()),
        _ => {
            let taken = space.lock_alive().and_then(|mut names| names.take(name, kind, true, effects));
            taken.map_err(|_| Code::SEND_INVALID_RIGHT)
        }
    }
}

impl<H: Host> Message<H> {
    fn reserve(&mut self, count: usize) -> Result<(), Code> {
        self.capabilities.try_reserve(count).map_err(|_| Code::SEND_NO_BUFFER)
    }

    /// Keeps a capability in reserved room; gives its index.
    fn keep(&mut self, capability: Capability<H>) -> u64 {
        self.capabilities.push(Some(capability));
        self.capabilities.len() as u64 - 1
    }
}

fn inline_rights<H: Host>(space: &Space<H>, item: &Item, message: &mut Message<H>, effects: &mut Effects<H>) -> Result<(), Code> {
    let kind = item.descriptor.name;
    let count = item.descriptor.number as usize;
    message.reserve(count)?;
    for index in 0..count {
        let right = take_right(space, item.slot(&message.bytes, index) as u32, kind, effects)?;
        message.carries_receive |= right.kind() == RightKind::Receive;
        let capability = if right.kind() == RightKind::Null { Capability::Null } else { Capability::Right(right) };
        let place = message.keep(capability);
        item.set_slot(&mut message.bytes, index, place);
    }
    item.set_descriptor(&mut message.bytes, abi::message::Descriptor { name: received(kind), ..item.descriptor });
    Ok(())
}

fn array<H: Host>(
    space: &Space<H>,
    item: &Item,
    message: &mut Message<H>,
    carrier: &mut impl Carrier<H>,
    effects: &mut Effects<H>,
) -> Result<(), Code> {
    let descriptor = item.descriptor;
    message.reserve(1)?;
    if descriptor.number == 0 {
        let place = message.keep(Capability::Null);
        item.set_slot(&mut message.bytes, 0, place);
        return Ok(());
    }
    let (mut names, mut rights) = (Vec::new(), Vec::new());
    let count = descriptor.number as usize;
    if descriptor.number > PORTS_MAX || names.try_reserve_exact(count).is_err() || rights.try_reserve_exact(count).is_err() {
        return Err(Code::SEND_NO_BUFFER);
    }
    let address = item.slot(&message.bytes, 0);
    carrier.read_names(address, descriptor.number, descriptor.deallocate, &mut names).map_err(send_code)?;
    let mut result = Ok(());
    for name in names {
        match take_right(space, name, descriptor.name, effects) {
            Ok(right) => rights.push(right),
            Err(code) => {
                result = Err(code);
                break;
            }
        }
    }
    message.carries_receive |= descriptor.name == kind::MOVE_RECEIVE;
    let place = message.keep(Capability::Ports(rights));
    item.set_slot(&mut message.bytes, 0, place);
    item.set_descriptor(&mut message.bytes, abi::message::Descriptor { name: received(descriptor.name), ..descriptor });
    result
}

fn memory<H: Host>(item: &Item, message: &mut Message<H>, carrier: &mut impl Carrier<H>) -> Result<(), Code> {
    message.reserve(1)?;
    let capability = if item.length == 0 {
        Capability::Null
    } else {
        let address = item.slot(&message.bytes, 0);
        let memory = carrier.memory_in(address, item.length, item.descriptor.deallocate).map_err(send_code)?;
        Capability::Memory { memory, size: item.length }
    };
    let place = message.keep(capability);
    item.set_slot(&mut message.bytes, 0, place);
    Ok(())
}

fn send_code(code: Code) -> Code {
    if code == Code::RESOURCE_SHORTAGE { Code::SEND_NO_BUFFER } else { Code::SEND_INVALID_MEMORY }
}
