//! Messages between ports of this task: rights and memory that they carry, queues, sizes, sets.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use core::time::Duration;

use abi::call::mach::{memory_object_data_error, memory_object_data_supply, task_threads, thread_get_special_port};
use abi::call::mach_port::{mach_port_get_receive_status, mach_port_set_protected_payload, right};
use abi::item::PortName;
use abi::message::{Header, Memory, Port, kind};
use abi::trap::{THREAD_KERNEL_PORT, option};
use abi::vm::PAGE_SIZE;
use abi::{Code, Message};
use runtime::trap::{MsgWords, mach_msg};
use runtime::{Pages, ReceiveRight, Receiver, port, rpc, task, thread, time};

use super::harness::{Failure, LONG, Outcome, SHORT, expect, refused, same, tests};
use super::puppet::Sandbox;
use super::space::Space;

tests! {
    message_round_trip,
    memory_is_lent_with_zeroed_edges,
    memory_is_moved,
    memory_is_a_snapshot,
    rights_are_carried,
    rights_in_arrays,
    receive_rights_move_with_their_queue,
    queue_limit_and_send_timeout,
    sender_waits_for_room,
    message_too_large,
    port_set_gathers,
    receive_ends_when_the_port_does,
    sequence_numbers,
    protected_payload,
    unsent_message_comes_back,
}

/// A message with memory and a right.
fn parcel(offset: u64, data: Memory, reply_to: Port) -> memory_object_data_supply::Request {
    memory_object_data_supply::Request { offset, data, lock_value: 0, precious: false, reply_to }
}

/// A small one.
const fn note(offset: u64) -> memory_object_data_error::Request {
    memory_object_data_error::Request { offset, size: 0, error: Code::SUCCESS }
}

/// Sends a message with options of its own.
fn send(to: Port, message: &impl Message, options: u32, timeout: u32) -> Outcome<Code> {
    let mut bytes = [0; 256];
    let header = Header { bits: Header::bits(to.kind, 0), remote: to.name.into(), ..Header::default() };
    let size = message.build(header, &mut bytes)? as u32;
    Ok(mach_msg(&mut bytes, MsgWords { option: option::SEND | options, send_size: size, timeout, ..MsgWords::default() }))
}

/// The next message's number.
fn next(receiver: &mut Receiver, from: u32) -> Outcome<u64> {
    let message = receiver.receive(from, Some(LONG))?;
    Ok(message.decode::<memory_object_data_error::Request>()?.offset)
}

fn is_empty(from: u32) -> Outcome {
    let nothing = Receiver::new(256)?.receive(from, Some(Duration::ZERO)).map(drop);
    refused("one more message", nothing, Code::RCV_TIMED_OUT)
}

fn message_round_trip() -> Outcome {
    let (port, other) = (port::allocate()?, port::allocate()?);
    let mut receiver = Receiver::new(256)?;
    let mut bytes = [0; 128];
    let bits = Header::bits(kind::MAKE_SEND, kind::MAKE_SEND);
    // A size that is wrong is no matter, nor is a sequence number.
    let header = Header { bits, remote: port.name().into(), local: other.name().into(), seqno: 99, ..Header::default() };
    let size = note(5).build(header, &mut bytes)?;
    bytes[4..8].fill(0xff);
    mach_msg(&mut bytes, MsgWords { option: option::SEND, send_size: size as u32, ..MsgWords::default() }).ok()?;
    let message = receiver.receive(port.name(), Some(LONG))?;
    same("its size", message.header().size, size as u32)?;
    same("its ports", (message.header().local, message.header().remote), (port.name().into(), other.name().into()))?;
    same("its bits", message.header().bits, Header::bits(kind::MOVE_SEND, kind::MOVE_SEND))?;
    same("its sequence number", message.header().seqno, 0)?;
    same("its item", message.decode::<memory_object_data_error::Request>()?, note(5))
}

