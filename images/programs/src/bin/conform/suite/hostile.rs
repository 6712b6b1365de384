//! Hostile addresses and sizes to every trap and message that takes some: an error for whoever did it, and nothing else.

use abi::Code;
use abi::message::{Descriptor, HEADER_BYTES, Header, Writer, kind};
use abi::trap::{self, option};
use abi::vm::{PAGE_SIZE, Protection, USER_END};
use runtime::trap::{MsgWords, mach_msg};
use runtime::{Receiver, port};

use super::harness::{Outcome, expect, same, tests};
use super::puppet::{Raised, Sandbox};
use super::space::Space;

tests! {
    hostile_pointers_to_traps,
    hostile_buffers_to_mach_msg,
    hostile_stack_of_vm_map,
    hostile_memory_in_messages,
    hostile_descriptors_in_messages,
    results_that_have_no_place_change_nothing,
}

/// A task with a page that can only be read, at its end nothing.
struct Ground {
    sandbox: Sandbox,
    read_only: u64,
}

impl Ground {
    fn new() -> Result<Self, Code> {
        let sandbox = Sandbox::new()?;
        // Far from what is allocated anywhere later.
        let read_only = sandbox.space.allocate_at(1 << 40, PAGE_SIZE)?;
        sandbox.space.set_word(read_only, 0x0041_4141_4141_4141)?;
        sandbox.space.protect(read_only, PAGE_SIZE, Protection::READ)?;
        Ok(Self { sandbox, read_only })
    }

    /// Addresses at which nothing can be written.
    fn unwritable(&self) -> [u64; 14] {
        [
            0,
            1,
            8,
            PAGE_SIZE - 2,
            self.read_only,
            self.read_only + PAGE_SIZE - 4,
            self.read_only + PAGE_SIZE,
            0x5000_0001,
            USER_END - 8,
            USER_END - 2,
            USER_END,
            0xffff_8000_0000_0000,
            0xffff_8000_4008_0000,
            u64::MAX - 3,
        ]
    }
}

fn hostile_pointers_to_traps() -> Outcome {
    let mut ground = Ground::new()?;
    let task = ground.sandbox.puppet.trap(trap::MACH_TASK_SELF, &[])?.unwrap_or(0);
    for address in ground.unwritable() {
        let puppet = &mut ground.sandbox.puppet;
        let calls: [(i32, &[u64]); 5] = [
            (trap::VM_ALLOCATE, &[task, address, PAGE_SIZE, 1]),
            (trap::TASK_CREATE, &[task, 0, address]),
            (trap::MACH_PORT_ALLOCATE, &[task, 1, address]),
            (trap::VM_ALLOCATE, &[task, address, u64::MAX, 0]),
            (trap::MACH_PORT_ALLOCATE, &[task, 77, address]),
        ];
        for (number, arguments) in calls {
            let result = puppet.trap(number, arguments)?;
            let is_error = result.map_or(true, |code| code as u32 != 0);
            expect(is_error, format_args!("trap {number} wrote its result to {address:#x}"))?;
        }
        // What is only read, or may be.
        puppet.trap(trap::MACH_PRINT, &[if address == ground.read_only { 0 } else { address }])?.ok();
        for count in [70, 136, 0, u64::MAX, 1 << 62] {
            let result = puppet.trap(trap::THREAD_SET_SELF_STATE, &[1, address, count])?;
            expect(result.map_or(true, |code| code as u32 != 0), format_args!("a thread state of {count} words at {address:#x}"))?;
        }
    }
    Ok(())
}

