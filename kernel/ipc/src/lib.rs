//! Spaces, rights, ports, queues, transfer of rights and memory: GNU Mach's IPC as pure logic.
//!
//! Nothing here blocks, copies user memory or knows what a page or a thread is: `nucleus` does, through [`Host`] and [`Carrier`].
//! Whoever calls gets back what is to be done: [`Sent`], [`Received`] and a list of [`Effect`]s, which must be worked off until
//! it is empty, holding no lock.
//!
//! # A message's way
//! [`copyin`] (names become rights) -> [`send`]: the kernel executes it ([`Sent::Kernel`], then [`Message::consume`]), or a waiting
//! thread gets it ([`Sent::Deliver`]), or it is queued until somebody calls [`receive`] -> [`copyout`] (rights become names) in the
//! receiver's context. One that can't be sent goes back with [`pseudo_copyout`] or ends with [`Message::destroy`]; one too large
//! for its receiver goes through [`copyout_destination`].
//!
//! A thread that waits is held by a [`WaitToken`]. [`cancel`] and whoever ends the wait race, and exactly one wins. A sender that
//! was woken with [`Wake::Retry`] must send again or call [`decline_retry`], else those behind it may wait for ever.
//!
//! # Locks
//! Order: a space's names -> a port -> a port set (and, before any port and with no other lock held, the transit lock of
//! `transit.rs`). Two spaces, two ports or two sets are never locked together. Every lock is private to this crate and held for
//! bounded work, so callers may hold locks of their own that they never take inside [`Carrier`] or [`Host`] code called from here
//! (cloning an object or comparing waiters).
//!
//! # Memory
//! What a user sizes (names, queues, waits, bodies, requests) is reserved with `try_reserve` and refused with a code. Fixed small
//! allocations (a port, a step of the work list) are probed for first where a call can still fail.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "strict"))]
extern crate std;

mod attributes;
mod copyin;
mod copyout;
mod effects;
mod entry;
mod header;
mod index;
mod item;
mod list;
mod message;
mod names;
mod notice;
mod port;
mod queue;
mod receive;
mod refs;
mod request;
mod right;
mod send;
mod set;
mod space;
mod table;
mod transit;
mod wait;

#[cfg(test)]
mod tests;

pub use attributes::Status;
pub use copyin::copyin;
pub use copyout::{copyout, copyout_destination, pseudo_copyout};
pub use effects::{Effect, Effects, Wake};
pub use message::{Capability, Message};
pub use port::Port;
pub use receive::{Receive, Received, receive};
pub use right::{Right, RightKind};
pub use send::{How, Sent, decline_retry, send};
pub use set::PortSet;
pub use space::Space;
pub use wait::{WaitToken, cancel};

use abi::Code;
use alloc::vec::Vec;

/// What the rest of the kernel puts behind ports and into messages.
pub trait Host: Sized + 'static {
    /// The kernel object behind a port. Cloned under a port's lock, so a clone must be cheap (an `Arc`).
    type Object: Clone + Send + Sync + 'static;
    /// Out-of-line memory in transit.
    type Memory: Send + 'static;
    /// A blocked thread.
    type Waiter: Clone + Eq + Send + Sync + 'static;
}

/// What moves memory between a task's map and a message. No lock of this crate is held while these run.
pub trait Carrier<H: Host> {
    /// Takes (a copy of) a range; with `deallocate` it vanishes from the task. The size isn't zero.
    fn memory_in(&mut self, address: u64, size: u64, deallocate: bool) -> Result<H::Memory, Code>;
    /// Appends an array of names; with `deallocate` its range vanishes. Room for them is reserved. On an error what was
    /// appended doesn't matter.
    fn read_names(&mut self, address: u64, count: u32, deallocate: bool, names: &mut Vec<u32>) -> Result<(), Code>;
    /// Maps memory; gives its address. On an error the memory has been freed.
    fn memory_out(&mut self, memory: H::Memory) -> Result<u64, Code>;
    /// Allocates room for names and writes them; gives its address.
    fn write_names(&mut self, names: &[u32]) -> Result<u64, Code>;
}

/// MACH_PORT_NULL.
pub const NAME_NULL: u32 = 0;
/// MACH_PORT_DEAD.
pub const NAME_DEAD: u32 = u32::MAX;
/// MACH_PORT_QLIMIT_DEFAULT.
pub const QUEUE_LIMIT_DEFAULT: u32 = 5;
/// MACH_PORT_QLIMIT_MAX.
pub const QUEUE_LIMIT_MAX: u32 = 16;
/// The most user references that a name can have.
pub const UREFS_MAX: u16 = u16::MAX;
/// The bit of mach_port_type_t for a dead-name request.
pub const TYPE_DEAD_NAME_REQUEST: u32 = 0x8000_0000;

/// Fails if there is no memory for one `T` now. Stable Rust has no `Arc::try_new`: this narrows the failure to a race.
pub(crate) fn probe<T>() -> Result<(), Code> {
    let mut room: Vec<T> = Vec::new();
    room.try_reserve_exact(1).map_err(|_| Code::RESOURCE_SHORTAGE)
}
