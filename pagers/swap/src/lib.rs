//! The default pager: anonymous memory on a block device, in slots of a page.
//!
//! It decides and the kernel moves: a page-out is answered by a place on the device, a page-in by where that was, and the kernel's
//! driver does the rest from and into its own frames. What is here is the deciding: which page is in which slot ([`map`]), which slots
//! are free and where the next run goes ([`slots`]), and the rules that lose no page ([`Swap`]). For a kernel without our extension pages come and go as messages ([`classic`]).
//!
//! Nothing on the way of a page-out allocates: all tables are made for the size of the device before the first page comes.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod classic;
pub mod map;
pub mod slots;
mod spaces;
mod swap;

pub use swap::{Place, Swap};
