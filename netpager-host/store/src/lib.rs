//! Where the pages of remote memory are kept on the host.
//!
//! A [`Store`] is a fixed number of bytes that can be read, written, zeroed and flushed from several threads at once. It
//! knows nothing of NBD: the service translates. There are stores that keep bytes, and wrappers that are stores themselves:
//!
//! | store | keeps pages in | after a crash | damage is |
//! |---|---|---|---|
//! | [`RamStore`] | an [`Arena`] shared by all exports | nothing is left | not noticed |
//! | [`CompressedStore`] | the same, cold pages compressed by a [`Compressor`] | nothing is left | noticed in compressed pages |
//! | [`FileStore`] | one sparse file others can read | what was flushed is there; after `kill -9` alone, all that was acknowledged | not noticed |
//! | [`LogStore`] | segments of a log, with checksums | the same, and no write is torn | noticed |
//!
//! | wrapper | does |
//! |---|---|
//! | [`LogFilter`] | writes a line for each call |
//! | [`StatsFilter`] | counts calls and how long they took |
//! | [`ErrorFilter`] | fails some calls, to test who is above it |
//! | [`DelayFilter`] | makes calls slow, to test who is above it |
//!
//! In all of them a page of zeroes costs nothing. Every range is checked against [`Store::size`] by the store itself; a
//! caller's mistake is [`StoreError::OutOfRange`].
//!
//! | module | is |
//! |---|---|
//! | `ram` | stores in RAM |
//! | `file`, `log`, [`vfs`] | stores on disk, and what they ask of the system |
//! | `filter` | the wrappers |
//! | `usage`, `error` | what a store says of itself, and what can go wrong |
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod error;
mod file;
mod filter;
mod log;
mod ram;
mod usage;
pub mod vfs;
mod zero;

use std::sync::Arc;

pub use error::StoreError;
pub use file::FileStore;
pub use filter::{Call, CallStats, DelayFilter, Delays, ErrorFilter, ErrorRates, Histogram, LogFilter, StatsFilter, StoreStats};
pub use log::LogStore;
pub use ram::{Arena, ArenaOptions, ArenaUse, CompressedStore, Compressor, CompressorOptions, PAGE_BYTES, RamStore};
pub use usage::{Content, Extent, State, StateExtent, Usage};

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

    /// Whether calls return without waiting for a disk or a clock, so that an event loop may make them itself. The answer
    /// may change from call to call: a store that is short of memory says no until it has some again.
    fn is_immediate(&self) -> bool;

    /// Whether [`Store::write_zeroes`] is quicker than writing as many bytes.
    fn is_zeroing_fast(&self) -> bool {
        true
    }

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// Nothing in `buffer` may be used.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError>;

    /// Reads `length` bytes from `offset` to the end of `out`, which need not be filled with zeroes first.
    ///
    /// # Errors
    /// `out` is as long as it was.
    fn append_to(&self, offset: u64, length: usize, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let start = out.len();
        out.resize(start + length, 0);
        self.read_at(offset, &mut out[start..]).inspect_err(|_| out.truncate(start))
    }

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

    /// Where what begins at `offset` is kept, looking no further than `length` bytes, which must not be zero. A store that
    /// does not say otherwise keeps its data in RAM if it is immediate, and in a file if not.
    ///
    /// # Errors
    /// The store could not find out.
    fn state_at(&self, offset: u64, length: u64) -> Result<StateExtent, StoreError> {
        let extent = self.extent_at(offset, length)?;
        let data = if self.is_immediate() { State::RESIDENT } else { State::FILE };
        let state = if extent.content == Content::Data { data } else { State::empty() };
        Ok(StateExtent { length: extent.length, state })
    }

    /// What the store costs; all zeroes if it does not know.
    fn usage(&self) -> Usage {
        Usage::default()
    }
}

/// Implements [`Store`] for a pointer to one.
macro_rules! store_behind {
    ($pointer:ident) => {
        impl<S: Store + ?Sized> Store for $pointer<S> {
            filter::forward!(*, size, is_immediate, is_zeroing_fast, usage, state_at, extent_at, read, write, flush);
        }
    };
}

store_behind!(Arc);
store_behind!(Box);
