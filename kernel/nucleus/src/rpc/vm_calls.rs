//! The vm_* routines of a task's port.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Code;
use abi::call::mach::{self, Call};
use abi::info::VmCounter;
use abi::item::Words;
use abi::message::{Memory, Port, kind};
use abi::vm::{Inherit, PAGE_SIZE, Protection};
use vm::{ObjectRef, Outcome, PageRange, Placement, Showing};

use super::{Answer, Request};
use crate::kernel::Kernel;
use crate::kobject::{Capability, Object, Right};
use crate::machine::Machine;
use crate::out_of_line::OutOfLine;
use crate::task::Task;
use crate::trap::fixed;

pub(super) fn call<M: Machine>(request: &mut Request<'_, M>, task: &Arc<Task<M>>, call: Call) -> Answer<M> {
    let kernel = request.kernel;
    let map = &task.map;
    match call {
        Call::vm_allocate(call) => match kernel.vm_allocate(task, call.address, call.size, call.anywhere) {
            Ok(address) => request.reply(&mach::vm_allocate::Reply { address }, Vec::new()),
            Err(code) => Answer::Code(code),
        },
        Call::vm_deallocate(call) => PageRange::containing(call.address, call.size)
            .map(|range| {
                kernel.vm.deallocate(map, range);
                kernel.pagers_step();
            })
            .into(),
        Call::vm_protect(call) => PageRange::containing(call.address, call.size)
            .and_then(|range| {
                let protection = Protection::from_bits(call.protection).ok_or(Code::INVALID_ARGUMENT)?;
                map.protect(range, call.set_maximum, protection)
            })
            .into(),
        Call::vm_inherit(call) => PageRange::containing(call.address, call.size)
            .and_then(|range| map.inherit(range, Inherit::from_wire(call.inheritance).ok_or(Code::INVALID_ARGUMENT)?))
            .into(),
        Call::vm_read(call) => read(request, task, call.address, call.size),
        Call::vm_write(call) => write(request, task, call.address, call.data),
        Call::vm_copy(call) => copy(request, task, call.source, call.size, call.destination),
        Call::vm_region(call) => region(request, task, call.address),
        Call::vm_statistics(_) => {
            let statistics = Words(statistics(kernel));
            request.reply(&mach::vm_statistics::Reply { statistics }, Vec::new())
        }
        Call::vm_map(call) => map_object(request, task, call),
        _ => Answer::BadId,
    }
}

impl<M: Machine> Kernel<M> {
    /// vm_allocate. Size zero is nothing, at address zero.
    pub(crate) fn vm_allocate(&self, task: &Task<M>, address: u64, size: u64, anywhere: bool) -> Result<u64, Code> {
        if size == 0 {
            return Ok(0);
        }
        let placement = if anywhere { Placement::Anywhere { mask: 0 } } else { Placement::At(address) };
        self.vm.allocate(&task.map, placement, size)
    }
}

fn read<M: Machine>(request: &mut Request<'_, M>, task: &Arc<Task<M>>, address: u64, size: u64) -> Answer<M> {
    // A message can't say more.
    if u32::try_from(size).is_err() {
        return Answer::Code(Code::INVALID_ARGUMENT);
    }
    let copied = PageRange::containing(address, size).and_then(|range| request.kernel.vm.copy_in(&task.map, range));
    match copied {
        Ok(copy) => {
            let offset = address % PAGE_SIZE;
            let clean = offset == 0 && size.is_multiple_of(PAGE_SIZE);
            let memory = Memory { address: 0, size, deallocate: true };
            let carried = match size {
                0 => Capability::Null,
                _ => Capability::Memory { memory: OutOfLine { copy, offset, size, clean }, size },
            };
            request.reply(&mach::vm_read::Reply { data: memory }, alloc::vec![Some(carried)])
        }
        Err(code) => Answer::Code(code),
    }
}

/// Whole pages are exchanged where nobody else looks; anything else is copied, page by page.
fn write<M: Machine>(request: &mut Request<'_, M>, task: &Arc<Task<M>>, address: u64, data: Memory) -> Answer<M> {
    let kernel = request.kernel;
    let range = match PageRange::containing(address, data.size) {
        Ok(range) => range,
        Err(code) => return Answer::Code(code),
    };
    let Some(Some(Capability::Memory { memory, .. })) = request.message.capabilities.get(data.address as usize) else {
        return Answer::Code(if data.size == 0 { Code::SUCCESS } else { Code::INVALID_ARGUMENT });
    };
    let memory = memory.clone();
    let is_whole = memory.is_whole_pages().is_ok() && address.is_multiple_of(PAGE_SIZE);
    if is_whole && *request.progress == 0 && kernel.vm.overwrite(&task.map, range, memory.copy.clone()).is_ok() {
        return Answer::Code(Code::SUCCESS);
    }
    copy_bytes(request, task, &memory, address, data.size)
}

/// Writes bytes of memory in transit into a task; `progress` says how far it came.
fn copy_bytes<M: Machine>(request: &mut Request<'_, M>, task: &Arc<Task<M>>, memory: &OutOfLine, address: u64, size: u64) -> Answer<M> {
    let vm = &request.kernel.vm;
    let mut page = [0; PAGE_SIZE as usize];
    while *request.progress < size {
        let done = *request.progress;
        let to = address + done;
        let length = (size - done).min(PAGE_SIZE - to % PAGE_SIZE) as usize;
        let step = request.until(|| match memory.read(vm, done, &mut page[..length]) {
            Outcome::Done => vm.write_bytes(&task.map, to, &page[..length]),
            other => other,
        });
        if let Some(answer) = step {
            return answer;
        }
        *request.progress += length as u64;
    }
    Answer::Code(Code::SUCCESS)
}

