//! Where vm, ipc and sched meet: tasks, threads, traps, kernel RPCs, faults.
//!
//! The nucleus is an event kernel. A CPU runs one thread until its next exception (`run.rs`), decides what it means with the engines of `vm`, `ipc` and
//! `sched`, and either goes on with the thread or writes down in it how it goes on later ([`thread::Resume`]). No thread ever sleeps inside the
//! kernel, so there is one stack per CPU, nothing to unwind, and a fault, a receive and an RPC that must wait are all the same: data.
//!
//! Everything is generic over [`machine::Machine`]; nothing here is unsafe, or knows what an exception vector is.
//!
//! Locks, in the order they may be taken: thread body → task → pager table → pager → disk → thread control; those of `ipc`, `vm` and `sched`
//! come after all of them and are never held across a call of this crate.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod boot;
mod boot_script;
mod carrier;
mod disk;
mod effects;
mod exception;
#[cfg(test)]
mod fake;
mod fault;
mod kernel;
mod kobject;
mod mach_msg;
pub mod machine;
mod net_ring;
mod out_of_line;
mod page_out;
mod pager;
mod pager_table;
mod ramdisk;
mod random;
mod requests;
mod rpc;
mod run;
mod task;
#[cfg(test)]
mod tests;
mod thread;
mod trace;
mod trap;
mod wait;

pub use kernel::Kernel;
