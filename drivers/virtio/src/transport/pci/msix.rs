//! MSI-X: an interrupt is a store by the device, of a value and to an address the kernel chooses (PCI 3.0 §6.8.2).
//!
//! Address and data come from the interrupt controller (an ITS or a GICv2m frame); here they are only put into the
//! table. Vectors are what the virtio side refers to.

use super::ecam::Ecam;
use safe_mmio::{UniqueMmioPointer, field, fields::ReadPureWrite};
use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction};

/// Bytes of a table entry.
pub(super) const ENTRY_BYTES: u32 = 16;
/// In the dword of the capability whose upper half is Message Control.
const ENABLE: u32 = 1 << 31;
const FUNCTION_MASK: u32 = 1 << 30;
/// In the command register.
const COMMAND: u8 = 4;
const INTX_DISABLE: u32 = 1 << 10;
/// The upper half of that dword is the status register, whose bits are cleared by writing one.
const COMMAND_BITS: u32 = 0xffff;
const VECTOR_MASKED: u32 = 1;

/// What a device writes to raise an interrupt, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    pub address: u64,
    pub data: u32,
}

/// The function has no such vector, or no MSI-X at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("vector {vector} of {vectors}")]
pub struct NoVector {
    pub vector: u16,
    pub vectors: u16,
}

/// One entry of the table. Only accesses of four bytes are sure to work.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Entry {
    address_low: ReadPureWrite<u32>,
    address_high: ReadPureWrite<u32>,
    data: ReadPureWrite<u32>,
    control: ReadPureWrite<u32>,
}

/// The MSI-X capability of one function.
#[derive(Debug)]
pub(super) struct Msix {
    ecam: Ecam,
    function: DeviceFunction,
    capability: u8,
    table: UniqueMmioPointer<'static, [Entry]>,
}

impl Msix {
    pub(super) fn new(ecam: Ecam, function: DeviceFunction, capability: u8, table: UniqueMmioPointer<'static, [Entry]>) -> Self {
        Self { ecam, function, capability, table }
    }

    pub(super) fn vectors(&self) -> u16 {
        // The capability has eleven bits for it.
        self.table.len() as u16
    }

    /// Sets and unmasks a vector.
    pub(super) fn set(&mut self, vector: u16, message: Message) -> Result<(), NoVector> {
        let vectors = self.vectors();
        let mut entry = self.table.get(usize::from(vector)).ok_or(NoVector { vector, vectors })?;
        // A function may use an entry it finds unmasked at any time, so it is never seen half written.
        field!(entry, control).write(VECTOR_MASKED);
        field!(entry, address_low).write(message.address as u32);
        field!(entry, address_high).write((message.address >> 32) as u32);
        field!(entry, data).write(message.data);
        field!(entry, control).write(0);
        Ok(())
    }

    /// Masks a vector: the function remembers the interrupt and raises it when the vector is set again.
    pub(super) fn mask(&mut self, vector: u16) -> Result<(), NoVector> {
        let vectors = self.vectors();
        let mut entry = self.table.get(usize::from(vector)).ok_or(NoVector { vector, vectors })?;
        field!(entry, control).write(VECTOR_MASKED);
        Ok(())
    }

    /// Turns MSI-X on and the INTx line off.
    pub(super) fn enable(&mut self) {
        let control = self.ecam.read_word(self.function, self.capability);
        self.ecam.write_word(self.function, self.capability, (control | ENABLE) & !FUNCTION_MASK);
        let command = self.ecam.read_word(self.function, COMMAND) & COMMAND_BITS;
        self.ecam.write_word(self.function, COMMAND, command | INTX_DISABLE);
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.ecam.read_word(self.function, self.capability) & ENABLE != 0
    }
}
