//! Traps: `svc #0` with the number, negative, in w8 (ABI: Traps).

use alloc::sync::Arc;

use abi::Code;
use abi::trap;
use abi::vm::{Inherit, Protection};
use vm::{PageRange, Placement};

use crate::exception::Raise;
use crate::kernel::Kernel;
use crate::kobject::{Effects, Object, Right};
use crate::mach_msg::trap_return;
use crate::machine::{Abort, Machine};
use crate::run::Step;
use crate::task::Task;
use crate::thread::{Body, Resume, Thread};
use crate::wait::Waiting;

/// Why a trap has no result yet.
enum Stopped {
    /// User memory must come first.
    Fault(Abort),
    /// There is no memory for it now.
    Shortage,
    Code(Code),
}

impl From<Code> for Stopped {
    fn from(code: Code) -> Self {
        Self::Code(code)
    }
}

impl<M: Machine> Kernel<M> {
    /// Does the trap in the registers.
    pub(crate) fn trap(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>) -> Step {
        let number = body.registers.x[8] as u32 as i32;
        let result = match number {
            trap::MACH_MSG => return self.mach_msg(thread, body),
            trap::MACH_REPLY_PORT => Ok(thread.task.space.allocate(abi::call::mach_port::right::RECEIVE).unwrap_or(0)),
            trap::MACH_THREAD_SELF => Ok(self.name_of(thread, thread.send_right())),
            trap::MACH_TASK_SELF => Ok(self.name_of(thread, thread.task.send_right())),
            trap::MACH_HOST_SELF => Ok(self.name_of(thread, self.host.make_send())),
            trap::MACH_PRINT => self.mach_print(body),
            trap::SWTCH | trap::SWTCH_PRI => {
                let others = self.queues.should_yield(self.machine.this_cpu(), true);
                body.registers.x[0] = u64::from(others);
                body.resume = Resume::User;
                return if others { self.yield_cpu(thread) } else { Step::Continue };
            }
            trap::THREAD_SWITCH => return self.thread_switch(thread, body),
            trap::VM_MAP => self.trap_vm_map(thread, body),
            trap::VM_ALLOCATE => self.trap_vm_allocate(thread, body),
            trap::VM_DEALLOCATE => self.trap_vm_deallocate(thread, body),
            trap::TASK_CREATE => self.trap_task_create(thread, body),
            trap::TASK_TERMINATE => self.local_task(thread, body.registers.x[0]).map(|task| {
                self.task_terminate(&task);
                0
            }),
            trap::TASK_SUSPEND => self.local_task(thread, body.registers.x[0]).map(|task| {
                self.task_suspend(&task);
                0
            }),
            trap::MACH_PORT_ALLOCATE => self.trap_port_allocate(thread, body),
            trap::MACH_PORT_DEALLOCATE => self.trap_port_deallocate(thread, body),
            trap::MACH_PORT_INSERT_RIGHT => self.trap_insert_right(thread, body),
            trap::MACH_PORT_ALLOCATE_NAME => self.local_task(thread, body.registers.x[0]).and_then(|task| {
                let (right, name) = (body.registers.x[1] as u32, body.registers.x[2] as u32);
                task.space.allocate_name(right, name).map(|()| 0).map_err(Stopped::Code)
            }),
            trap::TASK_SET_SPECIAL_PORT => self.trap_set_special_port(thread, body),
            trap::THREAD_SET_SELF_STATE => return self.trap_set_self_state(thread, body),
            trap::THREAD_DEPRESS_ABORT => Ok(0),
            _ => {
                let slot = number.wrapping_neg() as u32;
                if number > 0 || slot >= trap::SLOTS {
                    let raise = Raise { exception: abi::call::exc::EXC_SOFTWARE, code: abi::call::exc::EXC_AARCH64_SVC, subcode: 0 };
                    return self.raise(thread, body, raise);
                }
                if trap::NULL_PORT_SLOTS.contains(&slot) { Ok(0) } else { Err(Stopped::Code(Code::INVALID_ARGUMENT)) }
            }
        };
        match result {
            Ok(value) => {
                body.registers.x[0] = u64::from(value);
                Step::Continue
            }
            Err(Stopped::Code(code)) => trap_return(body, code),
            Err(Stopped::Shortage) => self.await_room(thread, body, Code::RESOURCE_SHORTAGE),
            Err(Stopped::Fault(abort)) => {
                body.resume = Resume::TrapFault(abort);
                Step::Continue
            }
        }
    }

