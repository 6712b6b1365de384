//! Replies, put into a sink. The caller puts the payload itself, right after its header.

use zerocopy::IntoBytes;
use zerocopy::big_endian::{U16, U32, U64};

use super::options::ALLOCATION_CONTEXT;
use super::sink::Sink;
use crate::error::NbdError;
use crate::flags::AllocationFlags;
use crate::limits::{EXTENTS_MAX, STRING_MAX};
use crate::wire::{ChunkHeader, ErrorBody, ExtentDescriptor, Hole, MAGIC_SIMPLE_REPLY, MAGIC_STRUCTURED_REPLY, SimpleReply, chunk};

/// Part of a range, all of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// How many bytes.
    pub length: u32,
    /// What they are.
    pub flags: AllocationFlags,
}

/// A reply without data: success, or an error without words.
pub fn put_simple(out: &mut impl Sink, cookie: u64, result: Result<(), NbdError>) {
    let error = result.err().map_or(0, NbdError::code);
    let reply = SimpleReply { magic: U32::new(MAGIC_SIMPLE_REPLY), error: U32::new(error), cookie: U64::new(cookie) };
    out.put(reply.as_bytes());
}

/// A failure. Clients that negotiated structured replies are told why.
pub fn put_error(out: &mut impl Sink, structured: bool, cookie: u64, error: NbdError, text: &str) {
    if !structured {
        return put_simple(out, cookie, Err(error));
    }
    let mut end = text.len().min(STRING_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let body = ErrorBody { error: U32::new(error.code()), text_length: U16::new(end as u16) };
    put_chunk(out, cookie, chunk::ERROR, true, size_of::<ErrorBody>() + end);
    out.put(body.as_bytes());
    out.put(&text.as_bytes()[..end]);
}

/// Announces `length` bytes of a READ, which follow; `last` if they end the reply.
pub fn put_data_header(out: &mut impl Sink, cookie: u64, offset: u64, length: u32, last: bool) {
    put_chunk(out, cookie, chunk::OFFSET_DATA, last, size_of::<U64>() + length as usize);
    out.put(U64::new(offset).as_bytes());
}

/// Part of a READ that is all zeroes; `last` if it ends the reply.
pub fn put_hole(out: &mut impl Sink, cookie: u64, offset: u64, length: u32, last: bool) {
    put_chunk(out, cookie, chunk::OFFSET_HOLE, last, size_of::<Hole>());
    out.put(Hole { offset: U64::new(offset), length: U32::new(length) }.as_bytes());
}

/// Ends a structured reply whose chunks did not.
pub fn put_none(out: &mut impl Sink, cookie: u64) {
    put_chunk(out, cookie, chunk::NONE, true, 0);
}

/// The answer to BLOCK_STATUS. Extents beyond [`EXTENTS_MAX`] are left out, which the protocol allows.
pub fn put_block_status(out: &mut impl Sink, cookie: u64, extents: &[Extent]) {
    let extents = &extents[..extents.len().min(EXTENTS_MAX)];
    let length = size_of::<U32>() + extents.len() * size_of::<ExtentDescriptor>();
    put_chunk(out, cookie, chunk::BLOCK_STATUS, true, length);
    out.put(U32::new(ALLOCATION_CONTEXT).as_bytes());
    for extent in extents {
        let descriptor = ExtentDescriptor { length: U32::new(extent.length), flags: U32::new(extent.flags.bits()) };
        out.put(descriptor.as_bytes());
    }
}

fn put_chunk(out: &mut impl Sink, cookie: u64, kind: u16, last: bool, length: usize) {
    let header = ChunkHeader {
        magic: U32::new(MAGIC_STRUCTURED_REPLY),
        flags: U16::new(if last { chunk::FLAG_DONE } else { 0 }),
        kind: U16::new(kind),
        cookie: U64::new(cookie),
        length: U32::new(length as u32),
    };
    out.put(header.as_bytes());
}
