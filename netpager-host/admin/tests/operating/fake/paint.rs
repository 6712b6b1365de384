//! A store without content, whose states look like those of a store in use.

use admin::observed::ExportState;
use store::{Content, Extent, Space, State, StateExtent, Store, StoreError};

/// The store of an export.
pub(crate) struct Painted(pub(crate) ExportState);

/// A number that looks random and is always the same for the same place.
fn noise(place: u64) -> u64 {
    let mixed = (place ^ (place >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40
}

impl Store for Painted {
    fn size(&self) -> u64 {
        self.0.size
    }

    fn is_immediate(&self) -> bool {
        true
    }

    fn read_at(&self, _: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        buffer.fill(0);
        Ok(())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn trim(&self, _: u64, _: u64) -> Result<(), StoreError> {
        Ok(())
    }

    fn write_zeroes(&self, _: u64, _: u64, _: Space) -> Result<(), StoreError> {
        Ok(())
    }

    fn extent_at(&self, _: u64, length: u64) -> Result<Extent, StoreError> {
        Ok(Extent { length, content: Content::Data })
    }

    /// Runs of a 512th of the export: dense at the beginning, thin towards the end.
    fn state_at(&self, offset: u64, length: u64) -> Result<StateExtent, StoreError> {
        let run = (self.0.size / 512).max(4096);
        let index = offset / run;
        let state = match (self.0.store.split(':').next().unwrap_or_default(), noise(index / 5), noise(index)) {
            (_, region, _) if region % 512 < index => State::empty(),
            ("compressed", region, fine) if region % 3 == 0 || fine % 7 == 0 => State::COMPRESSED,
            ("file", _, fine) if fine % 11 == 0 => State::FILE | State::DIRTY,
            ("file", region, _) if region % 9 == 0 => State::RESERVED,
            ("file", ..) => State::FILE,
            ("mirror" | "nbd", ..) => State::REMOTE,
            (_, _, fine) if fine % 13 == 0 => State::empty(),
            _ => State::RESIDENT,
        };
        Ok(StateExtent { length: length.min((index + 1) * run - offset), state })
    }
}
