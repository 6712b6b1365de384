//! Pagers around pagers. Each is a [`Pager`](pager::Pager) that hands everything to the one inside, and does one thing besides:
//!
//! * [`Delay`] makes page-ins wait, [`Faults`] makes them fail in the ways that pagers fail, [`Log`] prints what is asked, [`Stats`] counts it.
//!
//! They compose: `Log::new(Faults::new(Delay::new(MyPager, …), …), "name")`.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod delay;
mod faults;
mod forward;
mod log;
mod stats;

pub use delay::Delay;
pub use faults::{Every, Fault, Faults};
pub use log::Log;
pub use stats::{Counts, Stats};