fn hostile_buffers_to_mach_msg() -> Outcome {
    let mut ground = Ground::new()?;
    let reply_port = ground.sandbox.puppet.trap(trap::MACH_REPLY_PORT, &[])?.unwrap_or(0);
    let task = ground.sandbox.puppet.trap(trap::MACH_TASK_SELF, &[])?.unwrap_or(0);
    // A good message that the puppet sends to itself, to have something to receive.
    let good = ground.sandbox.space.allocate(PAGE_SIZE)?;
    let mut bytes = [0; HEADER_BYTES];
    let header = Header { bits: Header::bits(kind::MAKE_SEND, 0), remote: reply_port, id: 5, size: 32, ..Header::default() };
    header.write(&mut bytes);
    ground.sandbox.space.write(good, &bytes)?;
    for address in ground.unwritable() {
        let puppet = &mut ground.sandbox.puppet;
        for size in [32, 64, 4096, 65536, 65544, 0xffff_fff8] {
            let send = u64::from(option::SEND | option::SEND_TIMEOUT);
            let code = puppet.trap_code(trap::MACH_MSG, &[address, send, size, 0, 0, 0, 0])?;
            expect(code != Code::SUCCESS, format_args!("a message of {size} bytes at {address:#x} was sent"))?;
        }
        let sent = puppet.trap_code(trap::MACH_MSG, &[good, u64::from(option::SEND), 32, 0, 0, 0, 0])?;
        same("the good message", sent, Code::SUCCESS)?;
        let receive = u64::from(option::RCV | option::RCV_TIMEOUT);
        let code = puppet.trap_code(trap::MACH_MSG, &[address, receive, 0, 4096, reply_port, 0, 0])?;
        expect(code != Code::SUCCESS, format_args!("a message was received at {address:#x}"))?;
        // Whatever became of it, the port isn't stuck.
        let code = puppet.trap_code(trap::MACH_MSG, &[good + 64, receive, 0, 4, reply_port, 0, 0])?;
        expect(code != Code::SUCCESS, "a message was received in four bytes")?;
        puppet.trap_code(trap::MACH_MSG, &[good + 64, receive, 0, 2048, reply_port, 0, 0])?;
    }
    same("the task's name", ground.sandbox.puppet.trap(trap::MACH_TASK_SELF, &[])?, Ok(task))
}

fn hostile_stack_of_vm_map() -> Outcome {
    let mut ground = Ground::new()?;
    let task = ground.sandbox.puppet.trap(trap::MACH_TASK_SELF, &[])?.unwrap_or(0);
    let place = ground.sandbox.space.allocate(PAGE_SIZE)?;
    let arguments = [task, place, PAGE_SIZE, 0, 1, 0, 0, 0];
    for sp in [0x6000_0000, 0xffff_8000_0000_0000, u64::MAX - 15, USER_END - 16] {
        ground.sandbox.puppet.sp = sp;
        let result = ground.sandbox.puppet.trap(trap::VM_MAP, &arguments)?;
        let raised = result.err().filter(|raised| (raised.exception, raised.code) == (1, Code::INVALID_ADDRESS.0));
        expect(raised.is_some(), format_args!("vm_map with the stack at {sp:#x}: {result:x?}"))?;
    }
    ground.sandbox.puppet.sp = 0x6000_0000;
    let result = ground.sandbox.puppet.trap(trap::VM_MAP, &arguments)?;
    same("vm_map with no stack", result, Err(Raised::bad_access(Code::INVALID_ADDRESS, 0x6000_0000)))?;
    // With a stack it does what it should.
    let stack = ground.sandbox.space.allocate(PAGE_SIZE)?;
    for (index, word) in (0..).zip([3_u64, 7, 1]) {
        ground.sandbox.space.set_word(stack + 8 * index, word)?;
    }
    ground.sandbox.puppet.sp = stack;
    same("vm_map", ground.sandbox.puppet.trap_code(trap::VM_MAP, &arguments)?, Code::SUCCESS)?;
    let mapped = ground.sandbox.space.word(place)?;
    same("a store there", ground.sandbox.puppet.store(mapped, 1)?, Ok(()))?;
    for address in ground.unwritable() {
        let result = ground.sandbox.puppet.trap(trap::VM_MAP, &[task, address, PAGE_SIZE, 0, 1, 0, 0, 0])?;
        expect(result.map_or(true, |code| code as u32 != 0), format_args!("vm_map wrote its result to {address:#x}"))?;
    }
    Ok(())
}

