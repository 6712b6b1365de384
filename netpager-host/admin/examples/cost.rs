//! What counting costs a connection, in nanoseconds a request: `cargo run --release -p admin --example cost`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use admin::{ClientInfo, Command, Outcome, Registry};

const REQUESTS: u64 = 20_000_000;

fn main() {
    let registry = Registry::default();
    let mut recorder = registry.connect(ClientInfo::default());
    let started = Instant::now();
    for request in 0..REQUESTS {
        recorder.begin();
        // Latencies all over the buckets of a memory server: 4 to 70 µs.
        let latency = Duration::from_nanos(4096 + (black_box(request).wrapping_mul(0x9e37_79b9) & 0xffff));
        recorder.finish(Command::Read, Outcome::Ok, 4096, latency);
    }
    let each = started.elapsed().as_nanos() as f64 / REQUESTS as f64;
    let clock = Instant::now();
    (0..1_000_000).for_each(|_| {
        black_box(Instant::now());
    });
    println!("counting: {each:.1} ns; reading the clock: {:.1} ns", clock.elapsed().as_nanos() as f64 / 1e6);
    assert_eq!(registry.clients()[0].totals.requests(), REQUESTS);
}
