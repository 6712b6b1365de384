//! What the EL0 programs are made of, apart from their main functions (`src/bin`): logic that hosts can test.
//!
//! [`pagebench`] fills, sweeps and verifies memory larger than RAM.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod pagebench;
