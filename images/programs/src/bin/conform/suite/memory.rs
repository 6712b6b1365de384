//! Memory of one task: allocation, protection, reading, writing and copying by message, wiring.

use alloc::vec::Vec;

use abi::Code;
use abi::call::mach_host::vm_wire;
use abi::info::VmCounter;
use abi::message::Port;
use abi::vm::{PAGE_SIZE, Protection, USER_END};
use runtime::{SendRight, rpc};

use super::harness::{Outcome, expect, privileged_ports, refused, same, tests};
use super::puppet::{Op, Raised, Sandbox};
use super::space::Space;

tests! {
    allocate_gives_zeroes,
    allocate_where_it_is_full,
    deallocated_memory_is_gone,
    protection_fault_and_repair,
    maximum_protection,
    nothing_executes_what_is_not_code,
    read_gives_a_snapshot,
    read_and_write_unaligned,
    copy_overlapping_and_unaligned,
    memory_calls_say_what_is_wrong,
    region_tells_what_is_there,
    wiring_needs_privilege,
    wiring_counts_and_undoes,
}

const PAGES: u64 = 8;
const SIZE: u64 = PAGES * PAGE_SIZE;

/// Bytes that tell where they belong.
fn pattern(seed: u64, from: u64, length: u64) -> Vec<u8> {
    (from..from + length).map(|at| (at.wrapping_mul(31).wrapping_add(at >> 8) ^ seed) as u8).collect()
}

fn allocate_gives_zeroes() -> Outcome {
    let space = Space::own();
    for _ in 0..3 {
        let memory = space.allocate(SIZE)?;
        expect(memory.is_multiple_of(PAGE_SIZE) && memory != 0, "not a page's address")?;
        expect(space.read(memory, SIZE)?.iter().all(|byte| *byte == 0), "new memory isn't zero")?;
        space.write(memory, &pattern(1, 0, SIZE))?;
        space.deallocate(memory, SIZE)?;
    }
    same("nothing, allocated", space.allocate(0)?, 0)
}

fn allocate_where_it_is_full() -> Outcome {
    let space = Space::own();
    let memory = space.allocate(SIZE)?;
    refused("the same place again", space.allocate_at(memory, PAGE_SIZE), Code::NO_SPACE)?;
    refused("around it", space.allocate_at(memory - PAGE_SIZE, SIZE + 2 * PAGE_SIZE), Code::NO_SPACE)?;
    space.deallocate(memory + PAGE_SIZE, PAGE_SIZE)?;
    same("in the hole", space.allocate_at(memory + PAGE_SIZE + 5, 1)?, memory + PAGE_SIZE)?;
    space.deallocate(memory, SIZE)?;
    // What isn't there is no error to give back.
    space.deallocate(memory, SIZE)?;
    Ok(())
}

fn deallocated_memory_is_gone() -> Outcome {
    let mut sandbox = Sandbox::new()?;
    let memory = sandbox.space.allocate(SIZE)?;
    same("a store", sandbox.puppet.store(memory + 8, 42)?, Ok(()))?;
    same("a load", sandbox.puppet.load(memory + 8)?, Ok(42))?;
    sandbox.space.deallocate(memory, SIZE)?;
    for address in [memory + 8, memory + SIZE - 8] {
        same("a load", sandbox.puppet.load(address)?, Err(Raised::bad_access(Code::INVALID_ADDRESS, address)))?;
        same("a store", sandbox.puppet.store(address, 1)?, Err(Raised::bad_access(Code::INVALID_ADDRESS, address)))?;
    }
    refused("a read", sandbox.space.read(memory, 8), Code::INVALID_ADDRESS)
}

