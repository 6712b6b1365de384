//! The superblock page: how a client tells its own memory from a server that has lost it.
//!
//! NBD has no notion of "I restarted and am empty". So the pager writes this page at offset 0 when it attaches, and reads
//! it on **every** reconnect: if it is gone or another's, the memory is lost and must be reported as lost, never handed
//! out as zeroes. It is ordinary data to any NBD server.

use crc::{CRC_32_ISCSI, Crc, Table};
use thiserror::Error;
use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes in the page, whatever the guest's page size.
pub const SUPERBLOCK_BYTES: usize = 4096;
/// The first eight bytes.
pub const SUPERBLOCK_MAGIC: [u8; 8] = *b"NETPAGER";
/// The only layout there is so far.
pub const SUPERBLOCK_VERSION: u32 = 1;

const CRC32C: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

/// One page of bytes.
pub type SuperblockPage = [u8; SUPERBLOCK_BYTES];

/// Who owns the export and how it is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Random for each boot of the guest.
    pub boot_id: [u8; 16],
    /// Counts the attachments of this boot.
    pub epoch: u64,
    /// Bytes in an extent of the pager's allocator; a power of two of at least a page.
    pub extent_bytes: u64,
}

/// On the wire. The rest of the page is zeroes.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Layout {
    magic: [u8; 8],
    version: U32,
    /// CRC-32C of the whole page with these four bytes zero.
    checksum: U32,
    boot_id: [u8; 16],
    epoch: U64,
    extent_bytes: U64,
}

/// What page 0 of an export turned out to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// Nothing: a new export, or a server that lost everything.
    Empty,
    /// This boot's superblock.
    Ours(Superblock),
    /// Another boot's or another guest's.
    Foreign(Superblock),
}

/// Why a page is no superblock. Its data may be someone's: refuse it rather than overwrite it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadSuperblock {
    /// The page holds something else.
    #[error("the first page holds something that is no superblock")]
    Magic,
    /// Written by a later version of this protocol.
    #[error("superblock version {0} is not known")]
    Version(u32),
    /// Torn or corrupted.
    #[error("the superblock's checksum is wrong")]
    Checksum,
    /// The checksum is right but the extent size makes no sense.
    #[error("{0} is no valid extent size")]
    ExtentSize(u64),
}

impl Superblock {
    /// Writes the page.
    pub fn encode(&self, page: &mut SuperblockPage) {
        page.fill(0);
        let mut layout = Layout {
            magic: SUPERBLOCK_MAGIC,
            version: U32::new(SUPERBLOCK_VERSION),
            checksum: U32::new(0),
            boot_id: self.boot_id,
            epoch: U64::new(self.epoch),
            extent_bytes: U64::new(self.extent_bytes),
        };
        page[..size_of::<Layout>()].copy_from_slice(layout.as_bytes());
        layout.checksum = U32::new(CRC32C.checksum(page));
        page[..size_of::<Layout>()].copy_from_slice(layout.as_bytes());
    }

    /// Reads a page; `None` if it is all zeroes.
    ///
    /// # Errors
    /// Why it is not a superblock.
    pub fn decode(page: &SuperblockPage) -> Result<Option<Self>, BadSuperblock> {
        if page.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let (layout, _) = Layout::read_from_prefix(page).map_err(|_| BadSuperblock::Magic)?;
        if layout.magic != SUPERBLOCK_MAGIC {
            return Err(BadSuperblock::Magic);
        }
        if checksum_of(page) != layout.checksum.get() {
            return Err(BadSuperblock::Checksum);
        }
        if layout.version.get() != SUPERBLOCK_VERSION {
            return Err(BadSuperblock::Version(layout.version.get()));
        }
        let extent_bytes = layout.extent_bytes.get();
        if !extent_bytes.is_power_of_two() || extent_bytes < SUPERBLOCK_BYTES as u64 {
            return Err(BadSuperblock::ExtentSize(extent_bytes));
        }
        Ok(Some(Self { boot_id: layout.boot_id, epoch: layout.epoch.get(), extent_bytes }))
    }

    /// Decides what the page at offset 0 means to the guest with this boot id.
    ///
    /// # Errors
    /// The page holds neither nothing nor a superblock.
    pub fn attach(page: &SuperblockPage, boot_id: &[u8; 16]) -> Result<Attachment, BadSuperblock> {
        Ok(match Self::decode(page)? {
            None => Attachment::Empty,
            Some(found) if found.boot_id == *boot_id => Attachment::Ours(found),
            Some(found) => Attachment::Foreign(found),
        })
    }
}

fn checksum_of(page: &SuperblockPage) -> u32 {
    let field = core::mem::offset_of!(Layout, checksum);
    let mut digest = CRC32C.digest();
    digest.update(&page[..field]);
    digest.update(&[0; 4]);
    digest.update(&page[field + 4..]);
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OURS: Superblock = Superblock { boot_id: [7; 16], epoch: 3, extent_bytes: 1 << 20 };

    fn page() -> SuperblockPage {
        let mut page = [0; SUPERBLOCK_BYTES];
        OURS.encode(&mut page);
        page
    }

    #[test]
    fn tells_empty_ours_and_foreign_apart() {
        assert_eq!(Superblock::attach(&[0; SUPERBLOCK_BYTES], &[7; 16]), Ok(Attachment::Empty));
        assert_eq!(Superblock::attach(&page(), &[7; 16]), Ok(Attachment::Ours(OURS)));
        assert_eq!(Superblock::attach(&page(), &[8; 16]), Ok(Attachment::Foreign(OURS)));
    }

    #[test]
    fn someone_elses_data_is_not_taken_for_empty() {
        let mut data = [0; SUPERBLOCK_BYTES];
        data[SUPERBLOCK_BYTES - 1] = 1;
        assert_eq!(Superblock::decode(&data), Err(BadSuperblock::Magic));
    }

    #[test]
    fn the_page_on_the_wire_does_not_change() {
        assert_eq!(page()[..20], *b"NETPAGER\0\0\0\x01\x2b\x8f\x1b\x67\x07\x07\x07\x07");
    }

    proptest! {
        #[test]
        fn survives_the_wire(boot_id: [u8; 16], epoch: u64, shift in 12u32..64) {
            let superblock = Superblock { boot_id, epoch, extent_bytes: 1 << shift };
            let mut page = [0; SUPERBLOCK_BYTES];
            superblock.encode(&mut page);
            prop_assert_eq!(Superblock::decode(&page), Ok(Some(superblock)));
        }

        #[test]
        fn any_flipped_bit_is_noticed(bit in 0..SUPERBLOCK_BYTES * 8) {
            let mut page = page();
            page[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Superblock::decode(&page).is_err());
        }
    }
}
