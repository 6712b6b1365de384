//! Run queues, wait queues and timeouts: who runs next, who waits for what, and until when.
//!
//! None of it knows what a thread, a page or a timer is: `nucleus` gives handles and keys, and acts on what it gets back. Each
//! structure has its own small spin locks, of which no two are ever held together and none while a caller's code runs. Every
//! store that must be seen before a following load (going idle, parking) is followed by an explicit `fence(SeqCst)`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod queue;
mod run;
mod timeouts;
mod wait;

pub use run::{LOWEST_PRIORITY, PRIORITIES, RunQueues};
pub use timeouts::{Timeout, Timeouts};
pub use wait::{ParkToken, Ticket, Unparked, WaitTable};

/// No memory for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;
