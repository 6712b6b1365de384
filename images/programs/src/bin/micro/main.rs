//! `micro`: what operations cost, in guest instructions; `./mach bench micro` runs it with one CPU and `-icount shift=0`.
//!
//! There an instruction takes a nanosecond of guest time, so the counter that EL0 reads counts instructions: exact, and the same on any
//! host. Anywhere else the figures are nanoseconds. The names are those of images/mach/src/bench/peers.rs, which has other systems' figures.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(target_os = "none")]
mod clock;
#[cfg(target_os = "none")]
mod exceptions;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod messages;
#[cfg(target_os = "none")]
mod pagers;
#[cfg(target_os = "none")]
mod peer;
#[cfg(target_os = "none")]
mod stub;
#[cfg(target_os = "none")]
mod tasks;
#[cfg(target_os = "none")]
mod traps;

use runtime::Args;

runtime::main!(run);

/// Measures and prints a group of rows.
#[cfg(target_os = "none")]
type Measure = fn() -> Result<(), abi::Code>;

#[cfg(target_os = "none")]
fn run(args: Args) -> Result<(), alloc::string::String> {
    let groups: [(&str, Measure); 6] = [
        ("traps", traps::run),
        ("messages", messages::run),
        ("memory", memory::run),
        ("pagers", pagers::run),
        ("tasks", tasks::run),
        ("exceptions", exceptions::run),
    ];
    for (name, measure) in groups {
        if args.words().is_empty() || args.has(name) {
            measure().map_err(|code| alloc::format!("{}: {name}: {code}", args.program()))?;
        }
    }
    Ok(())
}

#[cfg(not(target_os = "none"))]
fn run(_: Args) {}
