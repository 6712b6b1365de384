//! Virtual memory of this task by address: for what `Pages` and `Mapping` don't cover.

use abi::Code;
use abi::call::mach::{vm_protect, vm_statistics};
use abi::vm::Protection;

use crate::{rpc, task, trap};

/// Zeroed memory anywhere; gives its address.
pub fn allocate(size: u64) -> Result<u64, Code> {
    trap::vm_allocate(task::own(), 0, size, true)
}

/// Zeroed memory at an address.
pub fn allocate_at(address: u64, size: u64) -> Result<u64, Code> {
    trap::vm_allocate(task::own(), address, size, false)
}

/// Gives memory back.
pub fn deallocate(address: u64, size: u64) -> Result<(), Code> {
    trap::vm_deallocate(task::own(), address, size)
}

/// Sets the protection of pages.
pub fn protect(address: u64, size: u64, protection: Protection) -> Result<(), Code> {
    let request = vm_protect::Request { address, size, set_maximum: false, protection: protection.bits() };
    rpc::call(task::own(), &request).map(drop)
}

/// The words of vm_statistics.
pub fn statistics() -> Result<alloc::vec::Vec<u32>, Code> {
    rpc::call(task::own(), &vm_statistics::Request {}).map(|reply| reply.statistics.0)
}
