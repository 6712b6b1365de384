//! Instructions that Rust has no word for: system registers, barriers, waiting.
//!
//! Each is one or two instructions. None is declared `nomem`, so the compiler moves no memory access across any of them.

use core::arch::asm;

/// Reads a system register.
macro_rules! read_register {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading a register that every AArch64 CPU has at EL1 changes nothing in memory.
        unsafe { core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nostack, preserves_flags)) };
        value
    }};
}
pub(crate) use read_register;

/// Writes a system register, and makes the CPU see it. Say why it is safe where it is used.
macro_rules! write_register {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        core::arch::asm!(concat!("msr ", $name, ", {}"), "isb", in(reg) value, options(nostack, preserves_flags))
    }};
}
pub(crate) use write_register;

/// Instructions without operands.
macro_rules! instructions {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])*
        #[inline(always)]
        pub fn $name() {
            // SAFETY: a barrier, a hint or an unmasking of SError: no memory is changed.
            unsafe { asm!($text, options(nostack, preserves_flags)) };
        })*
    };
}

instructions! {
    /// Earlier stores to translation tables are seen by walks before anything later.
    dsb_ishst = "dsb ishst";
    /// Everything earlier, TLB maintenance too, has completed on every CPU.
    dsb_ish = "dsb ish";
    /// Everything earlier has completed for the whole system, devices too.
    dsb_sy = "dsb sy";
    /// What follows is fetched anew.
    isb = "isb";
    /// Sleeps until an interrupt is pending; that it is masked makes no difference.
    wait_for_interrupt = "wfi";
    /// Sleeps until an event.
    wait_for_event = "wfe";
    /// Wakes those who sleep so.
    send_event = "sev";
    /// Lets SError in.
    unmask_system_error = "msr daifclr, #4";
}

/// The number of this CPU.
#[inline(always)]
pub fn this_cpu() -> usize {
    read_register!("tpidr_el1") as usize
}

/// Tells this CPU its number.
pub fn set_this_cpu(cpu: usize) {
    // SAFETY: TPIDR_EL1 is a register for software alone; only `this_cpu` reads it.
    unsafe { write_register!("tpidr_el1", cpu as u64) };
}

/// Mixes the CPU's own random numbers (FEAT_RNG) into a seed, or makes one of them alone. None without either.
pub fn stir(seed: Option<[u8; 32]>) -> Option<[u8; 32]> {
    const RANDOM: u64 = 15 << 60;
    if read_register!("id_aa64isar0_el1") & RANDOM == 0 {
        return seed;
    }
    let mut mixed = seed.unwrap_or_default();
    for part in mixed.as_chunks_mut::<8>().0 {
        // It fails when it is asked faster than it can answer: half a seed is none.
        let Some(number) = (0..1000).find_map(|_| random()) else { return seed };
        *part = (u64::from_le_bytes(*part) ^ number).to_le_bytes();
    }
    Some(mixed)
}

/// RNDR, which only CPUs with FEAT_RNG have.
fn random() -> Option<u64> {
    let (number, is_valid): (u64, u64);
    // SAFETY: `stir` has found the register; reading it changes the flags, which are declared, and nothing in memory.
    unsafe { asm!("mrs {}, s3_3_c2_c4_0", "cset {}, ne", out(reg) number, out(reg) is_valid, options(nostack)) };
    (is_valid != 0).then_some(number)
}

/// Stops this CPU for good.
pub fn park() -> ! {
    loop {
        wait_for_event();
    }
}
