//! AArch64 page tables as logic: translation tables, ASIDs, break-before-make, invalidation.
//!
//! What the architecture demands of software that changes a live translation table is long, and most of it cannot be seen to be
//! missing in an emulator. So it is written here once, without `unsafe` and without a register: [`Tables`] is an address space,
//! [`Asids`] tags its translations, and both work on a [`Hardware`] that `kernel/aarch64` implements with instructions and the tests with
//! a model that knows what TLBs may hold. 4 KiB granule, 47-bit user addresses, levels 0 to 3, pages only (no blocks).
//!
//! Words from the Arm ARM (DDI 0487, chapter D8): *break* is to make a valid entry invalid, *make* the other way round.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod asid;
mod flush;
mod geometry;
mod hardware;
mod pte;
mod remove;
mod tables;
pub mod tlbi;

pub use asid::{Asids, Context};
pub use flush::BATCH;
pub use geometry::{ENTRIES, USER_END};
pub use hardware::Hardware;
pub use pte::{MAIR, MemoryType, Pte};
pub use tables::{NoTables, Tables};