fn copy<M: Machine>(request: &mut Request<'_, M>, task: &Arc<Task<M>>, source: u64, size: u64, destination: u64) -> Answer<M> {
    let vm = &request.kernel.vm;
    // The snapshot stays with the message while the routine waits, so that it is taken once.
    if request.message.capabilities.is_empty() {
        let copied = PageRange::containing(source, size).and_then(|range| vm.copy_in(&task.map, range));
        let offset = source % PAGE_SIZE;
        match copied {
            Ok(copy) => {
                let memory = OutOfLine { copy, offset, size, clean: false };
                request.message.capabilities.push(Some(Capability::Memory { memory, size }));
            }
            Err(code) => return Answer::Code(code),
        }
    }
    if size == 0 {
        return Answer::Code(Code::SUCCESS);
    }
    write(request, task, destination, Memory { address: 0, size, deallocate: false })
}

fn region<M: Machine>(request: &mut Request<'_, M>, task: &Arc<Task<M>>, address: u64) -> Answer<M> {
    let Some(region) = task.map.region(address) else { return Answer::Code(Code::NO_SPACE) };
    let name = region.object.as_ref().and_then(|object| request.kernel.pagers.name_of(object)).unwrap_or(Right::null());
    let reply = mach::vm_region::Reply {
        address: region.start,
        size: region.end - region.start,
        protection: region.protection.bits(),
        max_protection: region.max_protection.bits(),
        inheritance: region.inherit as u32,
        is_shared: region.is_shared,
        object_name: Port { name: 0, kind: kind::MOVE_SEND },
        offset: region.offset,
    };
    request.reply(&reply, alloc::vec![Some(super::capability(name))])
}

/// vm_statistics: page size, free, active, inactive, wired, zero-fill, reactivations, pageins, pageouts, faults, cow faults, lookups, hits.
fn statistics<M: Machine>(kernel: &Kernel<M>) -> Vec<u32> {
    let count = |counter| kernel.vm.core().counter(counter) as u32;
    let (free, total) = (count(VmCounter::Free), count(VmCounter::Total));
    alloc::vec![
        PAGE_SIZE as u32,
        free,
        total - free,
        0,
        0,
        count(VmCounter::ZeroFills),
        0,
        count(VmCounter::PagesSupplied),
        count(VmCounter::PagesReturned),
        count(VmCounter::Faults),
        count(VmCounter::CopyFaults),
        count(VmCounter::Faults),
        count(VmCounter::Faults).wrapping_sub(count(VmCounter::PagesRequested)),
    ]
}

fn map_object<M: Machine>(request: &mut Request<'_, M>, task: &Arc<Task<M>>, call: mach::vm_map::Request) -> Answer<M> {
    match try_map(request, task, &call) {
        Ok(Some(address)) => request.reply(&mach::vm_map::Reply { address }, Vec::new()),
        Ok(None) => Answer::Suspend,
        Err(code) => Answer::Code(code),
    }
}

/// None: the thread waits for the pager to be ready.
fn try_map<M: Machine>(request: &mut Request<'_, M>, task: &Arc<Task<M>>, call: &mach::vm_map::Request) -> Result<Option<u64>, Code> {
    let kernel = request.kernel;
    let protection = Protection::from_bits(call.cur_protection).ok_or(Code::INVALID_ARGUMENT)?;
    let max_protection = Protection::from_bits(call.max_protection).ok_or(Code::INVALID_ARGUMENT)?;
    let inherit = Inherit::from_wire(call.inheritance).ok_or(Code::INVALID_ARGUMENT)?;
    let placement = if call.anywhere { Placement::Anywhere { mask: call.mask } } else { fixed(call.address, call.mask)? };
    if call.size == 0 || !call.offset.is_multiple_of(PAGE_SIZE) || !max_protection.contains(protection) {
        return Err(Code::INVALID_ARGUMENT);
    }
    let object = match request.object_of(call.memory_object) {
        Some(Object::DeviceMemory { writable: false, .. }) if max_protection.contains(Protection::WRITE) => {
            return Err(Code::PROTECTION_FAILURE);
        }
        Some(Object::DeviceMemory { memory, .. }) => Some(vm::Object::used(&memory)),
        Some(_) => return Err(Code::INVALID_ARGUMENT),
        None => memory_object(request, call)?,
    };
    let object = match object {
        Some(object) if call.copy && !object.is_device() => {
            if !object.is_ready() {
                let waits = request.until(|| if object.is_ready() { Outcome::Done } else { Outcome::Wait(object.ready_key()) });
                match waits {
                    None => (),
                    Some(Answer::Code(code)) => return Err(code),
                    Some(_) => return Ok(None),
                }
            }
            let size = PageRange::size_of(call.size)?;
            let first = call.offset / PAGE_SIZE;
            let end = call.offset.checked_add(size).ok_or(Code::INVALID_ARGUMENT)? / PAGE_SIZE;
            Some(kernel.vm.copy_object(&object, first, end)?)
        }
        other => other,
    };
    let showing = Showing { object, offset: call.offset, protection, max_protection, inherit };
    task.map.enter(placement, call.size, showing).map(Some)
}

/// The kernel's object for a memory object port; none for the null port.
fn memory_object<M: Machine>(request: &mut Request<'_, M>, call: &mach::vm_map::Request) -> Result<Option<ObjectRef>, Code> {
    match request.message.capabilities.get(call.memory_object.name as usize) {
        Some(Some(Capability::Right(right))) if right.kind() == ipc::RightKind::Send => {
            let right = right.copy_send();
            request.kernel.object_of_port(right).map(Some)
        }
        Some(Some(Capability::Right(_))) => Err(Code::INVALID_ARGUMENT),
        _ => Ok(None),
    }
}
