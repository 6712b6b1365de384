//! Loads NBD servers, measures them side by side, and checks what they promise.
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