fn memory_is_lent_with_zeroed_edges() -> Outcome {
    let port = port::allocate()?;
    let mut receiver = Receiver::new(256)?;
    let mut source = Pages::allocate(4 * PAGE_SIZE)?;
    source.fill(0xee);
    for (at, size) in [(123, 5000), (0, PAGE_SIZE), (4095, 2), (1, 3 * PAGE_SIZE), (PAGE_SIZE, 1), (0, 0)] {
        let lent = Memory { address: source.address() + at, size, deallocate: false };
        rpc::send_to(port.send_port(), &parcel(at, lent, Port::NULL))?;
        let mut message = receiver.receive(port.name(), Some(LONG))?;
        let carried: memory_object_data_supply::Request = message.decode()?;
        same("its size", carried.data.size, size)?;
        let Some(memory) = message.claim_memory(carried.data) else {
            same("memory of no bytes", size, 0)?;
            continue;
        };
        expect(memory.iter().all(|byte| *byte == 0xee), "other bytes came")?;
        let (start, end) = (memory.address() & !(PAGE_SIZE - 1), (memory.address() + size).next_multiple_of(PAGE_SIZE));
        let all = Space::own().read(start, end - start)?;
        let others = all.iter().filter(|byte| **byte != 0xee);
        same("bytes around it that are zero", others.clone().count() as u64, end - start - size)?;
        expect(others.copied().all(|byte| byte == 0), "bytes around it aren't zero")?;
    }
    expect(source.iter().all(|byte| *byte == 0xee), "what was lent changed")
}

fn memory_is_moved() -> Outcome {
    let port = port::allocate()?;
    let mut receiver = Receiver::new(256)?;
    let mut source = Pages::allocate(4 * PAGE_SIZE)?;
    source.fill(0xdd);
    // Without a right to send it can't be sent, and stays.
    let source = match source.send(port.name(), |data| parcel(0, data, Port::NULL)) {
        Err((code, source)) => same("a send without a right", code, Code::SEND_INVALID_DEST).map(|()| source)?,
        Ok(()) => return Err(Failure::new("it was sent without a right")),
    };
    expect(source.iter().all(|byte| *byte == 0xdd), "what could not be sent changed")?;
    let (address, right) = (source.address(), port.make_send()?);
    source.send(right.name(), |data| parcel(0, data, Port::NULL)).map_err(|(code, _)| code)?;
    refused("the source", Space::own().read(address, 8), Code::INVALID_ADDRESS)?;
    let mut message = receiver.receive(port.name(), Some(LONG))?;
    let carried: memory_object_data_supply::Request = message.decode()?;
    let memory = message.claim_memory(carried.data).ok_or(Code::FAILURE)?;
    same("bytes", memory.iter().filter(|byte| **byte == 0xdd).count() as u64, 4 * PAGE_SIZE)
}

fn memory_is_a_snapshot() -> Outcome {
    let port = port::allocate()?;
    let mut receiver = Receiver::new(256)?;
    let mut source = Pages::allocate(2 * PAGE_SIZE)?;
    source.fill(1);
    rpc::send_to(port.send_port(), &parcel(0, source.lend(), Port::NULL))?;
    source.fill(2);
    rpc::send_to(port.send_port(), &parcel(0, source.lend(), Port::NULL))?;
    drop(source);
    for byte in [1, 2] {
        let mut message = receiver.receive(port.name(), Some(LONG))?;
        let carried: memory_object_data_supply::Request = message.decode()?;
        let mut memory = message.claim_memory(carried.data).ok_or(Code::FAILURE)?;
        expect(memory.iter().all(|found| *found == byte), format_args!("not what was there when it was sent: {}", memory[0]))?;
        memory.fill(3);
    }
    Ok(())
}

/// The types of a name.
fn type_of(name: u32) -> Result<u32, Code> {
    rpc::call(task::own(), &abi::call::mach_port::mach_port_type::Request { name: PortName(name) }).map(|reply| reply.ptype)
}

