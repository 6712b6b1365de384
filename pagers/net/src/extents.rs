//! Which parts of the export are in use: extents of a mebibyte each.
//!
//! The first extent holds the superblock and nothing else. Free ones are found by going on from where the last was found.

use alloc::collections::TryReserveError;

use crate::bits::Bits;

/// Bytes in an extent.
pub const EXTENT_BYTES: u64 = 1 << 20;

/// The allocator.
#[derive(Debug)]
pub struct Extents {
    used: Bits,
    total: u32,
    free: u32,
    next: u32,
}

impl Extents {
    /// All extents of an export of so many bytes, free but for the superblock's.
    pub fn new(bytes: u64) -> Result<Self, TryReserveError> {
        let total = u32::try_from(bytes / EXTENT_BYTES).unwrap_or(u32::MAX);
        Ok(Self { used: Bits::new(total.into())?, total, free: total.saturating_sub(1), next: 1 })
    }

    /// Extents for objects.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.total.saturating_sub(1)
    }

    /// Free ones.
    #[must_use]
    pub const fn free(&self) -> u32 {
        self.free
    }

    /// Takes one.
    pub fn allocate(&mut self) -> Option<u32> {
        if self.free == 0 {
            return None;
        }
        let found = (self.next..self.total).chain(1..self.next).find(|extent| !self.used.get((*extent).into()))?;
        self.used.put(found.into(), true);
        self.free -= 1;
        self.next = found + 1;
        Some(found)
    }

    /// Gives one back. False if it wasn't taken.
    pub fn release(&mut self, extent: u32) -> bool {
        let was_used = self.used.get(extent.into());
        if was_used {
            self.used.put(extent.into(), false);
            self.free += 1;
        }
        was_used
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{EXTENT_BYTES, Extents};

    proptest! {
        #[test]
        fn it_agrees_with_a_set(size in 0..40_u64, steps in proptest::collection::vec(any::<Option<u8>>(), 0..200)) {
            let mut extents = Extents::new(size * EXTENT_BYTES + 4096).unwrap();
            let mut taken = BTreeSet::new();
            for step in steps {
                match step {
                    None => match extents.allocate() {
                        Some(extent) => prop_assert!(extent >= 1 && u64::from(extent) < size && taken.insert(extent)),
                        None => prop_assert_eq!(taken.len() as u64, size.saturating_sub(1)),
                    },
                    Some(extent) => prop_assert_eq!(extents.release(extent.into()), taken.remove(&u32::from(extent))),
                }
                prop_assert_eq!(u64::from(extents.free()), size.saturating_sub(1) - taken.len() as u64);
            }
        }
    }
}
