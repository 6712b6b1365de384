//! Threads and tasks: states, suspension, abortion, ends, and what the info calls tell.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use abi::Code;
use abi::call::mach::{
    task_info, task_resume, task_suspend, thread_abort, thread_get_state, thread_info, thread_resume, thread_set_state, thread_suspend,
    vm_statistics,
};
use abi::call::mach_host::host_info;
use abi::info::{HOST_BASIC_INFO, TASK_BASIC_INFO, THREAD_BASIC_INFO};
use abi::item::Words;
use abi::message::Header;
use abi::thread_state::{AARCH64_FLOAT_STATE, AARCH64_THREAD_STATE, FLOAT_STATE_COUNT, THREAD_STATE_COUNT, ThreadState};
use abi::trap::{self, option};
use abi::vm::PAGE_SIZE;
use runtime::{Receiver, SendRight, port, rpc, task, thread, time};

use super::exceptions::{wait_for_death, watch};
use super::harness::{LONG, Outcome, SHORT, expect, refused, same, tests};
use super::puppet::{Op, Sandbox, end};

tests! {
    second_thread_and_a_message,
    abort_of_a_receive,
    abort_then_state_sets_the_result,
    abort_of_a_send,
    thread_state_round_trip,
    thread_state_is_checked,
    float_state_round_trip,
    suspend_and_resume_thread,
    suspend_and_resume_task,
    info_sizes,
    terminate_a_running_thread,
    terminate_a_waiting_thread,
    terminate_a_task_that_runs_and_waits,
    terminate_oneself,
}

fn second_thread_and_a_message() -> Outcome {
    let port = port::allocate()?;
    let right = port.make_send()?;
    let seen = Arc::new(AtomicU64::new(0));
    let other = thread::spawn(thread::STACK, {
        let seen = Arc::clone(&seen);
        move || {
            seen.store(1, Ordering::Release);
            let _ = right.send(&abi::call::notify::mach_notify_no_senders::Request { mscount: 4711 });
        }
    })?;
    let mut receiver = Receiver::new(128)?;
    let count = receiver.receive(port.name(), Some(LONG))?.decode::<abi::call::notify::mach_notify_no_senders::Request>()?.mscount;
    same("what the other thread sent", count, 4711)?;
    other.join()?;
    same("what the other thread wrote", seen.load(Ordering::Acquire), 1)
}

/// A sandbox whose puppet waits in a receive.
fn receiving() -> Outcome<Sandbox> {
    let mut sandbox = Sandbox::new()?;
    let port = sandbox.puppet.trap(trap::MACH_REPLY_PORT, &[])?.unwrap_or(0);
    sandbox.puppet.start_trap(trap::MACH_MSG, &[0, option::RCV.into(), 0, 0, port, 0, 0])?;
    same("a receive of nothing", sandbox.puppet.exception_within(SHORT)?, None)?;
    Ok(sandbox)
}

fn abort(thread: &SendRight) -> Result<(), Code> {
    thread.call(&thread_abort::Request {}).map(drop)
}

fn abort_of_a_receive() -> Outcome {
    let mut sandbox = receiving()?;
    abort(sandbox.puppet.thread())?;
    same("the receive", sandbox.puppet.done()?, Ok(Code::RCV_INTERRUPTED.0 as u64))
}

fn abort_then_state_sets_the_result() -> Outcome {
    let mut sandbox = receiving()?;
    let thread = sandbox.puppet.thread();
    thread.call(&thread_suspend::Request {})?;
    abort(thread)?;
    let state = task::thread_state(thread)?;
    same("pc is past the svc", state.pc, sandbox.puppet.address(Op::Trap) + 4)?;
    let mut state = ThreadState { sp: 64, ..state };
    state.x[0] = 0x1234_5678;
    task::set_thread_state(thread, &state)?;
    thread.call(&thread_resume::Request {})?;
    same("the trap's result", sandbox.puppet.done()?, Ok(0x1234_5678))
}

fn abort_of_a_send() -> Outcome {
    let mut sandbox = Sandbox::new()?;
    let port = port::allocate()?;
    port::set_queue_limit(port.name(), 1)?;
    let give = abi::call::mach_port::mach_port_insert_right::Request { name: abi::item::PortName(0x600), poly: port.send_port() };
    sandbox.task.port().call(&give)?;
    let buffer = sandbox.space.allocate(PAGE_SIZE)?;
    let mut bytes = [0; 32];
    Header { bits: Header::bits(abi::message::kind::COPY_SEND, 0), remote: 0x600, id: 7, size: 32, ..Header::default() }.write(&mut bytes);
    sandbox.space.write(buffer, &bytes)?;
    let arguments = [buffer, option::SEND.into(), 32, 0, 0, 0, 0];
    same("the first send", sandbox.puppet.trap_code(trap::MACH_MSG, &arguments)?, Code::SUCCESS)?;
    sandbox.puppet.start_trap(trap::MACH_MSG, &arguments)?;
    same("a send to a full queue", sandbox.puppet.exception_within(SHORT)?, None)?;
    abort(sandbox.puppet.thread())?;
    let code = sandbox.puppet.done()?.map(|code| Code(code as i32));
    same("the send", code, Ok(Code::SEND_INTERRUPTED))?;
    let mut receiver = Receiver::new(128)?;
    same("the first message", receiver.receive(port.name(), Some(LONG))?.id(), 7)?;
    let second = receiver.receive(port.name(), Some(core::time::Duration::ZERO)).map(drop);
    refused("the second message", second, Code::RCV_TIMED_OUT)
}

