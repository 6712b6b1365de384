//! The service under clients that are many, slow, greedy, dying or at odds with each other.
//!
//! What they do comes from the crate `bench`, seeded. Each test starts a service of its own on a free port. Times are
//! compared with times of the same machine a moment before, never with a number of microseconds.

mod consistency;
mod many;
mod slow;
mod tenants;
mod vanishing;

use std::path::Path;
use std::time::{Duration, Instant};

use bench::Server;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_netpager-host"))
}

/// A service with these exports on a free loopback port.
fn service(exports: &[&str], more: &[&str]) -> Server {
    Server::ours(binary(), exports, more).unwrap()
}

/// Waits until something is so.
#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "not after a minute: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