fn rights_are_carried() -> Outcome {
    let (port, subject) = (port::allocate()?, port::allocate()?);
    let mut receiver = Receiver::new(256)?;
    let nothing = Memory::default();
    let receive = right::type_bit(right::RECEIVE);
    let send_type = right::type_bit(right::SEND);
    // A right to send, made: it has the same name as the receive right.
    rpc::send_to(port.send_port(), &parcel(0, nothing, subject.send_port()))?;
    let mut message = receiver.receive(port.name(), Some(LONG))?;
    let carried: memory_object_data_supply::Request = message.decode()?;
    same("its name and kind", (carried.reply_to.name, carried.reply_to.kind), (subject.name(), kind::MOVE_SEND))?;
    let right = message.claim_send(carried.reply_to).ok_or(Code::FAILURE)?;
    drop(message);
    same("the types", type_of(subject.name())?, receive | send_type)?;
    // It moves out with a message that is never received.
    let lost = port::allocate()?;
    rpc::send_to(lost.send_port(), &parcel(0, nothing, right.into_port()))?;
    same("the types after the move", type_of(subject.name())?, receive)?;
    drop(lost);
    // A right to send once has a name of its own.
    rpc::send_to(port.send_port(), &parcel(0, nothing, subject.send_once_port()))?;
    let mut message = receiver.receive(port.name(), Some(LONG))?;
    let carried: memory_object_data_supply::Request = message.decode()?;
    expect(carried.reply_to.name != subject.name(), "a send-once right has the name of another")?;
    let once = message.claim_send_once(carried.reply_to).ok_or(Code::FAILURE)?;
    drop(message);
    drop(once);
    // Thrown away, it says so.
    same("a send-once right that was dropped", receiver.receive(subject.name(), Some(LONG))?.id(), 71)?;
    // Rights that this task hasn't got.
    for bad in [Port::move_send(subject.name()), Port::copy_send(0x00ab_cdef), Port { name: subject.name(), kind: kind::MOVE_SEND_ONCE }] {
        same("a right that isn't there", send(port.send_port(), &parcel(0, nothing, bad), 0, 0)?, Code::SEND_INVALID_RIGHT)?;
    }
    is_empty(port.name())
}

fn rights_in_arrays() -> Outcome {
    let sandbox = Sandbox::new()?;
    let _others = [sandbox.another()?, sandbox.another()?];
    let list = sandbox.task.port().call(&task_threads::Request {})?.thread_list;
    same("threads", list.count, 3)?;
    let names = Pages::from_reply(Memory { address: list.address, size: u64::from(list.count) * 4, deallocate: true });
    for name in names.chunks_exact(4) {
        let name = u32::from_le_bytes([name[0], name[1], name[2], name[3]]);
        let own = rpc::call(name, &thread_get_special_port::Request { which: THREAD_KERNEL_PORT })?;
        same("a thread's name", own.special_port.name, name)?;
        port::mod_refs(name, right::SEND, -2)?;
    }
    Ok(())
}

fn receive_rights_move_with_their_queue() -> Outcome {
    let (port, subject) = (port::allocate()?, port::allocate()?);
    let mut receiver = Receiver::new(256)?;
    let right = subject.make_send()?;
    right.send(&note(1))?;
    let moved = Port { name: subject.into_name(), kind: kind::MOVE_RECEIVE };
    rpc::send_to(port.send_port(), &parcel(0, Memory::default(), moved))?;
    right.send(&note(2))?;
    let nothing = receiver.receive(moved.name, Some(Duration::ZERO)).map(drop);
    expect(nothing.is_err(), "a receive right that was moved away still receives")?;
    let mut message = receiver.receive(port.name(), Some(LONG))?;
    let carried: memory_object_data_supply::Request = message.decode()?;
    let subject = message.claim_receive(carried.reply_to).ok_or(Code::FAILURE)?;
    drop(message);
    for number in [1, 2] {
        same("a message that was queued", next(&mut receiver, subject.name())?, number)?;
    }
    Ok(())
}

fn limited(limit: u32) -> Outcome<ReceiveRight> {
    let port = port::allocate()?;
    port::set_queue_limit(port.name(), limit)?;
    Ok(port)
}

