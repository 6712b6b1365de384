//! A second task that is a copy of this one: the same program and memory, by the inheritance of each range, and names of its own.
//!
//! For programs that need two tasks of one mind: tests of copy-on-write, servers to measure against. What the copy gets is this task's memory
//! as it is now, but not its rights: values that hold names must not be used there, nor dropped, but for the right that it is given.

use alloc::boxed::Box;
use core::cell::Cell;

use abi::Code;
use abi::call::mach::{task_create, thread_create, thread_resume};
use abi::message::Port;
use abi::thread_state::ThreadState;
use abi::trap::{TASK_BOOTSTRAP_PORT, TASK_EXCEPTION_PORT};

use crate::entry::ThreadBlock;
use crate::task::{self, Task};
use crate::{Mapping, SendRight, rpc, trap};

/// What the copy's first thread finds.
struct Start {
    block: ThreadBlock,
    body: Cell<Option<Box<dyn FnOnce(SendRight)>>>,
}

/// The first function of the copy.
extern "C" fn first(start: &Start) -> ! {
    task::forget();
    if let (Some(body), Ok(port)) = (start.body.take(), task::special_port(TASK_BOOTSTRAP_PORT)) {
        body(port);
    }
    crate::print::flush();
    loop {
        trap::task_terminate(task::own());
    }
}

/// Makes a copy of this task and runs a function in it, on a stack of so many bytes. The function gets a right to send to `port`, which is the copy's bootstrap and
/// exception port too: so the copy's troubles are its maker's. The calling thread must be the only one that allocates or prints.
pub fn fork(stack: u64, port: Port, body: impl FnOnce(SendRight) + 'static) -> Result<Task, Code> {
    let stack = Mapping::anonymous(stack)?;
    let start = Box::new(Start { block: ThreadBlock::new(), body: Cell::new(Some(Box::new(body))) });
    let task = Task::from_right(rpc::call(task::own(), &task_create::Request { inherit_memory: true })?.child_task)?;
    let begun = begin(&task, port, &stack, &start);
    if let Err(code) = begun {
        // It never ran.
        let _ = task.terminate();
        return Err(code);
    }
    Ok(task)
}

fn begin(task: &Task, port: Port, stack: &Mapping, start: &Start) -> Result<(), Code> {
    task.set_special_port(TASK_BOOTSTRAP_PORT, port)?;
    task.set_special_port(TASK_EXCEPTION_PORT, port)?;
    let thread = task.port().call(&thread_create::Request {})?.child_thread;
    let thread = SendRight::from_port(thread).ok_or(Code::FAILURE)?;
    let mut state = ThreadState { sp: stack.address() + stack.size(), ..ThreadState::default() };
    state.pc = first as extern "C" fn(&Start) -> ! as usize as u64;
    // In the copy, the same addresses hold copies of the stack and of what it starts with.
    state.x[0] = core::ptr::from_ref(start) as u64;
    state.tpidr_el0 = &raw const start.block as u64;
    task::set_thread_state(&thread, &state)?;
    thread.call(&thread_resume::Request {}).map(drop)
}
