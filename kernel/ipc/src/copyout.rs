//! From a message to a task's bytes: rights become names, memory becomes addresses. What can't be given ends, and is told of.

use alloc::vec::Vec;

use abi::call::mach_port::right;
use abi::code::{MSG_IPC_KERNEL, MSG_VM_KERNEL, MSG_VM_SPACE};
use abi::message::{COMPLEX, Descriptor, HEADER_BYTES, kind};
use abi::{Code, Header};

use crate::effects::{Doomed, Effects};
use crate::header;
use crate::item::{Item, Items};
use crate::message::{Capability, Contents, Message, received};
use crate::right::Right;
use crate::space::Space;
use crate::{Carrier, Host, NAME_DEAD, NAME_NULL};

/// Gives a message to a space. The code is success, RCV_BODY_ERROR with bits (some items are null), or RCV_HEADER_ERROR with bits
/// (the bytes are only a header, the rest has ended).
pub fn copyout<H: Host>(
    space: &Space<H>,
    mut message: Message<H>,
    carrier: &mut impl Carrier<H>,
    effects: &mut Effects<H>,
) -> (Vec<u8>, Code) {
    let (header, result) = header::copyout(space, &mut message, effects);
    if let Err(code) = result {
        return (only_header(message, header, effects), code);
    }
    let bits = if header.is_complex() { body(space, &mut message, carrier, effects) } else { 0 };
    let code = if bits == 0 { Code::SUCCESS } else { Code(Code::RCV_BODY_ERROR.0 | bits) };
    (finish(message, header, effects), code)
}

/// Tells a space of a message that was too large for it: only a header, with the size that it would have had; the rest ends.
pub fn copyout_destination<H: Host>(space: &Space<H>, mut message: Message<H>, effects: &mut Effects<H>) -> Vec<u8> {
    if let Some(reply) = message.local.take() {
        reply.destroy(effects);
    }
    let size = message.size();
    let (header, _) = header::copyout(space, &mut message, effects);
    only_header(message, Header { size, ..header }, effects)
}

/// Gives a message that couldn't be sent back to its sender, rights and memory included. The code has only the bits of what
/// couldn't be given back; add it to the error.
pub fn pseudo_copyout<H: Host>(
    space: &Space<H>,
    mut message: Message<H>,
    carrier: &mut impl Carrier<H>,
    effects: &mut Effects<H>,
) -> (Vec<u8>, Code) {
    let mut bits = 0;
    let remote = core::mem::replace(&mut message.remote, Right::null());
    let remote = name_for(space, remote, &mut bits, effects);
    let local = message.local.take().map_or(NAME_NULL, |right| name_for(space, right, &mut bits, effects));
    let header = Header { remote: u64::from(remote), local: u64::from(local), size: message.size(), ..message.header };
    if header.is_complex() {
        bits |= body(space, &mut message, carrier, effects);
    }
    (finish(message, header, effects), Code(bits))
}

/// Writes the header; what no item referred to ends.
fn finish<H: Host>(message: Message<H>, header: Header, effects: &mut Effects<H>) -> Vec<u8> {
    let Contents { mut bytes, capabilities, .. } = message.open();
    header.write(&mut bytes);
    if !capabilities.is_empty() && capabilities.iter().any(Option::is_some) {
        effects.end(Doomed::Capabilities(capabilities));
    }
    bytes
}

fn only_header<H: Host>(message: Message<H>, header: Header, effects: &mut Effects<H>) -> Vec<u8> {
    let Contents { mut bytes, capabilities, .. } = message.open();
    effects.end(Doomed::Capabilities(capabilities));
    bytes.truncate(HEADER_BYTES);
    Header { bits: header.bits & !COMPLEX, ..header }.write(&mut bytes);
    bytes
}

fn name_for<H: Host>(space: &Space<H>, right: Right<H>, bits: &mut i32, effects: &mut Effects<H>) -> u32 {
    space.lock().put(right, effects).unwrap_or_else(|why| {
        *bits |= why;
        NAME_NULL
    })
}

