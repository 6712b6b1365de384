//! GICv2.
//!
//! On `arm-gic`'s registers but not its driver, which can't say which CPU gets an interrupt and keeps the banked CPU interface
//! behind `&mut`.

use super::{Acknowledged, SIGNAL};
use crate::cpu;
use crate::device_tree::Line;
use crate::layout::MAX_CPUS;
use arm_gic::UniqueMmioPointer;
use arm_gic::gicv2::registers::{Gicc, Gicd, GicdCtlr};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};
use safe_mmio::field;
use spin::mutex::SpinMutex;

const PRIORITY: u32 = 0xA0A0_A0A0;
const LOWEST_PRIORITY: u32 = 0xF0;
const FIRST_SPURIOUS: u32 = 1020;
const NUMBER: u32 = 0x3FF;

pub struct Controller {
    distributor: SpinMutex<Distributor>,
    /// Banked: every CPU finds its own here.
    cpu_interface: NonNull<Gicc>,
    /// The bit that names each CPU in target lists.
    target: [AtomicU32; MAX_CPUS],
}

struct Distributor(UniqueMmioPointer<'static, Gicd>);

// SAFETY: device registers are the same from any CPU; `cpu_interface` is banked.
unsafe impl Send for Controller {}
// SAFETY: the distributor is behind a lock; each CPU reaches only its own interface, with interrupts masked.
unsafe impl Sync for Controller {}

impl Controller {
    /// Takes the controller with everything disabled.
    ///
    /// # Safety
    /// These are the registers of a GICv2, mapped as a device for good and used by nobody else.
    pub unsafe fn new(distributor: NonNull<Gicd>, cpu_interface: NonNull<Gicc>) -> Self {
        // SAFETY: the caller's promise.
        let mut distributor = Distributor(unsafe { UniqueMmioPointer::new(distributor) });
        distributor.reset();
        Self { distributor: SpinMutex::new(distributor), cpu_interface, target: [const { AtomicU32::new(0) }; MAX_CPUS] }
    }

    pub fn init_cpu(&self, interrupts: &[u32]) {
        let mut distributor = self.distributor.lock();
        self.target[cpu::this_cpu()].store(distributor.own_target(), Ordering::Relaxed);
        distributor.init_private(interrupts);
        let mut interface = self.interface();
        field!(interface, pmr).write(LOWEST_PRIORITY);
        field!(interface, ctlr).write(1);
    }

    pub fn configure(&self, line: Line) {
        let target = self.target[0].load(Ordering::Relaxed);
        self.distributor.lock().configure(line, target);
    }

    pub fn enable(&self, number: u32, enabled: bool) {
        let mut distributor = self.distributor.lock();
        let (word, bit) = (number as usize / 32, 1 << (number % 32));
        if enabled {
            set(field!(distributor.0, isenabler).get(word), bit);
        } else {
            set(field!(distributor.0, icenabler).get(word), bit);
        }
    }

    pub fn acknowledge(&self) -> Option<Acknowledged> {
        let mut interface = self.interface();
        let token = field!(interface, iar).read();
        (token & NUMBER < FIRST_SPURIOUS).then_some(Acknowledged { number: token & NUMBER, token })
    }

    pub fn end(&self, interrupt: Acknowledged) {
        let mut interface = self.interface();
        field!(interface, eoir).write(interrupt.token);
    }

    pub fn signal(&self, cpu: usize) {
        let target = self.target[cpu].load(Ordering::Relaxed);
        let mut distributor = self.distributor.lock();
        field!(distributor.0, sgir).write(target << 16 | SIGNAL);
    }

    fn interface(&self) -> UniqueMmioPointer<'_, Gicc> {
        // SAFETY: 1. `new`'s promise. 2. Unique: the registers are this CPU's own, no interrupt handler runs in between, and no function here
        // calls another while it has one.
        unsafe { UniqueMmioPointer::new(self.cpu_interface) }
    }
}

impl Distributor {
    fn reset(&mut self) {
        field!(self.0, ctlr).write(GicdCtlr::empty());
        let interrupts = field!(self.0, typer).read().num_irqs() as usize;
        for word in 1..interrupts / 32 {
            set(field!(self.0, icenabler).get(word), u32::MAX);
        }
        for word in 8..interrupts / 4 {
            set(field!(self.0, ipriorityr).get(word), PRIORITY);
        }
        for word in 2..interrupts / 16 {
            set(field!(self.0, icfgr).get(word), 0);
        }
        field!(self.0, ctlr).write(GicdCtlr::EnableGrp0);
    }

    /// SGIs and PPIs are banked too.
    fn init_private(&mut self, interrupts: &[u32]) {
        for word in 0..8 {
            set(field!(self.0, ipriorityr).get(word), PRIORITY);
        }
        // SGIs can't be disabled everywhere, and where they can a 0 leaves them.
        set(field!(self.0, icenabler).get(0), 0xFFFF_0000);
        set(field!(self.0, isenabler).get(0), interrupts.iter().fold(0, |bits, number| bits | 1 << number));
    }

    /// This CPU's bit: the target registers of private interrupts read as the CPU that reads. One CPU alone may read 0.
    fn own_target(&mut self) -> u32 {
        (0..8).map(|word| self.targets(word)).map(|targets| targets & 0xFF).find(|&target| target != 0).unwrap_or(1)
    }

    fn targets(&mut self, word: usize) -> u32 {
        let mut targets = field!(self.0, itargetsr);
        let mut register = targets.get(word).expect("there are 256");
        // SAFETY: reading ITARGETSR has no effect.
        unsafe { register.read_unsafe() }
    }

    fn configure(&mut self, line: Line, target: u32) {
        let number = line.number as usize;
        let shift = number % 4 * 8;
        let targets = self.targets(number / 4) & !(0xFF << shift) | target << shift;
        if let Some(mut register) = field!(self.0, itargetsr).get(number / 4) {
            // SAFETY: says which CPU is interrupted, nothing else.
            unsafe { register.write_unsafe(targets) };
        }
        if let Some(mut register) = field!(self.0, icfgr).get(number / 16) {
            let bit = 2 << (number % 16 * 2);
            register.modify(|value| if line.edge { value | bit } else { value & !bit });
        }
    }
}

fn set(register: Option<UniqueMmioPointer<'_, safe_mmio::fields::ReadPureWrite<u32>>>, value: u32) {
    if let Some(mut register) = register {
        register.write(value);
    }
}
