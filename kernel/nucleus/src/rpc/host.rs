//! What can be asked of the host ports.

use alloc::vec::Vec;

use abi::Code;
use abi::call::{gnumach, mach, mach_aarch64, mach_host, pvmach_control};
use abi::info::{HOST_BASIC_INFO, VmCounter};
use abi::item::{Text, Words};
use abi::message::Port;
use abi::vm::Protection;
use vm::PageRange;

use super::{Answer, PortReply, Request, object_in};
use crate::kernel::Kernel;
use crate::kobject::{Message, Object};
use crate::machine::{Machine, Power};

pub(super) fn call<M: Machine>(request: &mut Request<'_, M>, is_privileged: bool) -> Answer<M> {
    let kernel = request.kernel;
    let bytes = &request.message.bytes;
    if let Some(call) = mach_host::Call::decode(bytes) {
        return match call {
            Ok(call) => host_call(request, call, is_privileged),
            Err(malformed) => malformed.into(),
        };
    }
    match mach::Call::decode(bytes) {
        Some(Ok(mach::Call::vm_set_default_memory_manager(call))) if is_privileged => {
            let manager = request.right(call.default_manager);
            match kernel.set_default_manager(manager) {
                Ok(old) => request.reply_right(PortReply, old),
                Err(code) => Answer::Code(code),
            }
        }
        Some(Ok(mach::Call::vm_set_default_memory_manager(_))) => Answer::Code(Code::INVALID_HOST),
        Some(Err(malformed)) => malformed.into(),
        _ => other_call(request, is_privileged),
    }
}

fn other_call<M: Machine>(request: &mut Request<'_, M>, is_privileged: bool) -> Answer<M> {
    let kernel = request.kernel;
    let bytes = &request.message.bytes;
    match gnumach::Call::decode(bytes) {
        Some(Ok(gnumach::Call::vm_wire_all(call))) if is_privileged => return wire_all(request, call.task, call.flags),
        Some(Ok(gnumach::Call::vm_wire_all(_))) => return Answer::Code(Code::NO_ACCESS),
        Some(Err(malformed)) => return malformed.into(),
        _ => (),
    }
    match pvmach_control::Call::decode(bytes) {
        Some(Ok(pvmach_control::Call::host_vm_counters(_))) => {
            let values = VmCounter::ALL.iter().map(|counter| kernel.vm.counter(*counter));
            let counters = Words(values.flat_map(|value| [value as u32, (value >> 32) as u32]).collect());
            return request.reply(&pvmach_control::host_vm_counters::Reply { counters }, Vec::new());
        }
        Some(Ok(pvmach_control::Call::host_trace(call))) if is_privileged => {
            kernel.trace.set(call.on);
            return Answer::Code(Code::SUCCESS);
        }
        Some(Err(malformed)) => return malformed.into(),
        _ => (),
    }
    match mach_aarch64::Call::decode(bytes) {
        Some(Ok(mach_aarch64::Call::aarch64_get_hwcaps(_))) => {
            let words = kernel.machine.hwcaps();
            let hwcaps = Words(words.iter().flat_map(|word| [*word as u32, (*word >> 32) as u32]).collect());
            request.reply(&mach_aarch64::aarch64_get_hwcaps::Reply { hwcaps, midr: 0, revidr: 0 }, Vec::new())
        }
        Some(Err(malformed)) => malformed.into(),
        None => Answer::BadId,
    }
}

