//! What a pager tells the kernel, on a memory object's control port.
//!
//! Everything in it comes from a pager, which may be wrong: offsets and lengths become pages here, and answers for pages that nobody asked for do nothing.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Code;
use abi::call::memory_object::{memory_object_change_completed, memory_object_lock_completed, memory_object_supply_completed};
use abi::call::{mach, pvmach_control};
use abi::message::Port;
use abi::policy::{DISCARDS, RETURN_REQUESTS};
use abi::trace::Step as Life;
use abi::vm::{CopyStrategy, PAGE_SIZE, RETURN_NONE};
use vm::PagerPolicy;

use super::{Answer, Request};
use crate::disk::Purpose;
use crate::kernel::Kernel;
use crate::kobject::{Capability, Message, Object};
use crate::machine::Machine;
use crate::pager::Pager;

/// A range of pages in a pager's words.
struct Pages {
    first: u64,
    count: u64,
}

impl Pages {
    /// What is left when so many are done: first page and pages.
    fn after(&self, done: u64) -> (u64, u64) {
        (self.first.saturating_add(done), self.count.saturating_sub(done))
    }
}

/// Offsets are page aligned; lengths are rounded up.
fn pages(offset: u64, length: u64) -> Result<Pages, Code> {
    if !offset.is_multiple_of(PAGE_SIZE) || offset.checked_add(length).is_none() {
        return Err(Code::INVALID_ARGUMENT);
    }
    Ok(Pages { first: offset / PAGE_SIZE, count: length.div_ceil(PAGE_SIZE) })
}

pub(super) fn call<M: Machine>(request: &mut Request<'_, M>, pager: &Arc<Pager<M>>) -> Answer<M> {
    if let Some(call) = mach::Call::decode(&request.message.bytes) {
        return match call {
            Ok(call) => mach_call(request, pager, call),
            Err(malformed) => malformed.into(),
        };
    }
    match pvmach_control::Call::decode(&request.message.bytes) {
        Some(Ok(call)) => pvmach_call(request, pager, call).into(),
        Some(Err(malformed)) => malformed.into(),
        None => {
            const DEAD_NAME: i32 = <abi::call::notify::mach_notify_dead_name::Request as abi::Message>::ID;
            if request.message.header.id == DEAD_NAME {
                request.kernel.pager_port_died(pager);
                return Answer::Later;
            }
            Answer::BadId
        }
    }
}

fn mach_call<M: Machine>(request: &mut Request<'_, M>, pager: &Arc<Pager<M>>, call: mach::Call) -> Answer<M> {
    let kernel = request.kernel;
    match call {
        mach::Call::memory_object_ready(call) => match CopyStrategy::from_wire(call.copy_strategy) {
            Some(strategy) => {
                kernel.pager_ready(pager, call.may_cache, strategy);
                Answer::Code(Code::SUCCESS)
            }
            None => Answer::Code(Code::INVALID_ARGUMENT),
        },
        mach::Call::memory_object_change_attributes(call) => match CopyStrategy::from_wire(call.copy_strategy) {
            Some(strategy) => {
                kernel.pager_ready(pager, call.may_cache, strategy);
                let items = memory_object_change_completed::Request { may_cache: call.may_cache, copy_strategy: call.copy_strategy };
                tell(request, call.reply_to, &items);
                Answer::Code(Code::SUCCESS)
            }
            None => Answer::Code(Code::INVALID_ARGUMENT),
        },
        mach::Call::memory_object_get_attributes(_) => {
            let (object_ready, may_cache, strategy) = pager.attributes();
            let reply = mach::memory_object_get_attributes::Reply { object_ready, may_cache, copy_strategy: strategy as u32 };
            request.reply(&reply, Vec::new())
        }
        mach::Call::memory_object_data_supply(call) => supply(request, pager, &call),
        mach::Call::memory_object_data_unavailable(call) => pages(call.offset, call.size)
            .map(|pages| {
                kernel.answered(pager, pages.first, pages.count, |wake| kernel.vm.unavailable(&pager.home, pages.first, pages.count, wake))
            })
            .into(),
        mach::Call::memory_object_data_error(call) => pages(call.offset, call.size)
            .map(|pages| {
                let code = if call.error == Code::SUCCESS { Code::MEMORY_ERROR } else { call.error };
                kernel
                    .answered(pager, pages.first, pages.count, |wake| kernel.vm.failed(&pager.home, pages.first, pages.count, code, wake));
            })
            .into(),
        mach::Call::memory_object_destroy(call) => {
            kernel.pager_destroyed(pager, call.reason);
            Answer::Code(Code::SUCCESS)
        }
        mach::Call::memory_object_lock_request(call) => lock_request(request, pager, &call),
        _ => Answer::BadId,
    }
}

