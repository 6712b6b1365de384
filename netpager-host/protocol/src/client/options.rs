//! The options a client sends, as bytes.

use zerocopy::IntoBytes;
use zerocopy::big_endian::{U16, U32, U64};

use super::outbox::Outbox;
use crate::wire::{MAGIC_OPTION, OptionHeader, info, option};

/// What a client says instead of choosing an export.
pub(super) fn abort() -> OptionHeader {
    OptionHeader { magic: U64::new(MAGIC_OPTION), option: U32::new(option::ABORT), length: U32::new(0) }
}

/// GO, with a wish for block sizes.
pub(super) fn put_go(out: &mut Outbox, name: &[u8]) {
    put_option(out, option::GO, size_of::<U32>() + name.len() + 2 * size_of::<U16>());
    out.put(U32::new(name.len() as u32).as_bytes());
    out.put(name);
    out.put(U16::new(1).as_bytes());
    out.put(U16::new(info::BLOCK_SIZE).as_bytes());
}

/// Names of contexts, asked for about the export `name`.
pub(super) fn put_queries(out: &mut Outbox, option: u32, name: &[u8], queries: &[&str]) {
    let number = |length: usize| U32::new(length as u32);
    let length: usize = queries.iter().map(|query| size_of::<U32>() + query.len()).sum();
    put_option(out, option, size_of::<U32>() + name.len() + size_of::<U32>() + length);
    out.put(number(name.len()).as_bytes());
    out.put(name);
    out.put(number(queries.len()).as_bytes());
    for query in queries {
        out.put(number(query.len()).as_bytes());
        out.put(query.as_bytes());
    }
}

/// An option without its data.
pub(super) fn put_option(out: &mut Outbox, option: u32, length: usize) {
    let header = OptionHeader { magic: U64::new(MAGIC_OPTION), option: U32::new(option), length: U32::new(length as u32) };
    out.put(header.as_bytes());
}
