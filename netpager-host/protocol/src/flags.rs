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
    }

    /// The status words of the metadata context `base:allocation`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct AllocationFlags: u32 {
        /// Nothing is provisioned here.
        const HOLE = 1;
        /// Reads as zeroes.
        const ZERO = 1 << 1;
    }
}
