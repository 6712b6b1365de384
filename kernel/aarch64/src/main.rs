//! The kernel binary for AArch64: boot, vectors, interrupts, timer, PSCI, devices.
//!
//! It implements what the nucleus asks of a machine (`nucleus::machine`) and starts it. `start` is the order of things; everything below is
//! one part of the hardware each. One of the two kernel crates that may say `unsafe`; each use has its proof beside it.
//!
//! The kernel runs with interrupts masked, on one stack for each CPU, without floating point.
#![no_std]
#![no_main]
#![expect(unreachable_pub, reason = "in a binary, pub means: of this module, for the others")]

extern crate alloc;

mod address_space;
mod console;
mod cpu;
mod device_tree;
mod devices;
mod exits;
mod gic;
mod hwcaps;
mod layout;
mod machine;
mod memory;
mod mmu;
mod psci;
mod rtc;
mod smp;
mod start;
mod timer;
mod trap;
mod user;
