//! From interrupt numbers to devices.
//!
//! A wired interrupt is a level and may be shared: its line is disabled from when it comes until every device on it has been looked at,
//! so that the interrupt handler touches no device. Who is told of a device must look at it (`Source::served`), or its neighbours stay
//! mute. A message is an edge that belongs to one device: nothing to do but say so.

use crate::console::say;
use crate::cpu;
use crate::device_tree::Line;
use crate::gic::{self, FIRST_LPI, GicError, LPIS};
use crate::layout::MAX_CPUS;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

/// Devices are numbered below this: a mask of them is a word.
pub const MAX_DEVICES: usize = 64;
/// Wires and messages of a frame have numbers below this; LPIs come behind them here.
const SHARED: u32 = 1020;
const NUMBERS: usize = (SHARED + LPIS) as usize;

/// A set of devices.
type Set = AtomicU64;

/// Devices on each interrupt.
static USERS: [Set; NUMBERS] = [const { Set::new(0) }; NUMBERS];
/// Interrupts that are wires.
static WIRES: [Set; NUMBERS.div_ceil(64)] = [const { Set::new(0) }; NUMBERS.div_ceil(64)];
/// Those of a disabled line that have not been served yet.
static UNSERVED: [Set; NUMBERS] = [const { Set::new(0) }; NUMBERS];
/// Messages about a device's configuration.
static CONFIGURATIONS: [Set; NUMBERS.div_ceil(64)] = [const { Set::new(0) }; NUMBERS.div_ceil(64)];
/// Devices whose wire has been raised, or whose configuration has changed, and that have not been asked about it.
static NOTICED: Set = Set::new(0);
/// Devices that this CPU has yet to report.
static RAISED: [Set; MAX_CPUS] = [const { Set::new(0) }; MAX_CPUS];

/// How a device interrupts.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    device: usize,
    /// The number of its wire.
    wire: Option<u32>,
}

impl Source {
    /// A device on a wire.
    pub fn wired(device: usize, line: Line) -> Result<Self, GicError> {
        join(device, line.number);
        mark(&WIRES, line.number);
        gic::configure(line)?;
        Ok(Self { device, wire: Some(line.number) })
    }

    /// A device that sends messages with these numbers; the first is about its configuration.
    pub fn messages(device: usize, numbers: Range<u32>) -> Self {
        mark(&CONFIGURATIONS, numbers.start);
        numbers.for_each(|number| join(device, number));
        Self { device, wire: None }
    }

    /// Whether the device is on a wire.
    pub fn is_wired(self) -> bool {
        self.wire.is_some()
    }

    /// Whether since the last call the device's wire has been raised (then it wants its interrupt acknowledged, and
    /// [`served`](Self::served) to be called) or its configuration has changed.
    pub fn noticed(self) -> bool {
        let bit = 1 << self.device;
        NOTICED.load(Ordering::Relaxed) & bit != 0 && NOTICED.fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    /// The device doesn't hold its wire any more. The last of those on the wire enables it again.
    pub fn served(self) {
        let Some(wire) = self.wire else { return };
        let bit = 1 << self.device;
        if UNSERVED[wire as usize].fetch_and(!bit, Ordering::AcqRel) == bit {
            report(gic::enable(wire, true));
        }
    }
}

fn join(device: usize, number: u32) {
    if let Some(place) = place(number) {
        USERS[place].fetch_or(1 << device, Ordering::AcqRel);
    }
}

/// Where an interrupt is in the tables.
fn place(number: u32) -> Option<usize> {
    match number {
        0..SHARED => Some(number as usize),
        FIRST_LPI.. if number - FIRST_LPI < LPIS => Some((SHARED + number - FIRST_LPI) as usize),
        _ => None,
    }
}

fn mark(set: &[Set], number: u32) {
    if let Some(place) = place(number) {
        set[place / 64].fetch_or(1 << (place % 64), Ordering::AcqRel);
    }
}

fn is_marked(set: &[Set], place: usize) -> bool {
    set[place / 64].load(Ordering::Acquire) >> (place % 64) & 1 != 0
}

/// An interrupt of a device has come. `next` then names the devices.
pub fn raised(number: u32) {
    let place = place(number).filter(|&place| USERS[place].load(Ordering::Acquire) != 0);
    let Some(place) = place else {
        say!("interrupt {number} is nobody's");
        if number < SHARED {
            report(gic::enable(number, false));
        }
        return;
    };
    let users = USERS[place].load(Ordering::Acquire);
    if is_marked(&CONFIGURATIONS, place) {
        NOTICED.fetch_or(users, Ordering::AcqRel);
    }
    if is_marked(&WIRES, place) {
        report(gic::enable(number, false));
        UNSERVED[place].fetch_or(users, Ordering::AcqRel);
        NOTICED.fetch_or(users, Ordering::AcqRel);
    }
    RAISED[cpu::this_cpu()].fetch_or(users, Ordering::Relaxed);
}

/// Whether `next` has one.
pub fn is_pending() -> bool {
    RAISED[cpu::this_cpu()].load(Ordering::Relaxed) != 0
}

/// A device that was raised on this CPU.
pub fn next() -> Option<usize> {
    let raised = &RAISED[cpu::this_cpu()];
    let devices = raised.load(Ordering::Relaxed);
    if devices == 0 {
        return None;
    }
    let first = devices.trailing_zeros() as usize;
    raised.fetch_and(!(1 << first), Ordering::Relaxed);
    Some(first)
}

fn report(result: Result<(), GicError>) {
    if let Err(error) = result {
        say!("{error}");
    }
}