/// Gives all items; the bits of what failed.
fn body<H: Host>(space: &Space<H>, message: &mut Message<H>, carrier: &mut impl Carrier<H>, effects: &mut Effects<H>) -> i32 {
    let mut bits = 0;
    let mut items = Items::new();
    // Every body here was checked when it came in or was made by the kernel's own writer.
    while let Some(Ok(item)) = items.next(&message.bytes) {
        match (item.is_right(), item.descriptor.inline) {
            (true, true) => inline_rights(space, &item, message, &mut bits, effects),
            (_, false) => out_of_line(space, &item, message, carrier, &mut bits, effects),
            (false, true) => {}
        }
    }
    bits
}

fn inline_rights<H: Host>(space: &Space<H>, item: &Item, message: &mut Message<H>, bits: &mut i32, effects: &mut Effects<H>) {
    let mut kind = received(item.descriptor.name);
    for index in 0..item.descriptor.number as usize {
        let place = item.slot(&message.bytes, index);
        let name = match message.take(place) {
            Capability::Right(right) => {
                if right.port().is_some() {
                    kind = right.received_kind();
                }
                name_for(space, right, bits, effects)
            }
            other => {
                other.destroy(effects);
                NAME_NULL
            }
        };
        item.set_slot(&mut message.bytes, index, u64::from(name));
    }
    item.set_descriptor(&mut message.bytes, Descriptor { name: kind, ..item.descriptor });
}

fn out_of_line<H: Host>(
    space: &Space<H>,
    item: &Item,
    message: &mut Message<H>,
    carrier: &mut impl Carrier<H>,
    bits: &mut i32,
    effects: &mut Effects<H>,
) {
    let place = item.slot(&message.bytes, 0);
    let address = match message.take(place) {
        Capability::Memory { memory, .. } => carrier.memory_out(memory).map_err(vm_bits),
        Capability::Ports(rights) => array(space, rights, received(item.descriptor.name), carrier, bits, effects),
        other => {
            other.destroy(effects);
            Ok(0)
        }
    };
    let size = if address.is_ok() { item.descriptor.bits } else { 0 };
    *bits |= address.err().unwrap_or(0);
    item.set_slot(&mut message.bytes, 0, address.unwrap_or(0));
    let name = received(item.descriptor.name);
    item.set_descriptor(&mut message.bytes, Descriptor { name, bits: size, deallocate: true, ..item.descriptor });
}

fn vm_bits(code: Code) -> i32 {
    if code == Code::RESOURCE_SHORTAGE { MSG_VM_KERNEL } else { MSG_VM_SPACE }
}

fn array<H: Host>(
    space: &Space<H>,
    rights: Vec<Right<H>>,
    kind: u8,
    carrier: &mut impl Carrier<H>,
    bits: &mut i32,
    effects: &mut Effects<H>,
) -> Result<u64, i32> {
    let mut names = Vec::new();
    if names.try_reserve_exact(rights.len()).is_err() {
        effects.end(Doomed::Rights(rights));
        return Err(MSG_IPC_KERNEL);
    }
    names.extend(rights.into_iter().map(|right| name_for(space, right, bits, effects)));
    carrier.write_names(&names).map_err(|code| {
        take_back(space, &names, kind, effects);
        vm_bits(code)
    })
}

/// Ends rights whose names the receiver will never see.
fn take_back<H: Host>(space: &Space<H>, names: &[u32], kind: u8, effects: &mut Effects<H>) {
    let right = match kind {
        kind::MOVE_RECEIVE => right::RECEIVE,
        kind::MOVE_SEND_ONCE => right::SEND_ONCE,
        _ => right::SEND,
    };
    for name in names.iter().filter(|name| **name != NAME_NULL && **name != NAME_DEAD) {
        // A right whose port has died meanwhile is a dead name now.
        if space.mod_refs(*name, right, -1, effects).is_err() {
            let _ = space.mod_refs(*name, right::DEAD_NAME, -1, effects);
        }
    }
}
