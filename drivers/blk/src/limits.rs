//! What a disk can do: its negotiated features and configuration, read once and made sense of.
//!
//! Absent limits become the values the specification gives them, so that no other code asks which features there are.

use crate::SECTOR_BYTES;
use virtio::{InitError, Routed, Session};
use virtio_spec::blk::F;

/// Fields of `virtio_blk_config` (virtio 1.3 §5.2.4).
mod field {
    pub(super) const CAPACITY: usize = 0;
    pub(super) const SIZE_MAX: usize = 8;
    pub(super) const SEG_MAX: usize = 12;
    pub(super) const BLK_SIZE: usize = 20;
    pub(super) const WRITEBACK: usize = 32;
    pub(super) const MAX_DISCARD_SECTORS: usize = 36;
    pub(super) const MAX_WRITE_ZEROES_SECTORS: usize = 48;
    pub(super) const WRITE_ZEROES_MAY_UNMAP: usize = 56;
}

/// The features this driver makes use of, if they are offered.
pub(crate) const WANTED: u64 = bits(F::SIZE_MAX)
    | bits(F::SEG_MAX)
    | bits(F::RO)
    | bits(F::BLK_SIZE)
    | bits(F::FLUSH)
    | bits(F::CONFIG_WCE)
    | bits(F::DISCARD)
    | bits(F::WRITE_ZEROES)
    | INDIRECT
    | EVENT_INDEX;
pub(crate) const INDIRECT: u64 = bits(F::INDIRECT_DESC);
pub(crate) const EVENT_INDEX: u64 = bits(F::EVENT_IDX);

const fn bits(feature: F) -> u64 {
    feature.bits().to_ne() as u64
}

/// What the disk is and takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size in sectors of 512 bytes. May change while the device runs.
    pub capacity_sectors: u64,
    /// Logical block size: requests start and end on its multiples.
    pub block_bytes: u32,
    /// Most segments of one read or write.
    pub max_segments: u16,
    /// Most bytes of one segment.
    pub max_segment_bytes: u32,
    pub read_only: bool,
    /// There is a flush request. Without it, a completed write is durable.
    pub flush: bool,
    /// A volatile cache is in use, so that durability takes a flush.
    pub writeback: bool,
    /// Most sectors of one discard; `None` if the device has no discard.
    pub max_discard_sectors: Option<u32>,
    /// Most sectors of one write-zeroes; `None` if the device has no write-zeroes.
    pub max_write_zeroes_sectors: Option<u32>,
    /// Write-zeroes may free storage.
    pub write_zeroes_may_unmap: bool,
}

impl Limits {
    pub(crate) fn read<T: Routed>(session: &Session<T>) -> Result<Self, InitError> {
        let limits = session.config_snapshot(Self::read_fields)?;
        if !limits.block_bytes.is_power_of_two() || limits.block_bytes < SECTOR_BYTES {
            return Err(InitError::ConfigInvalid("blk_size is not a power of two of at least 512"));
        }
        if limits.max_segment_bytes == 0 {
            return Err(InitError::ConfigInvalid("size_max is zero"));
        }
        Ok(limits)
    }

    fn read_fields<T: Routed>(session: &Session<T>) -> Result<Self, InitError> {
        let field = |feature: F, offset: usize| -> Result<Option<u32>, InitError> {
            if session.has(bits(feature)) { session.config(offset).map(Some) } else { Ok(None) }
        };
        let flag = |feature: F, offset: usize| -> Result<Option<bool>, InitError> {
            if session.has(bits(feature)) { Ok(Some(session.config::<u8>(offset)? != 0)) } else { Ok(None) }
        };
        let flush = session.has(bits(F::FLUSH));
        // A device that names no limit takes one segment; some name zero and mean the same.
        let segments = field(F::SEG_MAX, field::SEG_MAX)?.unwrap_or(1).clamp(1, u16::MAX.into());
        Ok(Self {
            capacity_sectors: read_capacity(session)?,
            block_bytes: field(F::BLK_SIZE, field::BLK_SIZE)?.unwrap_or(SECTOR_BYTES),
            max_segments: segments as u16,
            max_segment_bytes: field(F::SIZE_MAX, field::SIZE_MAX)?.unwrap_or(u32::MAX),
            read_only: session.has(bits(F::RO)),
            flush,
            // Without CONFIG_WCE the cache is volatile exactly if there is a flush (§5.2.5.1).
            writeback: flag(F::CONFIG_WCE, field::WRITEBACK)?.unwrap_or(flush),
            max_discard_sectors: field(F::DISCARD, field::MAX_DISCARD_SECTORS)?,
            max_write_zeroes_sectors: field(F::WRITE_ZEROES, field::MAX_WRITE_ZEROES_SECTORS)?,
            write_zeroes_may_unmap: flag(F::WRITE_ZEROES, field::WRITE_ZEROES_MAY_UNMAP)?.unwrap_or(false),
        })
    }

    /// Reads again what may change. Returns whether it did.
    pub(crate) fn refresh<T: Routed>(&mut self, session: &Session<T>) -> Result<bool, InitError> {
        let capacity = session.config_snapshot(read_capacity)?;
        Ok(core::mem::replace(&mut self.capacity_sectors, capacity) != capacity)
    }
}

/// Two halves, as configuration space promises no more than 32 bits at a time; the snapshot keeps them together.
fn read_capacity<T: Routed>(session: &Session<T>) -> Result<u64, InitError> {
    let low: u32 = session.config(field::CAPACITY)?;
    let high: u32 = session.config(field::CAPACITY + 4)?;
    Ok(u64::from(high) << 32 | u64::from(low))
}