/// A message to a port of this task, with items written by `items`; gives what sending it came to.
fn send_to_self(items: impl FnOnce(&mut Writer<'_>) -> Result<(), abi::message::Malformed>) -> Outcome<Code> {
    let port = port::allocate()?;
    let mut bytes = [0; 512];
    let header = Header { bits: Header::bits(kind::MAKE_SEND, 0), remote: port.name().into(), id: 77, ..Header::default() };
    let mut writer = Writer::new(&mut bytes);
    items(&mut writer)?;
    let size = writer.finish(header)? as u32;
    let words = MsgWords { option: option::SEND | option::SEND_TIMEOUT, send_size: size, ..MsgWords::default() };
    let code = mach_msg(&mut bytes, words);
    if code == Code::SUCCESS {
        Receiver::new(4096)?.receive(port.name(), Some(core::time::Duration::ZERO)).map(drop)?;
    }
    Ok(code)
}

fn hostile_memory_in_messages() -> Outcome {
    let space = Space::own();
    let memory = space.allocate(2 * PAGE_SIZE)?;
    space.deallocate(memory + PAGE_SIZE, PAGE_SIZE)?;
    let bad = [
        (0, 8),
        (memory + PAGE_SIZE - 4, 8),
        (memory, PAGE_SIZE + 1),
        (USER_END - 4, 8),
        (USER_END, 8),
        (0xffff_8000_0000_0000, 64),
        (u64::MAX - 3, 8),
        (memory, u32::MAX.into()),
    ];
    for (address, size) in bad {
        for deallocate in [false, true] {
            let data = Descriptor { name: kind::BYTE, bits: 8, inline: false, deallocate, number: size as u32 };
            let code = send_to_self(|writer| writer.item(data, &address.to_le_bytes()))?;
            expect(code == Code::SEND_INVALID_MEMORY, format_args!("{size:#x} bytes at {address:#x} out of line: {code}"))?;
            let names = Descriptor { name: kind::COPY_SEND, bits: 32, ..data };
            let code = send_to_self(|writer| writer.item(names, &address.to_le_bytes()))?;
            expect(code != Code::SUCCESS, format_args!("{size:#x} names at {address:#x} out of line: {code}"))?;
        }
    }
    // What could not be sent is all still there.
    space.set_word(memory, 1)?;
    Ok(space.deallocate(memory, PAGE_SIZE)?)
}

fn hostile_descriptors_in_messages() -> Outcome {
    let plain = Descriptor::inline(kind::INTEGER_32, 32, 1);
    let bad = [
        Descriptor { number: u32::MAX, ..plain },
        Descriptor { bits: u16::MAX, number: u32::MAX, ..plain },
        Descriptor { number: 200, ..plain },
        Descriptor { name: kind::MOVE_SEND, bits: 64, number: 100, ..plain },
        Descriptor { name: kind::MOVE_RECEIVE, bits: 16, ..plain },
        Descriptor { name: kind::COPY_SEND, bits: 64, number: u32::MAX, ..plain },
        Descriptor { name: kind::MOVE_SEND, bits: 8, number: u32::MAX, inline: false, deallocate: true },
    ];
    for descriptor in bad {
        let code = send_to_self(|writer| {
            // A right makes the message one whose items are looked at.
            writer.item(Descriptor::inline(kind::COPY_SEND, 64, 1), &0_u64.to_le_bytes())?;
            writer.item(descriptor, &0x1234_u64.to_le_bytes())
        })?;
        expect(code != Code::SUCCESS, format_args!("{descriptor:?} was sent"))?;
    }
    Ok(())
}

fn results_that_have_no_place_change_nothing() -> Outcome {
    let mut sandbox = Sandbox::new()?;
    let task = sandbox.puppet.trap(trap::MACH_TASK_SELF, &[])?.unwrap_or(0);
    let size = |space: Space| space.region(0).map(|region| (region.address, region.size));
    let before = size(sandbox.space)?;
    for _ in 0..50 {
        let result = sandbox.puppet.trap(trap::VM_ALLOCATE, &[task, 8, PAGE_SIZE, 1])?;
        expect(result.map_or(true, |code| code as u32 != 0), "vm_allocate wrote its result to nowhere")?;
    }
    same("the first region", size(sandbox.space)?, before)?;
    let first = sandbox.puppet.trap(trap::MACH_REPLY_PORT, &[])?;
    for _ in 0..50 {
        sandbox.puppet.trap(trap::MACH_PORT_ALLOCATE, &[task, 1, 8])?.ok();
    }
    // Names are given from the lowest: none was lost meanwhile.
    let second = sandbox.puppet.trap(trap::MACH_REPLY_PORT, &[])?;
    expect(second.unwrap_or(0) <= first.unwrap_or(0) + 1, format_args!("names {first:?} and {second:?}: some were lost between"))
}
