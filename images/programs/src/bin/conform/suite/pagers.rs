//! objects and their pagers: what a pager is asked, and what its answers do.

use abi::Code;
use abi::call::mach::{memory_object_data_error, memory_object_data_unavailable, memory_object_lock_request};
use abi::call::memory_object::{
    memory_object_data_return, memory_object_lock_completed, memory_object_supply_completed, memory_object_terminate,
};
use abi::info::VmCounter;
use abi::message::Port;
use abi::policy::ON_DEADLINE_WAIT;
use abi::vm::{PAGE_SIZE, Protection, RETURN_DIRTY, RETURN_NONE};

use super::harness::{LONG, Outcome, SHORT, expect, same, tests};
use super::manual::{Manual, PAGES, SIZE, counter};
use super::puppet::Op;

tests! {
    pager_is_asked_and_supplies,
    pager_gets_back_what_was_written,
    pager_says_unavailable,
    pager_says_error,
    pager_is_late,
    pager_is_not_ready,
    pager_answers_in_parts,
    pager_answers_twice,
    pager_answers_unasked,
    pager_tells_supply_completed,
    pager_cleans_and_flushes,
}

fn pager_is_asked_and_supplies() -> Outcome {
    let mut manual = Manual::ready()?;
    let copied = counter(VmCounter::BytesCopiedIn)?;
    for page in [3, 0, PAGES - 1] {
        same("the request", manual.touch(page)?, (page, 1))?;
        manual.supply(page, 1, 70 + page)?;
        same("the load", manual.sandbox.puppet.done()?, Ok(70 + page))?;
        same("a second load", manual.load(page)?, Ok(70 + page))?;
    }
    same("bytes copied", counter(VmCounter::BytesCopiedIn)?, copied)?;
    manual.is_not_told()
}

fn pager_gets_back_what_was_written() -> Outcome {
    let mut manual = Manual::ready()?;
    manual.touch(2)?;
    manual.supply(2, 1, 5)?;
    same("the load", manual.sandbox.puppet.done()?, Ok(5))?;
    let address = manual.page(2) + 16;
    same("a store", manual.sandbox.puppet.store(address, 0xfeed)?, Ok(()))?;
    manual.sandbox.space.deallocate(manual.at, SIZE)?;
    {
        let mut message = manual.receiver.receive(manual.object.name(), Some(LONG))?;
        let back: memory_object_data_return::Request = message.decode()?;
        same("where, and how much", (back.offset, back.data.size, back.dirty), (2 * PAGE_SIZE, PAGE_SIZE, true))?;
        let memory = message.claim_memory(back.data).ok_or(Code::FAILURE)?;
        same("what was supplied", memory[0], 5)?;
        same("what was written", u16::from_le_bytes([memory[16], memory[17]]), 0xfeed)?;
    }
    manual.told::<memory_object_terminate::Request>().map(drop)
}

fn pager_says_unavailable() -> Outcome {
    let mut manual = Manual::ready_with(4, 0, ON_DEADLINE_WAIT)?;
    let (first, pages) = manual.touch(4)?;
    manual.say(&memory_object_data_unavailable::Request { offset: first * PAGE_SIZE, size: pages * PAGE_SIZE })?;
    same("the load", manual.sandbox.puppet.done()?, Ok(0))?;
    let address = manual.page(4);
    same("a store", manual.sandbox.puppet.store(address, 9)?, Ok(()))?;
    same("a load", manual.load(4)?, Ok(9))
}

fn pager_says_error() -> Outcome {
    let mut manual = Manual::ready()?;
    for code in [Code::MEMORY_ERROR, Code::MEMORY_FAILURE, Code(1234)] {
        let (first, pages) = manual.touch(1)?;
        manual.say(&memory_object_data_error::Request { offset: first * PAGE_SIZE, size: pages * PAGE_SIZE, error: code })?;
        same("the load", manual.sandbox.puppet.done()?, manual.failure(1, code))?;
    }
    // The page isn't lost: the next request may go well.
    manual.touch(1)?;
    manual.supply(1, 1, 8)?;
    same("the load after the errors", manual.sandbox.puppet.done()?, Ok(8))
}

fn pager_is_late() -> Outcome {
    let mut manual = Manual::ready()?;
    manual.touch(0)?;
    same("before the answer", manual.sandbox.puppet.exception_within(SHORT * 3)?, None)?;
    // Who waits doesn't keep others from their pages.
    let mut other = manual.sandbox.another()?;
    other.start(Op::Load, &[(0, manual.page(5))])?;
    same("the other's request", manual.asked()?, (5, 1))?;
    manual.supply(5, 1, 55)?;
    same("the other's load", other.done()?, Ok(55))?;
    manual.supply(0, 1, 66)?;
    same("the load", manual.sandbox.puppet.done()?, Ok(66))
}

