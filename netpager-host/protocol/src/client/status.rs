//! The extents that answer a BLOCK_STATUS, one after the other as they arrive.

use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, Unaligned};

use super::error::Violation;
use crate::flags::CommandFlags;
use crate::framing::Framing;
use crate::limits::STATUS_EXTENTS_MAX;
use crate::request::Request;
use crate::wire::{ExtendedExtentDescriptor, ExtendedStatusHead, ExtentDescriptor, chunk};

/// How such a chunk is laid out: bytes in front of the extents, and bytes of each of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) head: u32,
    pub(super) extent: u32,
}

impl Layout {
    /// The layout of a chunk of this kind, if it holds extents in this framing.
    pub(super) const fn of(framing: Framing, kind: u16) -> Option<Self> {
        match (framing, kind) {
            (Framing::Structured, chunk::BLOCK_STATUS) => Some(Self::new::<U32, ExtentDescriptor>()),
            (Framing::Extended, chunk::BLOCK_STATUS_EXT) => Some(Self::new::<ExtendedStatusHead, ExtendedExtentDescriptor>()),
            _ => None,
        }
    }

    const fn new<H: Unaligned, E: Unaligned>() -> Self {
        Self { head: size_of::<H>() as u32, extent: size_of::<E>() as u32 }
    }

    /// How many extents a chunk of this length holds; `None` if none can be so long.
    pub(super) fn count(self, length: u32) -> Option<u32> {
        let extents = length.checked_sub(self.head)?;
        let count = extents / self.extent;
        (extents.is_multiple_of(self.extent) && (1..=STATUS_EXTENTS_MAX).contains(&count)).then_some(count)
    }

    /// What is in front of the extents: the number of the context, after a look at the number of extents.
    pub(super) fn context(self, bytes: &[u8], length: u32) -> Result<u32, Violation> {
        if self.head as usize == size_of::<U32>() {
            return Ok(U32::read_from_prefix(bytes).map(|(id, _)| id.get()).unwrap_or_default());
        }
        let head = ExtendedStatusHead::read_from_prefix(bytes).map(|(head, _)| head);
        let (id, count) = head.map(|head| (head.context.get(), head.count.get())).unwrap_or_default();
        match self.count(length) == Some(count) {
            true => Ok(id),
            false => Err(Violation::ExtentCount { count, length: length.into() }),
        }
    }

    /// One extent: its length and its state.
    fn extent(self, bytes: &[u8]) -> (u64, u64) {
        if self.extent as usize == size_of::<ExtentDescriptor>() {
            let extent = ExtentDescriptor::read_from_prefix(bytes).map(|(extent, _)| extent);
            return extent.map(|extent| (extent.length.get().into(), extent.flags.get().into())).unwrap_or_default();
        }
        let words = <[U64; 2]>::read_from_prefix(bytes).map(|(words, _)| words);
        words.map(|[length, flags]| (length.get(), flags.get())).unwrap_or_default()
    }
}

/// The extents of one chunk that are still to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extents {
    pub(super) layout: Layout,
    /// The index of the context.
    pub(super) context: usize,
    /// Where the next one begins.
    pub(super) offset: u64,
    pub(super) left: u32,
}

/// An extent, cut to what was asked about.
pub(super) struct Told {
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) flags: u64,
}

impl Extents {
    /// Accepts the next extent. Only the last one may reach beyond what was asked about, and with `REQ_ONE` not even that one.
    pub(super) fn next(&mut self, bytes: &[u8], request: &Request) -> Result<Told, Violation> {
        let (length, flags) = self.layout.extent(bytes);
        if length == 0 {
            return Err(Violation::EmptyExtent);
        }
        let offset = self.offset;
        let end = offset.checked_add(length).ok_or(Violation::ExtentOutOfRange)?;
        let is_last = self.left == 1;
        let wants_one = request.flags.contains(CommandFlags::REQ_ONE);
        let is_beyond = end > request.end();
        if offset >= request.end() || (is_beyond && (wants_one || !is_last)) || (wants_one && !is_last) {
            return Err(Violation::ExtentOutOfRange);
        }
        self.offset = end;
        self.left -= 1;
        Ok(Told { offset, length: end.min(request.end()) - offset, flags })
    }
}
