//! A block request: what the caller may ask for, checked against what the disk can do, and its bytes for the device.
//!
//! Every check happens here, before a descriptor is written, so that a request that was accepted can only fail by the
//! device's doing.

use crate::{Limits, SubmitError};
use core::sync::atomic::Ordering::Relaxed;
use virtio::{Buffer, Dma, Region, Segment};
use virtio_spec::blk::{S, T};

/// The unit of disk addresses, whatever the disk's block size.
pub const SECTOR_BYTES: u32 = 512;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Disk to memory.
    Read,
    /// Memory to disk.
    Write,
    /// Make completed writes durable. `Unsupported` means that they are durable when they complete.
    Flush,
    /// The sectors' contents are not needed any more.
    Discard { sectors: u32 },
    /// The sectors shall read as zeroes; with `unmap` the device may free their storage.
    WriteZeroes { sectors: u32, unmap: bool },
}

/// Bytes of per-slot memory: header, range and status, on a cache line of their own.
pub(crate) const SLOT_BYTES: usize = 64;
const HEADER_BYTES: u32 = 16;
const RANGE_OFFSET: usize = 16;
const RANGE_BYTES: u32 = 16;
const STATUS_OFFSET: usize = 32;
/// A status no device writes: what is found if it wrote none.
const STATUS_UNWRITTEN: u8 = 0xff;

/// A checked request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    kind: T,
    sector: u64,
    /// Sectors and flags of a discard or write-zeroes request.
    range: Option<(u32, u32)>,
}

impl Request {
    pub(crate) fn check(limits: &Limits, op: Op, sector: u64, segments: &[Segment]) -> Result<Self, SubmitError> {
        if limits.read_only && !matches!(op, Op::Read | Op::Flush) {
            return Err(SubmitError::ReadOnly);
        }
        match op {
            Op::Read | Op::Write => check_transfer(limits, sector, segments)?,
            _ if !segments.is_empty() => return Err(SubmitError::UnexpectedSegments),
            Op::Flush if limits.flush => {}
            Op::Discard { sectors } => check_range(limits, sector, sectors, limits.max_discard_sectors)?,
            Op::WriteZeroes { sectors, .. } => check_range(limits, sector, sectors, limits.max_write_zeroes_sectors)?,
            Op::Flush => return Err(SubmitError::Unsupported),
        }
        Ok(match op {
            Op::Read => Self { kind: T::In, sector, range: None },
            Op::Write => Self { kind: T::Out, sector, range: None },
            // The sector of a flush is reserved and zero; so is that of a range request, which carries its own.
            Op::Flush => Self { kind: T::Flush, sector: 0, range: None },
            Op::Discard { sectors } => Self { kind: T::Discard, sector, range: Some((sectors, 0)) },
            Op::WriteZeroes { sectors, unmap } => {
                let flags = u32::from(unmap && limits.write_zeroes_may_unmap);
                Self { kind: T::WriteZeroes, sector, range: Some((sectors, flags)) }
            }
        })
    }

    /// Writes header, range and status of the request into its slot's memory and lists all its buffers.
    pub(crate) fn write<'a, D: Dma>(
        &self,
        memory: &Region<D>,
        slot: u16,
        segments: &'a [Segment],
    ) -> impl Iterator<Item = Buffer> + Clone + use<'a, D> {
        let base = usize::from(slot) * SLOT_BYTES;
        memory.store_u32(base, self.kind.into(), Relaxed);
        memory.store_u32(base + 4, 0, Relaxed);
        memory.store_u64(base + 8, if self.range.is_some() { 0 } else { self.sector }, Relaxed);
        memory.store_u8(base + STATUS_OFFSET, STATUS_UNWRITTEN, Relaxed);
        if let Some((sectors, flags)) = self.range {
            memory.store_u64(base + RANGE_OFFSET, self.sector, Relaxed);
            memory.store_u32(base + RANGE_OFFSET + 8, sectors, Relaxed);
            memory.store_u32(base + RANGE_OFFSET + 12, flags, Relaxed);
        }
        let part = |offset: usize, bytes: u32| Segment::new(memory.device_address(base + offset), bytes);
        let header = Buffer::Readable(part(0, HEADER_BYTES));
        let range = self.range.map(|_| Buffer::Readable(part(RANGE_OFFSET, RANGE_BYTES)));
        let status = Buffer::Writable(part(STATUS_OFFSET, 1));
        let device_writes = self.kind == T::In;
        let data = segments.iter().map(move |&segment| match device_writes {
            true => Buffer::Writable(segment),
            false => Buffer::Readable(segment),
        });
        core::iter::once(header).chain(range).chain(data).chain([status])
    }
}

/// The status the device left in a slot.
pub(crate) fn status<D: Dma>(memory: &Region<D>, slot: u16) -> Result<(), crate::DeviceError> {
    let byte = memory.load_u8(usize::from(slot) * SLOT_BYTES + STATUS_OFFSET, Relaxed);
    match S::try_from(byte) {
        Ok(S::Ok) => Ok(()),
        Ok(S::Ioerr) => Err(crate::DeviceError::Io),
        Ok(S::Unsupp) => Err(crate::DeviceError::Unsupported),
        _ => Err(crate::DeviceError::UnknownStatus(byte)),
    }
}

fn check_transfer(limits: &Limits, sector: u64, segments: &[Segment]) -> Result<(), SubmitError> {
    let max = limits.max_segments;
    if segments.len() > usize::from(max) {
        return Err(SubmitError::TooManySegments { count: segments.len(), max });
    }
    let mut bytes = 0;
    for segment in segments {
        let len = segment.len;
        if len == 0 {
            return Err(SubmitError::EmptySegment);
        }
        if len > limits.max_segment_bytes {
            return Err(SubmitError::SegmentTooLong { len, max: limits.max_segment_bytes });
        }
        bytes += u64::from(len);
    }
    if bytes == 0 {
        return Err(SubmitError::Empty);
    }
    check_place(limits, sector, bytes)
}

fn check_range(limits: &Limits, sector: u64, sectors: u32, max: Option<u32>) -> Result<(), SubmitError> {
    let max = max.ok_or(SubmitError::Unsupported)?;
    if sectors == 0 {
        return Err(SubmitError::Empty);
    }
    if sectors > max {
        return Err(SubmitError::TooManySectors { sectors, max });
    }
    check_place(limits, sector, u64::from(sectors) * u64::from(SECTOR_BYTES))
}

fn check_place(limits: &Limits, sector: u64, bytes: u64) -> Result<(), SubmitError> {
    let block_sectors = u64::from(limits.block_bytes / SECTOR_BYTES);
    let block_bytes = limits.block_bytes;
    if !sector.is_multiple_of(block_sectors) || !bytes.is_multiple_of(u64::from(block_bytes)) {
        return Err(SubmitError::Misaligned { sector, bytes, block_bytes });
    }
    let sectors = bytes / u64::from(SECTOR_BYTES);
    let capacity = limits.capacity_sectors;
    match sector.checked_add(sectors) {
        Some(end) if end <= capacity => Ok(()),
        _ => Err(SubmitError::OutOfRange { sector, sectors, capacity }),
    }
}
