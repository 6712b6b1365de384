//! The traps, one function each. What they do is the kernel's (`svc.rs`) or, on a host, the fake kernel's (`fake`).
//!
//! Programs use the modules above this one; conformance tests and the curious use these.

use abi::Code;

#[cfg(not(target_os = "none"))]
use crate::fake as kernel;
#[cfg(target_os = "none")]
mod svc;
#[cfg(target_os = "none")]
use svc as kernel;

/// The words of mach_msg besides the message.
#[derive(Clone, Copy, Debug, Default)]
pub struct MsgWords {
    /// `abi::trap::option` bits.
    pub option: u32,
    pub send_size: u32,
    /// Where to receive from.
    pub rcv_name: u32,
    /// Milliseconds.
    pub timeout: u32,
    pub notify: u32,
}

/// Sends from, then receives into, the buffer; what is received fits in it.
pub fn mach_msg(buffer: &mut [u8], words: MsgWords) -> Code {
    if words.send_size as usize > buffer.len() {
        return Code::SEND_MSG_TOO_SMALL;
    }
    let rcv_size = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
    kernel::mach_msg(buffer, words, rcv_size)
}

/// A fresh receive right for replies.
pub fn mach_reply_port() -> u32 {
    kernel::mach_reply_port()
}

/// The name of the calling thread's port, with one more user reference.
pub fn mach_thread_self() -> u32 {
    kernel::mach_thread_self()
}

/// The name of this task's port, with one more user reference.
pub fn mach_task_self() -> u32 {
    kernel::mach_task_self()
}

/// The name of the host's port, with one more user reference.
pub fn mach_host_self() -> u32 {
    kernel::mach_host_self()
}

/// Prints a string on the console, up to its first NUL.
pub fn mach_print(text: &core::ffi::CStr) {
    kernel::mach_print(text);
}

/// Lets another thread run.
pub fn swtch() {
    kernel::swtch();
}

/// vm_allocate of this task.
pub fn vm_allocate(task: u32, address: u64, size: u64, anywhere: bool) -> Result<u64, Code> {
    kernel::vm_allocate(task, address, size, anywhere)
}

/// vm_deallocate of this task.
pub fn vm_deallocate(task: u32, address: u64, size: u64) -> Result<(), Code> {
    kernel::vm_deallocate(task, address, size)
}

/// mach_port_allocate; `right` is one of `abi::call::mach_port::right`.
pub fn mach_port_allocate(task: u32, right: u32) -> Result<u32, Code> {
    kernel::mach_port_allocate(task, right)
}

/// mach_port_deallocate.
pub fn mach_port_deallocate(task: u32, name: u32) -> Result<(), Code> {
    kernel::mach_port_deallocate(task, name)
}

/// mach_port_insert_right; `kind` is one of `abi::message::kind`.
pub fn mach_port_insert_right(task: u32, name: u32, right: u32, kind: u8) -> Result<(), Code> {
    kernel::mach_port_insert_right(task, name, right, kind)
}

/// task_terminate.
pub fn task_terminate(task: u32) -> Code {
    kernel::task_terminate(task)
}

/// Any trap with plain numbers: for tests of numbers that don't exist.
#[cfg(target_os = "none")]
pub fn unknown(number: i32) -> u64 {
    svc::unknown(number)
}
