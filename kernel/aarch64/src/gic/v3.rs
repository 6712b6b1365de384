//! GICv3 (and a GICv4 that is used as one).

use super::its::{Its, Target};
use super::{Acknowledged, GicError, SIGNAL};
use crate::cpu::{self, read_register};
use crate::device_tree::Line;
use crate::layout::MAX_CPUS;
use arm_gic::gicv3::registers::{Gicd, GicrCtlr, GicrSgi};
use arm_gic::gicv3::{GicCpuInterface, GicDistributor, GicRedistributor, SgiTarget, SgiTargetGroup};
use arm_gic::{IntId, InterruptGroup, Trigger, UniqueMmioPointer};
use arrayvec::ArrayVec;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use frames::Pool;
use safe_mmio::{field, field_shared};
use spin::mutex::SpinMutex;

const LOWEST_PRIORITY: u8 = 0xF0;
/// Affinity 0 to 3 of MPIDR.
const AFFINITY: u64 = 0xFF_00FF_FFFF;

pub struct Controller {
    distributor: SpinMutex<GicDistributor<'static>>,
    regions: ArrayVec<Region, 4>,
    /// MPIDR of each CPU.
    affinity: [AtomicU64; MAX_CPUS],
    /// One CPU at a time walks the redistributors.
    walk: SpinMutex<()>,
}

/// Redistributors one behind the other.
struct Region {
    base: NonNull<GicrSgi>,
    physical: u64,
    frames: usize,
}

// SAFETY: device registers are the same from any CPU.
unsafe impl Send for Region {}
// SAFETY: only read as an address; what it points to is used under `walk`.
unsafe impl Sync for Region {}

impl Controller {
    /// Takes the distributor with everything disabled.
    ///
    /// # Safety
    /// These are the registers of a GICv3's distributor, mapped as a device for good and used by nobody else.
    pub unsafe fn new(distributor: NonNull<Gicd>) -> Self {
        // SAFETY: the caller's promise.
        let mut distributor = GicDistributor::new(unsafe { UniqueMmioPointer::new(distributor) });
        distributor.enable_all_interrupts(false);
        distributor.configure_default_settings();
        Self {
            distributor: SpinMutex::new(distributor),
            regions: ArrayVec::new(),
            affinity: [const { AtomicU64::new(0) }; MAX_CPUS],
            walk: SpinMutex::new(()),
        }
    }

    /// Adds a region of redistributors.
    ///
    /// # Safety
    /// It is one, up to the redistributor that says it is the last, mapped as a device for good and used by nobody else.
    pub unsafe fn add_region(&mut self, base: NonNull<GicrSgi>, physical: &Range<u64>) {
        let frames = (physical.end - physical.start) as usize / size_of::<GicrSgi>();
        // There is room for as many as the device tree's reader takes.
        let _ = self.regions.try_push(Region { base, physical: physical.start, frames });
    }

    pub fn init_cpu(&self, interrupts: &[u32]) -> Result<(), GicError> {
        let affinity = read_register!("mpidr_el1") & AFFINITY;
        self.affinity[cpu::this_cpu()].store(affinity, Ordering::Relaxed);
        GicCpuInterface::enable_system_register_el1();
        cpu::isb();
        self.with_redistributor(affinity, |redistributor| {
            // One that is awake already says so, and stays so.
            let _ = redistributor.mark_core_awake();
            redistributor.configure_default_settings();
            interrupts.iter().try_for_each(|&number| redistributor.enable_interrupt(int_id(number), true))
        })?;
        // SAFETY: ICC_CTLR_EL1: one priority drop and deactivation at EOI, no preemption bits of its own.
        unsafe { cpu::write_register!("s3_0_c12_c12_4", 0) };
        GicCpuInterface::set_priority_mask(LOWEST_PRIORITY);
        GicCpuInterface::enable_group1(true);
        cpu::isb();
        Ok(())
    }

    pub fn configure(&self, line: Line) -> Result<(), GicError> {
        let id = int_id(line.number);
        let mut distributor = self.distributor.lock();
        distributor.set_trigger(id, if line.edge { Trigger::Edge } else { Trigger::Level })?;
        distributor.set_routing(id, Some(self.affinity[0].load(Ordering::Relaxed)))?;
        Ok(())
    }