fn thread_state_round_trip() -> Outcome {
    let sandbox = Sandbox::new()?;
    let mut state = ThreadState { sp: 0x7777_0000, pc: 0x1234_5678, tpidr_el0: 0xabc0, cpsr: 0x6000_0000, ..ThreadState::default() };
    state.x.iter_mut().enumerate().for_each(|(index, register)| *register = (index as u64) << 40 | 0xffff_0000);
    task::set_thread_state(sandbox.puppet.thread(), &state)?;
    same("the state", sandbox.puppet.registers()?, state)
}

fn thread_state_is_checked() -> Outcome {
    let sandbox = Sandbox::new()?;
    let thread = sandbox.puppet.thread();
    // EL1, AArch32, masked interrupts.
    for cpsr in [5, 0x10, 0x80, 0x3c0, u64::MAX] {
        let set = task::set_thread_state(thread, &ThreadState { cpsr, ..ThreadState::default() });
        expect(set == Err(Code::INVALID_ARGUMENT), format_args!("cpsr {cpsr:#x}: {set:?}"))?;
    }
    for (flavor, words) in [(1, 69), (1, 71), (1, 0), (2, 70), (77, 70), (-1, 70)] {
        let set = thread.call(&thread_set_state::Request { flavor, state: Words(alloc::vec![0; words]) }).map(drop);
        expect(set.is_err(), format_args!("{words} words of flavor {flavor}"))?;
        let get = thread.call(&thread_get_state::Request { flavor, count: words as u32 });
        expect(get.is_err() || (flavor, words) == (1, 71), format_args!("get {words} words of flavor {flavor}"))?;
    }
    let own = SendRight::thread_self();
    let state = thread_get_state::Request { flavor: AARCH64_THREAD_STATE, count: THREAD_STATE_COUNT };
    refused("one's own state", own.call(&state).map(drop), Code::INVALID_ARGUMENT)
}

fn float_state_round_trip() -> Outcome {
    let mut sandbox = Sandbox::new()?;
    let mut words: alloc::vec::Vec<u32> = (0..FLOAT_STATE_COUNT).map(|index| index.wrapping_mul(0x0101_0101)).collect();
    // fpsr, fpcr, fpmr and what is reserved.
    words[128..].fill(0);
    let state = Words(words);
    sandbox.puppet.thread().call(&thread_set_state::Request { flavor: AARCH64_FLOAT_STATE, state: state.clone() })?;
    let get = thread_get_state::Request { flavor: AARCH64_FLOAT_STATE, count: FLOAT_STATE_COUNT };
    same("the state", &sandbox.puppet.thread().call(&get)?.state, &state)?;
    // It is the thread's own through what it does.
    expect(sandbox.puppet.trap(trap::MACH_TASK_SELF, &[])?.is_ok(), "a trap")?;
    same("the state later", &sandbox.puppet.thread().call(&get)?.state, &state)
}

/// A sandbox whose puppet counts up a word.
fn counting() -> Outcome<(Sandbox, u64)> {
    let mut sandbox = Sandbox::new()?;
    let word = sandbox.space.allocate(PAGE_SIZE)?;
    sandbox.puppet.start(Op::Count, &[(0, word)])?;
    expect(moves(&sandbox, word)?, "it doesn't count")?;
    Ok((sandbox, word))
}

/// Whether the word changes.
fn moves(sandbox: &Sandbox, word: u64) -> Outcome<bool> {
    let before = sandbox.space.word(word)?;
    let deadline = time::now() + SHORT * 4;
    while time::now() < deadline {
        if sandbox.space.word(word)? != before {
            return Ok(true);
        }
        time::sleep(SHORT / 20);
    }
    Ok(false)
}

/// Whether it stands still; what is on its way to stop may take a moment.
fn stands(sandbox: &Sandbox, word: u64) -> Outcome<bool> {
    time::sleep(SHORT);
    Ok(!moves(sandbox, word)?)
}

fn suspend_and_resume_thread() -> Outcome {
    let (sandbox, word) = counting()?;
    let thread = sandbox.puppet.thread();
    thread.call(&thread_suspend::Request {})?;
    thread.call(&thread_suspend::Request {})?;
    expect(stands(&sandbox, word)?, "a suspended thread runs")?;
    let state = task::thread_state(thread)?;
    same("x0", state.x[0], word)?;
    thread.call(&thread_resume::Request {})?;
    expect(stands(&sandbox, word)?, "a thread that was suspended twice runs after one resume")?;
    thread.call(&thread_resume::Request {})?;
    expect(moves(&sandbox, word)?, "a resumed thread doesn't run")?;
    refused("one resume too many", thread.call(&thread_resume::Request {}).map(drop), Code::FAILURE)
}

