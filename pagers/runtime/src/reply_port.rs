//! The reply port of each thread: one receive right, made at the first call and used for all.

use crate::trap;

#[cfg(target_os = "none")]
use crate::entry::thread_block;

#[cfg(not(target_os = "none"))]
mod host {
    use core::cell::Cell;

    pub(super) struct ThreadBlock {
        pub(super) reply_port: Cell<u32>,
    }

    std::thread_local! {
        static BLOCK: ThreadBlock = const { ThreadBlock { reply_port: Cell::new(0) } };
    }

    pub(super) fn with<T>(act: impl FnOnce(&ThreadBlock) -> T) -> T {
        BLOCK.with(act)
    }
}

#[cfg(target_os = "none")]
fn with<T>(act: impl FnOnce(&crate::entry::ThreadBlock) -> T) -> T {
    act(thread_block())
}
#[cfg(not(target_os = "none"))]
use host::with;

/// The calling thread's.
pub(crate) fn get() -> u32 {
    with(|block| match block.reply_port.get() {
        0 => {
            let name = trap::mach_reply_port();
            block.reply_port.set(name);
            name
        }
        name => name,
    })
}

/// Gives the port up: a reply that nobody waits for any more may still come to it.
pub(crate) fn discard() {
    let name = with(|block| block.reply_port.replace(0));
    if name != 0 {
        crate::port::drop_receive(name);
    }
}

/// Forgets it: the kernel it belongs to is gone.
#[cfg(not(target_os = "none"))]
pub(crate) fn forget() {
    with(|block| block.reply_port.set(0));
}
