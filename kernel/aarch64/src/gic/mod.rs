//! The interrupt controller: a GICv2 or a GICv3.
//!
//! The kernel wants little of it: one level of priority, all shared interrupts on the boot CPU, one SGI, one PPI. Registers and
//! the GICv3 driver are the `arm-gic` crate's.

mod its;
mod v2;
mod v3;

use crate::cpu;
use crate::device_tree::{self, Line};
use crate::mmu::{self, MapError, Memory};
use core::fmt;
use frames::Pool;
pub use its::{FIRST_LPI, Its, LPIS};
use spin::once::Once;

/// The SGI that `signal` sends.
pub const SIGNAL: u32 = 0;

/// Why the controller can't be used.
#[derive(Clone, Copy, Debug)]
pub enum GicError {
    /// Its registers can't be mapped.
    Map(MapError),
    /// It refused a setting.
    Setting(arm_gic::gicv3::GicError),
    /// No redistributor belongs to a CPU.
    NoRedistributor { affinity: u64 },
}

impl fmt::Display for GicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(error) => write!(f, "the interrupt controller can't be mapped: {error:?}"),
            Self::Setting(error) => write!(f, "the interrupt controller refuses: {error:?}"),
            Self::NoRedistributor { affinity } => write!(f, "CPU {affinity:#x} has no redistributor"),
        }
    }
}

impl From<MapError> for GicError {
    fn from(error: MapError) -> Self {
        Self::Map(error)
    }
}

impl From<arm_gic::gicv3::GicError> for GicError {
    fn from(error: arm_gic::gicv3::GicError) -> Self {
        Self::Setting(error)
    }
}

enum Gic {
    V2(v2::Controller),
    V3(v3::Controller),
}

static GIC: Once<Gic> = Once::new();

/// Sets the controller up: no shared interrupt is enabled.
pub fn init(registers: &device_tree::Gic) -> Result<(), GicError> {
    let map = |range: &core::ops::Range<u64>| mmu::map_device(range.start, range.end - range.start, Memory::Strict);
    let gic = match registers {
        device_tree::Gic::V2 { distributor, cpu_interface } => {
            // SAFETY: the device tree says that these are a GICv2's registers; they are mapped as a device, and `GIC` is the only user.
            Gic::V2(unsafe { v2::Controller::new(map(distributor)?.cast(), map(cpu_interface)?.cast()) })
        }
        device_tree::Gic::V3 { distributor, redistributors } => {
            let mut controller = {
                // SAFETY: as above, of a GICv3.
                unsafe { v3::Controller::new(map(distributor)?.cast()) }
            };
            for region in redistributors {
                // SAFETY: a region of redistributors, mapped whole.
                unsafe { controller.add_region(map(region)?.cast(), region) };
            }
            Gic::V3(controller)
        }
    };
    GIC.call_once(|| gic);
    Ok(())
}

/// Sets this CPU's part up, with its timer's interrupt and the signal enabled.
pub fn init_cpu(timer: u32) -> Result<(), GicError> {
    match gic() {
        Gic::V2(gic) => gic.init_cpu(&[SIGNAL, timer]),
        Gic::V3(gic) => gic.init_cpu(&[SIGNAL, timer])?,
    }
    Ok(())
}

/// Sends a shared interrupt to the boot CPU and enables it.
pub fn configure(line: Line) -> Result<(), GicError> {
    match gic() {
        Gic::V2(gic) => gic.configure(line),
        Gic::V3(gic) => gic.configure(line)?,
    }
    enable(line.number, true)
}

/// Enables a shared interrupt, or disables it: what comes then stays pending.
pub fn enable(number: u32, enabled: bool) -> Result<(), GicError> {
    match gic() {
        Gic::V2(gic) => gic.enable(number, enabled),
        Gic::V3(gic) => gic.enable(number, enabled)?,
    }
    Ok(())
}

/// The interrupt translation service, for the boot CPU; None if there is none that can be used.
pub fn translation_service(physical: u64, pool: &Pool) -> Option<Its> {
    match gic() {
        Gic::V2(_) => None,
        Gic::V3(gic) => gic.translation_service(physical, pool),
    }
}

/// Takes the next pending interrupt. It must be [`end`]ed.
pub fn acknowledge() -> Option<Acknowledged> {
    let token = match gic() {
        Gic::V2(gic) => gic.acknowledge(),
        Gic::V3(gic) => gic.acknowledge(),
    };
    // What the interrupt is about is read after it.
    cpu::dsb_sy();
    token
}

/// An interrupt that was taken.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    /// Its number.
    pub number: u32,
    /// As the controller wants it back.
    token: u32,
}

/// Lets the interrupt come again.
pub fn end(interrupt: Acknowledged) {
    // A device's interrupt line has been lowered by now.
    cpu::dsb_sy();
    match gic() {
        Gic::V2(gic) => gic.end(interrupt),
        Gic::V3(gic) => gic.end(interrupt),
    }
}

/// Interrupts another CPU.
pub fn signal(cpu: usize) {
    // What the other CPU is to find was stored before: SGIs and stores are not ordered otherwise.
    cpu::dsb_sy();
    match gic() {
        Gic::V2(gic) => gic.signal(cpu),
        Gic::V3(gic) => gic.signal(cpu),
    }
}

fn gic() -> &'static Gic {
    GIC.get().expect("the interrupt controller is set up before interrupts are used")
}
