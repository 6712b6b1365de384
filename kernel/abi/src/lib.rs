//! Every word that crosses EL0/EL1 or task/task: traps, layouts, ids, codes.
//!
//! The kernel's dispatch and the user's stubs are made from the same tables (`call/`), so the two can't differ. Nothing here does
//! anything: no I/O, no state, no unsafe code.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod call;
pub mod code;
pub mod info;
pub mod item;
pub mod message;
pub mod policy;
pub mod ring;
pub mod table;
pub mod thread_state;
pub mod trace;
pub mod trap;
pub mod vm;

pub use code::Code;
pub use message::Header;
pub use table::{Message, REPLY, Routine};
