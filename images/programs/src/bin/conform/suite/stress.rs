//! Many at once: messages, faults, forks and ends on all CPUs, with everything that is read compared to what it should be.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use abi::Code;
use abi::call::default_pager::default_pager_object_create;
use abi::message::Port;
use abi::vm::PAGE_SIZE;
use runtime::thread::{self, Thread};
use runtime::{Mapping, Receiver, port, rpc, task};

use super::exceptions::{wait_for_death, watch};
use super::harness::{LONG, Outcome, Random, expect, same, tests};
use super::puppet::{Op, Sandbox};
use super::space::Space;

tests! {
    stress_calls_between_threads,
    stress_memory_of_many_threads,
    stress_shared_counters,
    stress_copies_under_writers,
    stress_tasks_that_come_and_go,
    stress_protection_changes_under_readers,
}

const THREADS: u64 = 4;

/// Runs a function in some threads; each gives how much of what it saw was wrong.
fn in_threads(count: u64, work: impl Fn(u64) -> Result<u64, Code> + Clone + Send + 'static) -> Outcome {
    let wrong = Arc::new(AtomicU64::new(0));
    let threads: Vec<Thread> = (0..count)
        .map(|number| {
            let (work, wrong) = (work.clone(), Arc::clone(&wrong));
            thread::spawn(thread::STACK, move || {
                wrong.fetch_add(work(number).unwrap_or(1 << 32), Ordering::Release);
            })
        })
        .collect::<Result<_, _>>()?;
    threads.into_iter().try_for_each(Thread::join)?;
    let wrong = wrong.load(Ordering::Acquire);
    expect(wrong == 0, format_args!("{} threads failed, {} times there was something wrong", wrong >> 32, wrong as u32))
}

/// Each of some clients calls each of some servers, and gets what only its own request can be answered by.
fn stress_calls_between_threads() -> Outcome {
    const CALLS: u64 = 300;
    let mut servers = Vec::new();
    let mut services = Vec::new();
    for _ in 0..2 {
        let service = port::allocate()?;
        port::set_queue_limit(service.name(), 2)?;
        services.push(service.make_send()?);
        servers.push(thread::spawn(thread::STACK, move || {
            let Ok(mut receiver) = Receiver::new(256) else { return };
            // Ends when nobody asks any more.
            while let Ok(message) = receiver.receive(service.name(), Some(Duration::from_millis(1500))) {
                let Ok(request) = message.decode::<default_pager_object_create::Request>() else { continue };
                let object = Port::make_send_once(service.name());
                let name = if request.size % 16 == 0 { object } else { Port::NULL };
                let _ = message.reply::<default_pager_object_create::Request>(&match request.size % 3 {
                    0 => Ok(default_pager_object_create::Reply { object: name }),
                    _ => Err(Code(request.size as i32)),
                });
            }
        })?);
    }
    let names: Vec<u32> = services.iter().map(runtime::SendRight::name).collect();
    in_threads(THREADS, move |client| {
        let mut wrong = 0;
        for call in 0..CALLS {
            let size = client << 20 | call;
            let answer = rpc::call(names[(call % 2) as usize], &default_pager_object_create::Request { size });
            wrong += u64::from(match answer {
                Ok(reply) => {
                    port::deallocate(reply.object.name);
                    size % 3 != 0
                }
                Err(code) => code != Code(size as i32) || size % 3 == 0,
            });
        }
        Ok(wrong)
    })?;
    drop(services);
    Ok(servers.into_iter().try_for_each(Thread::join)?)
}

fn stress_memory_of_many_threads() -> Outcome {
    in_threads(THREADS, |thread| {
        let (mut random, mut wrong) = (Random::new(thread + 1), 0);
        for round in 0..120 {
            let pages = 1 + random.below(24);
            let memory = Mapping::anonymous(pages * PAGE_SIZE)?;
            let word = |page: u64| thread << 48 | round << 32 | page;
            for page in 0..pages {
                wrong += u64::from(memory.load_u64(page * PAGE_SIZE) != 0);
                memory.store_u64(page * PAGE_SIZE, word(page));
            }
            let space = Space::own();
            let copy = space.read(memory.address(), pages * PAGE_SIZE)?;
            for page in 0..pages {
                wrong += u64::from(memory.load_u64(page * PAGE_SIZE) != word(page));
                let at = (page * PAGE_SIZE) as usize;
                wrong += u64::from(copy[at..at + 8] != word(page).to_le_bytes());
            }
        }
        Ok(wrong)
    })
}

/// Atomic additions to one page by threads of several tasks that share it.
fn stress_shared_counters() -> Outcome {
    const ADDS: u64 = 20_000;
    let memory = Arc::new(Mapping::anonymous(PAGE_SIZE)?);
    Space::own().inherit(memory.address(), PAGE_SIZE, abi::vm::Inherit::Share)?;
    let program = super::puppet::install(Space::own())?;
    let mut child = Sandbox::with(Space::own().fork()?, program)?;
    let its_word = memory.address() + 64;
    child.puppet.start(Op::Count, &[(0, its_word)])?;
    let counters = Arc::clone(&memory);
    in_threads(THREADS, move |_| {
        (0..ADDS).for_each(|_| {
            counters.add_u64(0, 1);
        });
        Ok(0)
    })?;
    same("the sum", memory.load_u64(0), THREADS * ADDS)?;
    let deadline = runtime::time::now() + LONG;
    while memory.load_u64(64) == 0 {
        expect(runtime::time::now() < deadline, "the child's additions aren't seen")?;
        runtime::time::sleep(Duration::from_millis(1));
    }
    Ok(Space::own().deallocate(program, PAGE_SIZE)?)
}

