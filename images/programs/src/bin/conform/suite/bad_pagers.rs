//! Pagers that end, are late, or say nonsense: an error for who waits, and for nobody else.

use alloc::vec::Vec;
use core::time::Duration;

use abi::Code;
use abi::call::mach::{
    memory_object_data_error, memory_object_data_supply, memory_object_data_unavailable, memory_object_destroy, memory_object_lock_request,
    memory_object_ready,
};
use abi::call::pvmach_control::memory_object_set_policy;
use abi::info::VmCounter;
use abi::message::{Memory, Port};
use abi::policy::{ON_DEADLINE_ADOPT, ON_DEADLINE_ERROR, ON_DEADLINE_WAIT};
use abi::vm::{PAGE_SIZE, Protection, RETURN_ALL};
use runtime::Pages;

use super::harness::{Outcome, SHORT, expect, same, tests};
use super::manual::{Manual, PAGES, SIZE, counter};
use super::puppet::{Op, Puppet, Sandbox};

tests! {
    pager_destroys_with_requests_open,
    pager_dies_with_requests_open,
    pager_dies_before_it_is_ready,
    pager_misses_its_deadline,
    pager_may_miss_its_deadline,
    pager_loses_its_object_at_the_deadline,
    pager_says_nonsense,
    pager_object_is_shared_and_copied,
    clients_end_with_requests_open,
}

/// One puppet waits for page 0, another for page 3.
fn two_wait(manual: &mut Manual) -> Outcome<Puppet> {
    manual.touch(0)?;
    let mut other = manual.sandbox.another()?;
    other.start(Op::Store, &[(0, manual.page(3))])?;
    same("the other's request", manual.asked()?, (3, 1))?;
    Ok(other)
}

fn pager_destroys_with_requests_open() -> Outcome {
    let mut manual = Manual::ready()?;
    let mut other = two_wait(&mut manual)?;
    manual.say(&memory_object_destroy::Request { reason: Code::MEMORY_FAILURE })?;
    same("the load", manual.sandbox.puppet.done()?, manual.failure(0, Code::MEMORY_FAILURE))?;
    same("the other's store", other.done()?, manual.failure(3, Code::MEMORY_FAILURE))?;
    same("a later load", manual.load(5)?, manual.failure(5, Code::MEMORY_FAILURE))
}

fn pager_dies_with_requests_open() -> Outcome {
    let mut manual = Manual::ready()?;
    manual.supply(1, 1, 11)?;
    same("a load", manual.load(1)?, Ok(11))?;
    let mut other = two_wait(&mut manual)?;
    let failures = [manual.failure(0, Code::MEMORY_ERROR), manual.failure(3, Code::MEMORY_ERROR)];
    let Manual { mut sandbox, at, object, control, .. } = manual;
    drop(object);
    same("the load", sandbox.puppet.done()?, failures[0])?;
    same("the other's store", other.done()?, failures[1])?;
    // What is in memory stays; what isn't is an error.
    same("a page that is there", sandbox.puppet.load(at + PAGE_SIZE)?, Ok(11))?;
    expect(sandbox.puppet.load(at + 5 * PAGE_SIZE)?.is_err(), "a page of nobody's was found")?;
    let said = control.send(&memory_object_ready::Request { may_cache: false, copy_strategy: 0 });
    expect(said.is_err(), "the control port lives on")
}

fn pager_dies_before_it_is_ready() -> Outcome {
    let mut manual = Manual::mapped()?;
    let address = manual.page(2);
    manual.sandbox.puppet.start(Op::Load, &[(0, address)])?;
    same("a load of what isn't ready", manual.sandbox.puppet.exception_within(SHORT)?, None)?;
    let failure = manual.failure(2, Code::MEMORY_ERROR);
    let Manual { mut sandbox, object, .. } = manual;
    drop(object);
    same("the load", sandbox.puppet.done()?, failure)
}

fn pager_misses_its_deadline() -> Outcome {
    let mut manual = Manual::ready_with(1, 80, ON_DEADLINE_ERROR)?;
    let deadlines = counter(VmCounter::Deadlines)?;
    let before = runtime::time::now();
    manual.touch(0)?;
    same("the load", manual.sandbox.puppet.done()?, manual.failure(0, Code::TIMEDOUT))?;
    expect(runtime::time::now() - before >= Duration::from_millis(80), "before the deadline")?;
    expect(counter(VmCounter::Deadlines)? > deadlines, "no deadline was counted")?;
    // An answer in time is as good as ever, and so is one that is late.
    manual.touch(1)?;
    manual.supply(1, 1, 5)?;
    same("the load in time", manual.sandbox.puppet.done()?, Ok(5))?;
    manual.supply(0, 1, 6)?;
    same("the load after a late answer", manual.load(0)?, Ok(6))
}

