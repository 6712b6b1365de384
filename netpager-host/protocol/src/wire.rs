//! The bytes of NBD: headers, magics and numbers exactly as doc/proto.md lays them out, big-endian.
//!
//! Nothing here decides anything. Both halves ([`crate::client`], [`crate::server`]) read and write these structs; they
//! have no padding and no alignment, so any byte slice of the right length is a valid one.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First eight bytes a server sends: `NBDMAGIC`.
pub const MAGIC_NBD: u64 = u64::from_be_bytes(*b"NBDMAGIC");
/// Newstyle marker in the greeting, and the start of every option: `IHAVEOPT`.
pub const MAGIC_OPTION: u64 = u64::from_be_bytes(*b"IHAVEOPT");
/// Start of every option reply.
pub const MAGIC_OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
/// Start of every request.
pub const MAGIC_REQUEST: u32 = 0x2560_9513;
/// Start of a simple reply.
pub const MAGIC_SIMPLE_REPLY: u32 = 0x6744_6698;
/// Start of each chunk of a structured reply.
pub const MAGIC_STRUCTURED_REPLY: u32 = 0x668e_33ef;

/// Start of a request once extended headers were negotiated.
pub const MAGIC_EXTENDED_REQUEST: u32 = 0x21e4_1c71;
/// Start of each chunk of a reply once extended headers were negotiated.
pub const MAGIC_EXTENDED_REPLY: u32 = 0x6e8a_278c;

/// Options a client may send while it negotiates.
pub mod option {
    /// Choose an export the old way: no error can be reported, the server just hangs up.
    pub const EXPORT_NAME: u32 = 1;
    /// Give up politely.
    pub const ABORT: u32 = 2;
    /// List the exports.
    pub const LIST: u32 = 3;
    /// Switch to TLS.
    pub const STARTTLS: u32 = 5;
    /// Describe an export.
    pub const INFO: u32 = 6;
    /// Describe an export and start using it.
    pub const GO: u32 = 7;
    /// Ask for structured replies.
    pub const STRUCTURED_REPLY: u32 = 8;
    /// List metadata contexts.
    pub const LIST_META_CONTEXT: u32 = 9;
    /// Choose metadata contexts.
    pub const SET_META_CONTEXT: u32 = 10;
    /// Ask for headers with 64-bit lengths, and replies in chunks.
    pub const EXTENDED_HEADERS: u32 = 11;
}

/// Kinds of option reply. Those with bit 31 set are errors.
pub mod option_reply {
    /// The option is done.
    pub const ACK: u32 = 1;
    /// One export in a list.
    pub const SERVER: u32 = 2;
    /// One piece of information about an export.
    pub const INFO: u32 = 3;
    /// One metadata context.
    pub const META_CONTEXT: u32 = 4;
    /// The bit that makes a reply an error.
    pub const ERROR_BIT: u32 = 1 << 31;
    /// The server does not know the option.
    pub const ERR_UNSUP: u32 = ERROR_BIT | 1;
    /// Forbidden by the server's configuration.
    pub const ERR_POLICY: u32 = ERROR_BIT | 2;
    /// The option's data makes no sense.
    pub const ERR_INVALID: u32 = ERROR_BIT | 3;
    /// TLS must be started first.
    pub const ERR_TLS_REQD: u32 = ERROR_BIT | 5;
    /// No such export.
    pub const ERR_UNKNOWN: u32 = ERROR_BIT | 6;
    /// The server is going away.
    pub const ERR_SHUTDOWN: u32 = ERROR_BIT | 7;
    /// The client must ask for block sizes.
    pub const ERR_BLOCK_SIZE_REQD: u32 = ERROR_BIT | 8;
    /// The option's data is too long.
    pub const ERR_TOO_BIG: u32 = ERROR_BIT | 9;
    /// The client must ask for extended headers, or has them and cannot go back.
    pub const ERR_EXT_HEADER_REQD: u32 = ERROR_BIT | 10;
}

/// Kinds of information about an export.
pub mod info {
    /// Size and transmission flags; always sent.
    pub const EXPORT: u16 = 0;
    /// Its canonical name.
    pub const NAME: u16 = 1;
    /// A sentence for people.
    pub const DESCRIPTION: u16 = 2;
    /// Minimum, preferred and maximum request sizes.
    pub const BLOCK_SIZE: u16 = 3;
}

/// Commands.
pub mod command {
    /// Read bytes.
    pub const READ: u16 = 0;
    /// Write bytes; always followed by a payload.
    pub const WRITE: u16 = 1;
    /// Disconnect; has no reply.
    pub const DISC: u16 = 2;
    /// Make acknowledged writes durable.
    pub const FLUSH: u16 = 3;
    /// The content is no longer needed and becomes undefined.
    pub const TRIM: u16 = 4;
    /// Bring closer, send nothing.
    pub const CACHE: u16 = 5;
    /// Make the range read as zeroes.
    pub const WRITE_ZEROES: u16 = 6;
    /// Describe the extents of a range.
    pub const BLOCK_STATUS: u16 = 7;
}

/// Kinds of structured reply chunk.
pub mod chunk {
    /// In the chunk's flags: no more chunks follow for this request.
    pub const FLAG_DONE: u16 = 1;
    /// Nothing; only ends a reply.
    pub const NONE: u16 = 0;
    /// Some of the bytes read.
    pub const OFFSET_DATA: u16 = 1;
    /// A range of zeroes that is not sent.
    pub const OFFSET_HOLE: u16 = 2;
    /// Extents in one metadata context.
    pub const BLOCK_STATUS: u16 = 5;
    /// Extents in one metadata context, with 64-bit lengths and states.
    pub const BLOCK_STATUS_EXT: u16 = 6;
    /// The bit that makes a chunk an error.
    pub const ERROR_BIT: u16 = 1 << 15;
    /// An error with a text.
    pub const ERROR: u16 = ERROR_BIT | 1;
    /// An error with a text and the offset where it happened.
    pub const ERROR_OFFSET: u16 = ERROR_BIT | 2;
}

