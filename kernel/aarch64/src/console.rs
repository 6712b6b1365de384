//! The console: a PL011.
//!
//! Everything the kernel says, and mach_print, goes through here. A panic takes the device whoever holds it.

use core::fmt::{self, Write};
use core::ptr::NonNull;
use safe_mmio::fields::{ReadPure, ReadPureWrite, ReadWrite};
use safe_mmio::{UniqueMmioPointer, field, field_shared};
use spin::mutex::SpinMutex;

/// The registers that are used.
#[repr(C)]
pub struct Registers {
    data: ReadWrite<u32>,
    _status: [u32; 5],
    flags: ReadPure<u32>,
    _unused: [u32; 4],
    line_control: ReadPureWrite<u32>,
    control: ReadPureWrite<u32>,
}

/// UARTFR: the transmit FIFO is full.
const TRANSMIT_FULL: u32 = 1 << 5;
/// UARTLCR_H: 8 bits, FIFOs.
const EIGHT_BITS_FIFO: u32 = 0x70;
/// UARTCR: enabled, transmitting, receiving.
const ENABLED: u32 = 0x301;

struct Pl011(UniqueMmioPointer<'static, Registers>);

static CONSOLE: SpinMutex<Option<Pl011>> = SpinMutex::new(None);

impl Pl011 {
    fn put(&mut self, byte: u8) {
        while field_shared!(self.0, flags).read() & TRANSMIT_FULL != 0 {
            core::hint::spin_loop();
        }
        field!(self.0, data).write(u32::from(byte));
    }

    /// A terminal wants a carriage return before each line feed.
    fn put_all(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                self.put(b'\r');
            }
            self.put(byte);
        }
    }
}

/// Starts the console.
///
/// # Safety
/// `registers` must be those of a PL011, mapped as a device for good, and nobody else may use them.
pub unsafe fn init(registers: NonNull<Registers>) {
    // SAFETY: the caller's promise is what `new` asks for.
    let mut registers = unsafe { UniqueMmioPointer::new(registers) };
    field!(registers, line_control).write(EIGHT_BITS_FIFO);
    field!(registers, control).write(ENABLED);
    *CONSOLE.lock() = Some(Pl011(registers));
}

/// Writes bytes. Without a console they are lost.
pub fn write(bytes: &[u8]) {
    if let Some(uart) = CONSOLE.lock().as_mut() {
        uart.put_all(bytes);
    }
}

/// For a panic: if another CPU holds the console (or this one, from under the panic) it is taken away.
pub fn seize() {
    const TRIES: u32 = 1 << 20;
    for _ in 0..TRIES {
        if CONSOLE.try_lock().is_some() {
            return;
        }
        core::hint::spin_loop();
    }
    // SAFETY: the holder is this CPU, below the panic and never to go on, or one that has held it longer than any line takes. The worst
    // that can come of two writers is mixed text.
    unsafe { CONSOLE.force_unlock() };
}

struct Lines;

impl Write for Lines {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(text.as_bytes());
        Ok(())
    }
}

/// Writes formatted text.
pub fn print(arguments: fmt::Arguments<'_>) {
    // `Lines` never fails; a Display that does only loses its own text.
    let _ = Lines.write_fmt(arguments);
}

/// A line on the console.
macro_rules! say {
    ($($argument:tt)*) => { $crate::console::print(format_args!("{}\n", format_args!($($argument)*))) };
}
pub(crate) use say;
