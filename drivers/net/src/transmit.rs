//! The transmit queue: each frame is the driver's header and the caller's segments.

use crate::{DeviceError, SendError, header};
use virtio::{AddError, Buffer, Dma, Region, Ring, Segment};

/// A frame whose memory came back. Each accepted frame comes back once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxDone {
    pub token: u64,
    pub result: Result<(), DeviceError>,
}

/// The transmit ring and its headers.
#[derive(Debug)]
pub(crate) struct Transmit<D: Dma> {
    pub(crate) ring: Ring<D>,
    pub(crate) headers: Region<D>,
    max_frame_bytes: u32,
}

impl<D: Dma> Transmit<D> {
    pub(crate) fn new(ring: Ring<D>, headers: Region<D>, max_frame_bytes: u32) -> Self {
        Self { ring, headers, max_frame_bytes }
    }

    /// Most segments of one frame.
    pub(crate) fn max_segments(&self) -> u16 {
        self.ring.max_buffers() - 1
    }

    pub(crate) fn send(&mut self, token: u64, segments: &[Segment]) -> Result<(), SendError> {
        let max = self.max_segments();
        if segments.len() > usize::from(max) {
            return Err(SendError::TooManySegments { count: segments.len(), max });
        }
        let bytes: u64 = segments.iter().map(|segment| u64::from(segment.len)).sum();
        if bytes == 0 {
            return Err(SendError::Empty);
        }
        if bytes > self.max_frame_bytes.into() {
            return Err(SendError::TooLong { bytes, max: self.max_frame_bytes });
        }
        let slot = self.ring.next_slot().ok_or(SendError::Full)?;
        let header = header::write_plain(&self.headers, slot);
        let buffers = core::iter::once(header).chain(segments.iter().copied()).map(Buffer::Readable);
        self.ring.add(token, buffers).map_err(|error| match error {
            AddError::EmptyBuffer => SendError::EmptySegment,
            // Everything else was checked above.
            _ => SendError::Full,
        })
    }
}
