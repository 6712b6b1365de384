//! The kernel's half of the address space.
//!
//! T1SZ is 17: it begins at 0xFFFF_8000_0000_0000. `link.ld` has IMAGE_BASE too, `boot.S` the indices that follow from it.

/// All of RAM: virtual = physical + this. 64 TiB.
pub const LINEAR_BASE: u64 = 0xFFFF_8000_0000_0000;
/// Physical addresses from here on have no place in it.
pub const LINEAR_END: u64 = 0x4000_0000_0000;
/// Devices, mapped as they are found.
pub const DEVICE_BASE: u64 = 0xFFFF_F000_0000_0000;
/// Kernel stacks: one in the upper half of each [`STACK_STRIDE`], nothing in the lower.
pub const STACK_BASE: u64 = 0xFFFF_F800_0000_0000;
/// `vectors.S` tests the bit below this one (STACK_BIT) to tell a stack that has run over.
pub const STACK_STRIDE: u64 = 0x1_0000;
/// Bytes of a kernel stack.
pub const STACK_SIZE: u64 = STACK_STRIDE / 2;
/// The kernel's image.
pub const IMAGE_BASE: u64 = 0xFFFF_FFFF_8000_0000;

/// The largest number of CPUs: what a GICv2 can have.
pub const MAX_CPUS: usize = 8;

/// Where RAM at a physical address is mapped.
pub const fn linear(physical: u64) -> u64 {
    LINEAR_BASE + physical
}
