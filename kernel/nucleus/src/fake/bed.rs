//! The test bed: a kernel on a fake machine, tasks and threads in it, and the proof at the end that nothing is left.

use core::future::Future;
use std::boxed::Box;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::vec::Vec;

use abi::call::mach_port::right;
use abi::message::kind;
use frames::Pool;
use vm::Placement;

use super::disk::{Fault, disk};
use super::machine::FakeMachine;
use super::stage::this_cpu;
use super::user::{BUFFER_BYTES, Program, User};
use crate::kernel::Kernel;
use crate::kobject::{Effects, Right};
use crate::machine::{Boot, Device};
use crate::task::Task;
use crate::thread::{Run, Thread};

/// What a machine has.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) cpus: usize,
    pub(crate) frames: usize,
    pub(crate) seed: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self { cpus: 1, frames: 1024, seed: 1 }
    }
}

impl Shape {
    /// One CPU and plenty of memory.
    pub(crate) fn simple() -> Self {
        Self::default()
    }

    /// Two CPUs that overtake each other as the seed says.
    pub(crate) fn race(seed: u64) -> Self {
        Self { cpus: 2, seed, ..Self::default() }
    }
}

impl FakeMachine {
    /// So many of a hundred messages of the kernel's own find no memory from now on.
    pub(crate) fn fail_messages(&self, percent: usize) {
        self.stage.scene().message_failures = percent;
    }
}

pub(crate) struct Bed {
    pub(crate) machine: &'static FakeMachine,
    pub(crate) kernel: &'static Kernel<FakeMachine>,
    tasks: Vec<Arc<Task<FakeMachine>>>,
    threads: Vec<Arc<Thread<FakeMachine>>>,
    in_use: usize,
}

/// Where threads have their buffers; programs' own memory is anywhere else.
const BUFFERS: u64 = 0x10_0000_0000;
/// Sectors of the disk.
const SECTORS: u64 = 64 << 10;
/// The longest scenario.
const LIMIT_NS: u64 = 200_000_000_000;

std::thread_local! {
    /// Pools live for ever: the scenarios of one thread of the host use them again, as long as they leave nothing in them.
    static POOLS: RefCell<BTreeMap<(usize, usize), &'static Pool>> = const { RefCell::new(BTreeMap::new()) };
}

fn pool(shape: Shape) -> &'static Pool {
    let fresh = || -> &'static Pool { Box::leak(Box::new(Pool::for_smp_tests(shape.frames, shape.cpus, this_cpu))) };
    POOLS.with_borrow_mut(|pools| {
        let pool = pools.entry((shape.frames, shape.cpus)).or_insert_with(fresh);
        if pool.in_use() > 0 {
            *pool = fresh();
        }
        *pool
    })
}

impl Bed {
    pub(crate) fn new(shape: Shape) -> Self {
        let pool = pool(shape);
        let machine: &'static FakeMachine = Box::leak(Box::new(FakeMachine::new(pool, shape.cpus, shape.seed)));
        let (block, part) = disk(SECTORS, pool, 0);
        machine.stage.scene().disks.push(part);
        let devices = std::vec![Device::Block(block)];
        let mut boot = Boot { pool, ramdisk: None, modules: Vec::new(), command_line: "", devices };
        let kernel = Kernel::assemble(machine, &mut boot);
        assert!(machine.kernel.set(kernel).is_ok());
        Self { machine, kernel, tasks: Vec::new(), threads: Vec::new(), in_use: pool.in_use() }
    }

