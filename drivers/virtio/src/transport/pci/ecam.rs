//! PCI configuration space, memory-mapped (ECAM), of as many buses as there are.
//!
//! virtio-drivers' own accessor insists on a mapping of all 256 buses; machines have windows of sixteen, and a kernel
//! may map one. What lies outside reads as "no device".

#![allow(unsafe_code)] // UNSAFETY: the crate's trait has an unsafe method; see the proof.

use super::super::{MapRegisters, registers};
use safe_mmio::{UniqueMmioPointer, fields::ReadPureWrite};
use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction};

const BUS_BYTES: usize = 1 << 20;
const FUNCTION_BYTES: usize = 1 << 12;
const ABSENT: u32 = !0;

/// Access to configuration space.
#[derive(Debug)]
pub struct Ecam {
    words: UniqueMmioPointer<'static, [ReadPureWrite<u32>]>,
    first_bus: u8,
}

impl Ecam {
    /// Maps `buses` buses from `first_bus` on, whose configuration space starts at CPU address `physical`.
    pub fn map(map: &impl MapRegisters, physical: u64, first_bus: u8, buses: u16) -> Option<Self> {
        let buses = usize::from(buses).min(256 - usize::from(first_bus));
        let words = registers::map_slice(map, physical, buses * BUS_BYTES)?;
        Some(Self { words, first_bus })
    }

    pub(super) fn buses(&self) -> impl Iterator<Item = u8> + use<> {
        let first = self.first_bus;
        (0..self.words.len() * 4 / BUS_BYTES).filter_map(move |bus| first.checked_add(u8::try_from(bus).ok()?))
    }

    /// A second accessor, for what one function does with its own configuration after the scan.
    pub(super) fn share(&self) -> Self {
        // SAFETY: the accessor that does the scan and those of single functions are not used on the same words at the
        // same time: a scan ends before the transports it found do anything with their functions' configuration,
        // and each writes only its own function's.
        unsafe { self.unsafe_clone() }
    }

    fn word_index(&self, function: DeviceFunction, register: u8) -> Option<usize> {
        let bus = usize::from(function.bus.checked_sub(self.first_bus)?);
        let slot = usize::from(function.device) << 3 | usize::from(function.function);
        let index = (bus * BUS_BYTES + slot * FUNCTION_BYTES + usize::from(register)) / 4;
        (function.valid() && index < self.words.len()).then_some(index)
    }
}

impl ConfigurationAccess for Ecam {
    fn read_word(&self, function: DeviceFunction, register: u8) -> u32 {
        let word = self.word_index(function, register).and_then(|index| (*self.words).get(index));
        word.map_or(ABSENT, |word| word.read())
    }

    fn write_word(&mut self, function: DeviceFunction, register: u8, value: u32) {
        if let Some(index) = self.word_index(function, register)
            && let Some(mut word) = self.words.get(index)
        {
            word.write(value);
        }
    }

    unsafe fn unsafe_clone(&self) -> Self {
        // SAFETY: the pointer comes from a valid `UniqueMmioPointer` to memory mapped for ever; the caller promises
        // that the two do not get into each other's way.
        let words = unsafe { registers::duplicate(&self.words) };
        Self { words, first_bus: self.first_bus }
    }
}
