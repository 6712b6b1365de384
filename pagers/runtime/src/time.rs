//! Time since boot: the processor's counter, which EL0 may read; no trap.

use core::time::Duration;

use abi::trap::option;

use crate::reply_port;
use crate::trap::{MsgWords, mach_msg};

/// Nanoseconds since some moment before this task began.
#[must_use]
pub fn now_ns() -> u64 {
    clock::now_ns()
}

/// The same as a `Duration`.
#[must_use]
pub fn now() -> Duration {
    Duration::from_nanos(now_ns())
}

/// Waits.
pub fn sleep(how_long: Duration) {
    let end = now().saturating_add(how_long);
    loop {
        let left = end.saturating_sub(now());
        if left.is_zero() {
            return;
        }
        let timeout = crate::receive::milliseconds(left);
        let option = option::RCV | option::RCV_TIMEOUT;
        // Nobody sends to the reply port now; what ends this is the timeout.
        mach_msg(&mut [], MsgWords { option, rcv_name: reply_port::get(), timeout, ..MsgWords::default() });
    }
}

#[cfg(target_os = "none")]
mod clock {
    use core::arch::asm;

    /// The counter's ticks and how many of them make a second.
    fn counter() -> (u64, u64) {
        let (ticks, frequency);
        // SAFETY: reads two registers that EL0 may read; the barrier keeps the read from being done before what came earlier.
        unsafe { asm!("isb", "mrs {}, cntvct_el0", "mrs {}, cntfrq_el0", out(reg) ticks, out(reg) frequency, options(nomem, nostack)) };
        (ticks, frequency)
    }

    pub(super) fn now_ns() -> u64 {
        let (ticks, frequency) = counter();
        (u128::from(ticks) * 1_000_000_000 / u128::from(frequency.max(1))) as u64
    }
}

#[cfg(not(target_os = "none"))]
mod clock {
    pub(super) fn now_ns() -> u64 {
        crate::fake::now_ns()
    }
}