fn supply<M: Machine>(request: &mut Request<'_, M>, pager: &Arc<Pager<M>>, call: &mach::memory_object_data_supply::Request) -> Answer<M> {
    let Ok(pages) = pages(call.offset, call.data.size) else { return Answer::Code(Code::INVALID_ARGUMENT) };
    let index = call.data.address as usize;
    // Out of the message for a while: pages move only if nobody else has them.
    let Some(Capability::Memory { memory, size }) = request.message.capabilities.get_mut(index).and_then(Option::take) else {
        return Answer::Code(Code::INVALID_ARGUMENT);
    };
    let answer = match memory.is_whole_pages() {
        Ok(()) => supply_pages(request, pager, call, &pages, &memory),
        Err(_) => Answer::Code(Code::INVALID_ARGUMENT),
    };
    if let Some(slot) = request.message.capabilities.get_mut(index) {
        *slot = Some(Capability::Memory { memory, size });
    }
    answer
}

fn supply_pages<M: Machine>(
    request: &mut Request<'_, M>,
    pager: &Arc<Pager<M>>,
    call: &mach::memory_object_data_supply::Request,
    pages: &Pages,
    memory: &crate::out_of_line::OutOfLine,
) -> Answer<M> {
    let kernel = request.kernel;
    kernel.trace.step(kernel.machine, Life::Served, call.offset);
    let mut present = None;
    let answer = request.until_with(|progress| {
        let mut outcome = vm::Outcome::Done;
        kernel.answered(pager, pages.first, pages.count, |wake| {
            match kernel.vm.supply(&pager.home, pages.first, &memory.copy, *progress, call.precious, wake) {
                Ok(supplied) => present = supplied.present,
                Err((at, reason)) => {
                    *progress = at;
                    outcome = reason;
                }
            }
        });
        outcome
    });
    if let Some(answer) = answer {
        if let Answer::Code(code) = answer {
            // The data itself can't be had: whoever waits for the rest is told.
            let (first, count) = pages.after(*request.progress);
            kernel.with_wake(|wake| kernel.vm.failed(&pager.home, first, count, code, wake));
        }
        return answer;
    }
    kernel.trace.step(kernel.machine, Life::Supplied, call.offset);
    let completed = memory_object_supply_completed::Request {
        control: Port { name: 0, kind: abi::message::kind::MOVE_SEND },
        offset: call.offset,
        length: call.data.size,
        result: if present.is_some() { Code::MEMORY_PRESENT } else { Code::SUCCESS },
        error_offset: present.unwrap_or(0) * PAGE_SIZE,
    };
    tell_with_control(request, pager, call.reply_to, &completed);
    Answer::Code(Code::SUCCESS)
}

/// A supply that will not be finished: whoever waits for the rest asks again.
pub(super) fn give_up<M: Machine>(kernel: &Kernel<M>, pager: &Arc<Pager<M>>, message: &Message<M>, progress: u64) {
    let Some(Ok(mach::Call::memory_object_data_supply(call))) = mach::Call::decode(&message.bytes) else { return };
    if let Ok(pages) = pages(call.offset, call.data.size) {
        let (first, count) = pages.after(progress);
        kernel.with_wake(|wake| kernel.vm.forget_request(&pager.home, first, count, wake));
    }
}

fn lock_request<M: Machine>(
    request: &mut Request<'_, M>,
    pager: &Arc<Pager<M>>,
    call: &mach::memory_object_lock_request::Request,
) -> Answer<M> {
    let kernel = request.kernel;
    let range = match pages(call.offset, call.size) {
        Ok(range) => range,
        Err(code) => return Answer::Code(code),
    };
    let vm::Home::Object(object) = &pager.home else { return Answer::Code(Code::INVALID_ARGUMENT) };
    if call.should_return != RETURN_NONE {
        let mut actions = Vec::new();
        kernel.vm.clean(object, range.first, range.count, &mut actions);
        kernel.act(actions);
    }
    if call.should_flush {
        // What isn't returned is dropped, dirty or not, as the pager asked.
        let discard = call.should_return == RETURN_NONE;
        let answer = request.until(|| kernel.vm.flush(object, range.first, range.count, discard).err().unwrap_or(vm::Outcome::Done));
        if let Some(answer) = answer {
            return answer;
        }
    }
    let completed = memory_object_lock_completed::Request {
        control: Port { name: 0, kind: abi::message::kind::MOVE_SEND },
        offset: call.offset,
        length: call.size,
    };
    tell_with_control(request, pager, call.reply_to, &completed);
    Answer::Code(Code::SUCCESS)
}

