//! Replies, put into a sink. The caller puts the payload itself, right after its header.

use zerocopy::IntoBytes;
use zerocopy::big_endian::{U16, U32, U64};

use super::sink::Sink;
use crate::context::ContextSet;
use crate::error::NbdError;
use crate::flags::{AllocationFlags, StateFlags};
use crate::framing::Framing;
use crate::limits::{EXTENTS_MAX, STRING_MAX};
use crate::wire::{ChunkHeader, ErrorBody, ExtendedChunkHeader, ExtendedExtentDescriptor, ExtendedStatusHead, ExtentDescriptor, Hole};
use crate::wire::{MAGIC_EXTENDED_REPLY, MAGIC_SIMPLE_REPLY, MAGIC_STRUCTURED_REPLY, SimpleReply, chunk};

/// The longest extent that 32 bits can tell: a multiple of every block size.
const EXTENT_MAX_32: u64 = u32::MAX as u64 + 1 - crate::limits::BLOCK_MINIMUM_MAX as u64;

/// Part of a range, all of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// How many bytes; not zero.
    pub length: u64,
    /// What they are, in the terms of the context.
    pub flags: u64,
}

impl Extent {
    /// An extent in the context [`crate::context::ALLOCATION`].
    #[must_use]
    pub const fn allocation(length: u64, flags: AllocationFlags) -> Self {
        Self { length, flags: flags.bits() as u64 }
    }

    /// An extent in the context [`crate::context::STATE`].
    #[must_use]
    pub const fn state(length: u64, flags: StateFlags) -> Self {
        Self { length, flags: flags.bits() as u64 }
    }
}

/// How to answer one request: whatever the framing, one of these makes the right bytes.
///
/// A request is answered by one [`Reply::done`], one [`Reply::error`], or, where [`Framing::has_chunks`] holds, by chunks of which only
/// the one sent last says `last`. Chunks of different requests may be mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    framing: Framing,
    cookie: u64,
    offset: u64,
}

impl Reply {
    /// Answers the request with this cookie and offset.
    #[must_use]
    pub const fn new(framing: Framing, cookie: u64, offset: u64) -> Self {
        Self { framing, cookie, offset }
    }

    /// The request's cookie.
    #[must_use]
    pub const fn cookie(&self) -> u64 {
        self.cookie
    }

    /// How the connection is framed.
    #[must_use]
    pub const fn framing(&self) -> Framing {
        self.framing
    }

    /// Success without data. With [`Framing::Simple`], the data of a READ follows.
    pub fn done(&self, out: &mut impl Sink) {
        match self.framing {
            Framing::Extended => self.chunk(out, chunk::NONE, true, 0),
            Framing::Simple | Framing::Structured => self.simple(out, 0),
        }
    }

    /// A failure. Clients whose replies have chunks are told why.
    pub fn error(&self, out: &mut impl Sink, error: NbdError, text: &str) {
        if !self.framing.has_chunks() {
            return self.simple(out, error.code());
        }
        let text = &text[..text.floor_char_boundary(STRING_MAX)];
        let body = ErrorBody { error: U32::new(error.code()), text_length: U16::new(text.len() as u16) };
        self.chunk(out, chunk::ERROR, true, size_of::<ErrorBody>() + text.len());
        out.put(body.as_bytes());
        out.put(text.as_bytes());
    }

    /// Announces `length` bytes of a READ, which follow; `last` if they end the reply.
    pub fn data(&self, out: &mut impl Sink, offset: u64, length: u32, last: bool) {
        self.chunk(out, chunk::OFFSET_DATA, last, size_of::<U64>() + length as usize);
        out.put(U64::new(offset).as_bytes());
    }

    /// Part of a READ that is all zeroes; `last` if it ends the reply.
    pub fn hole(&self, out: &mut impl Sink, offset: u64, length: u32, last: bool) {
        self.chunk(out, chunk::OFFSET_HOLE, last, size_of::<Hole>());
        out.put(Hole { offset: U64::new(offset), length: U32::new(length) }.as_bytes());
    }

    /// Ends a reply whose chunks did not.
    pub fn none(&self, out: &mut impl Sink) {
        self.chunk(out, chunk::NONE, true, 0);
    }

    /// Answers a BLOCK_STATUS in the context with this index; `last` if it is the last of the request's contexts. Extents beyond
    /// [`EXTENTS_MAX`] are left out, and so are those behind one that 32 bits cannot tell: the protocol allows both.
    pub fn block_status(&self, out: &mut impl Sink, context: usize, extents: &[Extent], last: bool) {
        let extents = &extents[..extents.len().min(EXTENTS_MAX)];
        let context = U32::new(id_of(context));
        if self.framing == Framing::Extended {
            let head = ExtendedStatusHead { context, count: U32::new(extents.len() as u32) };
            self.chunk(out, chunk::BLOCK_STATUS_EXT, last, head.as_bytes().len() + size_of_val(extents));
            out.put(head.as_bytes());
            for extent in extents {
                out.put(ExtendedExtentDescriptor { length: U64::new(extent.length), flags: U64::new(extent.flags) }.as_bytes());
            }
            return;
        }
        let told = extents.iter().position(|extent| extent.length > EXTENT_MAX_32).map_or(extents.len(), |long| long + 1);
        self.chunk(out, chunk::BLOCK_STATUS, last, size_of::<U32>() + told * size_of::<ExtentDescriptor>());
        out.put(context.as_bytes());
        for extent in &extents[..told] {
            let (length, flags) = (extent.length.min(EXTENT_MAX_32) as u32, extent.flags as u32);
            out.put(ExtentDescriptor { length: U32::new(length), flags: U32::new(flags) }.as_bytes());
        }
    }

    fn simple(&self, out: &mut impl Sink, error: u32) {
        let reply = SimpleReply { magic: U32::new(MAGIC_SIMPLE_REPLY), error: U32::new(error), cookie: U64::new(self.cookie) };
        out.put(reply.as_bytes());
    }

    fn chunk(&self, out: &mut impl Sink, kind: u16, last: bool, length: usize) {
        debug_assert!(self.framing.has_chunks(), "chunks in reply to a client that knows none");
        let flags = U16::new(if last { chunk::FLAG_DONE } else { 0 });
        let (kind, cookie) = (U16::new(kind), U64::new(self.cookie));
        if self.framing == Framing::Extended {
            let (magic, offset, length) = (U32::new(MAGIC_EXTENDED_REPLY), U64::new(self.offset), U64::new(length as u64));
            return out.put(ExtendedChunkHeader { magic, flags, kind, cookie, offset, length }.as_bytes());
        }
        let (magic, length) = (U32::new(MAGIC_STRUCTURED_REPLY), U32::new(length as u32));
        out.put(ChunkHeader { magic, flags, kind, cookie, length }.as_bytes());
    }
}

const _: () = assert!(size_of::<Extent>() == size_of::<ExtendedExtentDescriptor>());

/// The number on the wire of the context with this index.
pub(super) const fn id_of(index: usize) -> u32 {
    index as u32 + 1
}

/// The index of the context with this number on the wire; it may not be one of the connection's.
pub(super) const fn index_of(id: u32) -> Option<usize> {
    match id {
        0 => None,
        id if id as usize > ContextSet::CAPACITY => None,
        id => Some(id as usize - 1),
    }
}