    /// Memory that a trap touched can't be had.
    pub(crate) fn trap_refused(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>, abort: Abort, code: Code) -> Step {
        match body.registers.x[8] as u32 as i32 {
            trap::MACH_MSG => trap_return(body, Code::SEND_INVALID_DATA),
            // Only its arguments on the stack are read.
            trap::VM_MAP if abort.access == crate::machine::Access::Read => {
                let raise = Raise { exception: abi::call::exc::EXC_BAD_ACCESS, code: code.0, subcode: abort.address as i64 };
                self.raise(thread, body, raise)
            }
            _ => trap_return(body, Code::INVALID_ADDRESS),
        }
    }

    /// Puts a right into the thread's space; the null name if that can't be.
    fn name_of(&self, thread: &Arc<Thread<M>>, right: Right<M>) -> u32 {
        let mut effects = Effects::new();
        let name = thread.task.space.insert(right, &mut effects);
        self.work_off_if_any(effects);
        name.unwrap_or(0)
    }

    /// A task that a trap names. Anything else is left to the RPC, which knows all kinds of ports.
    fn local_task(&self, thread: &Arc<Thread<M>>, name: u64) -> Result<Arc<Task<M>>, Stopped> {
        match thread.task.space.object(name as u32) {
            Ok(Object::Task(task)) => Ok(task),
            _ => Err(Stopped::Code(Code::SEND_INTERRUPTED)),
        }
    }

    fn make_room(&self, thread: &Thread<M>) -> Result<(), Stopped> {
        if self.room(thread) == vm::Outcome::Done { Ok(()) } else { Err(Stopped::Shortage) }
    }

    fn read<const N: usize>(&self, address: u64) -> Result<[u8; N], Stopped> {
        let mut bytes = [0; N];
        self.machine.read_user(address, &mut bytes).map_err(Stopped::Fault)?;
        Ok(bytes)
    }

    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Stopped> {
        self.machine.write_user(bytes, address).map_err(Stopped::Fault)
    }

    fn mach_print(&self, body: &Body<M>) -> Result<u32, Stopped> {
        let address = body.registers.x[0];
        let mut text = [0; trap::PRINT_MAX];
        let mut length = 0;
        // Byte by byte would be slow and a whole buffer could run off the last page: so up to the end of each 64 bytes.
        while length < text.len() {
            let from = address.wrapping_add(length as u64);
            let part = (64 - (from % 64) as usize).min(text.len() - length);
            let room = &mut text[length..length + part];
            self.machine.read_user(from, room).map_err(Stopped::Fault)?;
            if let Some(end) = room.iter().position(|byte| *byte == 0) {
                length += end;
                break;
            }
            length += part;
        }
        self.machine.console(&text[..length]);
        Ok(0)
    }

    fn thread_switch(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>) -> Step {
        const OPTION_WAIT: u64 = 2;
        body.registers.x[0] = 0;
        body.resume = Resume::User;
        let (option, milliseconds) = (body.registers.x[1], body.registers.x[2] as u32);
        if option == OPTION_WAIT && milliseconds > 0 {
            let due = self.machine.now() + u64::from(milliseconds) * 1_000_000;
            let _ = self.take_delivery(thread);
            if let Some(timeout) = self.timeout_at(thread, due) {
                body.resume = Resume::Slept;
                return self.leave_if(self.block(thread, Waiting::Time(timeout)));
            }
        }
        self.yield_cpu(thread)
    }

    fn trap_vm_allocate(&self, thread: &Arc<Thread<M>>, body: &Body<M>) -> Result<u32, Stopped> {
        let [name, pointer, size, anywhere, ..] = body.registers.x;
        let task = self.local_task(thread, name)?;
        self.make_room(thread)?;
        let address = u64::from_le_bytes(self.read(pointer)?);
        // The result's place must be there before anything is allocated.
        self.write(pointer, &address.to_le_bytes())?;
        let address = self.vm_allocate(&task, address, size, anywhere as u32 != 0)?;
        self.write(pointer, &address.to_le_bytes())?;
        Ok(0)
    }

    fn trap_vm_deallocate(&self, thread: &Arc<Thread<M>>, body: &Body<M>) -> Result<u32, Stopped> {
        let [name, address, size, ..] = body.registers.x;
        let task = self.local_task(thread, name)?;
        self.vm.deallocate(&task.map, PageRange::containing(address, size)?);
        self.pagers_step();
        Ok(0)
    }

