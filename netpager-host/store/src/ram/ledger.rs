//! What one export costs the host, in bytes, and how much it may: its pages and the tables to find them. Nobody gets more
//! by being sparse.

use std::sync::atomic::{AtomicU64, Ordering};

use super::frames::{PAGE_BYTES, Slot};
use crate::Usage;
use crate::error::StoreError;

/// A quota and what it is used for.
#[derive(Debug)]
pub(super) struct Ledger {
    quota: u64,
    used: AtomicU64,
    resident_pages: AtomicU64,
    packed_pages: AtomicU64,
    packed_bytes: AtomicU64,
    reserved_pages: AtomicU64,
}

impl Ledger {
    pub(super) const fn new(quota: u64) -> Self {
        let [used, resident_pages, packed_pages, packed_bytes, reserved_pages] = [const { AtomicU64::new(0) }; 5];
        Self { quota, used, resident_pages, packed_pages, packed_bytes, reserved_pages }
    }

    /// Charges for something that is about to be made.
    pub(super) fn charge(&self, bytes: u64) -> Result<(), StoreError> {
        let more = |used: u64| used.checked_add(bytes).filter(|&sum| sum <= self.quota);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(()),
            Err(_) => Err(StoreError::Quota { quota: self.quota }),
        }
    }

    pub(super) fn refund(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts a slot that was charged for.
    pub(super) fn add(&self, slot: &Slot) {
        if slot.bytes() == PAGE_BYTES {
            self.resident_pages.fetch_add(1, Ordering::Relaxed);
        } else {
            self.packed_pages.fetch_add(1, Ordering::Relaxed);
            self.packed_bytes.fetch_add(slot.bytes() as u64, Ordering::Relaxed);
        }
    }

    /// Notes that one slot took the place of another that was no smaller. This cannot fail, and leaves no moment in which
    /// what the new one costs could be charged for something else.
    pub(super) fn shrink(&self, old: &Slot, new: &Slot) {
        self.uncount(old);
        self.add(new);
        self.refund((old.bytes() - new.bytes()) as u64);
    }

    /// Forgets a slot, and gives back what it cost.
    pub(super) fn remove(&self, slot: &Slot) {
        self.uncount(slot);
        self.refund(slot.bytes() as u64);
    }

    fn uncount(&self, slot: &Slot) {
        if slot.bytes() == PAGE_BYTES {
            self.resident_pages.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.packed_pages.fetch_sub(1, Ordering::Relaxed);
            self.packed_bytes.fetch_sub(slot.bytes() as u64, Ordering::Relaxed);
        }
    }

    /// Counts a page that was reserved, or (`false`) is so no longer.
    pub(super) fn reserve(&self, reserved: bool) {
        match reserved {
            true => self.reserved_pages.fetch_add(1, Ordering::Relaxed),
            false => self.reserved_pages.fetch_sub(1, Ordering::Relaxed),
        };
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// How much more may be charged.
    pub(super) fn left(&self) -> u64 {
        self.quota.saturating_sub(self.used())
    }

    /// All of it, for a store of `size` bytes. The counts may be of slightly different moments.
    pub(super) fn usage(&self, size: u64) -> Usage {
        let page = PAGE_BYTES as u64;
        let resident_bytes = self.resident_pages.load(Ordering::Relaxed) * page;
        let compressed_stored_bytes = self.packed_bytes.load(Ordering::Relaxed);
        let compressed_original_bytes = self.packed_pages.load(Ordering::Relaxed) * page;
        Usage {
            resident_bytes,
            compressed_stored_bytes,
            compressed_original_bytes,
            zero_bytes: size.saturating_sub(resident_bytes + compressed_original_bytes),
            reserved_bytes: self.reserved_pages.load(Ordering::Relaxed) * page,
            quota_bytes: Some(self.quota).filter(|&quota| quota != u64::MAX),
            overhead_bytes: self.used().saturating_sub(resident_bytes + compressed_stored_bytes),
            ..Usage::default()
        }
    }
}
