//! Threads of this task.

use alloc::boxed::Box;
use core::cell::Cell;

use abi::Code;
use abi::call::mach::{thread_create, thread_resume, thread_terminate};
use abi::call::notify::mach_notify_send_once;
use abi::thread_state::ThreadState;
use abi::vm::{PAGE_SIZE, Protection};

use crate::entry::ThreadBlock;
use crate::{Mapping, ReceiveRight, Receiver, SendOnceRight, SendRight, port, rpc, task, trap};

/// A stack for most.
pub const STACK: u64 = 64 * 1024;

/// A running thread. Dropping it leaves the thread running, and its stack mapped for ever; `join` waits and cleans up.
#[derive(Debug)]
pub struct Thread {
    port: SendRight,
    done: ReceiveRight,
    stack: core::mem::ManuallyDrop<Mapping>,
    start: *mut Start,
}

// SAFETY: what `start` points at is touched by the thread that runs on it and, when that is no more, by `join`.
unsafe impl Send for Thread {}

/// What a new thread finds, and where its own things are.
struct Start {
    block: ThreadBlock,
    work: Cell<Option<Work>>,
}

/// What a thread runs, and the right by which it says that it did.
type Work = (Box<dyn FnOnce() + Send>, SendOnceRight);

/// The first function of a thread.
extern "C" fn first(start: &Start) -> ! {
    if let Some((body, done)) = start.work.take() {
        body();
        // If there is nobody to tell, nobody waits.
        let _ = done.send(&mach_notify_send_once::Request {});
    }
    let own = trap::mach_thread_self();
    loop {
        let _ = rpc::call(own, &thread_terminate::Request {});
    }
}

/// Runs a function in a thread of its own, on a stack of so many bytes with a page below it that can't be touched.
pub fn spawn(stack: u64, body: impl FnOnce() + Send + 'static) -> Result<Thread, Code> {
    let stack = Mapping::anonymous(stack.checked_add(PAGE_SIZE).ok_or(Code::NO_SPACE)?)?;
    stack.protect(0, PAGE_SIZE, Protection::NONE)?;
    let done = port::allocate()?;
    let thread = rpc::call(task::own(), &thread_create::Request {})?.child_thread;
    let thread = SendRight::from_port(thread).ok_or(Code::FAILURE)?;
    let once = port::make_send_once(&done)?;
    let start = Box::new(Start { block: ThreadBlock::new(), work: Cell::new(Some((Box::new(body), once))) });
    let mut state = ThreadState { sp: stack.address() + stack.size(), ..ThreadState::default() };
    state.pc = first as extern "C" fn(&Start) -> ! as usize as u64;
    state.x[0] = &raw const *start as u64;
    state.tpidr_el0 = &raw const start.block as u64;
    task::set_thread_state(&thread, &state)?;
    thread.call(&thread_resume::Request {})?;
    Ok(Thread { port: thread, done, stack: core::mem::ManuallyDrop::new(stack), start: Box::into_raw(start) })
}

impl Thread {
    /// The thread's port.
    #[must_use]
    pub const fn port(&self) -> &SendRight {
        &self.port
    }

    /// Waits for the end of the thread, and gives its stack and all else back.
    pub fn join(self) -> Result<(), Code> {
        Receiver::new(64)?.receive(self.done.name(), None)?;
        // It said that it is done, from its own stack. It leaves the stack when it is terminated, by itself or by us.
        let _ = self.port.call(&thread_terminate::Request {});
        // SAFETY: `spawn` made it of a box; the thread is gone.
        let start = unsafe { Box::from_raw(self.start) };
        port::drop_receive(start.block.reply_port.get());
        drop(core::mem::ManuallyDrop::into_inner(self.stack));
        Ok(())
    }
}
