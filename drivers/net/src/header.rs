//! `virtio_net_hdr`, which precedes every frame (virtio 1.3 §5.1.6).
//!
//! Checksum and segmentation offload would live here: they are nothing but fields of this header. Neither is
//! negotiated, so a transmitted header is all zero and of a received one only `num_buffers` has a meaning.

use core::{mem::size_of, sync::atomic::Ordering::Relaxed};
use virtio::{Dma, Region, Segment};
use virtio_spec::net::Hdr;

/// Bytes of the header, which for a modern device has `num_buffers` whether or not buffers are merged.
pub const HEADER_BYTES: u32 = size_of::<Hdr>() as u32;

/// Bytes per transmit slot in the header memory.
pub(crate) const SLOT_BYTES: usize = 16;

/// Writes the header of a frame without offloads into its slot's memory and returns where it is.
pub(crate) fn write_plain<D: Dma>(memory: &Region<D>, slot: u16) -> Segment {
    let base = usize::from(slot) * SLOT_BYTES;
    // flags and gso_type NONE, no checksum to fill in; num_buffers is zero on transmission.
    memory.store_u64(base, 0, Relaxed);
    memory.store_u32(base + 8, 0, Relaxed);
    Segment::new(memory.device_address(base), HEADER_BYTES)
}

/// Over how many buffers a received frame is spread.
pub(crate) fn buffer_count(header: [u8; HEADER_BYTES as usize]) -> u16 {
    u16::from_le_bytes([header[10], header[11]])
}

#[cfg(test)]
mod tests {
    use super::{HEADER_BYTES, buffer_count};

    #[test]
    fn the_header_is_the_one_of_the_specification() {
        assert_eq!(HEADER_BYTES, 12);
        assert_eq!(core::mem::offset_of!(virtio_spec::net::Hdr, num_buffers), 10);
        assert_eq!(buffer_count([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 1]), 0x103);
    }
}
