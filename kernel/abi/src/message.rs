//! A message's bytes: the header, the descriptor that precedes each item, and a cursor for each direction.
//!
//! User messages carry port names where rights go and addresses where memory goes. Inside the kernel the same bytes carry indices into
//! the message's list of capabilities, so one codec serves both sides (`table.rs` builds on it).

use crate::code::Code;

/// Bytes of `mach_msg_header_t`.
pub const HEADER_BYTES: usize = 32;
/// Every message and item starts and ends on this many bytes.
pub const ALIGN: usize = 8;
/// The bit of msgh_bits that says the body carries rights or memory.
pub const COMPLEX: u32 = 0x8000_0000;
/// The largest message that a user may send in line.
pub const MESSAGE_MAX: usize = 64 * 1024;

/// msgt_name values.
pub mod kind {
    pub const BOOLEAN: u8 = 0;
    pub const INTEGER_16: u8 = 1;
    pub const INTEGER_32: u8 = 2;
    pub const CHAR: u8 = 8;
    pub const BYTE: u8 = 9;
    pub const INTEGER_64: u8 = 11;
    pub const STRING: u8 = 12;
    pub const PORT_NAME: u8 = 15;
    pub const MOVE_RECEIVE: u8 = 16;
    pub const MOVE_SEND: u8 = 17;
    pub const MOVE_SEND_ONCE: u8 = 18;
    pub const COPY_SEND: u8 = 19;
    pub const MAKE_SEND: u8 = 20;
    pub const MAKE_SEND_ONCE: u8 = 21;
    /// In a received header: the local port is a payload, not a name.
    pub const PROTECTED_PAYLOAD: u8 = 23;

    /// Whether a type name stands for a right in transit.
    #[must_use]
    pub const fn is_right(name: u8) -> bool {
        name >= MOVE_RECEIVE && name <= MAKE_SEND_ONCE
    }
}

/// `mach_msg_header_t` as values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub bits: u32,
    pub size: u32,
    pub remote: u64,
    pub local: u64,
    pub seqno: u32,
    pub id: i32,
}

impl Header {
    /// Disposition of the destination.
    #[must_use]
    pub const fn remote_kind(&self) -> u8 {
        self.bits as u8
    }

    /// Disposition of the reply port.
    #[must_use]
    pub const fn local_kind(&self) -> u8 {
        (self.bits >> 8) as u8
    }

    /// Whether the body carries rights or memory.
    #[must_use]
    pub const fn is_complex(&self) -> bool {
        self.bits & COMPLEX != 0
    }

    /// msgh_bits of two dispositions.
    #[must_use]
    pub const fn bits(remote: u8, local: u8) -> u32 {
        remote as u32 | (local as u32) << 8
    }

    /// Reads the first 32 bytes.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        Some(Self {
            bits: word(bytes, 0)?,
            size: word(bytes, 4)?,
            remote: u64::from(word(bytes, 8)?),
            local: long(bytes, 16)?,
            seqno: word(bytes, 24)?,
            id: word(bytes, 28)? as i32,
        })
    }

    /// Writes the first 32 bytes. False if there aren't 32.
    pub fn write(&self, bytes: &mut [u8]) -> bool {
        let Some(bytes) = bytes.get_mut(..HEADER_BYTES) else { return false };
        bytes[0..4].copy_from_slice(&self.bits.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.size.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.remote.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.local.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.seqno.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.id.to_le_bytes());
        true
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// `mach_msg_type_t`: what the next item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub name: u8,
    pub bits: u16,
    pub inline: bool,
    pub deallocate: bool,
    pub number: u32,
}

impl Descriptor {
    /// An in-line item.
    #[must_use]
    pub const fn inline(name: u8, bits: u16, number: u32) -> Self {
        Self { name, bits, inline: true, deallocate: false, number }
    }

    /// Its 8 bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        let word = self.name as u32 | (self.bits as u32) << 8 | (self.inline as u32) << 29 | (self.deallocate as u32) << 31;
        (word as u64 | (self.number as u64) << 32).to_le_bytes()
    }

    /// Reads 8 bytes. The long form has the same layout.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        let all = u64::from_le_bytes(bytes);
        Self {
            name: all as u8,
            bits: (all >> 8) as u16,
            inline: all & 1 << 29 != 0,
            deallocate: all & 1 << 31 != 0,
            number: (all >> 32) as u32,
        }
    }

    /// Bytes of all elements together, before padding; none if that can't be.
    #[must_use]
    pub const fn data_bytes(self) -> Option<u64> {
        let bits = self.bits as u64 * self.number as u64;
        if bits.is_multiple_of(8) { Some(bits / 8) } else { None }
    }
}

/// A right in a message: its name for a user, a capability's index in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Port {
    pub name: u32,
    pub kind: u8,
}

impl Port {
    /// No right: the null port.
    pub const NULL: Self = Self { name: 0, kind: kind::COPY_SEND };