    pub(crate) fn pool(&self) -> &'static Pool {
        self.machine.pool
    }

    /// An empty task.
    pub(crate) fn task(&mut self) -> usize {
        let task = Task::new(self.machine).expect("there is memory for a task");
        self.kernel.census.task(&task);
        self.tasks.push(task);
        self.tasks.len() - 1
    }

    pub(crate) fn task_of(&self, task: usize) -> &Arc<Task<FakeMachine>> {
        &self.tasks[task]
    }

    /// A thread that will run a program.
    pub(crate) fn thread<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        task: usize,
        body: impl FnOnce(User) -> F + Send + 'static,
    ) -> usize {
        let task = &self.tasks[task];
        let buffer = BUFFERS + self.threads.len() as u64 * BUFFER_BYTES;
        self.kernel.vm.allocate(&task.map, Placement::At(buffer), BUFFER_BYTES).expect("there is room for a buffer");
        let number = self.machine.add_program(Program::new(self.machine, buffer, body));
        let thread = self.kernel.thread_create(task).expect("there is memory for a thread");
        thread.body.lock().registers.x[28] = number;
        self.kernel.thread_resume(&thread).expect("it was suspended once");
        self.threads.push(thread);
        self.threads.len() - 1
    }

    /// A new port of a task: its name.
    pub(crate) fn port(&self, task: usize) -> u32 {
        self.tasks[task].space.allocate(right::RECEIVE).expect("there is memory for a port")
    }

    /// A send right to a port of one task, for another: its name there.
    pub(crate) fn send_right(&self, from: usize, name: u32, to: usize) -> u32 {
        let mut effects = Effects::new();
        let right = self.tasks[from].space.extract_right(name, kind::MAKE_SEND, &mut effects).expect("it has the port");
        self.kernel.work_off(effects);
        self.give(to, right)
    }

    /// Puts a right into a task.
    pub(crate) fn give(&self, task: usize, right: Right<FakeMachine>) -> u32 {
        let mut effects = Effects::new();
        let name = self.tasks[task].space.insert(right, &mut effects).expect("there is memory for a name");
        self.kernel.work_off(effects);
        name
    }

    /// A send right to a thread.
    pub(crate) fn give_thread(&self, task: usize, thread: usize) -> u32 {
        self.give(task, self.threads[thread].send_right())
    }

    /// A send right to a task.
    pub(crate) fn give_task(&self, to: usize, task: usize) -> u32 {
        self.give(to, self.tasks[task].send_right())
    }

    pub(crate) fn give_host(&self, task: usize) -> u32 {
        self.give(task, self.kernel.host_priv.make_send())
    }

    pub(crate) fn give_devices(&self, task: usize) -> u32 {
        self.give(task, self.kernel.device_master.make_send())
    }

    /// The next operation of the disk of this kind fails.
    pub(crate) fn fail(&self, fault: Fault) {
        self.machine.stage.scene().disks[0].fail(fault);
    }

    pub(crate) fn transfers(&self) -> usize {
        self.machine.stage.scene().disks[0].transfers()
    }

    /// Runs until nobody has anything to do any more.
    pub(crate) fn run(&mut self) {
        let (machine, kernel) = (self.machine, self.kernel);
        machine.stage.begin();
        let cpus = {
            let mut scene = machine.stage.scene();
            scene.limit = scene.now + LIMIT_NS;
            scene.cpus.len()
        };
        std::thread::scope(|scope| {
            for cpu in 1..cpus {
                scope.spawn(move || machine.stage.be_cpu(machine, cpu, || kernel.run()));
            }
            machine.stage.be_cpu(machine, 0, || kernel.run());
        });
        let failure = machine.stage.scene().failure.take();
        if let Some(failure) = failure {
            std::panic::resume_unwind(failure);
        }
        let scene = machine.stage.scene();
        assert!(scene.cpus.iter().all(|cpu| cpu.deadline.is_none_or(|deadline| deadline < scene.limit)), "it would go on for ever");
    }

    /// Where a thread is.
    pub(crate) fn state(&self, thread: usize) -> Run {
        self.threads[thread].control.lock().run
    }

    /// Compares the VM system with all that holds memory. No message may be on its way.
    pub(crate) fn check_vm(&self) {
        let tasks = self.kernel.census.tasks();
        let objects = self.kernel.pagers.objects();
        self.kernel.vm.check(&vm::Roots {
            maps: tasks.iter().map(|task| &task.map).collect(),
            objects: objects.iter().collect(),
            other_frames: self.in_use,
            ..vm::Roots::default()
        });
    }

    /// Ends all tasks; nothing may be left.
    pub(crate) fn end(mut self) {
        let tasks = self.kernel.census.tasks();
        tasks.iter().for_each(|task| self.kernel.task_terminate(task));
        drop(tasks);
        self.tasks.clear();
        self.threads.clear();
        self.run();
        self.machine.forget_programs();
        assert_eq!(self.kernel.census.left(), "", "they are left");
        assert!(self.kernel.timeouts.next_deadline().is_none(), "a timeout is left");
        assert!(self.kernel.default_manager.lock().is_none(), "the default pager is left");
        assert_eq!(self.kernel.pagers.objects().len(), 0, "pagers are left");
        self.check_vm();
        assert_eq!(self.pool().in_use(), self.in_use, "frames are lost");
    }
}
