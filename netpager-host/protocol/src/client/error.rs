//! Why a connection must be given up, from the client's side.

use thiserror::Error;

use crate::export::BadExport;
use crate::text::Text;
use crate::wire::option_reply;

/// The connection is over. After any of these, [`crate::client::Client`] takes no more input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClientError {
    /// The server understood us and said no. Send what [`crate::client::Client::transmit`] still holds, then close.
    #[error("the server refused: {0}")]
    Refused(Refused),
    /// The server broke the protocol, or an attacker writes on the wire. Close at once and trust nothing of this session.
    #[error("the server broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// The caller fed a client that had already failed.
    #[error("the connection has already failed")]
    AlreadyFailed,
}

/// How a server refused an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("option {option}: {}: {text}", self.reason())]
pub struct Refused {
    /// The option that was refused, one of [`crate::wire::option`].
    pub option: u32,
    /// The reply's kind, one of the errors in [`crate::wire::option_reply`].
    pub kind: u32,
    /// What the server had to say about it.
    pub text: Text,
}

impl Refused {
    /// The refusal in words.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self.kind {
            option_reply::ERR_UNSUP => "not supported",
            option_reply::ERR_POLICY => "forbidden by the server's configuration",
            option_reply::ERR_INVALID => "invalid data",
            option_reply::ERR_TLS_REQD => "TLS is required",
            option_reply::ERR_UNKNOWN => "no such export",
            option_reply::ERR_SHUTDOWN => "the server is shutting down",
            option_reply::ERR_BLOCK_SIZE_REQD => "the server insists on its block sizes",
            option_reply::ERR_TOO_BIG => "the request is too big",
            option_reply::ERR_EXT_HEADER_REQD => "extended headers are required",
            _ => "unknown error",
        }
    }
}

/// A rule of the protocol that the server broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages are the documentation")]
pub enum Violation {
    #[error("this is no NBD server")]
    NotNbd,
    #[error("an oldstyle server")]
    Oldstyle,
    #[error("the server does not offer the fixed newstyle handshake")]
    NotFixedNewstyle,
    #[error("an option reply with magic {0:#x}")]
    OptionReplyMagic(u64),
    #[error("a reply to option {got} while {expected} was asked")]
    OptionMismatch { expected: u32, got: u32 },
    #[error("an option reply of {0} bytes")]
    OptionReplyLength(u32),
    #[error("an option reply of kind {0:#x} where it means nothing")]
    OptionReplyKind(u32),
    #[error("more informational replies than anyone needs")]
    TooManyInfos,
    #[error("a metadata context that was not asked for, or that came twice")]
    ContextNotAsked,
    #[error("the export's size was never announced")]
    NoExportInfo,
    #[error("{0}")]
    BadExport(#[from] BadExport),
    #[error("plaintext where the TLS handshake must begin")]
    Unsolicited,
    #[error("a reply with magic {0:#x}")]
    ReplyMagic(u32),
    #[error("a reply to cookie {0:#x}, which is not outstanding")]
    UnknownCookie(u64),
    #[error("a structured reply that was not negotiated")]
    NotNegotiated,
    #[error("a simple reply to a READ although structured replies were negotiated")]
    SimpleRead,
    #[error("a chunk of kind {0:#x} that was not negotiated")]
    ChunkKind(u16),
    #[error("a chunk of kind {kind:#x} with {length} bytes")]
    ChunkLength { kind: u16, length: u64 },
    #[error("a reply whose offset is not that of its request")]
    ReplyOffset,
    #[error("extents in reply to something else")]
    ExtentsWithoutStatus,
    #[error("extents in context {0}, which was not asked for, or which came twice")]
    UnknownContext(u32),
    #[error("{count} extents announced in a chunk of {length} bytes")]
    ExtentCount { count: u32, length: u64 },
    #[error("an extent of no bytes")]
    EmptyExtent,
    #[error("an extent outside the range that was asked about")]
    ExtentOutOfRange,
    #[error("a hole of no bytes")]
    EmptyHole,
    #[error("a chunk with unknown flags {0:#x}")]
    ChunkFlags(u16),
    #[error("read data in reply to something else")]
    DataWithoutRead,
    #[error("read data outside the range that was asked for")]
    OutOfRange,
    #[error("read data that overlaps data already received")]
    Overlap,
    #[error("a READ answered in too many separate pieces")]
    TooManyPieces,
    #[error("more than one piece in reply to a READ that asked for one")]
    Fragmented,
    #[error("success although part of the answer is missing")]
    Incomplete,
    #[error("an error chunk without an error")]
    NoError,
    #[error("more error chunks than anyone needs")]
    TooManyErrors,
}
