//! A thread: registers, and how it goes on.
//!
//! Its body belongs to the CPU that runs it, which holds its lock all the while. Others talk to it through its control block: they leave a [`Delivery`]
//! and make it runnable. A delivery that comes before the thread has begun to wait is found by `block`, so none is lost.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::{Mutex, Once};

use abi::Code;
use abi::thread_state::{FloatState, ThreadState};

use crate::kernel::Kernel;
use crate::kobject::{Effects, Message, Object, Port, Right};
use crate::mach_msg::MessageStep;
use crate::machine::{Abort, Machine};
use crate::rpc::Suspended;
use crate::task::Task;
use crate::wait::Waiting;

/// A thread.
pub(crate) struct Thread<M: Machine> {
    pub(crate) id: u64,
    pub(crate) task: Arc<Task<M>>,
    port: Once<Port<M>>,
    pub(crate) body: Mutex<Body<M>>,
    pub(crate) control: Mutex<Control<M>>,
}

impl<M: Machine> PartialEq for Thread<M> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<M: Machine> Eq for Thread<M> {}

/// What only the CPU that runs it touches.
pub(crate) struct Body<M: Machine> {
    pub(crate) registers: ThreadState,
    pub(crate) float: Box<FloatState>,
    pub(crate) resume: Resume<M>,
}

/// How a thread goes on when it runs next.
pub(crate) enum Resume<M: Machine> {
    /// At EL0.
    User,
    /// At EL0, after a sleep.
    Slept,
    /// With the trap in its registers, from the start.
    Trap,
    /// An access at EL0 missed.
    Fault(Abort),
    /// A trap touched user memory that isn't there; then the trap again.
    TrapFault(Abort),
    /// In mach_msg.
    Message(MessageStep<M>),
    /// In a kernel RPC that waits for something.
    Rpc(Suspended<M>),
    /// It raised an exception; the reply says what next. The port gets the reply.
    Exception { reply_port: Port<M> },
}

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    /// Made, never resumed.
    Halted,
    /// In a run queue, or about to be.
    Ready,
    /// On this CPU.
    Running(usize),
    Waiting,
    /// It would run, but is suspended.
    Stopped,
    Dead,
}

/// What others may change.
pub(crate) struct Control<M: Machine> {
    pub(crate) run: Run,
    pub(crate) suspend_count: u32,
    pub(crate) waiting: Waiting<M>,
    /// How often it has waited: a timeout is of one wait only.
    pub(crate) waits: u64,
    /// The wait whose time came before it began.
    pub(crate) expired: u64,
    pub(crate) delivery: Option<Delivery<M>>,
    /// It waits for the reply to an exception, or is about to.
    pub(crate) in_exception: bool,
    pub(crate) must_end: bool,
    pub(crate) exception_port: Right<M>,
    pub(crate) priority: u8,
}

/// What a waiting thread is given.
pub(crate) enum Delivery<M: Machine> {
    /// Look again.
    Wake,
    Message(Message<M>),
    /// The wait ends with this code.
    Code(Code),
    /// Its receive ends: a message of this size is too large.
    TooLarge(u32),
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// The priority of user threads, and of those with vm privilege (pagers), in `sched`'s order.
const PRIORITY_USER: u8 = 12;

impl<M: Machine> Thread<M> {
    /// A send right to its kernel port.
    pub(crate) fn send_right(&self) -> Right<M> {
        self.port.get().map_or(Right::dead(), |port| port.make_send())
    }

    /// Its kernel port.
    pub(crate) fn port(&self) -> Option<&Port<M>> {
        self.port.get()
    }
}

impl<M: Machine> Kernel<M> {
    /// thread_create: suspended once.
    pub(crate) fn thread_create(&self, task: &Arc<Task<M>>) -> Result<Arc<Thread<M>>, Code> {
        let thread = Arc::new(Thread {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            task: Arc::clone(task),
            port: Once::new(),
            body: Mutex::new(Body { registers: ThreadState::default(), float: Box::new(FloatState::default()), resume: Resume::User }),
            control: Mutex::new(Control {
                run: Run::Halted,
                suspend_count: 1,
                waiting: Waiting::Nothing,
                waits: 0,
                expired: 0,
                delivery: None,
                in_exception: false,
                must_end: false,
                exception_port: Right::null(),
                priority: PRIORITY_USER,
            }),
        });
        let port = ipc::Port::new_kernel(Object::Thread(Arc::clone(&thread)))?;
        thread.port.call_once(|| port);
        let mut state = task.state.lock();
        if task.is_dying.load(Ordering::Acquire) {
            drop(state);
            self.thread_buried(&thread);
            return Err(Code::TERMINATED);
        }
        state.threads.try_reserve(1).map_err(|_| Code::RESOURCE_SHORTAGE)?;
        state.threads.push(Arc::clone(&thread));
        #[cfg(test)]
        self.census.thread(&thread);
        Ok(thread)
    }

    /// Whether it may run as far as suspension goes.
    fn is_suspended(thread: &Thread<M>, control: &Control<M>) -> bool {
        !control.must_end && (control.suspend_count > 0 || thread.task.suspend_count.load(Ordering::Acquire) > 0)
    }