    pub fn enable(&self, number: u32, enabled: bool) -> Result<(), GicError> {
        let mut distributor = self.distributor.lock();
        distributor.enable_interrupt(int_id(number), enabled)?;
        distributor.wait_for_pending_write();
        Ok(())
    }

    pub fn acknowledge(&self) -> Option<Acknowledged> {
        const FIRST_SPURIOUS: u32 = 1020;
        const AFTER_SPURIOUS: u32 = 1024;
        let number = GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1)?.raw_value();
        let real = !(FIRST_SPURIOUS..AFTER_SPURIOUS).contains(&number);
        real.then_some(Acknowledged { number, token: number })
    }

    pub fn end(&self, interrupt: Acknowledged) {
        GicCpuInterface::end_interrupt(int_id(interrupt.token), InterruptGroup::Group1);
        cpu::isb();
    }

    pub fn signal(&self, cpu: usize) {
        let [aff0, affinity1, affinity2, _, affinity3, ..] = self.affinity[cpu].load(Ordering::Relaxed).to_le_bytes();
        // Target lists name sixteen CPUs; those of a larger affinity 0 need a range selector, which no machine of 8 CPUs has.
        let target = SgiTarget::List { affinity3, affinity2, affinity1, target_list: 1 << (aff0 & 15) };
        let sent = GicCpuInterface::send_sgi(IntId::sgi(SIGNAL), target, SgiTargetGroup::CurrentGroup1);
        debug_assert!(sent.is_ok());
        cpu::isb();
    }

    /// The interrupt translation service at this address, sending to the boot CPU.
    pub fn translation_service(&self, physical: u64, pool: &Pool) -> Option<Its> {
        let affinity = self.affinity[0].load(Ordering::Relaxed);
        self.with_registers(affinity, |mut registers, offset| {
            let mut redistributor = field!(registers, gicr);
            let kind = field!(redistributor, typer).read();
            let target = Target { physical: offset, processor: kind.processor_number() };
            Its::new(physical, pool, target, |tables| {
                if !kind.physical_lpis_supported() || field!(redistributor, ctlr).read().contains(GicrCtlr::EnableLPIs) {
                    return false;
                }
                field!(redistributor, propbaser).write(tables.configuration);
                field!(redistributor, pendbaser).write(tables.pending);
                field!(redistributor, ctlr).modify(|control| control | GicrCtlr::EnableLPIs);
                true
            })
        })
        .flatten()
    }

    fn with_redistributor(
        &self,
        affinity: u64,
        act: impl FnOnce(&mut GicRedistributor<'_>) -> Result<(), arm_gic::gicv3::GicError>,
    ) -> Result<(), GicError> {
        let done = self.with_registers(affinity, |registers, _| act(&mut GicRedistributor::new(registers)));
        Ok(done.ok_or(GicError::NoRedistributor { affinity })??)
    }

    /// Calls `act` with a CPU's redistributor and its physical address.
    fn with_registers<R>(&self, affinity: u64, act: impl FnOnce(UniqueMmioPointer<'_, GicrSgi>, u64) -> R) -> Option<R> {
        let _walk = self.walk.lock();
        for region in &self.regions {
            let mut frame = 0;
            while frame < region.frames {
                // SAFETY: 1. `add_region`'s promise, for a frame inside the region. 2. `walk` is held, so there is no other.
                let registers = unsafe { UniqueMmioPointer::new(region.base.add(frame)) };
                let redistributor = field_shared!(registers, gicr);
                let kind = field_shared!(redistributor, typer).read();
                if kind.core_mpidr() & AFFINITY == affinity {
                    return Some(act(registers, region.physical + (frame * size_of::<GicrSgi>()) as u64));
                }
                if kind.last_redistributor() {
                    break;
                }
                // With virtual LPIs there are two more pages of 64 KiB.
                frame += if kind.virtual_lpis_supported() { 2 } else { 1 };
            }
        }
        None
    }
}

fn int_id(number: u32) -> IntId {
    // Numbers come from the controller, or from `device_tree::line`, which makes no others.
    IntId::try_from(number).unwrap_or(IntId::SPECIAL_NONE)
}
