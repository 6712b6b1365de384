//! Loads NBD servers, measures them side by side, and checks what they promise.
//!
//! Whoever says that a server is fast or loses nothing needs a client that is faster than the server and remembers more. It
//! is here once, on the client half of the crate `nbd`: for users (`netpager-host bench`), for developers (`netpager-bench`,
//! called by `./mach bench host` and `./mach bench soak`), and for the service's own tests.
//!
//! | module | what it is |
//! |---|---|
//! | [`Target`], `stream`, `wire` | from an NBD URI to a socket, with TLS or without |
//! | [`Connection`], `in_flight` | one client with any number of requests in flight |
//! | [`content`], [`Random`] | seeded data that says where it belongs, and seeded choices |
//! | [`load`] | the load generator and its figures |
//! | [`Server`], [`Process`] | servers started for a measurement, ours and others', and what they cost |
//! | [`compare`] | ours beside nbdkit, qemu-nbd and nbd-server, and a verdict on every goal |
//! | [`torture`] | many clients on the same sectors; every sector's history must be linearizable |
//! | [`soak`] | a day's requests with faults, kills and restarts, against a model |
//!
//! # What is not here
//! Pre-shared keys for TLS, and a distributed load: one process on one machine makes all of it.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod compare;
mod connection;
pub mod content;
mod error;
mod in_flight;
pub mod load;
mod process;
mod random;
mod server;
pub mod soak;
mod stream;
mod target;
pub mod torture;
mod wire;

pub use connection::{Connection, Done, PATIENCE};
pub use error::BenchError;
pub use process::Process;
pub use random::Random;
pub use server::{Kind, Server};
pub use target::Target;
