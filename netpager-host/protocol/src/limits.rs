//! Every limit both halves enforce, in one place.
//!
//! A length read from the wire is compared with one of these before anything is done with it; nothing here is negotiated
//! upwards by the peer. Each number is either the protocol's own or deliberately far above what honest peers send.

/// The longest string the protocol allows: export names, error texts, context names.
pub const STRING_MAX: usize = 4096;

/// The longest export name our client will ask for. Shorter than [`STRING_MAX`] so that the handshake needs no heap.
pub const CLIENT_NAME_MAX: usize = 255;

/// How much of a server's error text our client keeps to show to a person.
pub const ERROR_TEXT_KEPT: usize = 96;

/// The most data a client may send with one option; more is a reason to hang up.
pub const OPTION_DATA_MAX: usize = 64 * 1024;

/// The most options a client may send before it must have chosen an export.
pub const OPTIONS_MAX: usize = 64;

/// The most data a server may send in one option reply.
pub const OPTION_REPLY_MAX: usize = 64 * 1024;

/// The most informational replies a server may send to one GO.
pub const INFO_REPLIES_MAX: usize = 64;

/// The largest READ or WRITE, and what the protocol lets a client assume when the server announces nothing.
pub const PAYLOAD_MAX: u32 = 32 * 1024 * 1024;

/// The most metadata contexts our client asks for.
pub const CLIENT_CONTEXTS_MAX: usize = 8;

/// The most bytes of their names together.
pub const CLIENT_CONTEXT_NAMES_MAX: usize = 256;

/// The most separate pieces of one READ that may be outstanding at a time when a server answers out of order.
pub const READ_PIECES_MAX: usize = 8;

/// The most error chunks a server may send in reply to one request.
pub const ERROR_CHUNKS_MAX: u8 = 16;

/// The most extents our server sends in one context.
pub const EXTENTS_MAX: usize = 64 * 1024;

/// The most extents a server may send in one context. The protocol says no more than that SHOULD be.
pub const STATUS_EXTENTS_MAX: u32 = 1 << 20;

/// The largest minimum block size the protocol allows.
pub const BLOCK_MINIMUM_MAX: u32 = 64 * 1024;

const _: () = {
    assert!(CLIENT_NAME_MAX <= STRING_MAX);
    assert!(ERROR_TEXT_KEPT <= STRING_MAX);
    assert!(STRING_MAX < OPTION_DATA_MAX);
    assert!(PAYLOAD_MAX.is_power_of_two());
    assert!(EXTENTS_MAX <= STATUS_EXTENTS_MAX as usize);
};
