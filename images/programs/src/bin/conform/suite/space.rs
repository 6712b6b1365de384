//! The memory of a task by its port: what the vm_* calls do, for this task and for others alike.

use abi::Code;
use abi::call::mach::{task_create, vm_allocate, vm_copy, vm_deallocate, vm_inherit, vm_map, vm_protect, vm_read, vm_region, vm_write};
use abi::message::{Memory, Port};
use abi::vm::{Inherit, Protection};
use runtime::task::Task;
use runtime::{Pages, rpc, task};

/// The address space of the task that a name stands for. Gives nothing back when it is dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space(pub(crate) u32);

impl Space {
    /// This task's.
    pub(crate) fn own() -> Self {
        Self(task::own())
    }

    pub(crate) fn of(task: &Task) -> Self {
        Self(task.port().name())
    }

    pub(crate) fn allocate(self, size: u64) -> Result<u64, Code> {
        rpc::call(self.0, &vm_allocate::Request { address: 0, size, anywhere: true }).map(|reply| reply.address)
    }

    pub(crate) fn allocate_at(self, address: u64, size: u64) -> Result<u64, Code> {
        rpc::call(self.0, &vm_allocate::Request { address, size, anywhere: false }).map(|reply| reply.address)
    }

    pub(crate) fn deallocate(self, address: u64, size: u64) -> Result<(), Code> {
        rpc::call(self.0, &vm_deallocate::Request { address, size }).map(drop)
    }

    pub(crate) fn protect(self, address: u64, size: u64, protection: Protection) -> Result<(), Code> {
        self.protect_with(address, size, false, protection.bits())
    }

    pub(crate) fn protect_with(self, address: u64, size: u64, set_maximum: bool, protection: u32) -> Result<(), Code> {
        rpc::call(self.0, &vm_protect::Request { address, size, set_maximum, protection }).map(drop)
    }

    pub(crate) fn inherit(self, address: u64, size: u64, inheritance: Inherit) -> Result<(), Code> {
        rpc::call(self.0, &vm_inherit::Request { address, size, inheritance: inheritance as u32 }).map(drop)
    }

    pub(crate) fn read(self, address: u64, size: u64) -> Result<Pages, Code> {
        rpc::call(self.0, &vm_read::Request { address, size }).map(|reply| Pages::from_reply(reply.data))
    }

    pub(crate) fn write(self, address: u64, bytes: &[u8]) -> Result<(), Code> {
        let data = Memory { address: bytes.as_ptr() as u64, size: bytes.len() as u64, deallocate: false };
        rpc::call(self.0, &vm_write::Request { address, data }).map(drop)
    }

    pub(crate) fn copy(self, source: u64, size: u64, destination: u64) -> Result<(), Code> {
        rpc::call(self.0, &vm_copy::Request { source, size, destination }).map(drop)
    }

    pub(crate) fn region(self, address: u64) -> Result<vm_region::Reply, Code> {
        rpc::call(self.0, &vm_region::Request { address })
    }

    /// A word, read by the kernel.
    pub(crate) fn word(self, address: u64) -> Result<u64, Code> {
        let bytes = self.read(address, 8)?;
        bytes.first_chunk().map(|word| u64::from_le_bytes(*word)).ok_or(Code::FAILURE)
    }

    /// A word, written by the kernel.
    pub(crate) fn set_word(self, address: u64, word: u64) -> Result<(), Code> {
        self.write(address, &word.to_le_bytes())
    }

    /// A new task that inherits what this one lets it.
    pub(crate) fn fork(self) -> Result<Task, Code> {
        let reply = rpc::call(self.0, &task_create::Request { inherit_memory: true })?;
        Task::from_right(reply.child_task)
    }

    /// Maps a memory object, shared.
    pub(crate) fn map(self, object: Port, size: u64, protection: Protection) -> Result<u64, Code> {
        self.map_with(object, size, false, protection)
    }

    pub(crate) fn map_with(self, memory_object: Port, size: u64, copy: bool, protection: Protection) -> Result<u64, Code> {
        let request = vm_map::Request {
            address: 0,
            size,
            mask: 0,
            anywhere: true,
            memory_object,
            offset: 0,
            copy,
            cur_protection: protection.bits(),
            max_protection: protection.bits(),
            inheritance: Inherit::Share as u32,
        };
        rpc::call(self.0, &request).map(|reply| reply.address)
    }
}
