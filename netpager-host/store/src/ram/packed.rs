//! A compressed page: how it is made, and how it is checked.
//!
//! ```text
//! checksum (4 bytes, CRC32C of all that follows) | length (2) | LZ4 block of `length` bytes | zeroes to the slot's end
//! ```
//!
//! The checksum is of the compressed bytes: damage is found before the decompressor sees them.

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

use super::frames::{GRANULE_BYTES, PAGE_BYTES};

const CHECKSUM_BYTES: usize = 4;
const HEADER_BYTES: usize = CHECKSUM_BYTES + 2;
/// A page that needs more than this many granules is not worth the time it takes to decompress.
const GRANULES_MAX: usize = 14;

/// A packed page that is not what was stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damaged;

/// Compresses one page after the other.
pub(super) struct Packer {
    table: CompressTable,
    packed: Vec<u8>,
}

impl Packer {
    pub(super) fn new() -> Self {
        Self { table: CompressTable::small(), packed: vec![0; HEADER_BYTES + get_maximum_output_size(PAGE_BYTES)] }
    }

    /// Compresses a page, in whole granules; `None` if it would not become much smaller.
    pub(super) fn pack(&mut self, page: &[u8]) -> Option<&[u8]> {
        let length = compress_into_with_table(page, &mut self.packed[HEADER_BYTES..], &mut self.table).ok()?;
        let granules = (HEADER_BYTES + length).div_ceil(GRANULE_BYTES);
        if granules > GRANULES_MAX {
            return None;
        }
        let packed = &mut self.packed[..granules * GRANULE_BYTES];
        packed[HEADER_BYTES + length..].fill(0);
        packed[CHECKSUM_BYTES..HEADER_BYTES].copy_from_slice(&(length as u16).to_le_bytes());
        let checksum = crc32c::crc32c(&packed[CHECKSUM_BYTES..HEADER_BYTES + length]);
        packed[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
        Some(packed)
    }
}

/// Decompresses what [`Packer::pack`] made.
pub(super) fn unpack(packed: &[u8], page: &mut [u8; PAGE_BYTES]) -> Result<(), Damaged> {
    let (checksum, rest) = packed.split_first_chunk().ok_or(Damaged)?;
    let (length, _) = rest.split_first_chunk().ok_or(Damaged)?;
    let checked = rest.get(..HEADER_BYTES - CHECKSUM_BYTES + usize::from(u16::from_le_bytes(*length))).ok_or(Damaged)?;
    if crc32c::crc32c(checked) != u32::from_le_bytes(*checksum) {
        return Err(Damaged);
    }
    match decompress_into(&checked[HEADER_BYTES - CHECKSUM_BYTES..], page) {
        Ok(PAGE_BYTES) => Ok(()),
        _ => Err(Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Vec<u8> {
        (0..PAGE_BYTES).map(|at| b"a page of many words, "[at % 22] ^ (at / 400) as u8).collect()
    }

    #[test]
    fn what_was_packed_comes_out_again() {
        let (mut packer, page) = (Packer::new(), text());
        let packed = packer.pack(&page).unwrap();
        assert!(packed.len() % GRANULE_BYTES == 0 && packed.len() < PAGE_BYTES / 4);
        let mut out = [0; PAGE_BYTES];
        unpack(packed, &mut out).unwrap();
        assert_eq!(&out[..], &page);
    }

    #[test]
    fn noise_is_left_alone() {
        let mut state = 1u64;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        });
        let noise: Vec<u8> = noise.take(PAGE_BYTES).collect();
        assert!(Packer::new().pack(&noise).is_none());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut packer = Packer::new();
        let mut packed = packer.pack(&text()).unwrap().to_vec();
        let used = HEADER_BYTES + usize::from(u16::from_le_bytes([packed[4], packed[5]]));
        let mut out = [0; PAGE_BYTES];
        for bit in 0..used * 8 {
            packed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unpack(&packed, &mut out), Err(Damaged), "bit {bit}");
            packed[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(unpack(&packed[..3], &mut out), Err(Damaged));
    }
}
