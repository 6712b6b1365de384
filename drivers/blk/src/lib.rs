//! The virtio block device.
//!
//! Requests in, completions out: the driver waits for nothing, copies nothing, allocates nothing once it is built and
//! never looks at the data. Whoever calls it owns the pages, decides how to wait and what to retry. Below it is the
//! `virtio` crate; above it the kernel's pager glue.
//!
//! One round: [`Block::submit`] any number of times, [`Block::kick`] once; on an interrupt
//! [`Block::acknowledge_interrupt`] (not needed for a queue's own MSI-X vector), then [`Block::reap`] until `None`,
//! then [`Block::rearm`], and again if that says there is more.

#![no_std]
#![forbid(unsafe_code)]

mod device;
mod error;
mod limits;
mod request;

pub use device::{Block, BlockConfig, BlockNotice, Completion};
pub use error::{DeviceError, SubmitError};
pub use limits::Limits;
pub use request::{Op, SECTOR_BYTES};
