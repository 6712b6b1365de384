//! What can go wrong with a packet buffer, and whose fault it is: the caller's before it is accepted, the device's
//! after.

use virtio::Stopped;

/// Why a receive buffer was not accepted. It still belongs to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    #[error("the receive queue is full")]
    Full,
    #[error("a receive buffer of {len} bytes is too small for header and frame, {min} bytes")]
    TooSmall { len: u32, min: u32 },
    #[error("the device is down: {}", .0.failure)]
    Down(Stopped),
}

/// Why a frame was not accepted. Its memory still belongs to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("the transmit queue is full")]
    Full,
    #[error("a frame without bytes")]
    Empty,
    #[error("a segment of length zero")]
    EmptySegment,
    #[error("{count} segments are more than the {max} this driver takes")]
    TooManySegments { count: usize, max: u16 },
    #[error("a frame of {bytes} bytes is more than the {max} the network takes")]
    TooLong { bytes: u64, max: u32 },
    #[error("the device is down: {}", .0.failure)]
    Down(Stopped),
}

/// Why a buffer came back without its packet received or sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    #[error("the device went down: {}", .0.failure)]
    Lost(Stopped),
}
