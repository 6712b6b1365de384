//! Tasks: this one, and those that it makes.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use abi::Code;
use abi::call::gnumach::{VM_WIRE_CURRENT, VM_WIRE_FUTURE, vm_wire_all};
use abi::call::mach::{
    task_create, task_get_special_port, task_set_special_port, task_terminate, thread_create, vm_allocate, vm_protect, vm_write,
};
use abi::message::{Memory, Port};
use abi::vm::Protection;

use crate::{SendRight, rpc, trap};

static OWN: AtomicU32 = AtomicU32::new(0);

/// The name of this task's own port. Asked for once: each time costs a user reference.
pub fn own() -> u32 {
    match OWN.load(Relaxed) {
        0 => {
            let name = trap::mach_task_self();
            OWN.store(name, Relaxed);
            name
        }
        name => name,
    }
}

/// Ends the task: prints what isn't printed yet, tells the bootstrap task the status, and is gone.
pub fn exit(status: i32) -> ! {
    crate::print::flush();
    crate::bootstrap::say_exit(status);
    loop {
        trap::task_terminate(own());
    }
}

/// Keeps all of this task's memory in RAM, now and in future: a pager that the kernel waits for must not wait for its own pages.
pub fn wire_all(host: &SendRight) -> Result<(), Code> {
    let request = vm_wire_all::Request { task: Port::copy_send(own()), flags: VM_WIRE_CURRENT | VM_WIRE_FUTURE };
    host.call(&request).map(drop)
}

/// One of this task's special ports; `which` is one of `abi::trap::TASK_*_PORT`.
pub fn special_port(which: i32) -> Result<SendRight, Code> {
    let reply = rpc::call(own(), &task_get_special_port::Request { which })?;
    SendRight::from_port(reply.special_port).ok_or(Code::INVALID_CAPABILITY)
}

/// A task that this one holds the port of. Dropping it leaves the task as it is.
#[derive(Debug)]
pub struct Task {
    port: SendRight,
}

impl Task {
    /// A new task with nothing in its address space and no thread.
    pub fn create() -> Result<Self, Code> {
        let reply = rpc::call(own(), &task_create::Request { inherit_memory: false })?;
        Self::from_right(reply.child_task)
    }

    /// The task whose port came in a message.
    pub fn from_right(port: Port) -> Result<Self, Code> {
        SendRight::from_port(port).map(|port| Self { port }).ok_or(Code::INVALID_TASK)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> &SendRight {
        &self.port
    }

    /// Ends it.
    pub fn terminate(&self) -> Result<(), Code> {
        self.port.call(&task_terminate::Request {}).map(drop)
    }

    /// Makes a special port of it.
    pub fn set_special_port(&self, which: i32, port: Port) -> Result<(), Code> {
        self.port.call(&task_set_special_port::Request { which, special_port: port }).map(drop)
    }

    /// Zeroed memory at an address that must be free.
    pub fn allocate_at(&self, address: u64, size: u64) -> Result<(), Code> {
        self.port.call(&vm_allocate::Request { address, size, anywhere: false }).map(drop)
    }

    /// Writes into its memory.
    pub fn write(&self, address: u64, data: &[u8]) -> Result<(), Code> {
        let memory = Memory { address: data.as_ptr() as u64, size: data.len() as u64, deallocate: false };
        self.port.call(&vm_write::Request { address, data: memory }).map(drop)
    }

    /// Sets the protection of pages.
    pub fn protect(&self, address: u64, size: u64, protection: Protection) -> Result<(), Code> {
        let request = vm_protect::Request { address, size, set_maximum: false, protection: protection.bits() };
        self.port.call(&request).map(drop)
    }

    /// A new thread in it, not running yet.
    pub fn create_thread(&self) -> Result<SendRight, Code> {
        let reply = self.port.call(&thread_create::Request {})?;
        SendRight::from_port(reply.child_thread).ok_or(Code::FAILURE)
    }
}