fn pager_may_miss_its_deadline() -> Outcome {
    let mut manual = Manual::ready_with(1, 20, ON_DEADLINE_WAIT)?;
    manual.touch(0)?;
    same("after the deadline", manual.sandbox.puppet.exception_within(SHORT * 2)?, None)?;
    manual.supply(0, 1, 6)?;
    same("the load", manual.sandbox.puppet.done()?, Ok(6))
}

fn pager_loses_its_object_at_the_deadline() -> Outcome {
    let mut manual = Manual::ready_with(1, 50, ON_DEADLINE_ADOPT)?;
    manual.supply(1, 1, 11)?;
    let address = manual.page(1);
    same("a store", manual.sandbox.puppet.store(address, 12)?, Ok(()))?;
    manual.touch(0)?;
    same("the load", manual.sandbox.puppet.done()?, manual.failure(0, Code::TIMEDOUT))?;
    same("a page that is there", manual.load(1)?, Ok(12))?;
    same("another load", manual.load(2)?, manual.failure(2, Code::TIMEDOUT))
}

fn pager_says_nonsense() -> Outcome {
    let mut manual = Manual::ready()?;
    manual.touch(0)?;
    let bad = [(1, PAGE_SIZE), (u64::MAX - 4095, PAGE_SIZE), (u64::MAX, u64::MAX), (0, u64::MAX), (PAGE_SIZE / 2, 8), (PAGE_SIZE, 0)];
    for (offset, size) in bad {
        if (offset, size) != (0, u64::MAX) {
            manual.say(&memory_object_data_unavailable::Request { offset, size })?;
            manual.say(&memory_object_data_error::Request { offset, size, error: Code::MEMORY_ERROR })?;
        }
        let reply_to = Port::NULL;
        for should_flush in [false, true] {
            let (should_return, lock_value) = (RETURN_ALL, 0xff);
            manual.say(&memory_object_lock_request::Request { offset, size, should_return, should_flush, lock_value, reply_to })?;
        }
        let data = Memory::default();
        manual.say(&memory_object_data_supply::Request { offset, data, lock_value: 9, precious: true, reply_to })?;
    }
    // Parts of pages can't be supplied.
    let pages = Pages::allocate(2 * PAGE_SIZE)?;
    for (at, size) in [(0, 100), (8, PAGE_SIZE), (0, PAGE_SIZE + 8), (0, 0)] {
        let data = Memory { address: pages.address() + at, size, deallocate: false };
        manual.say(&memory_object_data_supply::Request { offset: 0, data, lock_value: 0, precious: false, reply_to: Port::NULL })?;
    }
    for on_deadline in [3, u32::MAX] {
        manual.say(&memory_object_set_policy::Request { flags: u32::MAX, run_pages: 0, deadline_ms: 1, on_deadline })?;
    }
    manual.say(&memory_object_ready::Request { may_cache: true, copy_strategy: 77 })?;
    same("the load meanwhile", manual.sandbox.puppet.exception_within(SHORT)?, None)?;
    manual.supply(0, 1, 21)?;
    same("the load", manual.sandbox.puppet.done()?, Ok(21))
}

fn pager_object_is_shared_and_copied() -> Outcome {
    let mut manual = Manual::ready()?;
    manual.supply(0, PAGES, 10)?;
    let right = manual.object.send_port();
    let mut sharer = Sandbox::new()?;
    let shared = sharer.space.map(right, SIZE, Protection::DEFAULT)?;
    let copied = sharer.space.map_with(right, SIZE, true, Protection::DEFAULT)?;
    same("the shared page", sharer.puppet.load(shared)?, Ok(10))?;
    same("the copied page", sharer.puppet.load(copied)?, Ok(10))?;
    let address = manual.page(0);
    same("a store", manual.sandbox.puppet.store(address, 1)?, Ok(()))?;
    same("the shared page", sharer.puppet.load(shared)?, Ok(1))?;
    same("the copied page", sharer.puppet.load(copied)?, Ok(10))?;
    same("a store to the copy", sharer.puppet.store(copied + PAGE_SIZE, 2)?, Ok(()))?;
    same("the object's page", manual.load(1)?, Ok(11))?;
    let mut child = Sandbox::with(sharer.space.fork()?, sharer.puppet.address(Op::Trap))?;
    same("a store by a child to what is shared", child.puppet.store(shared + 2 * PAGE_SIZE, 3)?, Ok(()))?;
    same("the object's page", manual.load(2)?, Ok(3))
}

/// Tasks that wait for a pager end all the same.
fn clients_end_with_requests_open() -> Outcome {
    let mut waiting = Vec::new();
    for _ in 0..6 {
        let mut manual = Manual::ready()?;
        manual.touch(0)?;
        waiting.push(manual);
    }
    for manual in waiting {
        let death = super::exceptions::watch(manual.sandbox.task.port())?;
        manual.sandbox.task.terminate()?;
        super::exceptions::wait_for_death(&death)?;
    }
    Ok(())
}
