//! Exceptions: the message, who gets it, what replies do, and whom it doesn't concern.

use abi::Code;
use abi::call::exc::{EXC_BAD_INSTRUCTION, EXC_BREAKPOINT, exception_raise};
use abi::call::mach::{thread_get_special_port, thread_set_special_port};
use abi::call::notify::mach_notify_dead_name;
use abi::message::Port;
use abi::trap::{TASK_EXCEPTION_PORT, THREAD_EXCEPTION_PORT};
use abi::vm::USER_END;
use runtime::{ReceiveRight, Receiver, SendRight, port};

use super::harness::{LONG, Outcome, expect, same, tests};
use super::puppet::{Op, Raised, Sandbox};

tests! {
    exception_codes,
    exception_message_layout,
    exception_port_of_the_task,
    exception_port_of_the_thread_comes_first,
    exception_of_nobody_ends_the_task,
    exception_refused_ends_the_task,
    exception_whose_handler_dies_ends_the_task,
    exception_reply_may_come_twice,
    exception_ends_only_its_own_task,
}

/// Asks to be told when a port dies.
pub(crate) fn watch(right: &SendRight) -> Result<ReceiveRight, Code> {
    let notified = port::allocate()?;
    port::request_notification(right.name(), port::notification::DEAD_NAME, 0, notified.send_once_port())?;
    Ok(notified)
}

/// Waits for a death.
pub(crate) fn wait_for_death(notified: &ReceiveRight) -> Outcome {
    let mut receiver = Receiver::new(64)?;
    let message = receiver.receive(notified.name(), Some(LONG))?;
    let dead: mach_notify_dead_name::Request = message.decode()?;
    // The notification carries one reference to the dead name.
    port::deallocate(dead.name.0);
    Ok(())
}

fn exception_codes() -> Outcome {
    let mut sandbox = Sandbox::new()?;
    let puppet = &mut sandbox.puppet;
    same("undefined", puppet.run(Op::Undefined, &[])?, Err(Raised::new(EXC_BAD_INSTRUCTION, 1, 0)))?;
    same("pc at it", puppet.registers()?.pc, puppet.address(Op::Undefined))?;
    same("brk #9", puppet.run(Op::Break, &[])?, Err(Raised::new(EXC_BREAKPOINT, 1, 9)))?;
    same("pc at it", puppet.registers()?.pc, puppet.address(Op::Break))?;
    let hole = 0x5000_0000;
    for address in [0, 8, hole, hole + 4, USER_END - 8] {
        same("a store", puppet.store(address, 1)?, Err(Raised::bad_access(Code::INVALID_ADDRESS, address)))?;
        let jumped = puppet.run(Op::Jump, &[(0, address & !3)])?;
        same("a jump", jumped, Err(Raised::bad_access(Code::INVALID_ADDRESS, address & !3)))?;
    }
    for address in [USER_END, 0xffff_8000_0000_0000, u64::MAX - 7] {
        let stored = puppet.store(address, 1)?;
        expect(stored.is_err_and(|raised| raised.exception == 1), format_args!("a store to {address:#x}: {stored:x?}"))?;
        let jumped = puppet.run(Op::Jump, &[(0, address & !3)])?;
        expect(jumped.is_err_and(|raised| raised.exception == 1), format_args!("a jump to {address:#x}: {jumped:x?}"))?;
    }
    let jumped = puppet.run(Op::Jump, &[(0, 0x5000_0002)])?;
    expect(jumped.is_err(), "a jump to where no instruction can be")
}

fn exception_message_layout() -> Outcome {
    let mut sandbox = Sandbox::new()?;
    let port = port::allocate()?;
    let special_port = port.send_port();
    sandbox.puppet.thread().call(&thread_set_special_port::Request { which: THREAD_EXCEPTION_PORT, special_port })?;
    sandbox.puppet.start(Op::Store, &[(0, 16)])?;
    let mut receiver = Receiver::new(256)?;
    let message = receiver.receive(port.name(), Some(LONG))?;
    same("its id", message.id(), 2400)?;
    same("its size", message.bytes().len(), 112)?;
    let word = |at: usize| u32::from_le_bytes(message.bytes()[at..at + 4].try_into().unwrap_or_default());
    same("the types of its rights", (word(32), word(48)), (0x2000_4011, 0x2000_4011))?;
    same("the types of its numbers", (word(64), word(80), word(96)), (0x2000_2002, 0x2000_2002, 0x2000_400b))?;
    let raised: exception_raise::Request = message.decode()?;
    same("its thread", raised.thread.name, sandbox.puppet.thread().name())?;
    same("its task", raised.task.name, sandbox.task.port().name())
}