    /// Gives a thread what it waits for, or will wait for.
    pub(crate) fn deliver(&self, thread: &Arc<Thread<M>>, delivery: Delivery<M>) {
        let mut control = thread.control.lock();
        if control.run == Run::Dead {
            drop(control);
            if let Delivery::Message(message) = delivery {
                let mut effects = Effects::new();
                message.destroy(&mut effects);
                self.work_off(effects);
            }
            return;
        }
        control.delivery = Some(delivery);
        if control.run == Run::Waiting {
            let waiting = core::mem::replace(&mut control.waiting, Waiting::Nothing);
            self.forget_timeout(&waiting);
            self.make_ready(thread, &mut control);
        }
    }

    /// It could run now.
    fn make_ready(&self, thread: &Arc<Thread<M>>, control: &mut Control<M>) {
        if Self::is_suspended(thread, control) {
            control.run = Run::Stopped;
        } else {
            control.run = Run::Ready;
            self.enqueue(thread, control.priority);
        }
    }

    /// The running thread waits from now on, unless something was delivered already.
    pub(crate) fn block(&self, thread: &Arc<Thread<M>>, waiting: Waiting<M>) -> bool {
        #[cfg(test)]
        crate::fake::race();
        let mut control = thread.control.lock();
        control.waits = control.waits.wrapping_add(1);
        let is_late = control.expired == control.waits;
        if control.delivery.is_some() || control.must_end || is_late {
            drop(control);
            // What was delivered ended the wait already, or nothing must come any more.
            let code = waiting.timed_out();
            if self.cancel(waiting) && is_late {
                self.deliver(thread, Delivery::Code(code));
            }
            return false;
        }
        control.waiting = waiting;
        control.run = Run::Waiting;
        true
    }

    /// thread_suspend.
    pub(crate) fn thread_suspend(&self, thread: &Arc<Thread<M>>) {
        let mut control = thread.control.lock();
        control.suspend_count = control.suspend_count.saturating_add(1);
        self.notice(&control);
    }

    /// thread_resume.
    pub(crate) fn thread_resume(&self, thread: &Arc<Thread<M>>) -> Result<(), Code> {
        let mut control = thread.control.lock();
        if control.suspend_count == 0 {
            return Err(Code::FAILURE);
        }
        control.suspend_count -= 1;
        self.look_again(thread, &mut control);
        Ok(())
    }

    /// A suspension ended: it may be able to run.
    pub(crate) fn look_again(&self, thread: &Arc<Thread<M>>, control: &mut Control<M>) {
        if matches!(control.run, Run::Stopped | Run::Halted) && !Self::is_suspended(thread, control) {
            control.run = Run::Ready;
            self.enqueue(thread, control.priority);
        }
    }

    /// If it runs on another CPU, that shall look at its control block.
    pub(crate) fn notice(&self, control: &Control<M>) {
        if let Run::Running(cpu) = control.run
            && cpu != self.machine.this_cpu()
        {
            self.machine.signal(cpu);
        }
    }

    /// thread_terminate: it ends when it runs next.
    pub(crate) fn thread_terminate(&self, thread: &Arc<Thread<M>>) {
        let waiting = {
            let mut control = thread.control.lock();
            control.must_end = true;
            self.notice(&control);
            match control.run {
                Run::Waiting | Run::Stopped | Run::Halted => {
                    control.run = Run::Ready;
                    core::mem::replace(&mut control.waiting, Waiting::Nothing)
                }
                _ => return,
            }
        };
        self.cancel(waiting);
        let control = thread.control.lock();
        self.enqueue(thread, control.priority);
    }

    /// thread_abort: what it waits for in the kernel ends with INTERRUPTED.
    pub(crate) fn thread_abort(&self, thread: &Arc<Thread<M>>) {
        let waiting = {
            let mut control = thread.control.lock();
            if control.run != Run::Waiting {
                return;
            }
            core::mem::replace(&mut control.waiting, Waiting::Nothing)
        };
        let code = waiting.interrupted();
        if self.cancel(waiting) {
            self.deliver(thread, Delivery::Code(code));
        }
    }

    /// It has ended: nothing runs it any more.
    pub(crate) fn thread_buried(&self, thread: &Arc<Thread<M>>) {
        let mut effects = Effects::new();
        if let Some(port) = thread.port() {
            let _ = port.kill(&mut effects);
        }
        let (right, delivery) = {
            let mut control = thread.control.lock();
            control.run = Run::Dead;
            (core::mem::replace(&mut control.exception_port, Right::null()), control.delivery.take())
        };
        right.destroy(&mut effects);
        if let Some(Delivery::Message(message)) = delivery {
            message.destroy(&mut effects);
        }
        self.work_off(effects);
        let is_last = {
            let mut state = thread.task.state.lock();
            state.threads.retain(|other| other.id != thread.id);
            state.threads.is_empty()
        };
        if is_last && thread.task.is_dying.load(Ordering::Acquire) {
            self.task_end(&thread.task);
        }
    }
}