fn suspend_and_resume_task() -> Outcome {
    let (sandbox, word) = counting()?;
    let task = sandbox.task.port();
    task.call(&task_suspend::Request {})?;
    expect(stands(&sandbox, word)?, "a thread of a suspended task runs")?;
    sandbox.puppet.thread().call(&thread_suspend::Request {})?;
    task.call(&task_resume::Request {})?;
    expect(stands(&sandbox, word)?, "a suspended thread of a resumed task runs")?;
    sandbox.puppet.thread().call(&thread_resume::Request {})?;
    expect(moves(&sandbox, word)?, "a resumed thread doesn't run")?;
    refused("one resume too many", task.call(&task_resume::Request {}).map(drop), Code::FAILURE)
}

fn info_sizes() -> Outcome {
    let own = task::own();
    let basic = |count| rpc::call(own, &task_info::Request { flavor: TASK_BASIC_INFO, count }).map(|reply| reply.info.0);
    let words = basic(30)?;
    same("task_basic_info", words.len() * 4, 120)?;
    let virtual_size = u64::from(words[2]) | u64::from(words[3]) << 32;
    let resident = u64::from(words[4]) | u64::from(words[5]) << 32;
    expect(resident > 0 && resident <= virtual_size, format_args!("{resident} of {virtual_size} bytes are resident"))?;
    refused("room for less", basic(29), Code::INVALID_ARGUMENT)?;
    let flavor = rpc::call(own, &task_info::Request { flavor: 99, count: 30 }).map(drop);
    refused("no such flavor", flavor, Code::INVALID_ARGUMENT)?;
    let (sandbox, _) = counting()?;
    let about = |count| sandbox.puppet.thread().call(&thread_info::Request { flavor: THREAD_BASIC_INFO, count }).map(|reply| reply.info.0);
    let words = about(32)?;
    same("thread_basic_info", words.len() * 4, 128)?;
    same("a running thread's state and suspend count", (words[7], words[9]), (1, 0))?;
    refused("room for less", about(31), Code::INVALID_ARGUMENT)?;
    let host = SendRight::host_self().call(&host_info::Request { flavor: HOST_BASIC_INFO, count: 6 })?.info.0;
    same("host_basic_info", host.len() * 4, 24)?;
    expect(host[0] >= 1 && host[2] >= 16 << 20, format_args!("{} CPUs, {} bytes", host[0], host[2]))?;
    let statistics = rpc::call(own, &vm_statistics::Request {})?.statistics.0;
    same("vm_statistics", (statistics.len() * 4, statistics[0]), (52, PAGE_SIZE as u32))
}

fn terminate_a_running_thread() -> Outcome {
    let (sandbox, word) = counting()?;
    let death = watch(sandbox.puppet.thread())?;
    end(sandbox.puppet.thread())?;
    wait_for_death(&death)?;
    expect(!moves(&sandbox, word)?, "a dead thread runs")?;
    // Its task lives on.
    let mut another = sandbox.another()?;
    same("another thread's store", another.store(word, 1)?, Ok(()))
}

fn terminate_a_waiting_thread() -> Outcome {
    let sandbox = receiving()?;
    let death = watch(sandbox.puppet.thread())?;
    end(sandbox.puppet.thread())?;
    wait_for_death(&death)?;
    // One that was never started, and one that waits for the reply to its exception.
    let mut another = sandbox.another()?;
    let death = watch(another.thread())?;
    end(another.thread())?;
    wait_for_death(&death)?;
    another = sandbox.another()?;
    expect(another.run(Op::Break, &[])?.is_err(), "brk")?;
    let death = watch(another.thread())?;
    end(another.thread())?;
    wait_for_death(&death)
}

fn terminate_a_task_that_runs_and_waits() -> Outcome {
    for round in 0..12 {
        let (sandbox, word) = counting()?;
        let mut others = [sandbox.another()?, sandbox.another()?, sandbox.another()?, sandbox.another()?];
        others[0].start(Op::Spin, &[])?;
        let port = others[1].trap(trap::MACH_REPLY_PORT, &[])?.unwrap_or(0);
        others[1].start_trap(trap::MACH_MSG, &[0, option::RCV.into(), 0, 0, port, 0, 0])?;
        others[2].start(Op::Break, &[])?;
        others[3].start(Op::Fill, &[(0, word), (2, 0), (3, u64::MAX)])?;
        if round % 2 == 1 {
            time::sleep(SHORT / 12);
        }
        let death = watch(sandbox.task.port())?;
        sandbox.task.terminate()?;
        wait_for_death(&death)?;
    }
    Ok(())
}

fn terminate_oneself() -> Outcome {
    let mut sandbox = Sandbox::new()?;
    let death = watch(sandbox.task.port())?;
    let task = sandbox.puppet.trap(trap::MACH_TASK_SELF, &[])?.unwrap_or(0);
    sandbox.puppet.start_trap(trap::TASK_TERMINATE, &[task])?;
    wait_for_death(&death)?;
    same("its last exception", sandbox.puppet.exception_within(SHORT)?, None)
}