    fn trap_vm_map(&self, thread: &Arc<Thread<M>>, body: &Body<M>) -> Result<u32, Stopped> {
        let [name, pointer, size, mask, anywhere, object, offset, copy, ..] = body.registers.x;
        // Arguments past the eighth are on the stack, 8 bytes each.
        let sp = body.registers.sp;
        let rights: [u64; 3] =
            [u64::from_le_bytes(self.read(sp)?), u64::from_le_bytes(self.read(sp + 8)?), u64::from_le_bytes(self.read(sp + 16)?)];
        let task = self.local_task(thread, name)?;
        // A memory object is mapped by RPC, which can wait.
        if object as u32 != 0 {
            return Err(Stopped::Code(Code::SEND_INTERRUPTED));
        }
        self.make_room(thread)?;
        let address = u64::from_le_bytes(self.read(pointer)?);
        self.write(pointer, &address.to_le_bytes())?;
        let _ = (offset, copy);
        let showing = vm::Showing {
            protection: Protection::from_bits(rights[0] as u32).ok_or(Code::INVALID_ARGUMENT)?,
            max_protection: Protection::from_bits(rights[1] as u32).ok_or(Code::INVALID_ARGUMENT)?,
            inherit: Inherit::from_wire(rights[2] as u32).ok_or(Code::INVALID_ARGUMENT)?,
            ..vm::Showing::ZERO
        };
        let placement = if anywhere as u32 != 0 { Placement::Anywhere { mask } } else { fixed(address, mask)? };
        let address = task.map.enter(placement, size, showing)?;
        self.write(pointer, &address.to_le_bytes())?;
        Ok(0)
    }

    fn trap_task_create(&self, thread: &Arc<Thread<M>>, body: &Body<M>) -> Result<u32, Stopped> {
        let [name, inherit, pointer, ..] = body.registers.x;
        let task = self.local_task(thread, name)?;
        self.make_room(thread)?;
        self.write(pointer, &[0; 4])?;
        let child = self.task_create(&task, inherit as u32 != 0)?;
        let name = self.name_of(thread, child.send_right());
        self.write(pointer, &name.to_le_bytes())?;
        Ok(0)
    }

    fn trap_port_allocate(&self, thread: &Arc<Thread<M>>, body: &Body<M>) -> Result<u32, Stopped> {
        let [name, right, pointer, ..] = body.registers.x;
        let task = self.local_task(thread, name)?;
        self.make_room(thread)?;
        self.write(pointer, &[0; 4])?;
        let name = task.space.allocate(right as u32)?;
        self.write(pointer, &name.to_le_bytes())?;
        Ok(0)
    }

    fn trap_port_deallocate(&self, thread: &Arc<Thread<M>>, body: &Body<M>) -> Result<u32, Stopped> {
        let task = self.local_task(thread, body.registers.x[0])?;
        let mut effects = Effects::new();
        let result = task.space.deallocate(body.registers.x[1] as u32, &mut effects);
        self.work_off(effects);
        Ok(result.map(|()| 0)?)
    }

    fn trap_insert_right(&self, thread: &Arc<Thread<M>>, body: &Body<M>) -> Result<u32, Stopped> {
        let [task, name, right, kind, ..] = body.registers.x;
        let task = self.local_task(thread, task)?;
        let mut effects = Effects::new();
        let result = thread
            .task
            .space
            .extract_right(right as u32, kind as u8, &mut effects)
            .and_then(|right| task.space.insert_right(name as u32, right, &mut effects));
        self.work_off(effects);
        Ok(result.map(|()| 0)?)
    }

    fn trap_set_special_port(&self, thread: &Arc<Thread<M>>, body: &Body<M>) -> Result<u32, Stopped> {
        let [task, which, port, ..] = body.registers.x;
        let task = self.local_task(thread, task)?;
        let mut effects = Effects::new();
        let right = match port as u32 {
            0 => Ok(Right::null()),
            name => thread.task.space.extract_right(name, abi::message::kind::COPY_SEND, &mut effects),
        };
        let result = right.and_then(|right| self.set_task_special_port(&task, which as i32, right));
        self.work_off(effects);
        Ok(result.map(|()| 0)?)
    }

    fn trap_set_self_state(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>) -> Step {
        let [flavor, pointer, count, ..] = body.registers.x;
        let mut bytes = [0; size_of::<abi::thread_state::FloatState>()];
        let Some(room) = bytes.get_mut(..(count as usize).saturating_mul(4)) else { return trap_return(body, Code::INVALID_ARGUMENT) };
        if let Err(abort) = self.machine.read_user(pointer, room) {
            body.resume = Resume::TrapFault(abort);
            return Step::Continue;
        }
        let words =
            room.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect::<alloc::vec::Vec<_>>();
        let result = crate::rpc::set_state(body, flavor as i32, &words);
        if let Err(code) = result {
            return trap_return(body, code);
        }
        self.machine.load_float(&body.float);
        let _ = thread;
        body.resume = Resume::User;
        Step::Continue
    }
}

/// A fixed address for vm_map: it must be aligned as asked.
pub(crate) const fn fixed(address: u64, mask: u64) -> Result<Placement, Code> {
    if address & mask != 0 { Err(Code::NO_SPACE) } else { Ok(Placement::At(address)) }
}
