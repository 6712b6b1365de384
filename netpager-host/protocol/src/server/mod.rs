//! The server half: what a service drives over any byte stream.
//!
//! First a [`Handshake`] until it enters the transmission phase, then [`Requests`]; each request comes with the [`Reply`] that answers
//! it. Input may be cut anywhere, and replies may be sent in any order.

mod error;
mod exports;
mod fields;
mod handshake;
mod options;
mod refusal;
mod reply;
mod requests;
mod sink;
mod tls;

pub use error::ServerError;
pub use exports::{Export, Exports, Found, Purpose};
pub use handshake::{Handshake, Negotiated, Outcome};
pub use refusal::{ExportRefusal, RefusalKind};
pub use reply::{Extent, Reply};
pub use requests::{Incoming, Requests};
pub use sink::Sink;
pub use tls::TlsMode;
