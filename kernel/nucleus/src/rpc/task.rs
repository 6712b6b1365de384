//! What can be asked of a task's port: the task itself, its threads, its names, its memory.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use abi::call::{gnumach, mach, mach_port};
use abi::info::{TASK_BASIC_INFO, TASK_BASIC_INFO_COUNT};
use abi::item::Words;
use abi::message::{Ports, kind};
use abi::{Code, trap};

use super::{Answer, PortReply, Request, port, vm_calls};
use crate::kernel::Kernel;
use crate::kobject::{Capability, Effects, Right};
use crate::machine::Machine;
use crate::task::{Task, copy_of};

pub(super) fn call<M: Machine>(request: &mut Request<'_, M>, task: &Arc<Task<M>>) -> Answer<M> {
    if let Some(call) = mach::Call::decode(&request.message.bytes) {
        return match call {
            Ok(call) => task_call(request, task, call),
            Err(malformed) => malformed.into(),
        };
    }
    if let Some(call) = mach_port::Call::decode(&request.message.bytes) {
        return match call {
            Ok(call) => port::call(request, task, call),
            Err(malformed) => malformed.into(),
        };
    }
    match gnumach::Call::decode(&request.message.bytes) {
        Some(Ok(gnumach::Call::task_set_name(call))) => {
            task.state.lock().name = call.name.0;
            Answer::Code(Code::SUCCESS)
        }
        Some(Err(malformed)) => malformed.into(),
        _ => Answer::BadId,
    }
}

fn task_call<M: Machine>(request: &mut Request<'_, M>, task: &Arc<Task<M>>, call: mach::Call) -> Answer<M> {
    let kernel = request.kernel;
    match call {
        mach::Call::task_create(call) => match kernel.task_create(task, call.inherit_memory) {
            Ok(child) => request.reply_right(PortReply, child.send_right()),
            Err(code) => Answer::Code(code),
        },
        mach::Call::task_terminate(_) => {
            kernel.task_terminate(task);
            Answer::Code(Code::SUCCESS)
        }
        mach::Call::task_threads(_) => threads(request, task),
        mach::Call::task_info(call) => info(request, task, call.flavor, call.count),
        mach::Call::task_suspend(_) => {
            kernel.task_suspend(task);
            Answer::Code(Code::SUCCESS)
        }
        mach::Call::task_resume(_) => kernel.task_resume(task).into(),
        mach::Call::task_get_special_port(call) => match special_port(task, call.which) {
            Ok(right) => request.reply_right(PortReply, right),
            Err(code) => Answer::Code(code),
        },
        mach::Call::task_set_special_port(call) => {
            let right = request.right(call.special_port);
            kernel.set_task_special_port(task, call.which, right).into()
        }
        mach::Call::thread_create(_) => match kernel.thread_create(task) {
            Ok(thread) => request.reply_right(PortReply, thread.send_right()),
            Err(code) => Answer::Code(code),
        },
        other => vm_calls::call(request, task, other),
    }
}

fn threads<M: Machine>(request: &mut Request<'_, M>, task: &Arc<Task<M>>) -> Answer<M> {
    let rights: Vec<Right<M>> = task.state.lock().threads.iter().map(|thread| thread.send_right()).collect();
    let list = Ports { address: 0, count: rights.len() as u32, kind: kind::MOVE_SEND, deallocate: true };
    let reply = mach::task_threads::Reply { thread_list: list };
    request.reply(&reply, alloc::vec![Some(Capability::Ports(rights))])
}

/// A time as `time_value_t`: seconds and microseconds in a word each.
pub(super) fn time_words(nanoseconds: u64) -> [u32; 2] {
    [(nanoseconds / 1_000_000_000) as u32, (nanoseconds / 1000 % 1_000_000) as u32]
}

/// task_basic_info: suspend count, base priority, sizes, times.
fn info<M: Machine>(request: &mut Request<'_, M>, task: &Arc<Task<M>>, flavor: i32, count: u32) -> Answer<M> {
    if flavor != TASK_BASIC_INFO || (count as usize) < TASK_BASIC_INFO_COUNT {
        return Answer::Code(Code::INVALID_ARGUMENT);
    }
    let size = task.map.size();
    let resident = request.kernel.vm.resident_bytes(&task.map);
    let time = task.cpu_time_ns.load(Ordering::Relaxed);
    let [seconds, micros] = time_words(time);
    let mut words = alloc::vec![0; TASK_BASIC_INFO_COUNT];
    words[0] = task.suspend_count.load(Ordering::Relaxed);
    words[1] = 12;
    words[2..6].copy_from_slice(&[size as u32, (size >> 32) as u32, resident as u32, (resident >> 32) as u32]);
    words[6..8].copy_from_slice(&[seconds, micros]);
    // The same as 64-bit times: user time in seconds and nanoseconds.
    let (whole, rest) = (time / 1_000_000_000, time % 1_000_000_000);
    words[14..18].copy_from_slice(&[whole as u32, (whole >> 32) as u32, rest as u32, 0]);
    request.reply(&mach::task_info::Reply { info: Words(words) }, Vec::new())
}

fn special_port<M: Machine>(task: &Arc<Task<M>>, which: i32) -> Result<Right<M>, Code> {
    match which {
        trap::TASK_KERNEL_PORT => Ok(task.send_right()),
        trap::TASK_EXCEPTION_PORT => Ok(copy_of(&task.state.lock().exception_port)),
        trap::TASK_BOOTSTRAP_PORT => Ok(copy_of(&task.state.lock().bootstrap_port)),
        _ => Err(Code::INVALID_ARGUMENT),
    }
}

impl<M: Machine> Kernel<M> {
    /// task_set_special_port. The right is used up.
    pub(crate) fn set_task_special_port(&self, task: &Arc<Task<M>>, which: i32, right: Right<M>) -> Result<(), Code> {
        let (old, result) = {
            let mut state = task.state.lock();
            let is_dying = task.is_dying.load(Ordering::Acquire);
            match which {
                _ if is_dying => (right, Err(Code::TERMINATED)),
                trap::TASK_EXCEPTION_PORT => (core::mem::replace(&mut state.exception_port, right), Ok(())),
                trap::TASK_BOOTSTRAP_PORT => (core::mem::replace(&mut state.bootstrap_port, right), Ok(())),
                _ => (right, Err(Code::INVALID_ARGUMENT)),
            }
        };
        let mut effects = Effects::new();
        old.destroy(&mut effects);
        self.work_off(effects);
        result
    }

    /// task_suspend.
    pub(crate) fn task_suspend(&self, task: &Arc<Task<M>>) {
        task.suspend_count.fetch_add(1, Ordering::AcqRel);
        for thread in &task.state.lock().threads {
            self.notice(&thread.control.lock());
        }
    }

    /// task_resume.
    pub(crate) fn task_resume(&self, task: &Arc<Task<M>>) -> Result<(), Code> {
        let lowered = task.suspend_count.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| count.checked_sub(1));
        lowered.map_err(|_| Code::FAILURE)?;
        // Afterwards: one that is made and stopped meanwhile is among them.
        let threads = task.state.lock().threads.clone();
        for thread in threads {
            self.look_again(&thread, &mut thread.control.lock());
        }
        Ok(())
    }
}
