//! Stores over the network, and stores made of other stores: what lets a memory server be more than one machine.
//!
//! | store | is made of | survives |
//! |---|---|---|
//! | [`NbdStore`] | an export of any NBD server | lost connections, and restarts of a server that keeps what it flushed |
//! | [`Mirror`] | two or more stores with the same bytes | the loss of all members but one |
//! | [`Stripe`] | two or more stores, one stripe after the other | nothing more than its members do |
//! | [`ValkeyStore`] | a Redis or Valkey cluster | what the cluster survives, which is less than it seems: see there |
//!
//! Who calls these stores waits; inside, one [`Engine`] drives all sockets, and mirrors and stripes have threads of their
//! own so that a store that hangs does not stop the others.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod engine;
mod lane;
mod mirror;
mod range;
mod stripe;
mod upstream;
mod valkey;

pub use engine::Engine;
pub use mirror::{
    Member, MemberState, MemberStatus, Mirror, MirrorConfig, MirrorStatus, Plain, Replica, ScrubReport, StaleFile, StaleLog, StaleMemory,
    StaleRecord, Witness,
};
pub use stripe::Stripe;
pub use upstream::{BoxStream, NbdConfig, NbdStore, Secure, Securing, Stream, UpstreamStatus};
pub use valkey::{ValkeyConfig, ValkeyStore};