fn exception_port_of_the_task() -> Outcome {
    let mut sandbox = Sandbox::new()?;
    let port = port::allocate()?;
    sandbox.task.set_special_port(TASK_EXCEPTION_PORT, port.send_port())?;
    let thread = sandbox.puppet.thread();
    thread.call(&thread_set_special_port::Request { which: THREAD_EXCEPTION_PORT, special_port: Port::NULL })?;
    sandbox.puppet.start(Op::Break, &[])?;
    let mut receiver = Receiver::new(256)?;
    let message = receiver.receive(port.name(), Some(LONG))?;
    same("the code", message.decode::<exception_raise::Request>()?.subcode, 9)
}

fn exception_port_of_the_thread_comes_first() -> Outcome {
    let mut sandbox = Sandbox::new()?;
    let port = port::allocate()?;
    sandbox.task.set_special_port(TASK_EXCEPTION_PORT, port.send_port())?;
    let found = sandbox.puppet.thread().call(&thread_get_special_port::Request { which: THREAD_EXCEPTION_PORT })?;
    expect(SendRight::from_port(found.special_port).is_some(), "the thread has no exception port")?;
    same("brk", sandbox.puppet.run(Op::Break, &[])?, Err(Raised::new(EXC_BREAKPOINT, 1, 9)))?;
    let nothing = Receiver::new(256)?.receive(port.name(), Some(core::time::Duration::ZERO)).map(drop);
    same("the task's port", Code::of(&nothing), Code::RCV_TIMED_OUT)
}

fn exception_of_nobody_ends_the_task() -> Outcome {
    let mut sandbox = Sandbox::new()?;
    let thread = sandbox.puppet.thread();
    thread.call(&thread_set_special_port::Request { which: THREAD_EXCEPTION_PORT, special_port: Port::NULL })?;
    let death = watch(sandbox.task.port())?;
    sandbox.puppet.start(Op::Store, &[(0, 0x5000_1238)])?;
    wait_for_death(&death)
}

fn exception_refused_ends_the_task() -> Outcome {
    let mut sandbox = Sandbox::new()?;
    let death = watch(sandbox.task.port())?;
    same("brk", sandbox.puppet.run(Op::Break, &[])?, Err(Raised::new(EXC_BREAKPOINT, 1, 9)))?;
    let reply = sandbox.puppet.take_reply().ok_or(Code::FAILURE)?;
    reply.send::<exception_raise::Request>(&Err(Code::FAILURE))?;
    wait_for_death(&death)
}

fn exception_whose_handler_dies_ends_the_task() -> Outcome {
    // Before it received the message, and after.
    for received in [false, true] {
        let mut sandbox = Sandbox::new()?;
        let death = watch(sandbox.task.port())?;
        let mut puppet = sandbox.another()?;
        puppet.start(Op::Break, &[])?;
        if received {
            same("brk", puppet.done()?, Err(Raised::new(EXC_BREAKPOINT, 1, 9)))?;
        }
        drop(puppet.into_deserted());
        wait_for_death(&death)?;
        sandbox.puppet.take_reply();
    }
    Ok(())
}

fn exception_reply_may_come_twice() -> Outcome {
    let mut sandbox = Sandbox::new()?;
    // Replies that nobody waits for: before there was an exception, and while the thread waits for something else.
    let stray = |thread: &SendRight| runtime::rpc::send(thread.name(), &abi::call::exc::exception_raise::Reply {});
    stray(sandbox.puppet.thread())?;
    same("brk", sandbox.puppet.run(Op::Break, &[])?, Err(Raised::new(EXC_BREAKPOINT, 1, 9)))?;
    let port = sandbox.puppet.trap(abi::trap::MACH_REPLY_PORT, &[])?.unwrap_or(0);
    let option = u64::from(abi::trap::option::RCV | abi::trap::option::RCV_TIMEOUT);
    sandbox.puppet.start_trap(abi::trap::MACH_MSG, &[0, option, 0, 0, port, 100, 0])?;
    runtime::time::sleep(core::time::Duration::from_millis(20));
    stray(sandbox.puppet.thread())?;
    same("a receive meanwhile", sandbox.puppet.done()?, Ok(Code::RCV_TIMED_OUT.0 as u64))
}

fn exception_ends_only_its_own_task() -> Outcome {
    let mut witness = Sandbox::new()?;
    let memory = witness.space.allocate(4096)?;
    witness.puppet.start(Op::Count, &[(0, memory)])?;
    exception_of_nobody_ends_the_task()?;
    let before = witness.space.word(memory)?;
    let deadline = runtime::time::now() + LONG;
    while witness.space.word(memory)? == before {
        expect(runtime::time::now() < deadline, "another task's thread doesn't run any more")?;
    }
    Ok(())
}
