//! The pager framework: what every pager would otherwise write again.
//!
//! A pager implements [`Pager`], a method for each thing the kernel asks, and hands itself to a [`Server`], which keeps the ports, decodes
//! the messages and calls it. It answers through the [`Control`] of the object, at once or later. The [`Book`] behind each control
//! knows which pages wait for an answer, so that one too many, or one that never comes, is seen here and not as a hanging program.
//!
//! The messages are `abi`'s memory_object, memory_object_default, default_pager and pvmach; everything with an address in it is
//! `runtime`'s. Hosts run pagers against `runtime::fake` by [`testing::Harness`].
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod book;
mod control;
mod dispatch;
mod objects;
mod run;
mod serve;
#[cfg(not(target_os = "none"))]
pub mod testing;
mod traits;

pub use book::{Book, Matched};
pub use control::{Attributes, Control, Lock, OnDeadline, Policy, Supply};
pub use objects::ObjectId;
pub use run::Run;
pub use serve::{Server, Tally};
pub use traits::{Info, Pager, Returned};
