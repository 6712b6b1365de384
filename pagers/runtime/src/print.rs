//! Words on the console, a line at a time: lines of several threads and tasks don't mix.

use core::ffi::CStr;
use core::fmt::{self, Write};

use abi::trap::PRINT_MAX;

use crate::lock::Lock;
use crate::trap;

/// A line that isn't complete yet, with room for the NUL that ends it.
struct Line {
    bytes: [u8; PRINT_MAX],
    length: usize,
}

impl Line {
    const fn new() -> Self {
        Self { bytes: [0; PRINT_MAX], length: 0 }
    }

    fn flush(&mut self) {
        self.bytes[self.length] = 0;
        if let Ok(text) = CStr::from_bytes_until_nul(&self.bytes[..=self.length])
            && !text.is_empty()
        {
            trap::mach_print(text);
        }
        self.length = 0;
    }

    fn push(&mut self, byte: u8) {
        // A NUL would hide the rest of the line.
        self.bytes[self.length] = if byte == 0 { b'?' } else { byte };
        self.length += 1;
        if byte == b'\n' || self.length == PRINT_MAX - 1 {
            self.flush();
        }
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.push(byte));
        Ok(())
    }
}

static LINE: Lock<Line> = Lock::new(Line::new());

/// What `print!` and `println!` do.
pub fn print(words: fmt::Arguments<'_>) {
    // Writing to a line never fails; only a value's own formatting can, and then the line says so by being short.
    let _ = LINE.lock().write_fmt(words);
}

/// Prints a line that isn't complete.
pub(crate) fn flush() {
    LINE.lock().flush();
}

/// The last words of a task: they wait for no lock, since whoever holds it may be what failed.
#[cfg(target_os = "none")]
pub(crate) fn print_last(words: fmt::Arguments<'_>) {
    if let Some(mut line) = LINE.try_lock() {
        line.flush();
    }
    let mut line = Line::new();
    let _ = line.write_fmt(words);
    line.flush();
}

/// Prints words; they appear when the line is complete.
#[macro_export]
macro_rules! print {
    ($($words:tt)*) => { $crate::print::print(::core::format_args!($($words)*)) };
}

/// Prints a line.
#[macro_export]
macro_rules! println {
    () => { $crate::print::print(::core::format_args!("\n")) };
    ($($words:tt)*) => { $crate::print::print(::core::format_args!("{}\n", ::core::format_args!($($words)*))) };
}
