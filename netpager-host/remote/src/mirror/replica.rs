//! What a mirror must know of a member besides its bytes.

use std::sync::Arc;

use store::{Extent, Space, StateExtent, Store, StoreError, Usage};

/// A store that can say whether it has lost what it held. As long as [`Replica::incarnation`] is the same, it shows every write
/// that it acknowledged, flushed or not, as soon as it answers at all.
pub trait Replica: Store {
    /// A number that changes when the contents were lost, as by a memory server that was restarted.
    fn incarnation(&self) -> u64 {
        0
    }

    /// Says that the loss is known and all contents will be written again, so that the store may be used.
    fn accept_loss(&self) {}
}

/// A store that keeps its contents as long as this process lives.
#[derive(Clone)]
pub struct Plain(pub Arc<dyn Store>);

impl Replica for Plain {}

impl Store for Plain {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn is_immediate(&self) -> bool {
        self.0.is_immediate()
    }

    fn is_zeroing_fast(&self) -> bool {
        self.0.is_zeroing_fast()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.0.read_at(offset, buffer)
    }

    fn append_to(&self, offset: u64, length: usize, out: &mut Vec<u8>) -> Result<(), StoreError> {
        self.0.append_to(offset, length, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        self.0.write_at(offset, data)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.0.flush()
    }

    fn trim(&self, offset: u64, length: u64) -> Result<(), StoreError> {
        self.0.trim(offset, length)
    }

    fn write_zeroes(&self, offset: u64, length: u64, space: Space) -> Result<(), StoreError> {
        self.0.write_zeroes(offset, length, space)
    }

    fn extent_at(&self, offset: u64, length: u64) -> Result<Extent, StoreError> {
        self.0.extent_at(offset, length)
    }

    fn state_at(&self, offset: u64, length: u64) -> Result<StateExtent, StoreError> {
        self.0.state_at(offset, length)
    }

    fn usage(&self) -> Usage {
        self.0.usage()
    }
}
