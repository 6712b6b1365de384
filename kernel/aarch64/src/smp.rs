//! The other CPUs: started by PSCI, each on a stack of its own.

use crate::console::say;
use crate::layout::{MAX_CPUS, STACK_SIZE};
use crate::{cpu, gic, mmu, psci, start, trap};
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use frames::{Pool, Purpose};

global_asm!(include_str!("boot.S"));

unsafe extern "C" {
    static secondary_entry: u8;
}

/// Where `boot.S` finds each CPU's stack.
#[unsafe(no_mangle)]
static SECONDARY_STACK_TOPS: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// CPUs that run.
static ONLINE: AtomicUsize = AtomicUsize::new(1);
/// The timer's interrupt.
static TIMER: AtomicU32 = AtomicU32::new(0);

/// Starts all CPUs but the first, which this is; the number that run then. One that can't be started is left out, and said.
pub fn start_all(affinities: &[u64], pool: &Pool, timer: u32) -> usize {
    TIMER.store(timer, Ordering::Relaxed);
    let entry = mmu::image_physical((&raw const secondary_entry).addr() as u64);
    let mut started = 1;
    for &affinity in affinities.iter().skip(1) {
        let Some(top) = stack(started, pool) else {
            say!("CPU {affinity:#x} stays off: no memory for its stack");
            continue;
        };
        SECONDARY_STACK_TOPS[started].store(top, Ordering::Relaxed);
        cpu::dsb_sy();
        match psci::cpu_on(affinity, entry, started as u64) {
            Ok(()) => started += 1,
            Err(error) => say!("CPU {affinity:#x} stays off: {error}"),
        }
    }
    while ONLINE.load(Ordering::Acquire) < started {
        core::hint::spin_loop();
    }
    started
}

/// Makes a stack with nothing mapped below it; its top. One that was made for a CPU that didn't start serves the next.
pub fn stack(cpu: usize, pool: &Pool) -> Option<u64> {
    const ORDER: usize = (STACK_SIZE as usize / frames::PAGE_SIZE).ilog2() as usize;
    let made = SECONDARY_STACK_TOPS[cpu].load(Ordering::Relaxed);
    if made != 0 {
        return Some(made);
    }
    let run = pool.allocate_run(ORDER, Purpose::Kernel)?;
    // It is never freed: a CPU never leaves its stack.
    mmu::map_stack(cpu, run.into_parts().0.phys()).ok()
}

/// Goes on at `next` on another stack.
pub fn on_stack(top: u64, next: extern "C" fn() -> !) -> ! {
    // SAFETY: `top` is that of an unused stack, from `stack`; nothing on the old one is used again, since `next` doesn't return.
    unsafe { asm!("mov sp, {top}", "mov x29, xzr", "mov x30, xzr", "br {next}", top = in(reg) top, next = in(reg) next, options(noreturn)) }
}

/// Where `boot.S` ends on all CPUs but the first.
#[unsafe(no_mangle)]
extern "C" fn boot_secondary(number: u64) -> ! {
    cpu::set_this_cpu(number as usize);
    mmu::finish_this_cpu();
    trap::init();
    if let Err(error) = gic::init_cpu(TIMER.load(Ordering::Relaxed)) {
        panic!("{error}");
    }
    ONLINE.fetch_add(1, Ordering::Release);
    start::run()
}
