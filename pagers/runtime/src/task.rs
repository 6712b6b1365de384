//! Tasks: this one, and those that it makes.

use alloc::string::String;

use abi::Code;
use abi::call::gnumach::{VM_WIRE_CURRENT, VM_WIRE_FUTURE, task_set_name, vm_wire_all};
use abi::call::mach::{
    task_create, task_get_special_port, task_set_special_port, task_terminate, thread_create, thread_get_state, thread_resume,
    thread_set_state, vm_allocate, vm_protect, vm_write,
};
use abi::item::{Text, Words};
use abi::message::{Memory, Port};
use abi::thread_state::{AARCH64_THREAD_STATE, THREAD_STATE_COUNT, ThreadState};
use abi::vm::Protection;

use crate::{SendRight, rpc, trap};

/// The name of this task's own port. Asked for once: each time costs a user reference.
pub fn own() -> u32 {
    match own_name::get() {
        0 => {
            let name = trap::mach_task_self();
            own_name::set(name);
            name
        }
        name => name,
    }
}

#[cfg(target_os = "none")]
mod own_name {
    use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

    static OWN: AtomicU32 = AtomicU32::new(0);

    pub(super) fn get() -> u32 {
        OWN.load(Relaxed)
    }

    pub(super) fn set(name: u32) {
        OWN.store(name, Relaxed);
    }
}

/// On a host each thread has a fake kernel, and so a task, of its own.
#[cfg(not(target_os = "none"))]
mod own_name {
    use core::cell::Cell;

    std::thread_local! {
        static OWN: Cell<u32> = const { Cell::new(0) };
    }

    pub(super) fn get() -> u32 {
        OWN.get()
    }

    pub(super) fn set(name: u32) {
        OWN.set(name);
    }
}

/// Forgets it: the kernel it belongs to is gone.
#[cfg(not(target_os = "none"))]
pub(crate) fn forget() {
    own_name::set(0);
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

/// The registers as the words that messages carry.
#[must_use]
pub fn state_words(state: &ThreadState) -> Words {
    let tail = [state.sp, state.pc, state.tpidr_el0, state.cpsr];
    let registers = state.x.iter().chain(&tail);
    Words(registers.flat_map(|value| [*value as u32, (*value >> 32) as u32]).collect())
}

/// The registers that words of a message stand for; none if they aren't as many.
#[must_use]
pub fn state_of_words(words: &Words) -> Option<ThreadState> {
    if words.0.len() != THREAD_STATE_COUNT as usize {
        return None;
    }
    let mut registers = words.0.chunks_exact(2).map(|pair| u64::from(pair[0]) | u64::from(pair[1]) << 32);
    let mut x = [0; 31];
    x.iter_mut().zip(&mut registers).for_each(|(register, value)| *register = value);
    let [sp, pc, tpidr_el0, cpsr] = core::array::from_fn(|_| registers.next().unwrap_or(0));
    Some(ThreadState { x, sp, pc, tpidr_el0, cpsr })
}

/// Sets the registers of a thread.
pub fn set_thread_state(thread: &SendRight, state: &ThreadState) -> Result<(), Code> {
    thread.call(&thread_set_state::Request { flavor: AARCH64_THREAD_STATE, state: state_words(state) }).map(drop)
}

/// The registers of a thread.
pub fn thread_state(thread: &SendRight) -> Result<ThreadState, Code> {
    let reply = thread.call(&thread_get_state::Request { flavor: AARCH64_THREAD_STATE, count: THREAD_STATE_COUNT })?;
    state_of_words(&reply.state).ok_or(Code::MIG_TYPE_ERROR)
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

    /// Gives it a name that the kernel's messages show.
    pub fn set_name(&self, name: &str) -> Result<(), Code> {
        self.port.send(&task_set_name::Request { name: Text(String::from(name)) })
    }

    /// Starts a thread in it at an address, on a stack.
    pub fn start_thread(&self, pc: u64, sp: u64) -> Result<SendRight, Code> {
        let reply = self.port.call(&thread_create::Request {})?;
        let thread = SendRight::from_port(reply.child_thread).ok_or(Code::FAILURE)?;
        set_thread_state(&thread, &ThreadState { pc, sp, ..ThreadState::default() })?;
        thread.call(&thread_resume::Request {})?;
        Ok(thread)
    }
}

#[cfg(test)]
mod tests {
    use super::{state_of_words, state_words};
    use abi::item::Words;
    use abi::thread_state::ThreadState;

    #[test]
    fn registers_survive_the_words() {
        let mut state = ThreadState { sp: 1 << 40, pc: 0x40_0000_0001, tpidr_el0: 7, cpsr: 8, ..ThreadState::default() };
        state.x[30] = u64::MAX - 1;
        state.x[0] = 3;
        assert_eq!(state_words(&state).0.len(), 70);
        assert_eq!(state_of_words(&state_words(&state)), Some(state));
        assert_eq!(state_of_words(&Words(vec![0; 69])), None);
    }
}
