//! Writes a line for each call.

use std::fmt::Display;
use std::time::Instant;

use crate::filter::forward;
use crate::{Extent, Space, StateExtent, Store, StoreError};

/// A store that says what it is asked, when the call is over: at level `INFO` what succeeded, at `WARN` what failed. Never
/// what the bytes are.
#[derive(Debug)]
pub struct LogFilter<S> {
    inner: S,
    name: String,
}

impl<S: Store> LogFilter<S> {
    /// Logs the calls to `inner` under a name.
    pub fn new(inner: S, name: impl Into<String>) -> Self {
        Self { inner, name: name.into() }
    }

    fn log<T>(&self, what: impl Display, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let start = Instant::now();
        let result = call();
        let micros = start.elapsed().as_micros() as u64;
        match &result {
            Ok(_) => tracing::info!(store = self.name, micros, "{what}"),
            Err(error) => tracing::warn!(store = self.name, micros, "{what}: {error}"),
        }
        result
    }
}

impl<S: Store> Store for LogFilter<S> {
    forward!(inner, size, is_immediate, is_zeroing_fast, usage);

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.log(format_args!("read {offset}+{}", buffer.len()), || self.inner.read_at(offset, buffer))
    }

    fn append_to(&self, offset: u64, length: usize, out: &mut Vec<u8>) -> Result<(), StoreError> {
        self.log(format_args!("read {offset}+{length}"), || self.inner.append_to(offset, length, out))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        self.log(format_args!("write {offset}+{}", data.len()), || self.inner.write_at(offset, data))
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.log("flush", || self.inner.flush())
    }

    fn trim(&self, offset: u64, length: u64) -> Result<(), StoreError> {
        self.log(format_args!("trim {offset}+{length}"), || self.inner.trim(offset, length))
    }

    fn write_zeroes(&self, offset: u64, length: u64, space: Space) -> Result<(), StoreError> {
        let how = if space == Space::Reserve { "zero and reserve" } else { "zero" };
        self.log(format_args!("{how} {offset}+{length}"), || self.inner.write_zeroes(offset, length, space))
    }

    fn extent_at(&self, offset: u64, length: u64) -> Result<Extent, StoreError> {
        self.log(format_args!("extent {offset}+{length}"), || self.inner.extent_at(offset, length))
    }

    fn state_at(&self, offset: u64, length: u64) -> Result<StateExtent, StoreError> {
        self.log(format_args!("state {offset}+{length}"), || self.inner.state_at(offset, length))
    }
}
