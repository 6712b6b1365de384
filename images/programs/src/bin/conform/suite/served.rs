//! Memory objects of pagers as people write them (`pager::Pager` behind a `Server`, with filters around it), in a thread of the test.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

use abi::Code;
use abi::message::Port;
use abi::vm::{PAGE_SIZE, Protection};
use filters::{Delay, Every, Fault, Faults};
use pager::{Attributes, Control, OnDeadline, Pager, Policy, Returned, Run, Server};
use runtime::thread::{self, Thread};
use runtime::{Pages, time};

use super::harness::{Failure, LONG, Outcome, expect, same, tests};
use super::puppet::{Op, Puppet, Raised, Sandbox};

tests! {
    served_by_a_plain_pager,
    served_by_a_slow_pager,
    served_by_one_that_answers_twice,
    served_by_one_that_answers_astray,
    served_by_one_that_fails_now_and_then,
    served_by_one_that_is_silent_now_and_then,
    served_by_one_that_destroys_its_object,
    served_by_one_that_ends,
    served_pages_come_home,
}

const PAGES: u64 = 64;
const SIZE: u64 = PAGES * PAGE_SIZE;

/// Each page's first word is its number, until it is written; then what was written.
struct Numbers {
    policy: Option<Policy>,
    store: Vec<(u64, Pages)>,
    returned: Arc<AtomicU64>,
}

impl Pager for Numbers {
    fn init(&mut self, _: &Control) -> Option<Attributes> {
        Some(Attributes { policy: self.policy, ..Attributes::default() })
    }

    fn data_request(&mut self, object: &Control, run: Run, _: Protection) {
        let Ok(mut pages) = Pages::allocate(run.length()) else { return object.error(run, Code::RESOURCE_SHORTAGE) };
        for (number, page) in (run.first_page()..).zip(pages.chunks_exact_mut(PAGE_SIZE as usize)) {
            match self.store.iter().rev().find(|(kept, _)| *kept == number) {
                Some((_, kept)) => page.copy_from_slice(&kept[..PAGE_SIZE as usize]),
                None => page[..8].copy_from_slice(&number.to_le_bytes()),
            }
        }
        object.supply(run.offset(), pages);
    }

    fn data_return(&mut self, _: &Control, run: Run, pages: Pages, _: Returned) {
        for (number, bytes) in (run.first_page()..).zip(pages.chunks_exact(PAGE_SIZE as usize)) {
            let Ok(mut kept) = Pages::allocate(PAGE_SIZE) else { continue };
            kept.copy_from_slice(bytes);
            self.store.push((number, kept));
            self.returned.fetch_add(1, Ordering::Release);
        }
    }
}

/// A pager that serves in a thread, until it is told to end.
struct Served {
    thread: Option<Thread>,
    service: u32,
    ends: Arc<AtomicBool>,
    returned: Arc<AtomicU64>,
}

impl Served {
    fn start<P: Pager>(around: impl FnOnce(Numbers) -> P + Send + 'static) -> Outcome<Self> {
        Self::start_with(None, around)
    }

    fn start_with<P: Pager>(policy: Option<Policy>, around: impl FnOnce(Numbers) -> P + Send + 'static) -> Outcome<Self> {
        let (service, ends, returned) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let shared = (Arc::clone(&service), Arc::clone(&ends), Arc::clone(&returned));
        let thread = thread::spawn(thread::STACK, move || {
            let (service, ends, returned) = shared;
            let Ok(mut server) = Server::new(around(Numbers { policy, store: Vec::new(), returned })) else {
                return service.store(u32::MAX, Ordering::Release);
            };
            service.store(server.service().name, Ordering::Release);
            while !ends.load(Ordering::Acquire) {
                if server.step(Some(Duration::from_millis(10))).is_err() {
                    return;
                }
            }
        })?;
        let deadline = time::now() + LONG;
        while service.load(Ordering::Acquire) == 0 {
            expect(time::now() < deadline, "the pager's thread doesn't begin")?;
            time::sleep(Duration::from_millis(1));
        }
        Ok(Self { thread: Some(thread), service: service.load(Ordering::Acquire), ends, returned })
    }

    /// A task that has the object mapped, and where.
    fn client(&self) -> Outcome<(Sandbox, u64)> {
        let sandbox = Sandbox::new()?;
        let at = sandbox.space.map(Port::make_send(self.service), SIZE, Protection::DEFAULT)?;
        Ok((sandbox, at))
    }