/// What a server says first.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Greeting {
    /// [`MAGIC_NBD`].
    pub magic: U64,
    /// [`MAGIC_OPTION`]; anything else is the oldstyle handshake.
    pub style: U64,
    /// [`crate::HandshakeFlags`].
    pub flags: U16,
}

/// In front of every option.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct OptionHeader {
    /// [`MAGIC_OPTION`].
    pub magic: U64,
    /// One of [`option`].
    pub option: U32,
    /// How much data follows.
    pub length: U32,
}

/// In front of every option reply.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct OptionReplyHeader {
    /// [`MAGIC_OPTION_REPLY`].
    pub magic: U64,
    /// The option this answers.
    pub option: U32,
    /// One of [`option_reply`].
    pub kind: U32,
    /// How much data follows.
    pub length: U32,
}

/// Information [`info::EXPORT`], without its leading type; also the whole reply to [`option::EXPORT_NAME`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct InfoExport {
    /// Bytes in the export.
    pub size: U64,
    /// [`crate::TransmissionFlags`].
    pub flags: U16,
}

/// Information [`info::BLOCK_SIZE`], without its leading type.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct InfoBlockSize {
    /// Every offset and length must be a multiple of this.
    pub minimum: U32,
    /// What is fast.
    pub preferred: U32,
    /// The largest payload.
    pub maximum: U32,
}

/// A request; the payload of a WRITE follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RequestHeader {
    /// [`MAGIC_REQUEST`].
    pub magic: U32,
    /// [`crate::CommandFlags`].
    pub flags: U16,
    /// One of [`command`].
    pub command: U16,
    /// Chosen by the client, returned by the server.
    pub cookie: U64,
    /// Where.
    pub offset: U64,
    /// How many bytes.
    pub length: U32,
}

/// A request once extended headers were negotiated; its payload follows if [`crate::CommandFlags::PAYLOAD_LEN`] is set.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ExtendedRequestHeader {
    /// [`MAGIC_EXTENDED_REQUEST`].
    pub magic: U32,
    /// [`crate::CommandFlags`].
    pub flags: U16,
    /// One of [`command`].
    pub command: U16,
    /// Chosen by the client, returned by the server.
    pub cookie: U64,
    /// Where.
    pub offset: U64,
    /// How many bytes follow if a payload does, else how many the command is about.
    pub length: U64,
}

/// A simple reply; the payload of a successful READ follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SimpleReply {
    /// [`MAGIC_SIMPLE_REPLY`].
    pub magic: U32,
    /// Zero or an [`crate::NbdError`].
    pub error: U32,
    /// The request's cookie.
    pub cookie: U64,
}

/// In front of each chunk of a structured reply.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ChunkHeader {
    /// [`MAGIC_STRUCTURED_REPLY`].
    pub magic: U32,
    /// [`chunk::FLAG_DONE`] or nothing.
    pub flags: U16,
    /// One of [`chunk`].
    pub kind: U16,
    /// The request's cookie.
    pub cookie: U64,
    /// How much data follows.
    pub length: U32,
}

/// In front of each chunk of a reply once extended headers were negotiated.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ExtendedChunkHeader {
    /// [`MAGIC_EXTENDED_REPLY`].
    pub magic: U32,
    /// [`chunk::FLAG_DONE`] or nothing.
    pub flags: U16,
    /// One of [`chunk`].
    pub kind: U16,
    /// The request's cookie.
    pub cookie: U64,
    /// The request's offset, whatever part of it the chunk is about.
    pub offset: U64,
    /// How much data follows.
    pub length: U64,
}

/// Body of [`chunk::OFFSET_HOLE`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Hole {
    /// Where the zeroes begin.
    pub offset: U64,
    /// How many there are.
    pub length: U32,
}

/// Start of the body of every error chunk; the text follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ErrorBody {
    /// An [`crate::NbdError`].
    pub error: U32,
    /// Bytes of text.
    pub text_length: U16,
}

/// One extent in a [`chunk::BLOCK_STATUS`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ExtentDescriptor {
    /// Bytes in the extent.
    pub length: U32,
    /// [`crate::AllocationFlags`] for `base:allocation`.
    pub flags: U32,
}

/// Start of the body of a [`chunk::BLOCK_STATUS_EXT`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ExtendedStatusHead {
    /// Which metadata context.
    pub context: U32,
    /// How many extents follow.
    pub count: U32,
}

/// One extent in a [`chunk::BLOCK_STATUS_EXT`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ExtendedExtentDescriptor {
    /// Bytes in the extent.
    pub length: U64,
    /// What they are, in the terms of the context.
    pub flags: U64,
}

const _: () = {
    assert!(size_of::<Greeting>() == 18);
    assert!(size_of::<OptionHeader>() == 16);
    assert!(size_of::<OptionReplyHeader>() == 20);
    assert!(size_of::<RequestHeader>() == 28);
    assert!(size_of::<SimpleReply>() == 16);
    assert!(size_of::<ChunkHeader>() == 20);
    assert!(size_of::<ExtendedRequestHeader>() == 32);
    assert!(size_of::<ExtendedChunkHeader>() == 32);
};
