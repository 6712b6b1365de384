//! The heap: talc, fed by vm_allocate.
//!
//! It grows in big steps, since each step of a wired task is wired memory that the kernel finds all at once, and a pager that grew its
//! heap at start must not have to grow it while the kernel waits for it.

use core::alloc::Layout;
use core::sync::atomic::{AtomicBool, Ordering};

use talc::base::Talc;
use talc::base::binning::Binning;
use talc::source::Source;

use crate::{task, trap};

/// The least that is added at once.
const STEP: usize = 256 * 1024;
/// What the allocator needs besides, of every piece and of the first.
const OVERHEAD: usize = 4096;

#[derive(Debug)]
struct Kernel;

// SAFETY: `acquire` uses nothing but a trap; in particular it allocates nothing.
unsafe impl Source for Kernel {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let wanted = layout.size().checked_add(layout.align()).and_then(|size| size.checked_add(OVERHEAD)).ok_or(())?;
        let size = wanted.checked_next_multiple_of(STEP).ok_or(())?;
        let address = trap::vm_allocate(task::own(), 0, size as u64, true).map_err(drop)?;
        // SAFETY: the range is fresh, ours, readable and writable, and nobody else will ever know it.
        unsafe { talc.claim(address as *mut u8, size) }.map(drop).ok_or(())
    }
}

/// A lock for the allocator that gives way.
struct RawLock(AtomicBool);

// SAFETY: `try_lock` succeeds for one holder until its `unlock`: the flag is taken by an exchange with acquire and given back with release.
unsafe impl lock_api::RawMutex for RawLock {
    const INIT: Self = Self(AtomicBool::new(false));
    type GuardMarker = lock_api::GuardNoSend;

    fn lock(&self) {
        while !self.try_lock() {
            trap::swtch();
        }
    }

    fn try_lock(&self) -> bool {
        !self.0.swap(true, Ordering::Acquire)
    }

    unsafe fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }
}

#[global_allocator]
static HEAP: talc::TalcLock<RawLock, Kernel> = talc::TalcLock::new(Kernel);