fn host_call<M: Machine>(request: &mut Request<'_, M>, call: mach_host::Call, is_privileged: bool) -> Answer<M> {
    let kernel = request.kernel;
    match call {
        mach_host::Call::host_reboot(call) if is_privileged => {
            let how = if call.options & mach_host::RB_HALT != 0 { Power::Off } else { Power::Reset };
            kernel.machine.power(how)
        }
        mach_host::Call::vm_wire(call) if is_privileged => wire(request, &call),
        mach_host::Call::thread_wire(_) if is_privileged => Answer::Code(Code::SUCCESS),
        mach_host::Call::host_reboot(_) => Answer::Code(Code::INVALID_HOST),
        mach_host::Call::vm_wire(_) | mach_host::Call::thread_wire(_) => Answer::Code(Code::NO_ACCESS),
        mach_host::Call::host_info(call) if call.flavor == HOST_BASIC_INFO => {
            let cpus = kernel.machine.cpus() as u32;
            let memory = (kernel.pool.total() as u64 * abi::vm::PAGE_SIZE).min(u64::from(u32::MAX)) as u32;
            // max cpus, available cpus, memory size, cpu type, cpu subtype.
            let info = Words(alloc::vec![cpus, cpus, memory, CPU_TYPE_AARCH64, 0, 0]);
            request.reply(&mach_host::host_info::Reply { info }, Vec::new())
        }
        mach_host::Call::host_info(_) => Answer::Code(Code::INVALID_ARGUMENT),
        mach_host::Call::host_get_kernel_version(_) => {
            let version = Text(alloc::format!("pvmach {}", env!("CARGO_PKG_VERSION")));
            request.reply(&mach_host::host_get_kernel_version::Reply { version }, Vec::new())
        }
        mach_host::Call::host_get_uptime64(_) => {
            let now = kernel.machine.now();
            let (seconds, nanoseconds) = (now / 1_000_000_000, now % 1_000_000_000);
            let words = [seconds, nanoseconds].into_iter().flat_map(|word| [word as u32, (word >> 32) as u32]).collect();
            request.reply(&mach_host::host_get_uptime64::Reply { uptime: Words(words) }, Vec::new())
        }
    }
}

/// CPU_TYPE_ARM64 of the field.
const CPU_TYPE_AARCH64: u32 = 12 | 1 << 24;

/// vm_wire: with no access, unwires.
fn wire<M: Machine>(request: &mut Request<'_, M>, call: &mach_host::vm_wire::Request) -> Answer<M> {
    let vm = &request.kernel.vm;
    let Some(Object::Task(task)) = request.object_of(call.task) else { return Answer::Code(Code::INVALID_TASK) };
    let (range, access) = match (PageRange::containing(call.address, call.size), Protection::from_bits(call.access)) {
        (Ok(range), Some(access)) => (range, access),
        (Err(code), _) => return Answer::Code(code),
        (_, None) => return Answer::Code(Code::INVALID_ARGUMENT),
    };
    if access.is_empty() {
        return vm.unwire(&task.map, range).into();
    }
    if *request.progress == 0 {
        if let Err(code) = vm.wire(&task.map, range, access) {
            return Answer::Code(code);
        }
        *request.progress = 1;
    }
    let answer = request.until(|| vm.wire_pages(&task.map, range, 0).map_or_else(|(_, outcome)| outcome, |()| vm::Outcome::Done));
    if let Some(Answer::Code(_)) = answer {
        // It couldn't be: nothing stays wired.
        let _ = vm.unwire(&task.map, range);
    }
    answer.unwrap_or(Answer::Code(Code::SUCCESS))
}

/// A vm_wire that will not be finished: nothing stays wired.
pub(super) fn give_up<M: Machine>(kernel: &Kernel<M>, message: &Message<M>, progress: u64) {
    let Some(Ok(mach_host::Call::vm_wire(call))) = mach_host::Call::decode(&message.bytes) else { return };
    if let (1.., Ok(range), Some(Object::Task(task))) =
        (progress, PageRange::containing(call.address, call.size), object_in(message, call.task))
    {
        let _ = kernel.vm.unwire(&task.map, range);
    }
}

/// vm_wire_all.
fn wire_all<M: Machine>(request: &mut Request<'_, M>, task: Port, flags: u32) -> Answer<M> {
    let vm = &request.kernel.vm;
    let Some(Object::Task(task)) = request.object_of(task) else { return Answer::Code(Code::INVALID_TASK) };
    if flags & !(gnumach::VM_WIRE_CURRENT | gnumach::VM_WIRE_FUTURE) != 0 {
        return Answer::Code(Code::INVALID_ARGUMENT);
    }
    if flags & gnumach::VM_WIRE_FUTURE != 0 {
        task.map.wire_future();
    }
    if flags & gnumach::VM_WIRE_CURRENT == 0 {
        return Answer::Code(Code::SUCCESS);
    }
    if *request.progress == 0 {
        for range in vm.mapped_ranges(&task.map) {
            if let Err(code) = vm.wire(&task.map, range, Protection::NONE) {
                return Answer::Code(code);
            }
        }
        *request.progress = 1;
    }
    for range in vm.mapped_ranges(&task.map) {
        let answer = request.until(|| vm.wire_pages(&task.map, range, 0).map_or_else(|(_, outcome)| outcome, |()| vm::Outcome::Done));
        if let Some(answer) = answer {
            return answer;
        }
    }
    Answer::Code(Code::SUCCESS)
}
