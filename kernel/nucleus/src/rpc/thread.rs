//! What can be asked of a thread's port.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::call::{gnumach, mach};
use abi::info::{THREAD_BASIC_INFO, THREAD_BASIC_INFO_COUNT};
use abi::item::Words;
use abi::{Code, trap};

use super::state::{get_state, set_state};
use super::{Answer, PortReply, Request};
use crate::kernel::Kernel;
use crate::kobject::Effects;
use crate::mach_msg::{MessageStep, trap_return};
use crate::machine::Machine;
use crate::task::copy_of;
use crate::thread::{Body, Delivery, Resume, Run, Thread};

pub(super) fn call<M: Machine>(request: &mut Request<'_, M>, target: &Arc<Thread<M>>) -> Answer<M> {
    let kernel = request.kernel;
    let is_reply = request.message.remote.kind() == ipc::RightKind::SendOnce;
    if let Some(code) = Kernel::<M>::reply_code(request.message).filter(|_| is_reply) {
        kernel.exception_answered(target, code);
        return Answer::Later;
    }
    let call = match mach::Call::decode(&request.message.bytes) {
        Some(Ok(call)) => call,
        Some(Err(malformed)) => return malformed.into(),
        None => {
            return match gnumach::Call::decode(&request.message.bytes) {
                Some(Ok(gnumach::Call::thread_set_name(_))) => Answer::Code(Code::SUCCESS),
                _ => Answer::BadId,
            };
        }
    };
    match call {
        mach::Call::thread_terminate(_) => {
            kernel.thread_terminate(target);
            // Who hears of success may take its stack away: it has left its CPU by then.
            let is_gone = target.control.lock().run == Run::Dead || Arc::ptr_eq(target, request.thread);
            if is_gone { Answer::Code(Code::SUCCESS) } else { Answer::Yield }
        }
        mach::Call::thread_suspend(_) => {
            kernel.thread_suspend(target);
            Answer::Code(Code::SUCCESS)
        }
        mach::Call::thread_resume(_) => kernel.thread_resume(target).into(),
        mach::Call::thread_abort(_) => {
            kernel.thread_abort(target);
            Answer::Code(Code::SUCCESS)
        }
        mach::Call::thread_get_state(call) => with_body(request, target, |request, body| match get_state(body, call.flavor, call.count) {
            Ok(words) => request.reply(&mach::thread_get_state::Reply { state: Words(words) }, Vec::new()),
            Err(code) => Answer::Code(code),
        }),
        mach::Call::thread_set_state(call) => with_body(request, target, |_, body| set_state(body, call.flavor, &call.state.0).into()),
        mach::Call::thread_info(call) => info(request, target, call.flavor, call.count),
        mach::Call::thread_get_special_port(call) => match call.which {
            trap::THREAD_KERNEL_PORT => request.reply_right(PortReply, target.send_right()),
            trap::THREAD_EXCEPTION_PORT => {
                let right = copy_of(&target.control.lock().exception_port);
                request.reply_right(PortReply, right)
            }
            _ => Answer::Code(Code::INVALID_ARGUMENT),
        },
        mach::Call::thread_set_special_port(call) => {
            let right = request.right(call.special_port);
            let mut control = target.control.lock();
            let (old, result) = match call.which {
                trap::THREAD_EXCEPTION_PORT if control.run == Run::Dead => (right, Code::TERMINATED),
                trap::THREAD_EXCEPTION_PORT => (core::mem::replace(&mut control.exception_port, right), Code::SUCCESS),
                _ => (right, Code::INVALID_ARGUMENT),
            };
            drop(control);
            let mut effects = Effects::new();
            old.destroy(&mut effects);
            kernel.work_off(effects);
            Answer::Code(result)
        }
        _ => Answer::BadId,
    }
}

/// Works on the registers of a thread that doesn't run. One that runs elsewhere is stopped only if it was suspended: then it leaves its CPU at
/// its next exception, which is asked for here. One that raised an exception is about to stop.
fn with_body<M: Machine>(
    request: &mut Request<'_, M>,
    target: &Arc<Thread<M>>,
    work: impl FnOnce(&mut Request<'_, M>, &mut Body<M>) -> Answer<M>,
) -> Answer<M> {
    if Arc::ptr_eq(target, request.thread) {
        return Answer::Code(Code::INVALID_ARGUMENT);
    }
    if let Some(mut body) = target.body.try_lock() {
        settle(target, &mut body);
        return work(request, &mut body);
    }
    let control = target.control.lock();
    let will_stop = control.suspend_count > 0 || control.must_end || control.in_exception || !matches!(control.run, Run::Running(_));
    request.kernel.notice(&control);
    drop(control);
    if will_stop || target.task.suspend_count.load(core::sync::atomic::Ordering::Acquire) > 0 {
        Answer::Yield
    } else {
        Answer::Code(Code::FAILURE)
    }
}

/// Bytes of an instruction.
const INSTRUCTION: u64 = 4;

/// Makes the registers say where a stopped thread is, so that others may replace them: a receive that was aborted is over, and its trap has its result; a trap
/// that hasn't begun, and an access that missed, are instructions still to come.
fn settle<M: Machine>(target: &Arc<Thread<M>>, body: &mut Body<M>) {
    match body.resume {
        Resume::Message(MessageStep::Received) => (),
        Resume::Trap | Resume::TrapFault(_) if is_stopped(target) => {
            body.registers.pc = body.registers.pc.wrapping_sub(INSTRUCTION);
            body.resume = Resume::User;
            return;
        }
        Resume::Fault(_) if is_stopped(target) => {
            body.resume = Resume::User;
            return;
        }
        _ => return,
    }
    let mut control = target.control.lock();
    if let Some(Delivery::Code(code)) = control.delivery {
        control.delivery = None;
        drop(control);
        let _ = trap_return(body, code);
    }
}

/// One that waits goes on with what it waits for; only one that is stopped can begin anew.
fn is_stopped<M: Machine>(target: &Arc<Thread<M>>) -> bool {
    target.control.lock().run == Run::Stopped
}

/// thread_basic_info: times, cpu usage, priorities, run state, flags, suspend count.
fn info<M: Machine>(request: &mut Request<'_, M>, target: &Arc<Thread<M>>, flavor: i32, count: u32) -> Answer<M> {
    if flavor != THREAD_BASIC_INFO || (count as usize) < THREAD_BASIC_INFO_COUNT {
        return Answer::Code(Code::INVALID_ARGUMENT);
    }
    let mut words = alloc::vec![0; THREAD_BASIC_INFO_COUNT];
    let control = target.control.lock();
    words[5] = u32::from(control.priority);
    words[6] = u32::from(control.priority);
    words[7] = match control.run {
        Run::Running(_) | Run::Ready => 1,
        Run::Stopped | Run::Halted => 2,
        Run::Waiting => 3,
        Run::Dead => 5,
    };
    words[9] = control.suspend_count;
    drop(control);
    request.reply(&mach::thread_info::Reply { info: Words(words) }, Vec::new())
}
