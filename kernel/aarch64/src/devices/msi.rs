//! Interrupts as messages: the frame of a GIC (GICv2m) that turns a write of a number into that shared interrupt.

use crate::device_tree::MessageFrame;
use crate::mmu::{self, Memory};
use core::ops::Range;
use core::ptr::NonNull;
use safe_mmio::UniqueMmioPointer;
use safe_mmio::fields::ReadPure;
use virtio::InterruptRoutes;
use virtio::transport::pci::{Message, PciTransport};

/// MSI_TYPER: the frame's first interrupt in bits 16 to 25, how many in 0 to 9.
const TYPER: u64 = 0x008;
/// MSI_SETSPI_NS.
const SET_SPI: u64 = 0x040;

/// A message frame.
pub struct Messages {
    doorbell: u64,
    free: Range<u32>,
}

impl Messages {
    /// Takes a frame.
    pub fn new(frame: &MessageFrame) -> Option<Self> {
        let register: NonNull<ReadPure<u32>> = mmu::map_device(frame.registers.start + TYPER, 4, Memory::Strict).ok()?.cast();
        // SAFETY: a register of the frame, mapped for good, without effects when read.
        let value = unsafe { UniqueMmioPointer::new(register) }.read();
        let first = frame.first.unwrap_or(value >> 16 & 0x3FF);
        let count = frame.count.unwrap_or(value & 0x3FF);
        (first >= 32 && first + count <= 1020).then_some(Self { doorbell: frame.registers.start + SET_SPI, free: first..first + count })
    }

    /// Lets a device send one message for configuration changes and one for each of its queues; their interrupts. None if there are too few.
    pub fn give(&mut self, transport: &mut PciTransport, queues: u16) -> Option<Range<u32>> {
        let vectors = queues + 1;
        if transport.vectors() < vectors || self.free.len() < usize::from(vectors) {
            return None;
        }
        let mine = self.free.start..self.free.start + u32::from(vectors);
        for (vector, data) in (0..vectors).zip(mine.clone()) {
            transport.set_message(vector, Message { address: self.doorbell, data }).ok()?;
        }
        let mut routes = InterruptRoutes { config: Some(0), ..Default::default() };
        for queue in 0..queues {
            routes.queues[usize::from(queue)] = Some(queue + 1);
        }
        transport.enable_msix(routes).ok()?;
        self.free.start = mine.end;
        Some(mine)
    }
}
