//! Where a program starts, where its panics end, and what each of its threads has of its own.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::arch::{asm, global_asm};
use core::cell::Cell;
use core::ffi::{CStr, c_char};

use crate::{Args, print, task};

/// What a thread has of its own; TPIDR_EL0 points at it.
pub(crate) struct ThreadBlock {
    pub(crate) reply_port: Cell<u32>,
}

impl ThreadBlock {
    pub(crate) const fn new() -> Self {
        Self { reply_port: Cell::new(0) }
    }
}

/// The first thread's block.
struct First(ThreadBlock);

// SAFETY: only the first thread ever uses it.
unsafe impl Sync for First {}

static FIRST: First = First(ThreadBlock::new());

/// The calling thread's block.
pub(crate) fn thread_block<'a>() -> &'a ThreadBlock {
    let block: *const ThreadBlock;
    // SAFETY: reads a register that EL0 may read.
    unsafe { asm!("mrs {}, tpidr_el0", out(reg) block, options(nomem, nostack, preserves_flags)) };
    // SAFETY: `start` and `thread::spawn` put a block there before any code of the thread runs, and it lives as long as the thread.
    unsafe { &*block }
}

// All registers are zero but sp, which points at argc.
global_asm!(
    ".pushsection .text._start, \"ax\", %progbits",
    ".global _start",
    ".type _start, %function",
    "_start:",
    "    mov x0, sp",
    "    mov x29, xzr",
    "    mov x30, xzr",
    "    b {start}",
    ".popsection",
    start = sym start,
);

unsafe extern "Rust" {
    /// What `runtime::main!` defines.
    safe fn pvmach_main(args: Args) -> i32;
}

extern "C" fn start(stack: *const u64) -> ! {
    // SAFETY: writes a register that EL0 may write and that nothing has used yet.
    unsafe { asm!("msr tpidr_el0, {}", in(reg) &raw const FIRST.0, options(nostack, preserves_flags)) };
    // SAFETY: the loader's contract: argc, then that many pointers to strings, at sp.
    let words = unsafe { words(stack) };
    task::exit(pvmach_main(Args::new(words)))
}

/// # Safety
/// `stack` points at argc, argv and NULL as the loader lays them out, and they stay as they are.
unsafe fn words(stack: *const u64) -> &'static [&'static str] {
    // SAFETY: the caller's promise.
    let count = unsafe { stack.read() } as usize;
    let mut words = Vec::with_capacity(count);
    for index in 1..=count {
        // SAFETY: the caller's promise: `count` pointers follow.
        let word = unsafe { stack.add(index).read() } as *const c_char;
        // SAFETY: the caller's promise: each points at a string that ends in NUL.
        let word = unsafe { CStr::from_ptr(word) };
        words.push(word.to_str().unwrap_or("?"));
    }
    Box::leak(words.into_boxed_slice())
}

/// Exit status of a program that panicked.
const PANICKED: i32 = 101;

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    print::print_last(format_args!("panic: {info}\n"));
    task::exit(PANICKED)
}
