//! Where vm, ipc and sched meet: tasks, threads, traps, kernel RPCs, faults.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

pub mod machine;
