//! A guest program built for the host: there is nothing for it to run on.
//!
//! Binaries build on hosts so that `cargo clippy` and `cargo test` cover them; their logic is tested against the fake kernel.

use crate::Args;

/// Says so, and ends.
pub fn main(_: impl FnOnce(Args) -> i32) {
    std::eprintln!("this is a guest program: build it for aarch64-unknown-none and run it with ./mach run");
    std::process::exit(2);
}