fn protection_fault_and_repair() -> Outcome {
    let Sandbox { space, ref mut puppet, .. } = Sandbox::new()?;
    let memory = space.allocate(SIZE)?;
    same("a store", puppet.store(memory, 1)?, Ok(()))?;
    space.protect(memory, PAGE_SIZE, Protection::READ)?;
    same("a load", puppet.load(memory)?, Ok(1))?;
    // Of a page that is there, and of one that isn't yet.
    space.protect(memory + PAGE_SIZE, PAGE_SIZE, Protection::READ)?;
    for address in [memory + 16, memory + PAGE_SIZE + 16] {
        same("a store", puppet.store(address, 7)?, Err(Raised::bad_access(Code::PROTECTION_FAILURE, address)))?;
        same("pc at the store", puppet.registers()?.pc, puppet.address(Op::Store))?;
        // The handler repairs it and lets the store be done again.
        space.protect(address & !(PAGE_SIZE - 1), PAGE_SIZE, Protection::DEFAULT)?;
        puppet.go_on()?;
        expect(puppet.done()?.is_ok(), "the store wasn't done again")?;
        same("what was stored", puppet.load(address)?, Ok(7))?;
    }
    space.protect(memory, PAGE_SIZE, Protection::NONE)?;
    same("a load of nothing", puppet.load(memory)?, Err(Raised::bad_access(Code::PROTECTION_FAILURE, memory)))?;
    Ok(())
}

fn maximum_protection() -> Outcome {
    let space = Space::own();
    let memory = space.allocate(SIZE)?;
    space.protect_with(memory, PAGE_SIZE, true, Protection::READ.bits())?;
    refused("more than the maximum", space.protect(memory, PAGE_SIZE, Protection::DEFAULT), Code::PROTECTION_FAILURE)?;
    refused("a write", space.set_word(memory, 1), Code::PROTECTION_FAILURE)?;
    space.set_word(memory + PAGE_SIZE, 1)?;
    same("the protection", space.region(memory)?.protection, Protection::READ.bits())?;
    refused("a protection that is none", space.protect_with(memory, PAGE_SIZE, false, 0xff), Code::INVALID_ARGUMENT)?;
    refused("a gap", space.protect(memory + SIZE - PAGE_SIZE, 1 << 40, Protection::READ), Code::INVALID_ADDRESS)?;
    same("the last page", space.region(memory + SIZE - PAGE_SIZE)?.protection, Protection::DEFAULT.bits())?;
    Ok(space.deallocate(memory, SIZE)?)
}

fn nothing_executes_what_is_not_code() -> Outcome {
    let mut sandbox = Sandbox::new()?;
    let memory = sandbox.space.allocate(PAGE_SIZE)?;
    let brk = 0xd420_0020_u64;
    same("a store", sandbox.puppet.store(memory, brk | brk << 32)?, Ok(()))?;
    let jumped = sandbox.puppet.run(Op::Jump, &[(0, memory)])?;
    same("a jump to data", jumped, Err(Raised::bad_access(Code::PROTECTION_FAILURE, memory)))?;
    sandbox.space.protect(memory, PAGE_SIZE, Protection::READ | Protection::EXECUTE)?;
    same("a jump to code", sandbox.puppet.run(Op::Jump, &[(0, memory)])?, Ok(memory))
}

fn read_gives_a_snapshot() -> Outcome {
    let space = Space::own();
    let memory = space.allocate(SIZE)?;
    space.write(memory, &pattern(3, 0, SIZE))?;
    let snapshot = space.read(memory, SIZE)?;
    space.write(memory, &pattern(4, 0, SIZE))?;
    expect(snapshot[..] == pattern(3, 0, SIZE)[..], "what was read changed with its source")?;
    expect(space.read(memory, SIZE)?[..] == pattern(4, 0, SIZE)[..], "what was written isn't there")?;
    space.deallocate(memory, SIZE)?;
    expect(snapshot[..] == pattern(3, 0, SIZE)[..], "what was read went with its source")
}

