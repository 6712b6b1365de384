//! What the CPU can do for EL0, as aarch64_get_hwcaps says it.
//!
//! The bits are those that C libraries know (HWCAP_*). Only what needs no help from the kernel is named: no SVE or SME, whose registers
//! aren't saved, and no pointer authentication, whose keys aren't set.

use crate::cpu::read_register;

/// A field of an identification register, the least value of it, and the bit that says so.
type Feature = (u32, u64, u32);

/// ID_AA64ISAR0_EL1, for the first word.
const INSTRUCTIONS_0: [Feature; 14] = [
    (4, 1, 3),   // AES
    (4, 2, 4),   // PMULL
    (8, 1, 5),   // SHA1
    (12, 1, 6),  // SHA2
    (16, 1, 7),  // CRC32
    (20, 2, 8),  // ATOMICS
    (28, 1, 12), // ASIMDRDM
    (32, 1, 17), // SHA3
    (36, 1, 18), // SM3
    (40, 1, 19), // SM4
    (44, 1, 20), // ASIMDDP
    (12, 2, 21), // SHA512
    (48, 1, 23), // ASIMDFHM
    (52, 1, 27), // FLAGM
];

/// ID_AA64ISAR1_EL1, for the first word.
const INSTRUCTIONS_1: [Feature; 6] = [
    (0, 1, 16),  // DCPOP
    (12, 1, 13), // JSCVT
    (16, 1, 14), // FCMA
    (20, 1, 15), // LRCPC
    (20, 2, 26), // ILRCPC
    (36, 1, 29), // SB
];

/// ID_AA64PFR0_EL1, for the first word.
const PROCESSOR_0: [Feature; 1] = [(48, 1, 24)]; // DIT
/// ID_AA64PFR1_EL1, for the first word.
const PROCESSOR_1: [Feature; 1] = [(4, 2, 28)]; // SSBS
/// ID_AA64MMFR2_EL1, for the first word.
const MEMORY_2: [Feature; 1] = [(32, 1, 25)]; // USCAT

/// ID_AA64ISAR0_EL1 and ID_AA64ISAR1_EL1, for the second word.
const INSTRUCTIONS_0_MORE: [Feature; 2] = [(52, 2, 7), (60, 1, 16)]; // FLAGM2, RNG
const INSTRUCTIONS_1_MORE: [Feature; 4] = [(0, 2, 0), (32, 1, 8), (44, 1, 14), (52, 1, 13)]; // DCPODP, FRINT, BF16, I8MM

/// Both words, for the CPU this runs on. All CPUs of a virtual machine are alike.
pub fn words() -> [u64; 2] {
    let instructions_0 = read_register!("id_aa64isar0_el1");
    let instructions_1 = read_register!("id_aa64isar1_el1");
    let processor_0 = read_register!("id_aa64pfr0_el1");
    let first = floating_point(processor_0)
        | bits(instructions_0, &INSTRUCTIONS_0)
        | bits(instructions_1, &INSTRUCTIONS_1)
        | bits(processor_0, &PROCESSOR_0)
        | bits(read_register!("id_aa64pfr1_el1"), &PROCESSOR_1)
        | bits(read_register!("s3_0_c0_c7_2"), &MEMORY_2);
    let second = bits(instructions_0, &INSTRUCTIONS_0_MORE) | bits(instructions_1, &INSTRUCTIONS_1_MORE);
    [first, second]
}

fn bits(register: u64, features: &[Feature]) -> u64 {
    features.iter().filter(|&&(shift, least, _)| register >> shift & 15 >= least).fold(0, |word, &(_, _, bit)| word | 1 << bit)
}

/// FP, ASIMD and their half-precision forms: here 15 means none, 0 the plain form.
fn floating_point(processor_0: u64) -> u64 {
    const FORMS: [(u32, u64, u64); 2] = [(16, 1 << 0, 1 << 9), (20, 1 << 1, 1 << 10)];
    let word = |(shift, plain, half): (u32, u64, u64)| match processor_0 >> shift & 15 {
        15 => 0,
        0 => plain,
        _ => plain | half,
    };
    FORMS.into_iter().map(word).fold(0, |all, some| all | some)
}
