//! Maps, objects, copies, the fault and page-out engines.
//!
//! A map (`map.rs`) says which object is at which address. An object (`object.rs`) keeps its pages in leaves of 64 (`leaf.rs`); copies share
//! leaves and then pages by reference count, so a lookup costs the same however many forks went before. A page (`page.rs`) is in RAM, at its pager, or
//! on its way. The engines decide and say what to do next ([`Outcome`], [`Action`]); `nucleus` does it. Nothing here knows what a
//! port or a message is, waits, or touches hardware: frames come from `frames`, translations go through [`Pmap`].
//!
//! Locks, in the order they may be taken: map → object (a copy before its source) → leaf (a copy's before its source's) → shared page → frame record → pmap;
//! the swap space's is last. Each is held for bounded work.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod ask;
mod calls;
#[cfg(any(test, feature = "fake"))]
mod check;
mod copy;
mod core_state;
mod entry;
#[cfg(any(test, feature = "fake"))]
mod fake;
mod fault;
mod frame_table;
mod home;
mod leaf;
mod lost;
mod map;
mod moved;
mod object;
mod page;
mod pageout;
mod pmap;
mod range;
mod returns;
mod source;
mod supply;
mod swap;
#[cfg(test)]
mod tests;
mod transfer;
mod want;
mod wire;

pub use calls::EXTENT_PAGES;
#[cfg(any(test, feature = "fake"))]
pub use check::Roots;
pub use copy::{Copy, Segment};
pub use core_state::{Core, Counter};
pub use entry::Entry;
#[cfg(any(test, feature = "fake"))]
pub use fake::{FakePmap, Translation};
pub use fault::{Access, Ask, Outcome};
pub use home::Home;
pub use map::{Map, Placement, Region, Showing};
pub use object::{Object, ObjectRef, PagerId, PagerPolicy};
pub use pageout::{Action, PAGE_OUT_STEP};
pub use pmap::{NoTables, Pmap, Removed};
pub use range::PageRange;
pub use supply::{Supplied, Wake};
pub use transfer::Transfer;

use alloc::vec::Vec;
use core::sync::atomic::AtomicUsize;
use frame_table::FrameTable;

/// There was no memory for the kernel's own records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

impl From<NoMemory> for abi::Code {
    fn from(_: NoMemory) -> Self {
        Self::RESOURCE_SHORTAGE
    }
}

/// The VM system of one machine.
pub struct Vm<P: Pmap> {
    core: &'static Core,
    frames: FrameTable<P>,
    hand: AtomicUsize,
}

impl<P: Pmap> Vm<P> {
    /// A VM system for the frames of `core`'s pool.
    pub fn new(core: &'static Core) -> Result<Self, NoMemory> {
        core.swap.lock().prepare()?;
        Ok(Self { core, frames: FrameTable::new(core.pool())?, hand: AtomicUsize::new(0) })
    }

    /// What all objects share.
    pub const fn core(&self) -> &'static Core {
        self.core
    }

    /// A counter's value, those of frames included.
    pub fn counter(&self, counter: Counter) -> u64 {
        match counter {
            Counter::Wired => self.frames.wired_frames() as u64,
            other => self.core.counter(other),
        }
    }
}

/// Pushes if there is memory for it.
fn push<T>(list: &mut Vec<T>, item: T) -> Result<(), NoMemory> {
    list.try_reserve(1).map_err(|_| NoMemory)?;
    list.push(item);
    Ok(())
}