fn read_and_write_unaligned() -> Outcome {
    let space = Space::own();
    let memory = space.allocate(SIZE)?;
    space.write(memory, &pattern(5, 0, SIZE))?;
    for (at, length) in [(1, 1), (4095, 2), (100, 5000), (4096, 4097), (3, SIZE - 7)] {
        let read = space.read(memory + at, length)?;
        expect(read[..] == pattern(5, at, length)[..], format_args!("{length} bytes at {at} read wrong"))?;
        let end = read.address() + length;
        let page = read.address() & !(PAGE_SIZE - 1);
        let edges = space.read(page, end.next_multiple_of(PAGE_SIZE) - page)?;
        let around = edges.iter().enumerate().filter(|(index, _)| !(read.address() - page..end - page).contains(&(*index as u64)));
        expect(around.map(|(_, byte)| *byte).all(|byte| byte == 0), "there is something around what was read")?;
    }
    for (at, length) in [(1, 1), (4095, 2), (100, 5000), (4096, 4096), (8191, 4098), (5, SIZE - 9)] {
        space.write(memory, &pattern(5, 0, SIZE))?;
        space.write(memory + at, &pattern(6, at, length))?;
        let all = space.read(memory, SIZE)?;
        let (before, rest) = all.split_at(at as usize);
        let (written, after) = rest.split_at(length as usize);
        expect(written == pattern(6, at, length), format_args!("{length} bytes at {at} written wrong"))?;
        let kept = before == pattern(5, 0, at) && after == pattern(5, at + length, SIZE - at - length);
        expect(kept, format_args!("{length} bytes at {at} changed what is around them"))?;
    }
    Ok(space.deallocate(memory, SIZE)?)
}

fn copy_overlapping_and_unaligned() -> Outcome {
    let space = Space::own();
    let memory = space.allocate(SIZE)?;
    for (from, to, length) in
        [(0, 4 * PAGE_SIZE, 2 * PAGE_SIZE), (10, 4 * PAGE_SIZE + 300, 5000), (0, PAGE_SIZE, 4 * PAGE_SIZE), (100, 0, 9000)]
    {
        space.write(memory, &pattern(7, 0, SIZE))?;
        space.copy(memory + from, length, memory + to)?;
        let mut model = pattern(7, 0, SIZE);
        model.copy_within(from as usize..(from + length) as usize, to as usize);
        expect(space.read(memory, SIZE)?[..] == model[..], format_args!("vm_copy({from}, {length}, {to})"))?;
    }
    // The copies are of their own: what is written to one isn't seen in the other.
    space.write(memory, &pattern(8, 0, SIZE))?;
    space.copy(memory, PAGE_SIZE, memory + 4 * PAGE_SIZE)?;
    space.set_word(memory, 1)?;
    same("the copy", space.read(memory + 4 * PAGE_SIZE, PAGE_SIZE)?[..] == pattern(8, 0, PAGE_SIZE)[..], true)?;
    space.set_word(memory + 4 * PAGE_SIZE, 2)?;
    same("the source", space.word(memory)?, 1)?;
    Ok(space.deallocate(memory, SIZE)?)
}

fn memory_calls_say_what_is_wrong() -> Outcome {
    let space = Space::own();
    let memory = space.allocate(SIZE)?;
    let end = memory + SIZE;
    space.deallocate(end - PAGE_SIZE, PAGE_SIZE)?;
    let last = end - PAGE_SIZE;
    refused("a read past the end", space.read(last - 8, 16), Code::INVALID_ADDRESS)?;
    refused("a write past the end", space.write(last - 8, &[0; 16]), Code::INVALID_ADDRESS)?;
    refused("a copy from past the end", space.copy(last - 8, 16, memory), Code::INVALID_ADDRESS)?;
    refused("a copy to past the end", space.copy(memory, 16, last - 8), Code::INVALID_ADDRESS)?;
    space.protect(memory, PAGE_SIZE, Protection::READ)?;
    refused("a write to what can't be written", space.write(memory, &[1; 16]), Code::PROTECTION_FAILURE)?;
    refused("a copy to what can't be written", space.copy(memory + PAGE_SIZE, 16, memory), Code::PROTECTION_FAILURE)?;
    space.protect(memory, PAGE_SIZE, Protection::NONE)?;
    refused("a read of what can't be read", space.read(memory, 16), Code::PROTECTION_FAILURE)?;
    for (address, size) in
        [(0, u64::MAX), (u64::MAX, 1), (USER_END - PAGE_SIZE, 2 * PAGE_SIZE), (1 << 63, PAGE_SIZE), (memory, u64::MAX - 1)]
    {
        expect(space.read(address, size).is_err(), format_args!("vm_read({address:#x}, {size:#x})"))?;
        expect(space.copy(address, size, memory).is_err(), format_args!("vm_copy({address:#x}, {size:#x})"))?;
        expect(space.protect(address, size, Protection::READ).is_err(), format_args!("vm_protect({address:#x}, {size:#x})"))?;
        expect(space.allocate_at(address, size).is_err(), format_args!("vm_allocate({address:#x}, {size:#x})"))?;
    }
    expect(space.allocate(u64::MAX).is_err() && space.allocate(USER_END).is_err(), "more than there are addresses")?;
    expect(space.allocate_at(0, PAGE_SIZE).is_err(), "the null page was given away")?;
    Ok(space.deallocate(memory, SIZE)?)
}

