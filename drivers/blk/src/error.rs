//! What can go wrong with a block request, and whose fault it is: the caller's before it is submitted, the device's
//! after.

use virtio::Stopped;

/// Why a request was not accepted. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error("the queue has no room until a request completes")]
    Full,
    #[error("{count} segments are more than the {max} the device takes")]
    TooManySegments { count: usize, max: u16 },
    #[error("a segment of {len} bytes is more than the {max} the device takes")]
    SegmentTooLong { len: u32, max: u32 },
    #[error("a segment of length zero")]
    EmptySegment,
    #[error("the request has no data")]
    Empty,
    #[error("a flush, discard or write-zeroes request takes no segments")]
    UnexpectedSegments,
    #[error("sector {sector} or {bytes} bytes is not a multiple of the block size, {block_bytes} bytes")]
    Misaligned { sector: u64, bytes: u64, block_bytes: u32 },
    #[error("sectors {sector}+{sectors} are outside the disk of {capacity} sectors")]
    OutOfRange { sector: u64, sectors: u64, capacity: u64 },
    #[error("{sectors} sectors are more than the {max} of one such request")]
    TooManySectors { sectors: u32, max: u32 },
    #[error("the device does not offer this operation")]
    Unsupported,
    #[error("the disk is read-only")]
    ReadOnly,
    #[error("the device is down: {}", .0.failure)]
    Down(Stopped),
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    #[error("the device reports an I/O error")]
    Io,
    #[error("the device does not support the request")]
    Unsupported,
    #[error("the device completed the request with unknown status {0:#x}")]
    UnknownStatus(u8),
    #[error("the device went down with the request in flight: {}", .0.failure)]
    Lost(Stopped),
}
