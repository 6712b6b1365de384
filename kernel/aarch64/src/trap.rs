//! Exceptions of the kernel itself, and panics.
//!
//! The kernel runs with interrupts masked and maps everything it uses, so an exception of its own is either an access to EL0's memory
//! that faulted, which goes on at its fixup, or the end.

use crate::console::{self, say};
use crate::cpu::{self, read_register, write_register};
use crate::{psci, user};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

/// The registers that `vectors.S` keeps.
#[repr(C)]
pub struct Frame {
    x: [u64; 31],
    sp: u64,
    pc: u64,
    pstate: u64,
}

const _: () = assert!(size_of::<Frame>() <= 288 && size_of::<Frame>().is_multiple_of(16));

const SYNCHRONOUS: u64 = 0;

unsafe extern "C" {
    static vectors: u8;
}

/// Installs the vectors on this CPU, lets SError in and floating point work at EL0.
pub fn init() {
    const FLOATING_POINT: u64 = 3 << 20;
    // SAFETY: `vectors` is a vector table in the image. CPACR lets V registers be used; traps SVE and SME, which are not saved.
    unsafe {
        write_register!("vbar_el1", (&raw const vectors).addr() as u64);
        write_register!("cpacr_el1", FLOATING_POINT);
        // EL0 may read the virtual counter, nothing else of the timers.
        write_register!("cntkctl_el1", 2);
        write_register!("tpidrro_el0", 0);
        // No breakpoints, no single step, no debug registers for EL0.
        write_register!("mdscr_el1", 0);
    }
    cpu::unmask_system_error();
}

/// An exception of the kernel. Returns only to a fixup.
#[unsafe(no_mangle)]
extern "C" fn kernel_exception(frame: &mut Frame, kind: u64) {
    const DATA_ABORT: u64 = 0x25;
    let syndrome = read_register!("esr_el1");
    if kind == SYNCHRONOUS
        && syndrome >> 26 == DATA_ABORT
        && let Some(fixup) = user::fixup(frame.pc)
    {
        frame.pc = fixup;
        return;
    }
    console::seize();
    say!("kernel registers on CPU {}:", cpu::this_cpu());
    for (number, value) in frame.x.iter().enumerate() {
        console::print(format_args!("  x{number:<2} {value:#018x}{}", if number % 4 == 3 { "\n" } else { "" }));
    }
    say!("  sp  {:#018x}\n  pc  {:#018x}  pstate {:#x}", frame.sp, frame.pc, frame.pstate);
    let what = ["exception", "interrupt", "SError"].get(kind as usize).unwrap_or(&"exception");
    panic!("{what} in the kernel: syndrome {syndrome:#x}, address {:#x}, pc {:#x}", read_register!("far_el1"), frame.pc);
}

/// An exception without a stack to handle it on.
#[unsafe(no_mangle)]
extern "C" fn kernel_stack_lost(kind: u64) -> ! {
    console::seize();
    panic!(
        "the kernel stack of CPU {} is used up or not in use (kind {kind}): syndrome {:#x}, address {:#x}, pc {:#x}",
        cpu::this_cpu(),
        read_register!("esr_el1"),
        read_register!("far_el1"),
        read_register!("elr_el1")
    );
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    static PANICKING: AtomicBool = AtomicBool::new(false);
    if PANICKING.swap(true, Ordering::AcqRel) {
        // A panic in a panic, or on a second CPU while the first still writes.
        cpu::park();
    }
    console::seize();
    say!("PANIC on CPU {}: {}", cpu::this_cpu(), info.message());
    if let Some(place) = info.location() {
        say!("  at {}:{}", place.file(), place.line());
    }
    psci::power_off();
}
