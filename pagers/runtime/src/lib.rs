//! What every EL0 program stands on: start, traps, rights, messages, memory, threads, heap, and words to print.
//!
//! It is the only EL0 crate that may say `unsafe`; programs and pagers are written in safe Rust on it. A program is
//!
//! ```ignore
//! #![cfg_attr(target_os = "none", no_std, no_main)]
//! runtime::main!(run);
//! fn run(args: runtime::Args) -> Result<(), abi::Code> {
//!     runtime::println!("hello from {}", args.program());
//!     Ok(())
//! }
//! ```
//!
//! with a build script that hands the link script on (see `build.rs` of the example pager). The words of all messages are `abi`'s;
//! [`rpc::call`] sends any of its routines.
//!
//! What "safe" covers: memory that this crate hands out as `&[u8]` is owned by the handle it comes from. A task can still ask the
//! kernel, through its own task port, to change any of its memory, as a Unix program can write to /proc/self/mem: that is outside.
//!
//! On any other target than `target_os = "none"` the traps go to a [`fake::FakeKernel`], so that a whole pager runs in a host test.
#![cfg_attr(target_os = "none", no_std)]

extern crate alloc;

mod args;
pub mod bootstrap;
pub mod device;
#[cfg(target_os = "none")]
mod entry;
#[cfg(not(target_os = "none"))]
pub mod fake;
#[cfg(target_os = "none")]
mod heap;
#[cfg(not(target_os = "none"))]
pub mod host;
mod lock;
mod mapping;
mod outcome;
mod pages;
pub mod port;
pub mod print;
pub mod ramdisk;
mod receive;
mod reply_port;
mod right;
pub mod rpc;
pub mod task;
#[cfg(target_os = "none")]
pub mod thread;
pub mod time;
pub mod trap;
pub mod vm;

pub use args::Args;
pub use mapping::Mapping;
pub use outcome::Outcome;
pub use pages::Pages;
pub use receive::{Received, Receiver, Reply, is_damaged};
pub use right::{PortSet, ReceiveRight, SendOnceRight, SendRight};
pub use task::exit;

/// Names a program's main function: `fn(Args) -> impl Outcome`.
#[macro_export]
macro_rules! main {
    ($main:path) => {
        #[cfg(target_os = "none")]
        #[unsafe(no_mangle)]
        fn pvmach_main(args: $crate::Args) -> i32 {
            $crate::Outcome::status($main(args))
        }

        #[cfg(not(target_os = "none"))]
        fn main() {
            $crate::host::main(|args| $crate::Outcome::status($main(args)));
        }
    };
}
