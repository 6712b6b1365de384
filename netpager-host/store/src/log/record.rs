//! What the log is made of: records, one for each page that is written and for each range that is zeroed.
//!
//! ```text
//!  0  checksum of the header: CRC32C of the segment's salt and of all that follows here
//!  4  checksum of the data
//!  8  number of the record, one more than that of the record before
//! 16  page, with the kind of the record in the top byte
//! 24  page and kind of the record before
//! 32  how many pages
//! 36  how many pages of the record before
//! 40  how many bytes of this segment were durable when the record was written
//! 44  zero
//! 48  4096 bytes of data, if the record is of kind Data
//! ```
//!
//! All numbers are little-endian. That each record says what the one before was about is what makes a damaged header an
//! error of one page: without it nobody could say whose content is missing, and an older one would pass for it. The salt is
//! secret, so that no client can write a page that looks like records, for the day records are searched for.

use crate::PAGE_BYTES;

/// Bytes before the data.
pub(super) const HEADER_BYTES: usize = 48;
/// Bytes of a record with a page.
pub(super) const DATA_BYTES: usize = HEADER_BYTES + PAGE_BYTES;
/// Records begin at multiples of this.
pub(super) const UNIT_BYTES: usize = 16;
const PAGE_BITS: u32 = 56;

/// What a record says of its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The page holds the data that follows.
    Data = 1,
    /// The pages are zeroes.
    Zero = 2,
    /// What the page held was damaged.
    Lost = 3,
    /// Nothing: only that so much is durable.
    Mark = 4,
    /// Nothing: the segment ends here.
    Seal = 5,
}

/// Which pages a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) kind: Kind,
    pub(super) page: u64,
    pub(super) count: u32,
}

impl Subject {
    /// Of a record that is about no page.
    pub(super) const fn none(kind: Kind) -> Self {
        Self { kind, page: 0, count: 0 }
    }

    /// How long a record about it is.
    pub(super) const fn record_bytes(self) -> usize {
        if matches!(self.kind, Kind::Data) { DATA_BYTES } else { HEADER_BYTES }
    }

    fn pack(self) -> (u64, u32) {
        ((self.kind as u64) << PAGE_BITS | self.page, self.count)
    }

    fn unpack(packed: u64, count: u32) -> Option<Self> {
        let kinds = [Kind::Data, Kind::Zero, Kind::Lost, Kind::Mark, Kind::Seal];
        let kind = kinds.into_iter().find(|&kind| kind as u64 == packed >> PAGE_BITS)?;
        Some(Self { kind, page: packed & ((1 << PAGE_BITS) - 1), count })
    }
}

/// A record without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) subject: Subject,
    pub(super) previous: Subject,
    pub(super) number: u64,
    pub(super) durable_bytes: u32,
    data_checksum: u32,
}

impl Record {
    pub(super) fn new(subject: Subject, previous: Subject, number: u64, durable_bytes: u32, data: &[u8]) -> Self {
        Self { subject, previous, number, durable_bytes, data_checksum: crc32c::crc32c(data) }
    }

    /// Writes the header to the end of `out`.
    pub(super) fn encode(&self, salt: u64, out: &mut Vec<u8>) {
        let start = out.len();
        let ((page, count), (previous, previous_count)) = (self.subject.pack(), self.previous.pack());
        out.extend([0; 4]);
        out.extend(self.data_checksum.to_le_bytes());
        [self.number, page, previous].iter().for_each(|field| out.extend(field.to_le_bytes()));
        [count, previous_count, self.durable_bytes, 0].iter().for_each(|field| out.extend(field.to_le_bytes()));
        let checksum = checksum(salt, &out[start + 4..]);
        out[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads a header; `None` if there is none.
    pub(super) fn decode(bytes: &[u8], salt: u64) -> Option<Self> {
        let bytes = bytes.first_chunk::<HEADER_BYTES>()?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        if word(0) != checksum(salt, &bytes[4..]) {
            return None;
        }
        Some(Self {
            subject: Subject::unpack(long(16), word(32))?,
            previous: Subject::unpack(long(24), word(36))?,
            number: long(8),
            durable_bytes: word(40),
            data_checksum: word(4),
        })
    }

    /// Whether `data` is what the record was written with.
    pub(super) fn matches(&self, data: &[u8]) -> bool {
        crc32c::crc32c(data) == self.data_checksum
    }
}

pub(super) fn checksum(salt: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_and_not_at_all_if_a_bit_is_wrong() {
        let subject = Subject { kind: Kind::Data, page: 0x12_3456_789a, count: 1 };
        let previous = Subject { kind: Kind::Zero, page: 7, count: u32::MAX };
        let record = Record::new(subject, previous, 99, 4096, b"data");
        let mut bytes = Vec::new();
        record.encode(5, &mut bytes);
        assert_eq!(bytes.len(), HEADER_BYTES);
        assert_eq!(Record::decode(&bytes, 5), Some(record));
        assert!(record.matches(b"data") && !record.matches(b"date"));
        assert_eq!(Record::decode(&bytes, 6), None, "another segment's");
        for bit in 0..HEADER_BYTES * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&bytes, 5), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(Record::decode(&bytes[1..], 5), None);
    }
}
