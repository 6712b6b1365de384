//! The flag words of NBD. Unknown bits are kept, so that whoever checks them can refuse them.

use bitflags::bitflags;

bitflags! {
    /// Offered by the server in its greeting, and repeated by the client.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct HandshakeFlags: u16 {
        /// Options can be refused without hanging up.
        const FIXED_NEWSTYLE = 1;
        /// The reply to EXPORT_NAME is not padded with 124 zeroes.
        const NO_ZEROES = 2;
    }

    /// What an export can do.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TransmissionFlags: u16 {
        /// Always set.
        const HAS_FLAGS = 1;
        /// Writes are refused.
        const READ_ONLY = 1 << 1;
        /// FLUSH is understood.
        const SEND_FLUSH = 1 << 2;
        /// The FUA flag is understood.
        const SEND_FUA = 1 << 3;
        /// Seeking is slow.
        const ROTATIONAL = 1 << 4;
        /// TRIM is understood.
        const SEND_TRIM = 1 << 5;
        /// WRITE_ZEROES is understood.
        const SEND_WRITE_ZEROES = 1 << 6;
        /// The DF flag is understood.
        const SEND_DF = 1 << 7;
        /// Several connections see one another's writes, and one FLUSH covers them all.
        const CAN_MULTI_CONN = 1 << 8;
        /// Experimental; never used here.
        const SEND_RESIZE = 1 << 9;
        /// CACHE is understood.
        const SEND_CACHE = 1 << 10;
        /// The FAST_ZERO flag is understood.
        const SEND_FAST_ZERO = 1 << 11;
        /// BLOCK_STATUS may name the contexts it is about. Set by the handshake alone: only with extended headers and contexts.
        const BLOCK_STATUS_PAYLOAD = 1 << 12;
    }

    /// Modifies one request.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CommandFlags: u16 {
        /// Reply only when the change is durable.
        const FUA = 1;
        /// WRITE_ZEROES: keep the space provisioned.
        const NO_HOLE = 1 << 1;
        /// READ: answer in one piece.
        const DF = 1 << 2;
        /// BLOCK_STATUS: one extent is enough.
        const REQ_ONE = 1 << 3;
        /// WRITE_ZEROES: fail rather than write zeroes one by one.
        const FAST_ZERO = 1 << 4;
        /// Extended headers: the length is that of a payload which follows. Added and taken away with the header; it is never part
        /// of a [`crate::Request`] that is well-formed.
        const PAYLOAD_LEN = 1 << 5;
    }

    /// The status words of the metadata context `base:allocation`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct AllocationFlags: u32 {
        /// Nothing is provisioned here.
        const HOLE = 1;
        /// Reads as zeroes.
        const ZERO = 1 << 1;
    }

    /// The status words of our own metadata context [`crate::context::STATE`]: how the server keeps a range. Zero says nothing is kept.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct StateFlags: u32 {
        /// In the server's memory as it was written.
        const RESIDENT = 1;
        /// In the server's memory, compressed.
        const COMPRESSED = 1 << 1;
        /// In a file of the server's machine.
        const FILE = 1 << 2;
        /// On another machine.
        const REMOTE = 1 << 3;
        /// Newer than what a FLUSH last made durable.
        const DIRTY = 1 << 4;
        /// Space is set aside, so that writing cannot fail for want of it.
        const RESERVED = 1 << 5;
    }
}
