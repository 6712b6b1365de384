//! Tasks: made empty, made with memory, ended.

use alloc::vec::Vec;

use abi::Code;
use abi::call::mach::task_create;
use abi::vm::PAGE_SIZE;
use runtime::task::{self, Task};
use runtime::{Pages, rpc};

use crate::clock::{report, span};

const EMPTY: u64 = 64;
const FULL: u64 = 4;
const INHERITED: u64 = 64 << 20;

fn create(inherit_memory: bool) -> Result<Task, Code> {
    Task::from_right(rpc::call(task::own(), &task_create::Request { inherit_memory })?.child_task)
}

/// Measures making so many; gives them.
fn measure(name: &str, times: u64, inherit_memory: bool) -> Result<Vec<Task>, Code> {
    let mut tasks = Vec::with_capacity(times as usize);
    let (time, done) = span(|| (0..times).try_for_each(|_| create(inherit_memory).map(|task| tasks.push(task))));
    done?;
    report(name, time, times);
    Ok(tasks)
}

pub(crate) fn run() -> Result<(), Code> {
    measure("task-create", EMPTY, false)?.iter().try_for_each(Task::terminate)?;
    let mut memory = Pages::allocate(INHERITED)?;
    memory.iter_mut().step_by(PAGE_SIZE as usize).for_each(|byte| *byte = 1);
    // The first fork write-protects what was touched; both that and the later ones count.
    let tasks = measure("task-create-64m", FULL, true)?;
    let (time, done) = span(|| tasks.iter().try_for_each(Task::terminate));
    done?;
    report("task-terminate-64m", time, FULL);
    Ok(())
}
