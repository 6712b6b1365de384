//! The registers of a thread as messages carry them (ABI: AARCH64_THREAD_STATE, AARCH64_FLOAT_STATE).

/// Flavor of [`ThreadState`].
pub const AARCH64_THREAD_STATE: i32 = 1;
/// Flavor of [`FloatState`].
pub const AARCH64_FLOAT_STATE: i32 = 2;

/// x0-x30, sp, pc, tpidr_el0 and cpsr: 280 bytes, count 70.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadState {
    pub x: [u64; 31],
    pub sp: u64,
    pub pc: u64,
    pub tpidr_el0: u64,
    pub cpsr: u64,
}

/// v0-v31, fpsr, fpcr, fpmr: 544 bytes, count 136.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FloatState {
    pub v: [u128; 32],
    pub fpsr: u64,
    pub fpcr: u64,
    pub fpmr: u64,
    pub reserved: u64,
}

/// Count of a flavor is in words of four bytes.
pub const THREAD_STATE_COUNT: u32 = (size_of::<ThreadState>() / 4) as u32;
/// See [`THREAD_STATE_COUNT`].
pub const FLOAT_STATE_COUNT: u32 = (size_of::<FloatState>() / 4) as u32;

/// The bits of cpsr that a thread may set: the condition flags.
pub const CPSR_USER: u64 = 0xF000_0000;

const _: () = assert!(size_of::<ThreadState>() == 280 && size_of::<FloatState>() == 544);
