//! What a CPU does: picks a thread, runs it to its next exception, and decides.

use alloc::sync::Arc;

use crate::exception::Raise;
use crate::kernel::{Found, Kernel};
use crate::machine::{Exit, Interrupt, Machine};
use crate::task::Task;
use crate::thread::{Body, Delivery, Resume, Run, Thread};

/// How long a thread runs while others wait.
const QUANTUM_NS: u64 = 10_000_000;

/// How often memory is looked for while threads wait for some.
const MEMORY_CHECK_NS: u64 = 1_000_000;

/// What a step of a thread came to.
pub(crate) enum Step {
    /// It can go on.
    Continue,
    /// It waits, or has ended: another one's turn.
    Leave,
}

/// What the CPU has loaded.
struct Loaded<M: Machine> {
    task: Option<Arc<Task<M>>>,
    quantum_ends: u64,
    /// What the timer is set to.
    armed: Option<u64>,
}

impl<M: Machine> Kernel<M> {
    /// Runs this CPU, for ever.
    pub fn run(&self) -> ! {
        let cpu = self.machine.this_cpu();
        let mut loaded = Loaded { task: None, quantum_ends: 0, armed: None };
        loop {
            match self.queues.pick(cpu) {
                Some(thread) => self.run_thread(cpu, &thread, &mut loaded),
                None => {
                    // What is loaded may be of a task that ended: nobody frees tables that a CPU has in use.
                    if let Some(task) = loaded.task.take() {
                        self.machine.use_pmap(None);
                        drop(task);
                    }
                    if let Some(thread) = self.idle(cpu, &mut loaded) {
                        self.run_thread(cpu, &thread, &mut loaded);
                    }
                }
            }
        }
    }

    /// Waits for an interrupt, unless there is something to run after all.
    fn idle(&self, cpu: usize, loaded: &mut Loaded<M>) -> Option<Arc<Thread<M>>> {
        self.page_out_if_needed();
        self.set_timer(loaded, None);
        let thread = self.queues.go_idle(cpu);
        if thread.is_none() {
            self.machine.wait_for_interrupt();
            self.interrupts(loaded);
        }
        thread
    }

    /// Runs a thread until it waits, ends, or has run long enough.
    fn run_thread(&self, cpu: usize, thread: &Arc<Thread<M>>, loaded: &mut Loaded<M>) {
        let mut body = thread.body.lock();
        if !self.claim(thread, cpu) {
            return;
        }
        if loaded.task.as_ref().is_none_or(|task| task.id != thread.task.id) {
            self.machine.use_pmap(Some(thread.task.map.pmap()));
            loaded.task = Some(Arc::clone(&thread.task));
        }
        self.machine.load_float(&body.float);
        let began = self.machine.now();
        loaded.quantum_ends = began + QUANTUM_NS;
        while let Step::Continue = self.step(thread, &mut body, loaded) {}
        self.machine.save_float(&mut body.float);
        let ran = self.machine.now() - began;
        thread.task.cpu_time_ns.fetch_add(ran, core::sync::atomic::Ordering::Relaxed);
        // As long as its body is ours, no other CPU runs it, whoever woke it since.
        let mut control = thread.control.lock();
        // It didn't come to wait: it was told to end, which it does when it runs next.
        if let Run::Running(_) = control.run {
            control.run = Run::Ready;
            self.enqueue(thread, control.priority);
        }
        let is_dead = control.run == Run::Dead;
        drop(control);
        drop(body);
        if is_dead {
            self.thread_buried(thread);
        }
    }

    /// Takes a thread from the queue to this CPU.
    fn claim(&self, thread: &Arc<Thread<M>>, cpu: usize) -> bool {
        let mut control = thread.control.lock();
        if control.run != Run::Ready {
            return false;
        }
        control.run = Run::Running(cpu);
        true
    }

    /// One step: whatever must come first, else how the thread goes on.
    fn step(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>, loaded: &mut Loaded<M>) -> Step {
        if let Some(step) = self.must_leave(thread, body) {
            return step;
        }
        match core::mem::replace(&mut body.resume, Resume::User) {
            Resume::User => self.at_user(thread, body, loaded),
            Resume::Slept => {
                // What ended the sleep ends nothing else.
                let _ = self.take_delivery(thread);
                Step::Continue
            }
            Resume::Trap => self.trap(thread, body),
            Resume::Fault(abort) => self.fault(thread, body, abort),
            Resume::TrapFault(abort) => self.trap_fault(thread, body, abort),
            Resume::Message(step) => self.message_step(thread, body, step),
            Resume::Rpc(suspended) => self.rpc_again(thread, body, suspended),
            Resume::Exception { reply_port } => self.exception_reply(thread, body, reply_port),
        }
    }

