//! A range of pages of an address space, checked once.
//!
//! Numbers from outside become a [`PageRange`] in one place, so that every call has the same code for the same defect (MACH.md, A20).

use abi::Code;
use abi::vm::{PAGE_SIZE, USER_END};

/// Whole pages inside the user's half; `start <= end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRange {
    start: u64,
    end: u64,
}

impl PageRange {
    /// The pages that `size` bytes from `address` touch. A size of zero is the empty range, whatever the address.
    pub const fn containing(address: u64, size: u64) -> Result<Self, Code> {
        if size == 0 {
            return Ok(Self { start: 0, end: 0 });
        }
        let Some(end) = address.checked_add(size) else { return Err(Code::INVALID_ARGUMENT) };
        let Some(end) = end.checked_add(PAGE_SIZE - 1) else { return Err(Code::INVALID_ARGUMENT) };
        let end = end & !(PAGE_SIZE - 1);
        if end > USER_END {
            return Err(Code::INVALID_ADDRESS);
        }
        Ok(Self { start: address & !(PAGE_SIZE - 1), end })
    }

    /// A size in whole pages that could fit in an address space.
    pub const fn size_of(size: u64) -> Result<u64, Code> {
        match size.checked_add(PAGE_SIZE - 1) {
            None => Err(Code::INVALID_ARGUMENT),
            Some(end) if end & !(PAGE_SIZE - 1) > USER_END => Err(Code::NO_SPACE),
            Some(end) => Ok(end & !(PAGE_SIZE - 1)),
        }
    }

    /// Page-aligned ends that the caller has proved.
    pub(crate) const fn aligned(start: u64, end: u64) -> Self {
        assert!(start.is_multiple_of(PAGE_SIZE) && end.is_multiple_of(PAGE_SIZE) && start <= end);
        Self { start, end }
    }

    #[must_use]
    pub const fn start(self) -> u64 {
        self.start
    }

    #[must_use]
    pub const fn end(self) -> u64 {
        self.end
    }

    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.end - self.start
    }

    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The addresses of its pages.
    pub fn pages(self) -> impl Iterator<Item = u64> {
        (self.start..self.end).step_by(PAGE_SIZE as usize)
    }
}
