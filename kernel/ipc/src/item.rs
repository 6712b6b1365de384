//! The items of a message's body, walked by their descriptors (mach_msg_type_t).

use abi::Code;
use abi::message::{ALIGN, Descriptor, HEADER_BYTES, kind};

/// Where an item is and what it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    /// Of its descriptor.
    pub(crate) at: usize,
    /// Of its data, or of its pointer.
    pub(crate) data: usize,
    /// Bytes of all elements, padding excluded.
    pub(crate) length: u64,
    pub(crate) descriptor: Descriptor,
}

/// Bits of a descriptor's word that must be zero.
const UNUSED: u32 = 0x1f00_0000;
/// Bits of a right in line.
const RIGHT_BITS: u16 = 64;
/// Bits of a name in an array out of line.
const NAME_BITS: u16 = 32;
/// Bytes of a pointer, or of a right's slot.
pub(crate) const SLOT: usize = 8;

impl Item {
    pub(crate) fn is_right(&self) -> bool {
        kind::is_right(self.descriptor.name)
    }

    /// The 8 bytes of a slot (0 is the pointer, or the first right).
    pub(crate) fn slot(&self, bytes: &[u8], index: usize) -> u64 {
        let start = self.data + index * SLOT;
        bytes.get(start..start + SLOT).and_then(|slot| slot.try_into().ok()).map_or(0, u64::from_le_bytes)
    }

    pub(crate) fn set_slot(&self, bytes: &mut [u8], index: usize, value: u64) {
        let start = self.data + index * SLOT;
        if let Some(slot) = bytes.get_mut(start..start + SLOT) {
            slot.copy_from_slice(&value.to_le_bytes());
        }
    }

    pub(crate) fn set_descriptor(&self, bytes: &mut [u8], descriptor: Descriptor) {
        if let Some(place) = bytes.get_mut(self.at..self.at + SLOT) {
            place.copy_from_slice(&descriptor.to_bytes());
        }
    }

    /// Where the item after it starts.
    pub(crate) fn end(&self) -> usize {
        let data = if self.descriptor.inline { self.length as usize } else { SLOT };
        self.data + data.next_multiple_of(ALIGN)
    }

    fn check(&self, word: u32, left: usize) -> Result<(), Code> {
        let Descriptor { bits, inline, deallocate, .. } = self.descriptor;
        let right_bits = if inline { RIGHT_BITS } else { NAME_BITS };
        if word & UNUSED != 0 || (deallocate && inline) || (self.is_right() && bits != right_bits) {
            return Err(Code::SEND_INVALID_TYPE);
        }
        let needed = if inline { self.length } else { SLOT as u64 };
        if needed > left as u64 { Err(Code::SEND_MSG_TOO_SMALL) } else { Ok(()) }
    }
}

/// The items of a whole message whose size is a multiple of 8. Ends after the first that isn't well-formed.
pub(crate) struct Items {
    at: usize,
}

impl Items {
    pub(crate) const fn new() -> Self {
        Self { at: HEADER_BYTES }
    }

    pub(crate) fn next(&mut self, bytes: &[u8]) -> Option<Result<Item, Code>> {
        let head: [u8; 8] = bytes.get(self.at..self.at + SLOT)?.try_into().ok()?;
        let descriptor = Descriptor::from_bytes(head);
        let length = (u64::from(descriptor.bits) * u64::from(descriptor.number)).div_ceil(8);
        let item = Item { at: self.at, data: self.at + SLOT, length, descriptor };
        let word = u64::from_le_bytes(head) as u32;
        if let Err(code) = item.check(word, bytes.len() - item.data) {
            self.at = bytes.len();
            return Some(Err(code));
        }
        self.at = item.end();
        Some(Ok(item))
    }
}
