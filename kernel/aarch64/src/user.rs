//! EL0: running it, its floating-point registers, copies from and to its memory.

use crate::cpu::read_register;
use crate::exits;
use abi::thread_state::{CPSR_USER, FloatState, ThreadState};
use core::arch::{asm, global_asm};
use nucleus::machine::{Abort, Access, Exit};

global_asm!(include_str!("memcpy.S"));
global_asm!(include_str!("vectors.S"));
global_asm!(include_str!("user_copy.S"));

unsafe extern "C" {
    fn run_user(state: *mut ThreadState) -> u64;
    fn copy_from_user(to: *mut u8, from: u64, bytes: usize) -> u64;
    fn copy_to_user(to: u64, from: *const u8, bytes: usize) -> u64;
    static user_copy_start: u8;
    static user_copy_end: u8;
    static user_copy_fixup: u8;
}

/// PSTATE that EL0 may have: the condition flags, DIT and SSBS. Everything else is 0: EL0, AArch64, interrupts unmasked.
const PSTATE: u64 = CPSR_USER | 1 << 24 | 1 << 12;

/// Runs EL0 until its next exception.
pub fn run(state: &mut ThreadState) -> Exit {
    state.cpsr &= PSTATE;
    // SAFETY: 1. `state` is valid and exclusive until this returns. 2. Its cpsr is one of EL0, so ERET goes there and can't be illegal.
    // 3. EL0 reaches only what TTBR0 maps for it: no kernel entry has AP[1]. 4. The vectors come back here with the
    // callee-saved registers as they were, since interrupts are masked in the kernel and nothing else uses the stack meanwhile.
    let kind = unsafe { run_user(state) };
    state.cpsr &= PSTATE;
    match kind {
        0 => exits::decode(read_register!("esr_el1"), read_register!("far_el1"), state.sp),
        1 => Exit::Interrupt,
        _ => panic!("SError from EL0: syndrome {:#x}, pc {:#x}", read_register!("esr_el1"), state.pc),
    }
}

/// Where the kernel goes on after a fault at `pc`, if that is in a copy for EL0.
pub fn fixup(pc: u64) -> Option<u64> {
    let copies = (&raw const user_copy_start).addr() as u64..(&raw const user_copy_end).addr() as u64;
    copies.contains(&pc).then(|| (&raw const user_copy_fixup).addr() as u64)
}

/// Copies from EL0's memory.
pub fn read(from: u64, to: &mut [u8]) -> Result<(), Abort> {
    check(from, to.len(), Access::Read)?;
    // SAFETY: `to` is valid for its length. `from` may be anything: LDTR has EL0's rights, and a fault ends the copy with 1. What it
    // reads is only user memory, which no Rust object occupies.
    let fault = unsafe { copy_from_user(to.as_mut_ptr(), from, to.len()) };
    outcome(fault, Access::Read)
}

/// Copies to EL0's memory.
pub fn write(from: &[u8], to: u64) -> Result<(), Abort> {
    check(to, from.len(), Access::Write)?;
    // SAFETY: as in `read`, with STTR: it writes only what EL0 may write, which no Rust object occupies.
    let fault = unsafe { copy_to_user(to, from.as_ptr(), from.len()) };
    outcome(fault, Access::Write)
}

/// Refuses a range that leaves EL0's half, before any of it is copied: also one that wraps.
fn check(start: u64, bytes: usize, access: Access) -> Result<(), Abort> {
    match start.checked_add(bytes as u64) {
        Some(end) if end <= abi::vm::USER_END => Ok(()),
        _ => Err(Abort { address: start.max(abi::vm::USER_END), access, access_flag: false }),
    }
}

fn outcome(fault: u64, access: Access) -> Result<(), Abort> {
    if fault == 0 {
        return Ok(());
    }
    // Nothing has faulted on this CPU since the copy: its registers still tell.
    let abort = exits::failed_access(read_register!("esr_el1"), read_register!("far_el1"));
    Err(Abort { access, ..abort })
}

/// What the two floating-point functions do for each register.
macro_rules! all_registers {
    ($op:literal) => {
        concat!(
            $op,
            " q0, q1, [{0}, #0]\n",
            $op,
            " q2, q3, [{0}, #32]\n",
            $op,
            " q4, q5, [{0}, #64]\n",
            $op,
            " q6, q7, [{0}, #96]\n",
            $op,
            " q8, q9, [{0}, #128]\n",
            $op,
            " q10, q11, [{0}, #160]\n",
            $op,
            " q12, q13, [{0}, #192]\n",
            $op,
            " q14, q15, [{0}, #224]\n",
            $op,
            " q16, q17, [{0}, #256]\n",
            $op,
            " q18, q19, [{0}, #288]\n",
            $op,
            " q20, q21, [{0}, #320]\n",
            $op,
            " q22, q23, [{0}, #352]\n",
            $op,
            " q24, q25, [{0}, #384]\n",
            $op,
            " q26, q27, [{0}, #416]\n",
            $op,
            " q28, q29, [{0}, #448]\n",
            $op,
            " q30, q31, [{0}, #480]\n",
        )
    };
}

/// Loads the floating-point registers. FPMR isn't offered (aarch64_get_hwcaps doesn't name it).
pub fn load_float(state: &FloatState) {
    // SAFETY: reads `state` only. The kernel is built without floating point, so no Rust value lives in these registers.
    unsafe {
        asm!(".arch_extension fp", ".arch_extension simd", all_registers!("ldp"), "msr fpsr, {1}", "msr fpcr, {2}",
            in(reg) &raw const state.v, in(reg) state.fpsr, in(reg) state.fpcr, options(nostack, preserves_flags, readonly));
    }
}

/// Saves them.
pub fn save_float(state: &mut FloatState) {
    let (status, control): (u64, u64);
    // SAFETY: writes the 512 bytes of `state.v`.
    unsafe {
        asm!(".arch_extension fp", ".arch_extension simd", all_registers!("stp"), "mrs {1}, fpsr", "mrs {2}, fpcr",
            in(reg) &raw mut state.v, out(reg) status, out(reg) control, options(nostack, preserves_flags));
    }
    state.fpsr = status;
    state.fpcr = control;
}
