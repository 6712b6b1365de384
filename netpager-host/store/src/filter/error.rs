//! Makes a store fail now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::filter::forward;
use crate::{Content, Extent, Space, Store, StoreError};

/// How many of a thousand calls of each kind fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorRates {
    /// Of reads.
    pub read: u16,
    /// Of writes, zeroings and trims.
    pub write: u16,
    /// Of flushes.
    pub flush: u16,
}

/// A store that fails with [`StoreError::Injected`], without having done anything. Which calls fail depends only on the
/// seed and on how many calls came before.
#[derive(Debug)]
pub struct ErrorFilter<S> {
    inner: S,
    rates: ErrorRates,
    calls: AtomicU64,
    seed: u64,
    armed: Arc<AtomicBool>,
}

impl<S: Store> ErrorFilter<S> {
    /// Puts failures in front of `inner`.
    pub fn new(inner: S, rates: ErrorRates, seed: u64) -> Self {
        Self { inner, rates, calls: AtomicU64::new(0), seed, armed: Arc::new(AtomicBool::new(true)) }
    }

    /// A switch that makes failures begin or end at once.
    #[must_use]
    pub fn armed(&self) -> Arc<AtomicBool> {
        self.armed.clone()
    }

    fn roll(&self, rate: u16) -> Result<(), StoreError> {
        if !self.armed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        match mix(self.seed.wrapping_add(call)) % 1000 < u64::from(rate) {
            true => Err(StoreError::Injected),
            false => Ok(()),
        }
    }
}

/// The finalizer of splitmix64 (Steele, Lea and Flood 2014): consecutive numbers in, well-mixed numbers out.
const fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl<S: Store> Store for ErrorFilter<S> {
    forward!(inner, size, is_immediate, is_zeroing_fast, usage, state_at);

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.roll(self.rates.read)?;
        self.inner.read_at(offset, buffer)
    }

    fn append_to(&self, offset: u64, length: usize, out: &mut Vec<u8>) -> Result<(), StoreError> {
        self.roll(self.rates.read)?;
        self.inner.append_to(offset, length, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        self.roll(self.rates.write)?;
        self.inner.write_at(offset, data)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.roll(self.rates.flush)?;
        self.inner.flush()
    }

    fn trim(&self, offset: u64, length: u64) -> Result<(), StoreError> {
        self.roll(self.rates.write)?;
        self.inner.trim(offset, length)
    }

    fn write_zeroes(&self, offset: u64, length: u64, space: Space) -> Result<(), StoreError> {
        self.roll(self.rates.write)?;
        self.inner.write_zeroes(offset, length, space)
    }

    /// Learning that there is nothing to read fails as often as reading.
    fn extent_at(&self, offset: u64, length: u64) -> Result<Extent, StoreError> {
        let extent = self.inner.extent_at(offset, length)?;
        if extent.content == Content::Hole {
            self.roll(self.rates.read)?;
        }
        Ok(extent)
    }
}
