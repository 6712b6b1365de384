//! When paging itself fails: an exception for the one who needs the page, and nothing for anybody else.
//!
//! `full-swap` wants a swap disk that is smaller than the RAM, `bad-disk` one that fails after a while, `pager-death` no default pager
//! at all: the test is it, and dies.

use abi::Code;
use abi::call::mach::vm_set_default_memory_manager;
use abi::call::memory_object_default::memory_object_create;
use abi::vm::PAGE_SIZE;
use core::time::Duration;
use runtime::bootstrap::{self, PrivilegedPorts};
use runtime::{Receiver, port, task};

use super::harness::{Failure, LONG, Outcome, expect, same, tests};
use super::paging::ram_pages;
use super::puppet::{Op, Raised, Sandbox};

tests!(FULL_SWAP: full_swap_is_an_exception_for_the_task, full_swap_is_free_again);
tests!(BAD_DISK: bad_disk_is_an_exception_for_the_task);
tests!(PAGER_DEATH: death_of_the_default_pager_is_no_hang);

/// Longer than it takes to fill RAM and swap.
const FILLED: Duration = Duration::from_secs(60);

/// Who judges must not be the one that trouble comes to: this task stays in memory.
fn stay_in_memory() -> Outcome<PrivilegedPorts> {
    let ports = bootstrap::ports().map_err(|_| Failure::new("needs `privileged` in the manifest"))?;
    task::wire_all(&ports.host)?;
    Ok(ports)
}

/// A task that writes so many pages; gives how it ended.
fn glutton(sandbox: &mut Sandbox, pages: u64) -> Outcome<Option<Raised>> {
    let memory = sandbox.space.allocate(pages * PAGE_SIZE)?;
    sandbox.puppet.start(Op::Fill, &[(0, memory), (1, 7), (2, PAGE_SIZE), (3, pages)])?;
    sandbox.puppet.exception_within(FILLED)
}

const fn is_bad_access(raised: &Raised) -> bool {
    raised.exception == abi::call::exc::EXC_BAD_ACCESS
}

/// Somebody else can still have memory, and use it.
fn others_go_on() -> Outcome {
    let mut sandbox = Sandbox::new()?;
    let pages = ram_pages()? / 8;
    let memory = sandbox.space.allocate(pages * PAGE_SIZE)?;
    let filled = sandbox.puppet.run(Op::Fill, &[(0, memory), (1, 3), (2, PAGE_SIZE), (3, pages)])?;
    expect(filled.is_ok(), format_args!("another task's stores: {filled:x?}"))?;
    for page in 0..pages {
        same("another task's load", sandbox.puppet.load(memory + page * PAGE_SIZE)?, Ok(3))?;
    }
    Ok(())
}

fn full_swap_is_an_exception_for_the_task() -> Outcome {
    stay_in_memory()?;
    let mut sandbox = Sandbox::new()?;
    let raised = glutton(&mut sandbox, ram_pages()? * 3)?.ok_or_else(|| Failure::new("no exception, and no end"))?;
    same("the exception", (raised.exception, raised.code), (1, Code::RESOURCE_SHORTAGE.0))?;
    // It can go on as soon as somebody gave memory back: here, itself.
    let x = sandbox.puppet.registers()?.x;
    let given = x[0].checked_sub(64 * PAGE_SIZE).ok_or(Code::FAILURE)?;
    sandbox.space.deallocate(given & !(PAGE_SIZE - 1), 64 * PAGE_SIZE)?;
    sandbox.puppet.start(Op::Store, &[(0, x[0]), (1, 5)])?;
    same("the store that had no memory", sandbox.puppet.done()?.map(drop), Ok(()))?;
    drop(sandbox);
    others_go_on()
}

/// What a task that ended had on the disk can be used by the next one.
fn full_swap_is_free_again() -> Outcome {
    stay_in_memory()?;
    for round in 0..4 {
        let mut sandbox = Sandbox::new()?;
        let raised = glutton(&mut sandbox, ram_pages()? * 3)?;
        expect(raised.as_ref().is_some_and(is_bad_access), format_args!("round {round}: {raised:x?}"))?;
        let pages = sandbox.puppet.registers()?.x[3];
        expect(pages < ram_pages()? * 5 / 2, format_args!("round {round}: only {} pages were had", ram_pages()? * 3 - pages))?;
    }
    others_go_on()
}

fn bad_disk_is_an_exception_for_the_task() -> Outcome {
    stay_in_memory()?;
    let mut sandbox = Sandbox::new()?;
    let pages = ram_pages()? * 2;
    let memory = sandbox.space.allocate(pages * PAGE_SIZE)?;
    sandbox.puppet.start(Op::Fill, &[(0, memory), (1, 7), (2, PAGE_SIZE), (3, pages)])?;
    let mut ended = sandbox.puppet.exception_within(FILLED)?.ok_or_else(|| Failure::new("no exception, and no end"))?;
    // If all could be written, some of it can't be read.
    for page in 0..pages {
        if is_bad_access(&ended) {
            break;
        }
        sandbox.puppet.start(Op::Load, &[(0, memory + page * PAGE_SIZE)])?;
        ended = sandbox.puppet.exception_within(FILLED)?.ok_or_else(|| Failure::new("no exception, and no page"))?;
    }
    expect(is_bad_access(&ended), format_args!("the disk fails, and nobody was told: {ended:x?}"))?;
    drop(sandbox);
    others_go_on()
}

fn death_of_the_default_pager_is_no_hang() -> Outcome {
    // The pager must not wait for itself.
    let ports = stay_in_memory()?;
    let manager = port::allocate()?;
    ports.host.call(&vm_set_default_memory_manager::Request { default_manager: manager.send_port() })?;
    let mut receiver = Receiver::new(1024)?;
    let (object, control) = {
        let mut message = receiver.receive(manager.name(), Some(LONG))?;
        let create: memory_object_create::Request = message.decode()?;
        let object = message.claim_receive(create.new_object).ok_or(Code::FAILURE)?;
        (object, message.claim_send(create.new_control).ok_or(Code::FAILURE)?)
    };
    let mut sandbox = Sandbox::new()?;
    let pages = ram_pages()? * 2;
    let memory = sandbox.space.allocate(pages * PAGE_SIZE)?;
    sandbox.puppet.start(Op::Fill, &[(0, memory), (1, 7), (2, PAGE_SIZE), (3, pages)])?;
    // Pages come, and are held; the thread waits for memory. It is told nothing until the pager is gone.
    let mut held = alloc::vec::Vec::new();
    while let Ok(mut message) = receiver.receive(object.name(), Some(Duration::from_millis(500))) {
        if let Ok(back) = message.decode::<abi::call::memory_object::memory_object_data_return::Request>() {
            held.extend(message.claim_memory(back.data));
        }
    }
    expect(!held.is_empty(), "the kernel gave nothing to its default pager")?;
    drop((object, control, manager));
    let raised = sandbox.puppet.exception_within(FILLED)?.ok_or_else(|| Failure::new("a thread waits for a pager that is gone"))?;
    expect(is_bad_access(&raised), format_args!("{raised:x?}"))?;
    drop((sandbox, held));
    others_go_on()
}
