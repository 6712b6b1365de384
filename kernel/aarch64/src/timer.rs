//! Time: the virtual counter, and one deadline for each CPU.
//!
//! Tickless: the timer is armed for the next deadline only. Its interrupt is a level, so it is masked in the timer when it
//! comes and unmasked by the next deadline.

use crate::cpu::{isb, read_register, write_register};
use spin::once::Once;

const NANOSECONDS: u128 = 1_000_000_000;
/// CNTV_CTL_EL0
const ENABLE: u64 = 1;
const MASKED: u64 = 2;

/// The counter's speed and start.
struct Clock {
    start: u64,
    frequency: u64,
    /// Nanoseconds of a tick, times 2^32.
    tick: u64,
}

static CLOCK: Once<Clock> = Once::new();

/// Starts the clock at 0.
pub fn init() {
    CLOCK.call_once(|| {
        let frequency = read_register!("cntfrq_el0").max(1);
        Clock { start: counter(), frequency, tick: ((NANOSECONDS << 32) / u128::from(frequency)) as u64 }
    });
}

fn counter() -> u64 {
    // Without the barrier the counter may be read before what comes earlier in the program.
    isb();
    read_register!("cntvct_el0")
}

impl Clock {
    fn nanoseconds(&self, counter: u64) -> u64 {
        ((u128::from(counter.wrapping_sub(self.start)) * u128::from(self.tick)) >> 32) as u64
    }

    /// The first count at which `nanoseconds` is at least `time`.
    fn count(&self, time: u64) -> u64 {
        let ticks = (u128::from(time) << 32).div_ceil(u128::from(self.tick.max(1)));
        self.start.saturating_add(u64::try_from(ticks).unwrap_or(u64::MAX))
    }
}

/// Nanoseconds since the kernel began.
pub fn now() -> u64 {
    CLOCK.get().map_or(0, |clock| clock.nanoseconds(counter()))
}

/// Ticks of the counter in a second.
pub fn frequency() -> u64 {
    CLOCK.get().map_or(0, |clock| clock.frequency)
}

/// Arms this CPU's timer, or not. A time that has passed interrupts at once.
pub fn set_deadline(at: Option<u64>) {
    let count = at.and_then(|time| Some(CLOCK.get()?.count(time)));
    // SAFETY: the virtual timer is the kernel's; all it does is interrupt.
    unsafe {
        match count {
            Some(count) => {
                write_register!("cntv_cval_el0", count);
                write_register!("cntv_ctl_el0", ENABLE);
            }
            None => write_register!("cntv_ctl_el0", MASKED),
        }
    }
}

/// Stops the interrupt until the next deadline is set.
pub fn quiet() {
    // SAFETY: as above.
    unsafe { write_register!("cntv_ctl_el0", ENABLE | MASKED) };
}