fn pager_is_not_ready() -> Outcome {
    let mut manual = Manual::mapped()?;
    let address = manual.page(1);
    manual.sandbox.puppet.start(Op::Load, &[(0, address)])?;
    manual.is_not_told()?;
    manual.become_ready()?;
    let (first, pages) = manual.asked()?;
    expect((first..first + pages).contains(&1), "the request isn't about the page")?;
    manual.supply(1, 1, 4)?;
    same("the load", manual.sandbox.puppet.done()?, Ok(4))
}

fn pager_answers_in_parts() -> Outcome {
    let mut manual = Manual::ready_with(8, 0, ON_DEADLINE_WAIT)?;
    let (first, pages) = manual.touch(0)?;
    same("the first page", first, 0)?;
    manual.supply(0, 1, 100)?;
    same("the load", manual.sandbox.puppet.done()?, Ok(100))?;
    for page in (first + 1..first + pages).rev() {
        manual.supply(page, 1, 100 + page)?;
    }
    for page in first..first + pages {
        same("a page of the run", manual.load(page)?, Ok(100 + page))?;
    }
    manual.is_not_told()
}

fn pager_answers_twice() -> Outcome {
    let mut manual = Manual::ready()?;
    manual.touch(0)?;
    manual.supply(0, 1, 1)?;
    manual.supply(0, 1, 2)?;
    same("the load", manual.sandbox.puppet.done()?, Ok(1))?;
    let address = manual.page(0);
    same("a store", manual.sandbox.puppet.store(address, 3)?, Ok(()))?;
    manual.supply(0, 1, 4)?;
    manual.say(&memory_object_data_unavailable::Request { offset: 0, size: PAGE_SIZE })?;
    manual.say(&memory_object_data_error::Request { offset: 0, size: PAGE_SIZE, error: Code::MEMORY_ERROR })?;
    same("what was stored", manual.load(0)?, Ok(3))
}

fn pager_answers_unasked() -> Outcome {
    let mut manual = Manual::ready()?;
    // Read ahead: welcome.
    manual.supply(6, 2, 60)?;
    same("a page that was read ahead", manual.load(7)?, Ok(61))?;
    // Of no effect on what is asked later.
    manual.say(&memory_object_data_error::Request { offset: 9 * PAGE_SIZE, size: PAGE_SIZE, error: Code::MEMORY_ERROR })?;
    same("the request", manual.touch(9)?, (9, 1))?;
    // Far behind the end of anything.
    manual.say(&memory_object_data_error::Request { offset: 1 << 50, size: 1 << 50, error: Code::MEMORY_ERROR })?;
    manual.supply(1 << 30, 1, 0)?;
    manual.supply(9, 1, 99)?;
    same("the load", manual.sandbox.puppet.done()?, Ok(99))
}

fn pager_tells_supply_completed() -> Outcome {
    let mut manual = Manual::ready()?;
    let reply_to = Port::make_send_once(manual.object.name());
    manual.supply_with(0, 2, 1, reply_to)?;
    let done: memory_object_supply_completed::Request = manual.told()?;
    same("the first supply", (done.offset, done.length, done.result), (0, 2 * PAGE_SIZE, Code::SUCCESS))?;
    manual.supply_with(1, 2, 1, reply_to)?;
    let done: memory_object_supply_completed::Request = manual.told()?;
    same("one over a page that is there", (done.offset, done.result, done.error_offset), (PAGE_SIZE, Code::MEMORY_PRESENT, PAGE_SIZE))
}

fn pager_cleans_and_flushes() -> Outcome {
    let mut manual = Manual::ready()?;
    manual.supply(0, 4, 40)?;
    let address = manual.page(1);
    same("a store", manual.sandbox.puppet.store(address, 7)?, Ok(()))?;
    same("a load", manual.load(2)?, Ok(42))?;
    let reply_to = Port::make_send_once(manual.object.name());
    let lock = |should_return, should_flush| memory_object_lock_request::Request {
        offset: 0,
        size: SIZE,
        should_return,
        should_flush,
        lock_value: Protection::NO_CHANGE,
        reply_to,
    };
    // Cleaned, the page stays where it is.
    manual.say(&lock(RETURN_DIRTY, false))?;
    let back: memory_object_data_return::Request = manual.told()?;
    same("the page that was written", (back.offset, back.data.size), (PAGE_SIZE, PAGE_SIZE))?;
    manual.told::<memory_object_lock_completed::Request>()?;
    manual.supply(1, 1, 7)?;
    same("the page", manual.load(1)?, Ok(7))?;
    // Flushed, all are asked for again.
    manual.say(&lock(RETURN_NONE, true))?;
    manual.told::<memory_object_lock_completed::Request>()?;
    same("the request", manual.touch(2)?, (2, 1))?;
    manual.supply(2, 1, 43)?;
    same("the load", manual.sandbox.puppet.done()?, Ok(43))?;
    Ok(())
}