fn queue_limit_and_send_timeout() -> Outcome {
    let port = limited(2)?;
    let mut receiver = Receiver::new(256)?;
    for number in [1, 2] {
        same("a send", send(port.send_port(), &note(number), option::SEND_TIMEOUT, 0)?, Code::SUCCESS)?;
    }
    same("a send that doesn't wait", send(port.send_port(), &note(3), option::SEND_TIMEOUT, 0)?, Code::SEND_TIMED_OUT)?;
    let before = time::now();
    same("a send that waits", send(port.send_port(), &note(3), option::SEND_TIMEOUT, 30)?, Code::SEND_TIMED_OUT)?;
    expect(time::now() - before >= Duration::from_millis(30), "it didn't wait so long")?;
    // A send-once right needs no room.
    rpc::send_to(port.send_once_port(), &note(4))?;
    let status = rpc::call(task::own(), &mach_port_get_receive_status::Request { name: PortName(port.name()) })?.status.0;
    expect(status.contains(&3), format_args!("three messages aren't in the status {status:?}"))?;
    for number in [1, 2, 4] {
        same("a message", next(&mut receiver, port.name())?, number)?;
    }
    is_empty(port.name())
}

fn sender_waits_for_room() -> Outcome {
    const COUNT: u64 = 40;
    let port = limited(1)?;
    let right = port.make_send()?;
    let done = Arc::new(AtomicBool::new(false));
    let sender = thread::spawn(thread::STACK, {
        let done = Arc::clone(&done);
        move || {
            let sent = (0..COUNT).all(|number| right.send(&note(number)).is_ok());
            done.store(sent, Ordering::Release);
        }
    })?;
    time::sleep(SHORT);
    expect(!done.load(Ordering::Acquire), "all was sent before anything was received")?;
    let mut receiver = Receiver::new(256)?;
    for number in 0..COUNT {
        same("the order", next(&mut receiver, port.name())?, number)?;
    }
    sender.join()?;
    expect(done.load(Ordering::Acquire), "a send failed")
}

fn message_too_large() -> Outcome {
    let port = port::allocate()?;
    let mut small = [0; 40];
    let receive = |buffer: &mut [u8], options| {
        let words =
            MsgWords { option: option::RCV | option::RCV_TIMEOUT | options, rcv_name: port.name(), timeout: 100, ..MsgWords::default() };
        mach_msg(buffer, words)
    };
    rpc::send_to(port.send_port(), &note(1))?;
    let size = note(1).build(Header::default(), &mut [0; 256])? as u32;
    same("left in the queue", receive(&mut small, option::RCV_LARGE), Code::RCV_TOO_LARGE)?;
    same("the size that is told", Header::read(&small).map(|header| header.size), Some(size))?;
    let mut receiver = Receiver::new(256)?;
    same("the message", next(&mut receiver, port.name())?, 1)?;
    // Without RCV_LARGE the message is gone, and what it carried is given back.
    let subject = port::allocate()?;
    rpc::send_to(port.send_port(), &parcel(0, Memory::default(), subject.send_once_port()))?;
    same("thrown away", receive(&mut small, 0), Code::RCV_TOO_LARGE)?;
    is_empty(port.name())?;
    same("the right in it", receiver.receive(subject.name(), Some(LONG))?.id(), 71)
}

fn port_set_gathers() -> Outcome {
    let set = port::allocate_set()?;
    let members = [port::allocate()?, port::allocate()?, port::allocate()?];
    let mut receiver = Receiver::new(256)?;
    // One message is there before the port is in the set.
    rpc::send_to(members[0].send_port(), &note(0))?;
    members.iter().try_for_each(|member| set.add(member))?;
    for (number, member) in (1..).zip(&members[1..]) {
        rpc::send_to(member.send_port(), &note(number))?;
    }
    let mut found = Vec::new();
    for _ in 0..3 {
        let message = receiver.receive(set.name(), Some(LONG))?;
        found.push((message.local(), message.decode::<memory_object_data_error::Request>()?.offset));
    }
    found.sort_unstable();
    let mut should: Vec<(u64, u64)> = (0..).zip(&members).map(|(number, member)| (member.name().into(), number)).collect();
    should.sort_unstable();
    same("messages", found, should)?;
    is_empty(set.name())?;
    // Out of the set again.
    port::move_member(members[1].name(), 0)?;
    rpc::send_to(members[1].send_port(), &note(9))?;
    is_empty(set.name())?;
    same("a message to a port of no set", next(&mut receiver, members[1].name())?, 9)?;
    drop(set);
    rpc::send_to(members[0].send_port(), &note(8))?;
    same("a message after the set is gone", next(&mut receiver, members[0].name())?, 8)
}

