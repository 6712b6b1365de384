//! All tasks and threads that were ever made, without keeping them: what must hold of each after every step, and what may be left at the end.

use std::string::String;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::vec::Vec;

use crate::machine::Machine;
use crate::task::Task;
use crate::thread::{Run, Thread};
use crate::wait::Waiting;

pub(crate) struct Census<M: Machine> {
    threads: Mutex<Vec<Weak<Thread<M>>>>,
    tasks: Mutex<Vec<Weak<Task<M>>>>,
}

impl<M: Machine> Default for Census<M> {
    fn default() -> Self {
        Self { threads: Mutex::new(Vec::new()), tasks: Mutex::new(Vec::new()) }
    }
}

impl<M: Machine> Census<M> {
    pub(crate) fn thread(&self, thread: &Arc<Thread<M>>) {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(thread));
    }

    pub(crate) fn task(&self, task: &Arc<Task<M>>) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(task));
    }

    pub(crate) fn threads(&self) -> Vec<Arc<Thread<M>>> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| thread.strong_count() > 0);
        threads.iter().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn tasks(&self) -> Vec<Arc<Task<M>>> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| task.strong_count() > 0);
        tasks.iter().filter_map(Weak::upgrade).collect()
    }

    /// After each step. A CPU that was overtaken may have taken a wait apart and not yet said so.
    pub(crate) fn check(&self, is_overtaken: bool) {
        let mut running: Vec<usize> = Vec::new();
        for thread in self.threads() {
            let control = thread.control.try_lock().expect("no control block is locked between steps");
            match control.run {
                Run::Running(cpu) => running.push(cpu),
                Run::Waiting if !is_overtaken => {
                    assert!(!matches!(control.waiting, Waiting::Nothing), "thread {} waits for nothing", thread.id);
                    assert!(control.delivery.is_none(), "thread {} waits though it has what it waits for", thread.id);
                }
                _ => (),
            }
        }
        running.sort_unstable();
        assert!(running.windows(2).all(|pair| pair[0] != pair[1]), "two threads run on one CPU: {running:?}");
    }

    /// When no CPU has anything to do: nobody who could run is forgotten.
    pub(crate) fn check_quiet(&self) {
        for thread in self.threads() {
            let control = thread.control.lock();
            assert!(!matches!(control.run, Run::Ready | Run::Running(_)), "thread {} is lost: {:?}", thread.id, control.run);
            assert!(
                control.run != Run::Stopped || control.suspend_count > 0 || is_suspended(&thread.task),
                "thread {} stays stopped",
                thread.id
            );
        }
    }

    /// Who is left, for a message.
    pub(crate) fn left(&self) -> String {
        let threads: Vec<_> = self.threads().iter().map(describe).collect();
        let tasks: Vec<_> = self.tasks().iter().map(|task| task.label()).collect();
        if threads.is_empty() && tasks.is_empty() { String::new() } else { std::format!("threads {threads:?}, tasks {tasks:?}") }
    }
}

fn describe<M: Machine>(thread: &Arc<Thread<M>>) -> String {
    let control = thread.control.lock();
    let waiting = match &control.waiting {
        Waiting::Nothing => "nothing".into(),
        Waiting::Receive { .. } => "a message".into(),
        Waiting::Send { .. } => "room".into(),
        Waiting::Key(token) => std::format!("{token:?}"),
        Waiting::Reply => "a reply".into(),
        Waiting::Time(_) => String::from("a time"),
    };
    std::format!("{} of task {}: {:?} for {waiting}", thread.id, thread.task.id, control.run)
}

fn is_suspended<M: Machine>(task: &Task<M>) -> bool {
    task.suspend_count.load(core::sync::atomic::Ordering::Relaxed) > 0
}
