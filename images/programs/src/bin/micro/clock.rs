//! Measuring: many times the same, and what once costs.

use runtime::{println, time};

/// What reading the clock twice costs by itself.
fn overhead() -> u64 {
    const TIMES: u64 = 256;
    let start = time::now_ns();
    for _ in 1..TIMES {
        core::hint::black_box(time::now_ns());
    }
    (time::now_ns() - start) / TIMES
}

/// How long it takes.
pub(crate) fn span<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let overhead = overhead();
    let start = time::now_ns();
    let result = work();
    ((time::now_ns() - start).saturating_sub(overhead), result)
}

/// Prints the figure of an operation: a span by how often it was done in it, rounded.
pub(crate) fn report(name: &str, span: u64, times: u64) {
    println!("@bench {name} {}", (span + times / 2) / times.max(1));
}

/// Does something so many times, once before for warmth, and prints what once costs.
pub(crate) fn repeat<E>(name: &str, times: u64, mut work: impl FnMut() -> Result<(), E>) -> Result<(), E> {
    work()?;
    let (span, result) = span(|| (0..times).try_for_each(|_| work()));
    result?;
    report(name, span, times);
    Ok(())
}