/// Snapshots of memory that is being written: each page of one is either old or new, and stays what it is.
fn stress_copies_under_writers() -> Outcome {
    const PAGES: u64 = 12;
    let sandbox = Sandbox::new()?;
    let memory = sandbox.space.allocate(PAGES * PAGE_SIZE)?;
    let mut writers = Vec::new();
    for page in 0..THREADS {
        let mut writer = sandbox.another()?;
        writer.start(Op::Count, &[(0, memory + page * PAGE_SIZE)])?;
        writers.push(writer);
    }
    let mut newest = [0; THREADS as usize];
    let mut kept = Vec::new();
    let deadline = runtime::time::now() + LONG;
    for page in 0..THREADS {
        while sandbox.space.word(memory + page * PAGE_SIZE)? == 0 {
            expect(runtime::time::now() < deadline, "a writer doesn't write")?;
            runtime::time::sleep(Duration::from_millis(1));
        }
    }
    for round in 0..60 {
        let copy = sandbox.space.read(memory, PAGES * PAGE_SIZE)?;
        for (page, newest) in newest.iter_mut().enumerate() {
            let at = page * PAGE_SIZE as usize;
            let word = u64::from_le_bytes(copy[at..at + 8].try_into().unwrap_or_default());
            expect(word >= *newest, format_args!("a later snapshot has {word}, an earlier {newest}"))?;
            *newest = word;
        }
        if round % 10 == 0 {
            runtime::time::sleep(Duration::from_millis(3));
            let child = sandbox.space.fork()?;
            kept.push((copy, newest, child));
        }
    }
    for (copy, words, child) in &kept {
        for (page, should) in words.iter().enumerate() {
            let at = page * PAGE_SIZE as usize;
            same("a word of a kept snapshot", u64::from_le_bytes(copy[at..at + 8].try_into().unwrap_or_default()), *should)?;
            let at = memory + at as u64;
            let first = Space::of(child).word(at)?;
            expect(first >= *should && Space::of(child).word(at)? == first, "a fork's page changes")?;
        }
        child.terminate()?;
    }
    Ok(())
}

fn stress_tasks_that_come_and_go() -> Outcome {
    in_threads(THREADS, |number| {
        let mut wrong = 0;
        for round in 0..12 {
            let mut sandbox = Sandbox::new()?;
            let memory = sandbox.space.allocate(8 * PAGE_SIZE)?;
            let value = number << 32 | round;
            let stored = sandbox.puppet.store(memory, value).map_err(|_| Code::FAILURE)?;
            let loaded = sandbox.puppet.load(memory).map_err(|_| Code::FAILURE)?;
            wrong += u64::from(stored.is_err() || loaded != Ok(value));
            sandbox.puppet.start(Op::Spin, &[]).map_err(|_| Code::FAILURE)?;
            let death = watch(sandbox.task.port())?;
            drop(sandbox);
            wrong += u64::from(wait_for_death(&death).is_err());
        }
        Ok(wrong)
    })
}

/// Threads that read while the protection goes up and down: each exception is the right one, and nothing is lost.
fn stress_protection_changes_under_readers() -> Outcome {
    const PAGES: u64 = 4;
    let sandbox = Sandbox::new()?;
    let memory = sandbox.space.allocate(PAGES * PAGE_SIZE)?;
    let mut counters = Vec::new();
    for page in 0..PAGES {
        let mut counter = sandbox.another()?;
        counter.start(Op::Count, &[(0, memory + page * PAGE_SIZE)])?;
        counters.push(counter);
    }
    for round in 0..40 {
        let lower = if round % 2 == 0 { abi::vm::Protection::READ } else { abi::vm::Protection::NONE };
        sandbox.space.protect(memory, PAGES * PAGE_SIZE, lower)?;
        let mut raised = Vec::new();
        for counter in &mut counters {
            raised.push(counter.exception()?);
        }
        let before: Vec<u64> = words(&sandbox, memory, PAGES, round % 2 == 0)?;
        sandbox.space.protect(memory, PAGES * PAGE_SIZE, abi::vm::Protection::DEFAULT)?;
        if !before.is_empty() {
            same("words while nobody may write", words(&sandbox, memory, PAGES, true)?, before)?;
        }
        for (page, (counter, raised)) in (0..).zip(counters.iter_mut().zip(raised)) {
            let should = super::puppet::Raised::bad_access(Code::PROTECTION_FAILURE, memory + page * PAGE_SIZE);
            same("the exception", raised, should)?;
            counter.go_on()?;
        }
    }
    Ok(task_is_alive()?)
}

/// The first words of pages, if they may be read.
fn words(sandbox: &Sandbox, memory: u64, pages: u64, readable: bool) -> Result<Vec<u64>, Code> {
    (0..pages).filter(|_| readable).map(|page| sandbox.space.word(memory + page * PAGE_SIZE)).collect()
}

fn task_is_alive() -> Result<(), Code> {
    rpc::call(task::own(), &abi::call::mach::vm_statistics::Request {}).map(drop)
}