    #[must_use]
    pub const fn copy_send(name: u32) -> Self {
        Self { name, kind: kind::COPY_SEND }
    }

    #[must_use]
    pub const fn make_send(name: u32) -> Self {
        Self { name, kind: kind::MAKE_SEND }
    }

    #[must_use]
    pub const fn make_send_once(name: u32) -> Self {
        Self { name, kind: kind::MAKE_SEND_ONCE }
    }

    #[must_use]
    pub const fn move_send(name: u32) -> Self {
        Self { name, kind: kind::MOVE_SEND }
    }
}

/// Memory out of line: an address for a user, a capability's index in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub address: u64,
    pub size: u64,
    pub deallocate: bool,
}

/// An array of rights out of line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    pub address: u64,
    pub count: u32,
    pub kind: u8,
    pub deallocate: bool,
}

/// The message isn't what its id says (MIG_BAD_ARGUMENTS), or doesn't fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl From<Malformed> for Code {
    fn from(_: Malformed) -> Self {
        Self::MIG_BAD_ARGUMENTS
    }
}

/// Writes items after a header.
pub struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
    complex: bool,
}

impl<'a> Writer<'a> {
    /// Starts after the header of a message to be built in `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, at: HEADER_BYTES, complex: false }
    }

    /// Writes one item, padded.
    pub fn item(&mut self, descriptor: Descriptor, data: &[u8]) -> Result<(), Malformed> {
        let end = self.at + 8 + data.len().next_multiple_of(ALIGN);
        let room = self.bytes.get_mut(self.at..end).ok_or(Malformed)?;
        room[..8].copy_from_slice(&descriptor.to_bytes());
        room[8..8 + data.len()].copy_from_slice(data);
        room[8 + data.len()..].fill(0);
        self.at = end;
        self.complex |= !descriptor.inline || kind::is_right(descriptor.name);
        Ok(())
    }

    /// Ends: completes the header's size and complex bit, and writes it. Gives the size.
    pub fn finish(self, mut header: Header) -> Result<usize, Malformed> {
        header.size = self.at as u32;
        if self.complex {
            header.bits |= COMPLEX;
        }
        if header.write(self.bytes) { Ok(self.at) } else { Err(Malformed) }
    }
}

/// Reads items after a header.
#[derive(Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts after the header of a whole message.
    #[must_use]
    pub const fn new(message: &'a [u8]) -> Self {
        Self { bytes: message, at: HEADER_BYTES }
    }

    /// The next item: its descriptor and its data, or its 8-byte pointer if it is out of line.
    pub fn item(&mut self) -> Result<(Descriptor, &'a [u8]), Malformed> {
        let head = self.bytes.get(self.at..self.at + 8).ok_or(Malformed)?;
        let descriptor = Descriptor::from_bytes(head.try_into().map_err(|_| Malformed)?);
        let length = match descriptor.inline {
            true => usize::try_from(descriptor.data_bytes().ok_or(Malformed)?).map_err(|_| Malformed)?,
            false => 8,
        };
        let start = self.at + 8;
        let data = self.bytes.get(start..start.checked_add(length).ok_or(Malformed)?).ok_or(Malformed)?;
        self.at = start + length.next_multiple_of(ALIGN);
        Ok((descriptor, data))
    }

    /// Where the next item's descriptor is.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Whether all was read.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{Descriptor, Header, Reader, Writer, kind};

    #[test]
    fn descriptors_have_the_published_words() {
        assert_eq!(Descriptor::inline(kind::INTEGER_32, 32, 1).to_bytes(), (0x2000_2002u64 | 1 << 32).to_le_bytes());
        assert_eq!(Descriptor::inline(kind::PORT_NAME, 32, 1).to_bytes(), (0x2000_200fu64 | 1 << 32).to_le_bytes());
        assert_eq!(Descriptor::inline(kind::INTEGER_64, 64, 1).to_bytes(), (0x2000_400bu64 | 1 << 32).to_le_bytes());
        assert_eq!(Descriptor::inline(kind::MOVE_SEND, 64, 1).to_bytes(), (0x2000_4011u64 | 1 << 32).to_le_bytes());
    }

    #[test]
    fn a_header_survives_the_round_trip() {
        let header = Header { bits: 0x8000_1513, size: 48, remote: 7, local: 9, seqno: 3, id: 2400 };
        let mut bytes = [0; 32];
        assert!(header.write(&mut bytes));
        assert_eq!(Header::read(&bytes), Some(header));
    }

    #[test]
    fn a_length_past_the_end_is_refused() {
        let mut bytes = [0; 48];
        let mut writer = Writer::new(&mut bytes);
        writer.item(Descriptor::inline(kind::BYTE, 8, u32::MAX), &[0; 8]).unwrap();
        writer.finish(Header::default()).unwrap();
        assert!(Reader::new(&bytes).item().is_err());
    }
}
