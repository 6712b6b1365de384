//! The time of day: a PL031, of which nothing but the count of seconds is used.

use core::ptr::NonNull;
use safe_mmio::fields::ReadPure;
use safe_mmio::{UniqueMmioPointer, field_shared};
use spin::mutex::SpinMutex;

/// The register that is used.
#[repr(C)]
pub struct Registers {
    seconds: ReadPure<u32>,
}

static CLOCK: SpinMutex<Option<UniqueMmioPointer<'static, Registers>>> = SpinMutex::new(None);

/// Tells where it is.
///
/// # Safety
/// `registers` must be those of a PL031, mapped as a device for good, and nobody else may use them.
pub unsafe fn init(registers: NonNull<Registers>) {
    // SAFETY: the caller's promise is what `new` asks for.
    *CLOCK.lock() = Some(unsafe { UniqueMmioPointer::new(registers) });
}

/// Seconds since 1970, if there is a clock.
pub fn seconds() -> Option<u64> {
    CLOCK.lock().as_ref().map(|clock| field_shared!(clock, seconds).read().into())
}