fn pvmach_call<M: Machine>(request: &mut Request<'_, M>, pager: &Arc<Pager<M>>, call: pvmach_control::Call) -> Result<(), Code> {
    use pvmach_control::Call;
    let kernel = request.kernel;
    match call {
        Call::memory_object_supply_from_device(call) => {
            let pages = pages(call.offset, call.length)?;
            let Some(Object::Disk(disk)) = request.object_of(call.device) else { return Err(Code::D_NO_SUCH_DEVICE) };
            kernel.trace.step(kernel.machine, Life::Served, call.offset);
            kernel.pagers.forget(pager.id, pages.first, pages.count);
            let transfers = kernel.with_wake(|wake| kernel.vm.begin_supply(&pager.home, pages.first, pages.count, wake));
            for transfer in transfers {
                let record = call.record.saturating_add((transfer.first - pages.first) * (PAGE_SIZE / 512));
                kernel.transfer(&disk, Purpose::Supply, transfer, record, Arc::clone(pager));
            }
            kernel.kick(&disk);
            Ok(())
        }
        Call::memory_object_return_to_device(call) => {
            let pages = pages(call.offset, call.length)?;
            let Some(Object::Disk(disk)) = request.object_of(call.device) else { return Err(Code::D_NO_SUCH_DEVICE) };
            // Pages that were written to meanwhile are in no transfer: they are offered again, and their records are worth nothing until then.
            for transfer in kernel.vm.begin_return(&pager.home, pages.first, pages.count) {
                let record = call.record.saturating_add((transfer.first - pages.first) * (PAGE_SIZE / 512));
                kernel.transfer(&disk, Purpose::Return, transfer, record, Arc::clone(pager));
            }
            kernel.kick(&disk);
            Ok(())
        }
        Call::memory_object_return_as_data(call) => {
            let pages = pages(call.offset, call.length)?;
            let mut actions = Vec::new();
            kernel.vm.return_as_data(&pager.home, pages.first, pages.count, &mut actions);
            kernel.act(actions);
            Ok(())
        }
        Call::memory_object_return_refused(call) => {
            let pages = pages(call.offset, call.length)?;
            kernel.vm.return_refused(&pager.home, pages.first, pages.count);
            kernel.wake_memory_waiters();
            Ok(())
        }
        Call::memory_object_set_policy(call) => {
            let policy = PagerPolicy { run_pages: call.run_pages, return_requests: call.flags & RETURN_REQUESTS != 0 };
            kernel.pager_policy(pager, policy, call.flags & DISCARDS != 0, call.deadline_ms, call.on_deadline)
        }
        _ => Err(Code::MIG_BAD_ID),
    }
}

/// Sends a completion to the port that a request named, if it named one.
fn tell<M: Machine>(request: &mut Request<'_, M>, to: Port, items: &impl abi::Message) {
    let right = request.right(to);
    request.kernel.inform(right, items, Vec::new());
}

fn tell_with_control<M: Machine>(request: &mut Request<'_, M>, pager: &Arc<Pager<M>>, to: Port, items: &impl abi::Message) {
    let right = request.right(to);
    if right.kind() == ipc::RightKind::Null {
        return;
    }
    let control = Capability::Right(pager.control_right());
    request.kernel.inform(right, items, alloc::vec![Some(control)]);
}

impl<M: Machine> Request<'_, M> {
    /// Like [`Request::until`], for an engine that keeps how far it came.
    fn until_with(&mut self, mut engine: impl FnMut(&mut u64) -> vm::Outcome) -> Option<Answer<M>> {
        let mut progress = *self.progress;
        let answer = self.until(|| engine(&mut progress));
        *self.progress = progress;
        answer
    }
}

impl<M: Machine> Kernel<M> {
    /// Runs an engine that wakes waiters.
    pub(crate) fn with_wake<R>(&self, work: impl FnOnce(vm::Wake<'_>) -> R) -> R {
        work(&mut |key| self.wake_all(key))
    }
}