fn region_tells_what_is_there() -> Outcome {
    let space = Space::own();
    let memory = space.allocate(SIZE)?;
    space.protect(memory, 2 * PAGE_SIZE, Protection::READ)?;
    space.inherit(memory, SIZE, abi::vm::Inherit::None)?;
    let region = space.region(memory + 1)?;
    same("its start and size", (region.address, region.size), (memory, 2 * PAGE_SIZE))?;
    same("its protections", (region.protection, region.max_protection), (Protection::READ.bits(), Protection::ALL.bits()))?;
    same("its inheritance", (region.inheritance, region.is_shared), (abi::vm::Inherit::None as u32, false))?;
    // An address in a hole finds what comes next.
    space.deallocate(memory, 2 * PAGE_SIZE)?;
    same("the next one", space.region(memory + PAGE_SIZE)?.address, memory + 2 * PAGE_SIZE)?;
    // This task's stack is up there; a new task has nothing.
    refused("past all", Sandbox::new()?.space.region(USER_END - 1), Code::NO_SPACE)?;
    Ok(space.deallocate(memory, SIZE)?)
}

fn wiring_needs_privilege() -> Outcome {
    let memory = Space::own().allocate(SIZE)?;
    let request = vm_wire::Request { task: Port::copy_send(Space::own().0), address: memory, size: SIZE, access: Protection::READ.bits() };
    refused("vm_wire by anybody", rpc::call(SendRight::host_self().name(), &request), Code::NO_ACCESS)?;
    Ok(Space::own().deallocate(memory, SIZE)?)
}

/// Frames that are wired.
fn wired(host: &SendRight) -> Result<u64, Code> {
    let words = host.call(&abi::call::pvmach_control::host_vm_counters::Request {})?.counters.0;
    words.get(VmCounter::Wired as usize * 2).map(|word| u64::from(*word)).ok_or(Code::FAILURE)
}

fn wiring_counts_and_undoes() -> Outcome {
    let Some(ports) = privileged_ports("wiring_counts_and_undoes")? else { return Ok(()) };
    let sandbox = Sandbox::new()?;
    let wire = |address, size, access: Protection| {
        let task = sandbox.task.port().copy();
        ports.host.call(&vm_wire::Request { task, address, size, access: access.bits() }).map(drop)
    };
    let memory = sandbox.space.allocate(SIZE)?;
    let before = wired(&ports.host)?;
    wire(memory, SIZE, Protection::DEFAULT)?;
    let during = wired(&ports.host)?;
    expect(during >= before + PAGES, format_args!("{before} frames wired before, {during} after"))?;
    wire(memory, PAGE_SIZE, Protection::READ)?;
    wire(memory, SIZE, Protection::NONE)?;
    // The first page was wired twice.
    expect(wired(&ports.host)? > before, "one vm_wire too many was taken back")?;
    wire(memory, PAGE_SIZE, Protection::NONE)?;
    same("frames wired", wired(&ports.host)?, before)?;
    let gap = wire(memory, SIZE + PAGE_SIZE, Protection::READ);
    expect(gap.is_err(), "more than there is was wired")?;
    same("frames wired after a failure", wired(&ports.host)?, before)?;
    wire(memory, SIZE, Protection::READ)?;
    sandbox.space.deallocate(memory, SIZE)?;
    same("frames wired after vm_deallocate", wired(&ports.host)?, before)
}
