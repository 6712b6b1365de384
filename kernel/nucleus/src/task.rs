//! A task: an address space, a port space, and threads.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use spin::{Mutex, Once};

use abi::Code;
use vm::{Map, PageRange};

use crate::kernel::Kernel;
use crate::kobject::{Effects, Ipc, Object, Port, Right};
use crate::machine::{Machine, Power};
use crate::thread::Thread;

/// A task.
pub(crate) struct Task<M: Machine> {
    pub(crate) id: u64,
    pub(crate) map: Map<M::Pmap>,
    pub(crate) space: Arc<ipc::Space<Ipc<M>>>,
    port: Once<Port<M>>,
    pub(crate) suspend_count: AtomicU32,
    pub(crate) is_dying: AtomicBool,
    /// The boot script made it.
    pub(crate) is_first: AtomicBool,
    pub(crate) cpu_time_ns: AtomicU64,
    pub(crate) state: Mutex<State<M>>,
}

/// What changes rarely.
pub(crate) struct State<M: Machine> {
    pub(crate) name: String,
    pub(crate) threads: Vec<Arc<Thread<M>>>,
    pub(crate) exception_port: Right<M>,
    pub(crate) bootstrap_port: Right<M>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl<M: Machine> Task<M> {
    /// A task with nothing in it.
    pub(crate) fn new(machine: &M) -> Result<Arc<Self>, Code> {
        let pmap = machine.new_pmap().ok_or(Code::RESOURCE_SHORTAGE)?;
        let task = Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            map: Map::new(pmap),
            space: ipc::Space::new()?,
            port: Once::new(),
            suspend_count: AtomicU32::new(0),
            is_dying: AtomicBool::new(false),
            is_first: AtomicBool::new(false),
            cpu_time_ns: AtomicU64::new(0),
            state: Mutex::new(State {
                name: String::new(),
                threads: Vec::new(),
                exception_port: Right::null(),
                bootstrap_port: Right::null(),
            }),
        });
        let port = ipc::Port::new_kernel(Object::Task(Arc::clone(&task)))?;
        task.port.call_once(|| port);
        Ok(task)
    }

    /// A send right to its kernel port.
    pub(crate) fn send_right(&self) -> Right<M> {
        self.port.get().map_or(Right::dead(), |port| port.make_send())
    }

    /// Its name for messages to people.
    pub(crate) fn label(&self) -> String {
        let name = self.state.lock().name.clone();
        if name.is_empty() { alloc::format!("task {}", self.id) } else { name }
    }
}

impl<M: Machine> Kernel<M> {
    /// task_create.
    pub(crate) fn task_create(&self, parent: &Arc<Task<M>>, inherit_memory: bool) -> Result<Arc<Task<M>>, Code> {
        let child = Task::new(self.machine)?;
        #[cfg(test)]
        self.census.task(&child);
        let inherited = if inherit_memory { self.vm.fork(&parent.map, &child.map) } else { Ok(()) };
        let (exception_port, bootstrap_port) = {
            let state = parent.state.lock();
            (copy_of(&state.exception_port), copy_of(&state.bootstrap_port))
        };
        {
            let mut state = child.state.lock();
            state.exception_port = exception_port;
            state.bootstrap_port = bootstrap_port;
        }
        match inherited {
            Ok(()) => Ok(child),
            Err(code) => {
                self.task_terminate(&child);
                Err(code)
            }
        }
    }

    /// task_terminate. Threads that run elsewhere end at their next exception; the last one takes the task's memory with it.
    pub(crate) fn task_terminate(&self, task: &Arc<Task<M>>) {
        if task.is_dying.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut effects = Effects::new();
        if let Some(port) = task.port.get() {
            let _ = port.kill(&mut effects);
        }
        let threads = task.state.lock().threads.clone();
        for thread in &threads {
            self.thread_terminate(thread);
        }
        self.work_off(effects);
        if threads.is_empty() {
            self.task_end(task);
        }
    }

    /// The last thread is gone, or there never was one.
    pub(crate) fn task_end(&self, task: &Arc<Task<M>>) {
        let mut effects = Effects::new();
        task.space.destroy(&mut effects);
        let (exception_port, bootstrap_port) = {
            let mut state = task.state.lock();
            (core::mem::replace(&mut state.exception_port, Right::null()), core::mem::replace(&mut state.bootstrap_port, Right::null()))
        };
        exception_port.destroy(&mut effects);
        bootstrap_port.destroy(&mut effects);
        self.work_off(effects);
        if let Ok(everything) = PageRange::containing(0, abi::vm::USER_END) {
            self.vm.deallocate(&task.map, everything);
        }
        self.pagers_step();
        // Nobody is left who could start anything, or end it.
        if task.is_first.swap(false, Ordering::AcqRel) && self.first_tasks.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.print(format_args!("pvmach: the last task of the boot script has ended\n"));
            self.machine.power(Power::Off);
        }
    }
}

/// Another send right like this one; the null port stays null.
pub(crate) fn copy_of<M: Machine>(right: &Right<M>) -> Right<M> {
    match right.kind() {
        ipc::RightKind::Null => Right::null(),
        _ => right.copy_send(),
    }
}
