//! How many frames are kept back for whom, and when page-out works.
//!
//! Freeing memory takes memory: a pager needs pages to write pages out, the kernel needs tables and messages for it. So ordinary
//! tasks stop first, pagers later, the kernel last; and page-out starts before anybody has to stop.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Levels of available frames, from the deepest up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserves {
    /// Allocations for pagers leave this many.
    pub pager: usize,
    /// Allocations for users leave this many.
    pub user: usize,
    /// Page-out starts below this.
    pub low: usize,
    /// Page-out stops at this.
    pub high: usize,
}

/// The levels are not in ascending order, or exceed all RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadReserves;

impl core::fmt::Display for BadReserves {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("reserves must ascend from pager over user and low to high, and high must not exceed all frames")
    }
}

impl core::error::Error for BadReserves {}

impl Reserves {
    /// Nothing is kept back, page-out never runs.
    pub const NONE: Self = Self { pager: 0, user: 0, low: 0, high: 0 };

    /// For so many frames of RAM: 1/64 of it for pagers and kernel, at least 512 KiB (of 32 MiB) and at most 32 MiB (from 2 GiB on), half of that
    /// for the kernel alone; page-out between two and three times as much.
    pub fn for_frames(total: usize) -> Self {
        let user = (total / 64).clamp(64.min(total / 8), 8192);
        Self { pager: user / 2, user, low: user * 2, high: user * 3 }
    }

    fn ascending(&self, total: usize) -> bool {
        [self.pager, self.user, self.low, self.high, total].is_sorted()
    }
}

/// The reserves in force; read on every allocation.
pub(crate) struct Levels {
    pub pager: AtomicUsize,
    pub user: AtomicUsize,
    pub low: AtomicUsize,
    pub high: AtomicUsize,
}

impl Levels {
    pub(crate) fn new(reserves: Reserves) -> Self {
        Self { pager: reserves.pager.into(), user: reserves.user.into(), low: reserves.low.into(), high: reserves.high.into() }
    }

    pub(crate) fn get(&self) -> Reserves {
        Reserves {
            pager: self.pager.load(Relaxed),
            user: self.user.load(Relaxed),
            low: self.low.load(Relaxed),
            high: self.high.load(Relaxed),
        }
    }

    pub(crate) fn set(&self, reserves: Reserves, total: usize) -> Result<(), BadReserves> {
        if !reserves.ascending(total) {
            return Err(BadReserves);
        }
        self.pager.store(reserves.pager, Relaxed);
        self.user.store(reserves.user, Relaxed);
        self.low.store(reserves.low, Relaxed);
        self.high.store(reserves.high, Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computed_reserves_ascend_and_leave_most_of_any_machine() {
        for total in (0..4096).chain([8192, 32768, 262_144, 1 << 22, 1 << 30]) {
            let reserves = Reserves::for_frames(total);
            assert!(reserves.ascending(total), "{total}: {reserves:?}");
            assert!(reserves.high <= total.div_ceil(2));
        }
        assert_eq!(Reserves::for_frames(8192).user, 128);
        assert_eq!(Reserves::for_frames(1 << 22).user, 8192);
    }
}
