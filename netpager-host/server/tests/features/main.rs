//! What the service does beyond serving bytes, each against the real program: exports on demand, fencing, reloads, stores on
//! other servers, and its operation.

#[path = "../common/mod.rs"]
mod common;

mod demand;
mod fencing;
mod limits;
mod operation;
mod protocol;
mod reload;
mod stores;

use std::time::{Duration, Instant};

/// Waits until `is_so`; panics with `what` if that never comes.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(15), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
