//! The receive queue: which buffers hold which frame.
//!
//! With merged buffers, the header of the first one says how many there are. That header is in the caller's memory,
//! which the driver cannot see, so the caller shows it; and as the device could change it any time, it is looked at
//! once.

use crate::{DeviceError, HEADER_BYTES, PostError, header};
use virtio::{Buffer, Dma, Failure, Ring, RingError, Segment, Used};

/// A receive buffer that came back. Each posted buffer comes back once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxDone {
    pub token: u64,
    pub result: Result<RxPart, DeviceError>,
}

/// A frame, or the part of it that is in one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxPart {
    /// Bytes the device wrote to the buffer, from its start; in the first buffer of a frame these include the
    /// [`HEADER_BYTES`] of the header. Never more than the buffer holds.
    pub len: u32,
    /// The frame starts in this buffer, after its header.
    pub first: bool,
    /// How many of the buffers that come next belong to the same frame.
    pub more: u16,
}

/// The receive ring and the frame that is being taken from it.
#[derive(Debug)]
pub(crate) struct Receive<D: Dma> {
    pub(crate) ring: Ring<D>,
    mergeable: bool,
    /// Buffers that the frame being taken still has.
    remaining: u16,
    /// The least a buffer must hold.
    min_bytes: u32,
}

/// A token whose buffer came back, and how.
type Taken = (u64, Result<RxPart, Failure>);

impl<D: Dma> Receive<D> {
    pub(crate) fn new(ring: Ring<D>, mergeable: bool, whole_frame_bytes: u32) -> Self {
        let min_bytes = if mergeable { HEADER_BYTES } else { whole_frame_bytes };
        Self { ring, mergeable, remaining: 0, min_bytes }
    }

    pub(crate) fn min_bytes(&self) -> u32 {
        self.min_bytes
    }

    pub(crate) fn post(&mut self, token: u64, segment: Segment) -> Result<(), PostError> {
        if segment.len < self.min_bytes {
            return Err(PostError::TooSmall { len: segment.len, min: self.min_bytes });
        }
        match self.ring.add(token, core::iter::once(Buffer::Writable(segment))) {
            Ok(()) => Ok(()),
            // One buffer of at least header length: nothing else can be wrong with it.
            Err(_) => Err(PostError::Full),
        }
    }

    /// Takes the next buffer the device filled. A header that makes no sense fails the buffer it is in.
    pub(crate) fn take(&mut self, read_header: impl FnOnce(u64) -> [u8; HEADER_BYTES as usize]) -> Result<Option<Taken>, RingError> {
        let Some(used) = self.ring.pop()? else { return Ok(None) };
        let part = if self.remaining > 0 {
            self.remaining -= 1;
            Ok(RxPart { len: used.len, first: false, more: self.remaining })
        } else {
            self.start_frame(used, read_header)
        };
        Ok(Some((used.token, part)))
    }

    fn start_frame(&mut self, used: Used, read_header: impl FnOnce(u64) -> [u8; HEADER_BYTES as usize]) -> Result<RxPart, Failure> {
        if used.len < HEADER_BYTES {
            return Err(Failure::Malformed("a frame shorter than its header"));
        }
        if self.mergeable {
            let buffers = header::buffer_count(read_header(used.token));
            if buffers == 0 {
                return Err(Failure::Malformed("a frame in no buffers"));
            }
            if buffers > self.ring.size() {
                return Err(Failure::Malformed("a frame in more buffers than the queue holds"));
            }
            self.remaining = buffers - 1;
        }
        Ok(RxPart { len: used.len, first: true, more: self.remaining })
    }
}
