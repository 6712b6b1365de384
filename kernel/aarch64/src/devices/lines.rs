//! From interrupt numbers to devices.
//!
//! A wired interrupt is a level and may be shared: its line is disabled from when it comes until every device on it has been looked at,
//! so that the interrupt handler touches no device. A message is an edge that belongs to one device: nothing to do but say so.

use crate::console::say;
use crate::cpu;
use crate::device_tree::Line;
use crate::gic::{self, GicError};
use crate::layout::MAX_CPUS;
use core::sync::atomic::{AtomicU64, Ordering};

/// Devices are numbered below this: a mask of them is a word.
pub const MAX_DEVICES: usize = 64;
const NUMBERS: usize = 1020;

/// A set of devices.
type Set = AtomicU64;

/// Devices on each interrupt.
static USERS: [Set; NUMBERS] = [const { Set::new(0) }; NUMBERS];
/// Interrupts that are wires.
static WIRES: [Set; NUMBERS.div_ceil(64)] = [const { Set::new(0) }; NUMBERS.div_ceil(64)];
/// Those of a disabled line that have not been served yet.
static UNSERVED: [Set; NUMBERS] = [const { Set::new(0) }; NUMBERS];
/// Devices with a wired interrupt that has come and that they have not been asked about.
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
        WIRES[line.number as usize / 64].fetch_or(1 << (line.number % 64), Ordering::AcqRel);
        gic::configure(line)?;
        Ok(Self { device, wire: Some(line.number) })
    }

    /// A device that sends messages with these numbers.
    pub fn messages(device: usize, numbers: impl Iterator<Item = u32>) -> Result<Self, GicError> {
        for number in numbers {
            join(device, number);
            gic::configure(Line { number, edge: true })?;
        }
        Ok(Self { device, wire: None })
    }

    /// Whether the device's wire has been raised since the last call: then the device wants its interrupt acknowledged, and
    /// [`served`](Self::served) to be called.
    pub fn noticed(self) -> bool {
        let bit = 1 << self.device;
        self.wire.is_some() && NOTICED.load(Ordering::Relaxed) & bit != 0 && NOTICED.fetch_and(!bit, Ordering::AcqRel) & bit != 0
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
    // Numbers come from `device_tree::line` or a message frame, both below the limit.
    USERS[number as usize].fetch_or(1 << device, Ordering::AcqRel);
}

fn is_wire(number: u32) -> bool {
    WIRES[number as usize / 64].load(Ordering::Acquire) >> (number % 64) & 1 != 0
}

/// An interrupt of a device has come. `next` then names the devices.
pub fn raised(number: u32) {
    let Some(users) = USERS.get(number as usize).map(|users| users.load(Ordering::Acquire)).filter(|&users| users != 0) else {
        say!("interrupt {number} is nobody's");
        return report(gic::enable(number, false));
    };
    if is_wire(number) {
        report(gic::enable(number, false));
        UNSERVED[number as usize].fetch_or(users, Ordering::AcqRel);
        NOTICED.fetch_or(users, Ordering::AcqRel);
    }
    RAISED[cpu::this_cpu()].fetch_or(users, Ordering::Relaxed);
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