    /// Termination, suspension.
    fn must_leave(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>) -> Option<Step> {
        let mut control = thread.control.lock();
        if control.must_end {
            control.run = Run::Dead;
            drop(control);
            self.drop_resume(body);
            return Some(Step::Leave);
        }
        if control.suspend_count > 0 || thread.task.suspend_count.load(core::sync::atomic::Ordering::Acquire) > 0 {
            control.run = Run::Stopped;
            return Some(Step::Leave);
        }
        None
    }

    /// Runs EL0.
    fn at_user(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>, loaded: &mut Loaded<M>) -> Step {
        if self.pool.is_low() {
            self.page_out_if_needed();
        }
        let cpu = self.machine.this_cpu();
        let is_wanted = self.queues.should_yield(cpu, true);
        if is_wanted && self.machine.now() >= loaded.quantum_ends {
            return self.yield_cpu(thread);
        }
        if let Some(idle) = self.queues.offer(cpu) {
            self.machine.signal(idle);
        }
        self.set_timer(loaded, is_wanted.then_some(loaded.quantum_ends));
        match self.machine.run_user(&mut body.registers) {
            Exit::Trap { immediate: 0 } => {
                body.resume = Resume::Trap;
                Step::Continue
            }
            Exit::Trap { immediate } => {
                let raise =
                    Raise { exception: abi::call::exc::EXC_SOFTWARE, code: abi::call::exc::EXC_AARCH64_SVC, subcode: i64::from(immediate) };
                self.raise(thread, body, raise)
            }
            Exit::Fault(abort) => {
                body.resume = Resume::Fault(abort);
                Step::Continue
            }
            Exit::Exception { exception, code, subcode } => self.raise(thread, body, Raise { exception, code, subcode }),
            Exit::Interrupt => {
                self.interrupts(loaded);
                Step::Continue
            }
        }
    }

    /// Goes to the end of its queue.
    pub(crate) fn yield_cpu(&self, thread: &Arc<Thread<M>>) -> Step {
        let mut control = thread.control.lock();
        control.run = Run::Ready;
        self.enqueue(thread, control.priority);
        Step::Leave
    }

    /// Puts a thread in a run queue.
    pub(crate) fn enqueue(&self, thread: &Arc<Thread<M>>, priority: u8) {
        // Here, since what wakes it is often about to wait; `at_user` offers it to an idle CPU otherwise.
        self.queues.requeue(Arc::clone(thread), priority, self.machine.this_cpu());
    }

    /// Handles what is pending.
    fn interrupts(&self, loaded: &mut Loaded<M>) {
        while let Some(interrupt) = self.machine.interrupt() {
            match interrupt {
                Interrupt::Timer => {
                    loaded.armed = None;
                    self.run_timeouts();
                    self.run_pager_deadlines();
                }
                Interrupt::Signal => (),
                Interrupt::Device(index) => match self.devices.get(index) {
                    Some(Found::Disk(disk)) => self.disk_interrupt(disk),
                    Some(Found::Net(ring)) => self.ring_interrupt(ring),
                    None => (),
                },
            }
        }
    }

    /// The next time that something is due on this CPU: the end of a quantum, a timeout, a pager's deadline.
    fn set_timer(&self, loaded: &mut Loaded<M>, quantum: Option<u64>) {
        // Memory comes back without an event too (a task ends on another CPU): whoever waits for it is looked after.
        let memory = self.memory_waiters.load(core::sync::atomic::Ordering::Relaxed).then(|| self.machine.now() + MEMORY_CHECK_NS);
        let due = [quantum, self.timeouts.next_deadline(), self.pagers.next_deadline(), memory].into_iter().flatten().min();
        if due != loaded.armed {
            self.machine.set_deadline(due);
            loaded.armed = due;
        }
    }

    /// What was delivered to the running thread.
    pub(crate) fn take_delivery(&self, thread: &Thread<M>) -> Option<Delivery<M>> {
        thread.control.lock().delivery.take()
    }
}
