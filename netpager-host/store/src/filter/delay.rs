//! Makes a store slow.

use std::thread::sleep;
use std::time::Duration;

use crate::filter::forward;
use crate::{Content, Extent, Space, Store, StoreError};

/// How long each kind of call waits before it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// Before reading.
    pub read: Duration,
    /// Before writing, zeroing or trimming.
    pub write: Duration,
    /// Before flushing.
    pub flush: Duration,
}

/// A store whose calls take longer. It is never immediate: its calls sleep on the thread that makes them.
#[derive(Debug)]
pub struct DelayFilter<S> {
    inner: S,
    delays: Delays,
}

impl<S: Store> DelayFilter<S> {
    /// Puts `delays` in front of `inner`.
    pub const fn new(inner: S, delays: Delays) -> Self {
        Self { inner, delays }
    }
}

impl<S: Store> Store for DelayFilter<S> {
    forward!(inner, size, is_zeroing_fast, usage, state_at);

    fn is_immediate(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        sleep(self.delays.read);
        self.inner.read_at(offset, buffer)
    }

    fn append_to(&self, offset: u64, length: usize, out: &mut Vec<u8>) -> Result<(), StoreError> {
        sleep(self.delays.read);
        self.inner.append_to(offset, length, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        sleep(self.delays.write);
        self.inner.write_at(offset, data)
    }

    fn flush(&self) -> Result<(), StoreError> {
        sleep(self.delays.flush);
        self.inner.flush()
    }

    fn trim(&self, offset: u64, length: u64) -> Result<(), StoreError> {
        sleep(self.delays.write);
        self.inner.trim(offset, length)
    }

    fn write_zeroes(&self, offset: u64, length: u64, space: Space) -> Result<(), StoreError> {
        sleep(self.delays.write);
        self.inner.write_zeroes(offset, length, space)
    }

    /// Learning that there is nothing to read is as slow as reading.
    fn extent_at(&self, offset: u64, length: u64) -> Result<Extent, StoreError> {
        let extent = self.inner.extent_at(offset, length)?;
        if extent.content == Content::Hole {
            sleep(self.delays.read);
        }
        Ok(extent)
    }
}
