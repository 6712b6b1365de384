//! The traps as instructions: `svc #0`, the number in w8, arguments in x0-x7, the result in x0 (ABI: Traps).

use core::arch::asm;

use abi::Code;
use abi::trap::{self, option};

use super::MsgWords;

/// # Safety
/// The arguments are what the trap takes; what it writes through pointers among them is the caller's to be written.
unsafe fn svc(number: i32, arguments: [u64; 7]) -> u64 {
    let [x0, x1, x2, x3, x4, x5, x6] = arguments;
    let result;
    // SAFETY: the kernel reads the registers, does what the number says and returns after the svc. All that the C calling convention
    // lets a function change is marked as changed, memory included.
    unsafe {
        asm!(
            "svc #0",
            inlateout("x0") x0 => result,
            in("x1") x1, in("x2") x2, in("x3") x3, in("x4") x4, in("x5") x5, in("x6") x6,
            in("x8") i64::from(number),
            clobber_abi("C"),
            options(nostack),
        );
    }
    result
}

/// A trap that reads and writes nothing of ours.
fn plain(number: i32, arguments: [u64; 7]) -> u64 {
    // SAFETY: none of the traps that this file calls by this function takes a pointer.
    unsafe { svc(number, arguments) }
}

fn code(result: u64) -> Code {
    Code(result as i32)
}

fn words(all: [u32; 3]) -> [u64; 7] {
    [all[0].into(), all[1].into(), all[2].into(), 0, 0, 0, 0]
}

pub(super) fn mach_msg(buffer: &mut [u8], words: MsgWords, rcv_size: u32) -> Code {
    let rcv_size = if words.option & option::RCV == 0 { 0 } else { rcv_size };
    let message = buffer.as_mut_ptr() as u64;
    let arguments = [
        message,
        words.option.into(),
        words.send_size.into(),
        rcv_size.into(),
        words.rcv_name.into(),
        words.timeout.into(),
        words.notify.into(),
    ];
    // SAFETY: the kernel reads send_size and writes at most rcv_size bytes at the message's address; the caller checked the first and
    // made the second of the buffer's length, and the buffer is ours alone while the trap runs.
    code(unsafe { svc(trap::MACH_MSG, arguments) })
}

pub(super) fn mach_reply_port() -> u32 {
    plain(trap::MACH_REPLY_PORT, [0; 7]) as u32
}

pub(super) fn mach_thread_self() -> u32 {
    plain(trap::MACH_THREAD_SELF, [0; 7]) as u32
}

pub(super) fn mach_task_self() -> u32 {
    plain(trap::MACH_TASK_SELF, [0; 7]) as u32
}

pub(super) fn mach_host_self() -> u32 {
    plain(trap::MACH_HOST_SELF, [0; 7]) as u32
}

pub(super) fn mach_print(text: &core::ffi::CStr) {
    // SAFETY: the kernel reads a string that ends in NUL, and this is one.
    unsafe { svc(trap::MACH_PRINT, [text.as_ptr() as u64, 0, 0, 0, 0, 0, 0]) };
}

pub(super) fn swtch() {
    plain(trap::SWTCH, [0; 7]);
}

pub(super) fn vm_allocate(task: u32, mut address: u64, size: u64, anywhere: bool) -> Result<u64, Code> {
    let arguments = [task.into(), &raw mut address as u64, size, anywhere.into(), 0, 0, 0];
    // SAFETY: the kernel reads and writes the eight bytes of `address`; new memory is where nothing was.
    code(unsafe { svc(trap::VM_ALLOCATE, arguments) }).ok()?;
    Ok(address)
}

pub(super) fn vm_deallocate(task: u32, address: u64, size: u64) -> Result<(), Code> {
    code(plain(trap::VM_DEALLOCATE, [task.into(), address, size, 0, 0, 0, 0])).ok()
}

pub(super) fn mach_port_allocate(task: u32, right: u32) -> Result<u32, Code> {
    let mut name = 0_u32;
    let arguments = [task.into(), right.into(), &raw mut name as u64, 0, 0, 0, 0];
    // SAFETY: the kernel writes the four bytes of `name`.
    code(unsafe { svc(trap::MACH_PORT_ALLOCATE, arguments) }).ok()?;
    Ok(name)
}

pub(super) fn mach_port_deallocate(task: u32, name: u32) -> Result<(), Code> {
    code(plain(trap::MACH_PORT_DEALLOCATE, words([task, name, 0]))).ok()
}

pub(super) fn mach_port_insert_right(task: u32, name: u32, right: u32, kind: u8) -> Result<(), Code> {
    code(plain(trap::MACH_PORT_INSERT_RIGHT, [task.into(), name.into(), right.into(), kind.into(), 0, 0, 0])).ok()
}

pub(super) fn task_terminate(task: u32) -> Code {
    code(plain(trap::TASK_TERMINATE, words([task, 0, 0])))
}

pub(super) fn unknown(number: i32) -> u64 {
    plain(number, [0; 7])
}
