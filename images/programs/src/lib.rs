//! What the EL0 programs of the images are made of.
//!
//! `pagebench` fills a region that is larger than RAM and verifies every word it reads ([`pagebench`]); `micro` counts what the kernel's operations
//! cost; `conform` tests the kernel's interface, a case for each behaviour. What is only logic is tested on hosts.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod pagebench;
