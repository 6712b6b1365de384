//! The network pager: memory objects whose pages live on an NBD server, over TCP.
//!
//! The network device is a ring of packets in memory ([`ring`]), TCP is smoltcp ([`stack`]), the wire's language is the `nbd` crate's client half.
//! What is here is the rest: which page is where in the export ([`objects`], [`extents`]), what has to be done and in which order
//! ([`jobs`]), TLS ([`secure`]), the connections and what becomes of their requests when they drop ([`connection`], [`attach`]), and the pager that puts them together ([`Net`]).
//!
//! The rules that lose no page: a page that came home is kept here until the server has acknowledged it; requests that touch the same bytes of the export
//! are never under way together, unless they all read; what a dropped connection leaves open is asked again on the next one, and nothing else is
//! written to its place while the old write may still come ([`quarantine`]); and a server that has lost its memory, which the superblock shows,
//! is an error for whoever wants a page that was there, never zeroes. With sealed pages ([`seal`]) so is a page that isn't the very one it was given.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod arrival;
pub mod attach;
mod backoff;
mod bits;
pub mod config;
mod connection;
mod core_state;
pub mod device;
pub mod extents;
mod jobs;
mod net;
pub mod objects;
mod outgoing;
mod quarantine;
mod requests;
mod returns;
pub mod ring;
pub mod seal;
pub mod secrets;
pub mod secure;
pub mod stack;
pub mod stream;

pub use config::Config;
pub use net::{Counters, Net, Settings};
