//! Every decoder as a function of arbitrary bytes, which panics if a promise is broken.
//!
//! The same functions are run by `cargo test` over a corpus with random damage (`tests/fuzz.rs`), and by cargo-fuzz with coverage
//! (`fuzz/`, three lines for each). All of them promise that nothing panics. Those that take a stream also promise that it makes no
//! difference how it is cut; what more each one promises is said with it.
//!
//! The first bytes of an input choose what it is fed to; what is left is what the other side sends.

mod corpus;
mod handshakes;
mod replies;
mod requests;
mod texts;

pub use handshakes::{client_handshake, server_handshake};
pub use replies::client_replies;
pub use requests::server_requests;
pub use texts::{superblock, uri};

use alloc::vec::Vec;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, also that of its directories.
    pub name: &'static str,
    /// Panics if a promise is broken.
    pub run: fn(&[u8]),
    /// Inputs that make sense, to begin with.
    pub corpus: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 6] = [
    Target { name: "server_handshake", run: server_handshake, corpus: corpus::server_handshake },
    Target { name: "server_requests", run: server_requests, corpus: corpus::server_requests },
    Target { name: "client_handshake", run: client_handshake, corpus: corpus::client_handshake },
    Target { name: "client_replies", run: client_replies, corpus: corpus::client_replies },
    Target { name: "uri", run: uri, corpus: corpus::uri },
    Target { name: "superblock", run: superblock, corpus: corpus::superblock },
];

/// Takes bytes off the front of an input, to choose with; zero if there are none.
fn choice(data: &mut &[u8]) -> u8 {
    let (first, rest) = data.split_first().map_or((0, *data), |(first, rest)| (*first, rest));
    *data = rest;
    first
}

/// Cuts a stream into pieces, of which `seed` says how long they are.
fn pieces(mut data: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut state = u32::from(seed) | 1;
    core::iter::from_fn(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = ((state >> 24) as usize % 23 + 1).min(data.len());
        let (piece, rest) = data.split_at(length);
        data = rest;
        (!piece.is_empty()).then_some(piece)
    })
}
