//! A machine for tests: whole scenarios of user programs, pagers and disks run on the host, in milliseconds, each time alike.
//!
//! The kernel runs unchanged ([`crate::Kernel::run`]): each CPU is a thread of the host, but only the one with the baton runs (`stage.rs`), and a seed decides
//! who gets it and when. Time goes on only when it is asked for or nobody has anything to do. User programs are `async` blocks (`user.rs`): each `await` is an exception of
//! the thread that runs them. [`Bed`] puts it together, looks at all threads after each step (`census.rs`), and at the end proves that nothing is left.

mod bed;
mod census;
mod disk;
mod machine;
mod pager;
mod stage;
mod user;

pub(crate) use bed::{Bed, Shape};
pub(crate) use census::Census;
pub(crate) use disk::Fault;
pub(crate) use pager::{Answer, PagerProgram};
pub(crate) use stage::{memory_fails, race};
pub(crate) use user::{HANDLER, User};
