//! Requests as they go over the wire, header first. The data of a WRITE is not copied here: it follows.

use core::ops::Deref;

use zerocopy::IntoBytes;
use zerocopy::big_endian::{U16, U32, U64};

use crate::flags::CommandFlags;
use crate::framing::Framing;
use crate::limits::CLIENT_CONTEXTS_MAX;
use crate::request::{Command, Request};
use crate::wire::{ExtendedRequestHeader, MAGIC_EXTENDED_REQUEST, MAGIC_REQUEST, RequestHeader, command};

/// The longest: a BLOCK_STATUS with extended headers that names all contexts a client can have.
const CAPACITY: usize = size_of::<ExtendedRequestHeader>() + size_of::<U64>() + CLIENT_CONTEXTS_MAX * size_of::<U32>();

/// A request, ready to send; it is used as a slice of bytes. After a WRITE come its `length` bytes, with nothing in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodedRequest {
    bytes: [u8; CAPACITY],
    length: u8,
}

const _: () = assert!(CAPACITY <= u8::MAX as usize);

impl EncodedRequest {
    pub(crate) const EMPTY: Self = Self { bytes: [0; CAPACITY], length: 0 };

    fn new(parts: &[&[u8]]) -> Self {
        let mut encoded = Self::EMPTY;
        parts.iter().for_each(|part| encoded.put(part));
        encoded
    }

    /// Adds bytes. What a request consists of is bounded by [`CAPACITY`], so nothing is ever left out.
    pub(crate) fn put(&mut self, part: &[u8]) {
        let start = usize::from(self.length);
        let Some(space) = self.bytes.get_mut(start..start + part.len()) else {
            debug_assert!(false, "a request longer than any can be");
            return;
        };
        space.copy_from_slice(part);
        self.length += part.len() as u8;
    }

    /// The polite end of a session.
    pub(crate) fn disconnect(framing: Framing) -> Self {
        header(framing, CommandFlags::empty(), command::DISC, 0, 0, 0)
    }
}

impl Deref for EncodedRequest {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl AsRef<[u8]> for EncodedRequest {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Request {
    /// The header to send, unchecked: [`crate::client::Client::encode`] checks. A length that the framing has no room for is cut.
    #[must_use]
    pub fn encode(&self, framing: Framing, cookie: u64) -> EncodedRequest {
        let payload = match (framing, self.command) {
            (Framing::Extended, Command::Write) => CommandFlags::PAYLOAD_LEN,
            _ => CommandFlags::empty(),
        };
        header(framing, self.flags | payload, self.command.code(), cookie, self.offset, self.length)
    }

    /// A BLOCK_STATUS with extended headers about the contexts with these wire numbers only; at most [`CLIENT_CONTEXTS_MAX`] of them.
    pub(crate) fn encode_filtered(&self, cookie: u64, contexts: impl Iterator<Item = u32> + Clone) -> EncodedRequest {
        let count = contexts.clone().take(CLIENT_CONTEXTS_MAX).count();
        let length = size_of::<U64>() + count * size_of::<U32>();
        let flags = self.flags | CommandFlags::PAYLOAD_LEN;
        let mut encoded = header(Framing::Extended, flags, self.command.code(), cookie, self.offset, length as u64);
        encoded.put(U64::new(self.length).as_bytes());
        contexts.take(count).for_each(|context| encoded.put(U32::new(context).as_bytes()));
        encoded
    }
}

fn header(framing: Framing, flags: CommandFlags, command: u16, cookie: u64, offset: u64, length: u64) -> EncodedRequest {
    let (flags, command, cookie, offset) = (U16::new(flags.bits()), U16::new(command), U64::new(cookie), U64::new(offset));
    match framing {
        Framing::Extended => {
            let (magic, length) = (U32::new(MAGIC_EXTENDED_REQUEST), U64::new(length));
            EncodedRequest::new(&[ExtendedRequestHeader { magic, flags, command, cookie, offset, length }.as_bytes()])
        }
        Framing::Simple | Framing::Structured => {
            let (magic, length) = (U32::new(MAGIC_REQUEST), U32::new(length as u32));
            EncodedRequest::new(&[RequestHeader { magic, flags, command, cookie, offset, length }.as_bytes()])
        }
    }
}
