//! Where the pages of remote memory are kept on the host.
//!
//! A [`Store`] is a fixed number of bytes that can be read, written, zeroed and flushed from several threads at once. It
//! knows nothing of NBD: the service translates. There are two kinds, and wrappers that are stores themselves:
//!
//! | store | keeps pages in | after a crash | cost of a page of zeroes |
//! |---|---|---|---|
//! | [`RamStore`] | an [`Arena`] shared by all exports | nothing is left | nothing |
//! | [`FileStore`] | one sparse file | what was flushed is there; after `kill -9` alone, all that was acknowledged | nothing |
//! | [`ErrorFilter`] | another store | – | fails some calls, to test who is above it |
//! | [`DelayFilter`] | another store | – | makes calls slow, to test who is above it |
//!
//! Every range is checked against [`Store::size`] by the store itself; a caller's mistake is [`StoreError::OutOfRange`].
//!
//! Not here yet: a log-structured store with checksums. [`FileStore`] does not notice torn writes or bit rot.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod error;
mod file;
mod filter;
mod ram;
mod zero;

use std::sync::Arc;

pub use error::StoreError;
pub use file::FileStore;
pub use filter::{DelayFilter, Delays, ErrorFilter, ErrorRates};
pub use ram::{Arena, ArenaUse, PAGE_BYTES, RamStore};

/// What a range of a store is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Bytes that were written, or space that is reserved for some.
    Data,
    /// Nothing is kept; reads as zeroes.
    Hole,
}

/// The beginning of a range that is all of one content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// How many bytes; never zero.
    pub length: u64,
    /// What they are.
    pub content: Content,
}

/// What becomes of the space of a zeroed range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// It is given back.
    Release,
    /// It is reserved, so that writing to it later cannot fail for lack of space.
    Reserve,
}

/// A range of bytes kept somewhere.
///
/// Calls may overlap in time. A write that has returned is seen by every later read; bytes under a write in progress are
/// old or new.
pub trait Store: Send + Sync {
    /// How many bytes there are.
    fn size(&self) -> u64;

    /// Whether calls return without waiting for a disk or a clock, so that an event loop may make them itself.
    fn is_immediate(&self) -> bool;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// Nothing in `buffer` may be used.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError>;

    /// Stores `data` at `offset`.
    ///
    /// # Errors
    /// The range holds old or new bytes.
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), StoreError>;

    /// Makes everything written so far as durable as this store can.
    ///
    /// # Errors
    /// Some of it may be lost in a crash.
    fn flush(&self) -> Result<(), StoreError>;

    /// Gives up the content of a range, which becomes old bytes or zeroes.
    ///
    /// # Errors
    /// Nothing was necessarily given up.
    fn trim(&self, offset: u64, length: u64) -> Result<(), StoreError>;

    /// Makes a range read as zeroes.
    ///
    /// # Errors
    /// The range holds old bytes or zeroes.
    fn write_zeroes(&self, offset: u64, length: u64, space: Space) -> Result<(), StoreError>;

    /// What begins at `offset`, looking no further than `length` bytes, which must not be zero. Calling everything
    /// [`Content::Data`] is always true, only less useful.
    ///
    /// # Errors
    /// The store could not find out.
    fn extent_at(&self, offset: u64, length: u64) -> Result<Extent, StoreError>;
}

impl<S: Store + ?Sized> Store for Arc<S> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn is_immediate(&self) -> bool {
        (**self).is_immediate()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        (**self).read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        (**self).write_at(offset, data)
    }

    fn flush(&self) -> Result<(), StoreError> {
        (**self).flush()
    }

    fn trim(&self, offset: u64, length: u64) -> Result<(), StoreError> {
        (**self).trim(offset, length)
    }

    fn write_zeroes(&self, offset: u64, length: u64, space: Space) -> Result<(), StoreError> {
        (**self).write_zeroes(offset, length, space)
    }

    fn extent_at(&self, offset: u64, length: u64) -> Result<Extent, StoreError> {
        (**self).extent_at(offset, length)
    }
}
