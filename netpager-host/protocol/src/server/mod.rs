//! The server half: what a service drives over any byte stream.
//!
//! First a [`Handshake`] until its [`Outcome`], then [`Requests`]; replies are written by the `put_*` functions. Input may
//! be cut anywhere, and replies may be sent in any order.

mod error;
mod exports;
mod fields;
mod handshake;
mod options;
mod replies;
mod requests;
mod sink;

pub use error::ServerError;
pub use exports::{Export, Exports};
pub use handshake::{Handshake, Negotiated, Outcome};
pub use options::ALLOCATION_CONTEXT;
pub use replies::{Extent, put_block_status, put_data_header, put_error, put_hole, put_none, put_simple};
pub use requests::{Incoming, Requests};
pub use sink::Sink;
