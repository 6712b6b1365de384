//! Frames as memory: the machine's linear map of RAM, and a page of it as words.
//!
//! A frame's contents are shared with EL0, with devices and perhaps with another CPU in the kernel, at any time and without
//! synchronisation. So the kernel never makes a `&[u8]` or `&mut [u8]` of it; it sees [`Words`], all accesses are relaxed atomics of
//! one size, and whatever the others do, a read is some value and a write is whole.

use crate::frame::{FrameNumber, PAGE_SIZE};
use core::sync::atomic::AtomicU64;

/// Where RAM is mapped: at its physical address plus `offset` (modulo 2^64).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearMap {
    /// Virtual minus physical address; a multiple of the largest block.
    pub offset: u64,
}

/// Words in a page.
pub(crate) const WORDS: usize = PAGE_SIZE / size_of::<u64>();

/// A page as the kernel sees it.
pub(crate) type Words = [AtomicU64; WORDS];

impl LinearMap {
    /// The address of a frame's first byte. To have it is no right to use it.
    pub fn pointer(self, frame: FrameNumber) -> *mut u8 {
        let address = frame.phys().wrapping_add(self.offset);
        core::ptr::with_exposed_provenance_mut(address as usize)
    }

    /// A frame's contents.
    ///
    /// # Safety
    /// The frame is RAM under this map for all of `'a`, and its owner uses it as words for all of `'a` (not as Rust values, as the
    /// heap does).
    pub(crate) unsafe fn words<'a>(self, frame: FrameNumber) -> &'a Words {
        // SAFETY: 1. mapped RAM, by the caller; a page is aligned for `u64` and has WORDS of them. 2. Any bytes are a `u64`. RAM is
        // initialised as far as the compiler is concerned: it was never allocated by it. 3. All of it is inside `UnsafeCell`s, so others may write.
        unsafe { &*self.pointer(frame).cast::<Words>() }
    }
}
