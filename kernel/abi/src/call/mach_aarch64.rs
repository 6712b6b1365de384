//! mach_aarch64.defs: what the processor offers.

use crate::item::Words;
use crate::table::subsystem;

subsystem! { 4500;
    /// HWCAP and HWCAP2 words, and MIDR_EL1, REVIDR_EL1 (low word first).
    aarch64_get_hwcaps = 4500 () -> (hwcaps: Words, midr: u64, revidr: u64);
}