fn receive_ends_when_the_port_does() -> Outcome {
    for to_set in [false, true] {
        let port = port::allocate()?;
        let set = port::allocate_set()?;
        let name = port.name();
        let result = Arc::new(AtomicI32::new(-1));
        let waiting = thread::spawn(thread::STACK, {
            let result = Arc::clone(&result);
            move || {
                let code = Receiver::new(256).and_then(|mut receiver| receiver.receive(name, Some(LONG)).map(drop));
                result.store(Code::of(&code).0, Ordering::Release);
            }
        })?;
        time::sleep(SHORT);
        let should = if to_set {
            set.add(&port)?;
            Code::RCV_PORT_CHANGED
        } else {
            drop(port);
            Code::RCV_PORT_DIED
        };
        waiting.join()?;
        same("a receive that was waiting", Code(result.load(Ordering::Acquire)), should)?;
    }
    Ok(())
}

fn sequence_numbers() -> Outcome {
    let port = port::allocate()?;
    let mut receiver = Receiver::new(256)?;
    for number in 0..3 {
        rpc::send_to(port.send_port(), &note(0))?;
        same("a sequence number", receiver.receive(port.name(), Some(LONG))?.header().seqno, number)?;
    }
    rpc::call(task::own(), &abi::call::mach_port::mach_port_set_seqno::Request { name: PortName(port.name()), seqno: 70 })?;
    rpc::send_to(port.send_port(), &note(0))?;
    same("after mach_port_set_seqno", receiver.receive(port.name(), Some(LONG))?.header().seqno, 70)
}

fn protected_payload() -> Outcome {
    const PAYLOAD: u64 = 0x1234_5678_9abc_def0;
    let port = port::allocate()?;
    let mut receiver = Receiver::new(256)?;
    rpc::call(task::own(), &mach_port_set_protected_payload::Request { name: PortName(port.name()), payload: PAYLOAD })?;
    rpc::send_to(port.send_port(), &note(0))?;
    let message = receiver.receive(port.name(), Some(LONG))?;
    same("the local port", (message.local(), message.header().local_kind()), (PAYLOAD, kind::PROTECTED_PAYLOAD))
}

fn unsent_message_comes_back() -> Outcome {
    let (port, subject) = (limited(1)?, port::allocate()?);
    rpc::send_to(port.send_port(), &note(0))?;
    let right = subject.make_send()?;
    let mut source = Pages::allocate(PAGE_SIZE)?;
    source.fill(7);
    let data = Memory { deallocate: true, ..source.lend() };
    core::mem::forget(source);
    let mut bytes = [0; 256];
    let header = Header { bits: Header::bits(kind::MAKE_SEND, 0), remote: port.name().into(), ..Header::default() };
    let size = parcel(3, data, right.into_port()).build(header, &mut bytes)? as u32;
    let words = MsgWords { option: option::SEND | option::SEND_TIMEOUT, send_size: size, timeout: 10, ..MsgWords::default() };
    same("the send", mach_msg(&mut bytes, words), Code::SEND_TIMED_OUT)?;
    // The right and the memory are in the message again, maybe under other names.
    let back = memory_object_data_supply::Request::decode(&mut abi::message::Reader::new(&bytes[..size as usize]))?;
    same("the right", (back.reply_to.name, type_of(subject.name())?), (subject.name(), 0b11 << 16))?;
    let memory = Pages::from_reply(back.data);
    expect(memory.iter().all(|byte| *byte == 7), "the memory isn't what it was")
}
