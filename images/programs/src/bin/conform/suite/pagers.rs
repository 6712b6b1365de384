//! Memory objects whose pager is the test itself: what it is asked, what its answers do, and what happens when they are wrong.

use alloc::vec::Vec;
use core::time::Duration;

use abi::call::mach::{
    memory_object_data_error, memory_object_data_supply, memory_object_data_unavailable, memory_object_destroy, memory_object_lock_request,
    memory_object_ready,
};
use abi::call::memory_object::{
    memory_object_data_request, memory_object_data_return, memory_object_init, memory_object_lock_completed,
    memory_object_supply_completed, memory_object_terminate,
};
use abi::call::pvmach_control::{host_vm_counters, memory_object_set_policy};
use abi::info::VmCounter;
use abi::message::{Memory, Port};
use abi::policy::{ON_DEADLINE_ADOPT, ON_DEADLINE_ERROR, ON_DEADLINE_WAIT};
use abi::vm::{CopyStrategy, PAGE_SIZE, Protection, RETURN_ALL, RETURN_DIRTY, RETURN_NONE};
use abi::{Code, Message};
use runtime::{Pages, ReceiveRight, Receiver, SendRight, port};

use super::harness::{Failure, LONG, Outcome, SHORT, expect, same, tests};
use super::puppet::{Op, Puppet, Raised, Sandbox};

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

const PAGES: u64 = 16;
const SIZE: u64 = PAGES * PAGE_SIZE;

/// An object mapped into a sandbox, and its pager's side.
struct Manual {
    sandbox: Sandbox,
    at: u64,
    object: ReceiveRight,
    control: SendRight,
    receiver: Receiver,
}

impl Manual {
    /// Mapped, not ready.
    fn mapped() -> Outcome<Self> {
        let object = port::allocate()?;
        let sandbox = Sandbox::new()?;
        let at = sandbox.space.map(object.send_port(), SIZE, Protection::DEFAULT)?;
        let mut receiver = Receiver::new(512)?;
        let control = {
            let mut message = receiver.receive(object.name(), Some(LONG))?;
            let init: memory_object_init::Request = message.decode()?;
            same("the page size", init.page_size, PAGE_SIZE)?;
            message.claim_send(init.control).ok_or_else(|| Failure::new("no control port"))?
        };
        Ok(Self { sandbox, at, object, control, receiver })
    }

    fn ready() -> Outcome<Self> {
        Self::ready_with(1, 0, ON_DEADLINE_WAIT)
    }

    /// Ready, with runs of so many pages and a deadline.
    fn ready_with(run_pages: u32, deadline_ms: u32, on_deadline: u32) -> Outcome<Self> {
        let manual = Self::mapped()?;
        manual.say(&memory_object_set_policy::Request { flags: 0, run_pages, deadline_ms, on_deadline })?;
        manual.become_ready()?;
        Ok(manual)
    }

    fn become_ready(&self) -> Outcome {
        self.say(&memory_object_ready::Request { may_cache: false, copy_strategy: CopyStrategy::Delay as u32 })
    }

    fn say(&self, message: &impl Message) -> Outcome {
        Ok(self.control.send(message)?)
    }

    /// The next message, which is of this kind.
    fn told<M: Message>(&mut self) -> Outcome<M> {
        let message = self.receiver.receive(self.object.name(), Some(LONG))?;
        if message.id() != M::ID {
            return Err(Failure::new(format_args!("message {} came, not {}", message.id(), M::ID)));
        }
        Ok(message.decode()?)
    }

    /// The next request: its first page and its pages.
    fn asked(&mut self) -> Outcome<(u64, u64)> {
        let request: memory_object_data_request::Request = self.told()?;
        expect(request.offset % PAGE_SIZE == 0 && request.length % PAGE_SIZE == 0, "a request for parts of pages")?;
        Ok((request.offset / PAGE_SIZE, request.length / PAGE_SIZE))
    }

    fn is_not_told(&mut self) -> Outcome {
        match self.receiver.receive(self.object.name(), Some(SHORT)) {
            Err(Code::RCV_TIMED_OUT) => Ok(()),
            Ok(message) => Err(Failure::new(format_args!("message {} came", message.id()))),
            Err(code) => Err(code.into()),
        }
    }

    /// Supplies pages whose first words are `word`, `word + 1`, …
    fn supply(&self, page: u64, pages: u64, word: u64) -> Outcome {
        self.supply_with(page, pages, word, Port::NULL)
    }

    fn supply_with(&self, page: u64, pages: u64, word: u64, reply_to: Port) -> Outcome {
        let mut memory = Pages::allocate(pages * PAGE_SIZE)?;
        for (bytes, word) in memory.chunks_exact_mut(PAGE_SIZE as usize).zip(word..) {
            bytes[..8].copy_from_slice(&word.to_le_bytes());
        }
        let offset = page * PAGE_SIZE;
        let supply = |data| memory_object_data_supply::Request { offset, data, lock_value: 0, precious: false, reply_to };
        Ok(memory.send(self.control.name(), supply).map_err(|(code, _)| code)?)
    }

    const fn page(&self, page: u64) -> u64 {
        self.at + page * PAGE_SIZE
    }

    /// The puppet begins to load a page's first word; gives what the pager is asked.
    fn touch(&mut self, page: u64) -> Outcome<(u64, u64)> {
        let address = self.page(page);
        self.sandbox.puppet.start(Op::Load, &[(0, address)])?;
        self.asked()
    }

    fn load(&mut self, page: u64) -> Outcome<Result<u64, Raised>> {
        let address = self.page(page);
        self.sandbox.puppet.load(address)
    }

    fn failure(&self, page: u64, code: Code) -> Result<u64, Raised> {
        Err(Raised::bad_access(code, self.page(page)))
    }
}

fn counter(counter: VmCounter) -> Result<u64, Code> {
    let words = SendRight::host_self().call(&host_vm_counters::Request {})?.counters.0;
    words.get(counter as usize * 2).map(|word| u64::from(*word)).ok_or(Code::FAILURE)
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
