//! Moves memory between a task's map and messages, for `ipc`.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Code;
use abi::vm::PAGE_SIZE;
use ipc::Carrier;
use vm::{PageRange, Placement};

use crate::kernel::Kernel;
use crate::kobject::Ipc;
use crate::machine::Machine;
use crate::out_of_line::OutOfLine;
use crate::task::Task;

/// The carrier of the task that runs on this CPU.
pub(crate) struct TaskCarrier<'a, M: Machine> {
    pub(crate) kernel: &'a Kernel<M>,
    pub(crate) task: &'a Arc<Task<M>>,
}

impl<M: Machine> Carrier<Ipc<M>> for TaskCarrier<'_, M> {
    fn memory_in(&mut self, address: u64, size: u64, deallocate: bool) -> Result<OutOfLine, Code> {
        let range = PageRange::containing(address, size).map_err(|_| Code::SEND_INVALID_MEMORY)?;
        let copy = match deallocate {
            true => self.kernel.vm.move_in(&self.task.map, range),
            false => self.kernel.vm.copy_in(&self.task.map, range),
        };
        let offset = address % PAGE_SIZE;
        let clean = offset == 0 && size.is_multiple_of(PAGE_SIZE);
        Ok(OutOfLine { copy: copy.map_err(|_| Code::SEND_INVALID_MEMORY)?, offset, size, clean })
    }

    fn read_names(&mut self, address: u64, count: u32, deallocate: bool, names: &mut Vec<u32>) -> Result<(), Code> {
        // `mach_msg` touched the array before, so it is there unless somebody takes it away this very moment.
        for number in 0..u64::from(count) {
            let mut name = [0; 4];
            let from = address.checked_add(number * 4).ok_or(Code::SEND_INVALID_MEMORY)?;
            self.kernel.machine.read_user(from, &mut name).map_err(|_| Code::SEND_INVALID_MEMORY)?;
            names.push(u32::from_le_bytes(name));
        }
        if deallocate {
            let range = PageRange::containing(address, u64::from(count) * 4).map_err(|_| Code::SEND_INVALID_MEMORY)?;
            self.kernel.vm.deallocate(&self.task.map, range);
        }
        Ok(())
    }

    fn memory_out(&mut self, memory: OutOfLine) -> Result<u64, Code> {
        let start = self.kernel.vm.copy_out(&self.task.map, memory.copy).map_err(|(code, _)| code)?;
        Ok(start + memory.offset)
    }

    fn write_names(&mut self, names: &[u32]) -> Result<u64, Code> {
        let size = names.len() as u64 * 4;
        let map = &self.task.map;
        let start = self.kernel.vm.allocate(map, Placement::Anywhere { mask: 0 }, size)?;
        for (address, name) in (start..).step_by(4).zip(names) {
            // The memory is new, so nothing is waited for; it fails only if there is none.
            while !matches!(self.kernel.vm.write_bytes(map, address, &name.to_le_bytes()), vm::Outcome::Done) {
                if !matches!(self.kernel.find_memory(), crate::page_out::Found::Memory) {
                    self.kernel.vm.deallocate(map, PageRange::containing(start, size)?);
                    return Err(Code::RESOURCE_SHORTAGE);
                }
            }
        }
        Ok(start)
    }
}