    /// The pager ends, and its ports with it.
    fn end(&mut self) -> Outcome {
        self.ends.store(true, Ordering::Release);
        self.thread.take().map_or(Ok(()), |thread| Ok(thread.join()?))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// All pages hold their numbers.
fn all_right(puppet: &mut Puppet, at: u64) -> Outcome {
    for page in 0..PAGES {
        let loaded = puppet.load(at + page * PAGE_SIZE)?;
        expect(loaded == Ok(page), format_args!("page {page}: {loaded:x?}"))?;
    }
    Ok(())
}

fn served_by_a_plain_pager() -> Outcome {
    let served = Served::start(|numbers| numbers)?;
    let (mut sandbox, at) = served.client()?;
    all_right(&mut sandbox.puppet, at)
}

fn served_by_a_slow_pager() -> Outcome {
    const DELAY: Duration = Duration::from_millis(15);
    let served = Served::start(|numbers| Delay::new(numbers, DELAY))?;
    let (mut sandbox, at) = served.client()?;
    let began = time::now();
    // Several wait for one page, and for others, at once.
    let mut puppets = [sandbox.another()?, sandbox.another()?, sandbox.another()?, sandbox.another()?];
    for (puppet, page) in puppets.iter_mut().zip([1, 1, 40, 20]) {
        puppet.start(Op::Load, &[(0, at + page * PAGE_SIZE)])?;
    }
    for (puppet, page) in puppets.iter_mut().zip([1, 1, 40, 20]) {
        same("a load", puppet.done()?, Ok(page))?;
    }
    expect(time::now() - began >= DELAY, "the pager wasn't slow")?;
    all_right(&mut sandbox.puppet, at)
}

fn served_by_one_that_answers_twice() -> Outcome {
    let served = Served::start(|numbers| Faults::new(numbers, Fault::Twice, Every::ONE))?;
    let (mut sandbox, at) = served.client()?;
    all_right(&mut sandbox.puppet, at)
}

/// Every third answer is about the pages behind; what was asked comes by the deadline's next try.
fn served_by_one_that_answers_astray() -> Outcome {
    let served = Served::start_with(impatient(), |numbers| Faults::new(numbers, Fault::Astray, Every { nth: 3, after: 0 }))?;
    let (mut sandbox, at) = served.client()?;
    persistent(&mut sandbox.puppet, at, &Code::TIMEDOUT)
}

const fn impatient() -> Option<Policy> {
    Some(Policy { return_requests: false, discards: false, run_pages: 4, deadline_ms: 40, on_deadline: OnDeadline::Error })
}

/// All pages are right in the end; until then it is this error, and another try.
fn persistent(puppet: &mut Puppet, at: u64, error: &Code) -> Outcome {
    let mut failures = 0;
    for page in 0..PAGES {
        let address = at + page * PAGE_SIZE;
        let mut found = puppet.load(address)?;
        for _ in 0..3 {
            if found == Err(Raised::bad_access(*error, address)) {
                failures += 1;
                found = puppet.load(address)?;
            }
        }
        expect(found == Ok(page), format_args!("page {page}: {found:x?}"))?;
    }
    expect(failures > 0, "nothing went wrong, which is wrong")
}

fn served_by_one_that_fails_now_and_then() -> Outcome {
    let policy = Policy { deadline_ms: 0, on_deadline: OnDeadline::Wait, ..impatient().ok_or(Code::FAILURE)? };
    let every = Every { nth: 2, after: 1 };
    let served = Served::start_with(Some(policy), move |numbers| Faults::new(numbers, Fault::Error(Code::MEMORY_FAILURE), every))?;
    let (mut sandbox, at) = served.client()?;
    persistent(&mut sandbox.puppet, at, &Code::MEMORY_FAILURE)
}

fn served_by_one_that_is_silent_now_and_then() -> Outcome {
    let served = Served::start_with(impatient(), |numbers| Faults::new(numbers, Fault::Silence, Every { nth: 4, after: 0 }))?;
    let (mut sandbox, at) = served.client()?;
    persistent(&mut sandbox.puppet, at, &Code::TIMEDOUT)
}

fn served_by_one_that_destroys_its_object() -> Outcome {
    let policy = Policy { deadline_ms: 0, ..impatient().ok_or(Code::FAILURE)? };
    let every = Every { nth: 1, after: 2 };
    let served = Served::start_with(Some(policy), move |numbers| Faults::new(numbers, Fault::Destroy(Code::MEMORY_ERROR), every))?;
    let (mut sandbox, at) = served.client()?;
    same("a load before", sandbox.puppet.load(at)?, Ok(0))?;
    let last = at + (PAGES - 1) * PAGE_SIZE;
    same("a load before", sandbox.puppet.load(last - 32 * PAGE_SIZE)?, Ok(PAGES - 33))?;
    same("a load after", sandbox.puppet.load(last)?, Err(Raised::bad_access(Code::MEMORY_ERROR, last)))?;
    same("what was there", sandbox.puppet.load(at)?, Ok(0))
}

fn served_by_one_that_ends() -> Outcome {
    let mut served = Served::start(|numbers| Faults::new(numbers, Fault::Silence, Every::ONE))?;
    let (sandbox, at) = served.client()?;
    let mut puppets = [sandbox.another()?, sandbox.another()?, sandbox.another()?];
    for (puppet, page) in puppets.iter_mut().zip([0, 0, 50]) {
        puppet.start(Op::Store, &[(0, at + page * PAGE_SIZE)])?;
    }
    time::sleep(Duration::from_millis(30));
    served.end()?;
    for (puppet, page) in puppets.iter_mut().zip([0, 0, 50]) {
        same("a store", puppet.done()?, Err(Raised::bad_access(Code::MEMORY_ERROR, at + page * PAGE_SIZE)))?;
    }
    Ok(())
}

fn served_pages_come_home() -> Outcome {
    let served = Served::start(|numbers| numbers)?;
    for round in 1..4 {
        let (mut sandbox, at) = served.client()?;
        for page in (0..PAGES).step_by(9) {
            let should = if round == 1 { page } else { page << 32 | (round - 1) };
            same("what the last round left", sandbox.puppet.load(at + page * PAGE_SIZE)?, Ok(should))?;
            same("a store", sandbox.puppet.store(at + page * PAGE_SIZE, page << 32 | round)?, Ok(()))?;
        }
        sandbox.space.deallocate(at, SIZE)?;
        let deadline = time::now() + LONG;
        while served.returned.load(Ordering::Acquire) < round * PAGES.div_ceil(9) {
            if time::now() > deadline {
                return Err(Failure::new("dirty pages didn't come home"));
            }
            time::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}
