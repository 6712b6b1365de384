//! What one export may cost the host, in bytes: its pages and the tables to find them. Nobody gets more by being sparse.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::StoreError;

/// A quota and how much of it is used.
#[derive(Debug)]
pub(super) struct Budget {
    quota: u64,
    used: AtomicU64,
}

impl Budget {
    pub(super) const fn new(quota: u64) -> Self {
        Self { quota, used: AtomicU64::new(0) }
    }

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

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}
