//! Device registers made reachable: the one place where a physical address becomes a register pointer.
//!
//! All accesses go through `safe-mmio`, whose loads and stores on AArch64 are single instructions a hypervisor can
//! emulate; a plain volatile access may be compiled to one with writeback, which it cannot.

#![allow(unsafe_code)] // UNSAFETY: a register pointer has to come from somewhere; see the proofs.

use core::{
    mem::{align_of, size_of},
    ptr::NonNull,
};
use safe_mmio::UniqueMmioPointer;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Gives access to device registers; the environment's page tables are behind it.
///
/// # Safety
///
/// A pointer returned by `map` must
/// 1. be `physical` plus a constant offset that is a multiple of the page size, so that alignment carries over;
/// 2. stay valid for reads and writes of `bytes` bytes, from any CPU, for ever;
/// 3. be mapped as device memory, never cached or speculated into;
/// 4. not be behind any Rust reference.
///
/// `map` must refuse what is not device memory: it is called with addresses read from devices.
pub unsafe trait MapRegisters {
    /// Where `bytes` bytes at CPU-physical address `physical` can be reached, or `None` if they are no registers.
    fn map(&self, physical: u64, bytes: usize) -> Option<NonNull<u8>>;
}

/// Maps the registers of one structure.
pub(super) fn map_one<R>(map: &impl MapRegisters, physical: u64) -> Option<UniqueMmioPointer<'static, R>> {
    let pointer = aligned::<R>(map.map(physical, size_of::<R>())?)?;
    // SAFETY: 1. `MapRegisters` promises valid device memory of the size asked for, for ever; alignment was checked.
    // 2. Each register block is mapped once per owner: a probe hands its only pointer to the transport it returns,
    // and the blocks a PCI transport maps are distinct capabilities of a function it owns.
    Some(unsafe { UniqueMmioPointer::new(pointer) })
}

/// Maps an array of registers filling `bytes` bytes.
pub(super) fn map_slice<R>(map: &impl MapRegisters, physical: u64, bytes: usize) -> Option<UniqueMmioPointer<'static, [R]>> {
    let pointer = aligned::<R>(map.map(physical, bytes)?)?;
    let slice = NonNull::slice_from_raw_parts(pointer, bytes / size_of::<R>());
    // SAFETY: as for `map_one`; the slice covers no more than the `bytes` that were mapped.
    Some(unsafe { UniqueMmioPointer::new(slice) })
}

fn aligned<R>(pointer: NonNull<u8>) -> Option<NonNull<R>> {
    pointer.addr().get().is_multiple_of(align_of::<R>()).then(|| pointer.cast())
}

/// A second pointer to the same registers.
///
/// # Safety
///
/// The two must not be used on the same register at the same time, except for reads without side effects.
pub(super) unsafe fn duplicate<R>(registers: &UniqueMmioPointer<'static, [R]>) -> UniqueMmioPointer<'static, [R]> {
    let slice = NonNull::slice_from_raw_parts(first(registers), registers.len());
    // SAFETY: the original is valid for ever, and the caller answers for uniqueness.
    unsafe { UniqueMmioPointer::new(slice) }
}

fn first<R>(registers: &UniqueMmioPointer<'static, [R]>) -> NonNull<R> {
    let pointer = registers.ptr().cast::<R>().cast_mut();
    // SAFETY: a `UniqueMmioPointer` is never null.
    unsafe { NonNull::new_unchecked(pointer) }
}

/// The device-specific configuration of a device: fields of any width, bounds-checked.
#[derive(Debug)]
pub(super) struct ConfigSpace(UniqueMmioPointer<'static, [u8]>);

impl ConfigSpace {
    /// Configuration space is aligned to four bytes at least; that was checked when its address was computed.
    pub(super) fn new(bytes: UniqueMmioPointer<'static, [u8]>) -> Self {
        Self(bytes)
    }

    /// Reads a field with one access of its width.
    pub(super) fn read<F: FromBytes + IntoBytes>(&self, offset: usize) -> Option<F> {
        let field = self.field::<F>(offset)?;
        // SAFETY: 1. `field` lies inside the mapped configuration and is aligned. 2. Reading configuration has no
        // side effects (virtio 1.3 §2.5.1), and any bytes are a valid `F`.
        Some(unsafe { (*self.0).child(field).read_unsafe() })
    }

    /// Writes a field with one access of its width.
    pub(super) fn write<F: IntoBytes + Immutable>(&mut self, offset: usize, value: F) -> Option<()> {
        let field = self.field::<F>(offset)?;
        // SAFETY: as for `read`; the exclusive borrow makes this the only access.
        unsafe { self.0.child(field).write_unsafe(value) };
        Some(())
    }

    fn field<F>(&self, offset: usize) -> Option<NonNull<F>> {
        let end = offset.checked_add(size_of::<F>())?;
        if end > self.0.len() {
            return None;
        }
        // SAFETY: `offset` is inside the mapped region, as checked.
        aligned(unsafe { first(&self.0).byte_add(offset) })
    }
}
