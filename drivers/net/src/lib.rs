//! The virtio network device.
//!
//! Buffers in, packets out, and the other way round: the driver copies nothing, allocates nothing once it is built and
//! never touches packet memory, which belongs to the caller (a kernel that shares it with a network pager). Below it
//! is the `virtio` crate; above it the kernel's packet-ring glue.
//!
//! Receiving: [`Net::post_rx`] buffers, [`Net::kick_rx`], and on an interrupt [`Net::rx`] until `None`, then
//! [`Net::rearm_rx`], and again if that says there is more. Sending: [`Net::tx`], [`Net::kick_tx`], [`Net::tx_done`].
//!
//! # What lies in a receive buffer
//!
//! The first [`HEADER_BYTES`] (12) bytes are the `virtio_net_hdr` (flags, gso_type, hdr_len, gso_size, csum_start,
//! csum_offset, num_buffers; little endian), the frame starts right after it. [`RxDone::len`] counts header and
//! frame bytes. If `VIRTIO_NET_F_MRG_RXBUF` was negotiated ([`Net::mergeable`]) a frame may go on in further buffers,
//! which are frame bytes from their first byte on, with no header. A transmitted frame has no header in the caller's
//! memory: the driver supplies it.

#![no_std]
#![forbid(unsafe_code)]

mod config;
mod device;
mod error;
mod header;
mod receive;
mod transmit;

pub use config::NetInfo;
pub use device::{Net, NetConfig, NetNotice};
pub use error::{DeviceError, PostError, SendError};
pub use header::HEADER_BYTES;
pub use receive::{RxDone, RxPart};
pub use transmit::TxDone;
