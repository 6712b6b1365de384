//! Interrupts as messages: a device writes a number to a doorbell of the interrupt controller.
//!
//! A GICv3 has an interrupt translation service for that, a GICv2 (and some hypervisors' GICv3) a frame that turns the number into
//! that shared interrupt.

use crate::console::say;
use crate::device_tree::{Line, MessageFrame, Tree};
use crate::gic::{self, Its};
use crate::mmu::{self, Memory};
use core::ops::Range;
use core::ptr::NonNull;
use frames::Pool;
use safe_mmio::UniqueMmioPointer;
use safe_mmio::fields::ReadPure;
use virtio::InterruptRoutes;
use virtio::transport::pci::{DeviceFunction, Message, PciTransport};

/// MSI_TYPER: the frame's first interrupt in bits 16 to 25, how many in 0 to 9.
const TYPER: u64 = 0x008;
/// MSI_SETSPI_NS.
const SET_SPI: u64 = 0x040;

/// Where messages go.
pub enum Messages {
    /// The number is the interrupt's.
    Frame { doorbell: u64, free: Range<u32> },
    /// The number counts from 0 for each function.
    Translated(Its),
}

impl Messages {
    /// What the machine has.
    pub fn find(tree: Tree, pool: &Pool) -> Option<Self> {
        let translated = tree.translation_service().and_then(|physical| {
            let its = gic::translation_service(physical, pool);
            if its.is_none() {
                say!("the interrupt translation service can't be used");
            }
            its.map(Self::Translated)
        });
        translated.or_else(|| Self::frame(&tree.message_frame()?))
    }

    fn frame(frame: &MessageFrame) -> Option<Self> {
        let register: NonNull<ReadPure<u32>> = mmu::map_device(frame.registers.start + TYPER, 4, Memory::Strict).ok()?.cast();
        // SAFETY: a register of the frame, mapped for good, without effects when read.
        let value = unsafe { UniqueMmioPointer::new(register) }.read();
        let first = frame.first.unwrap_or((value >> 16) & 0x3FF);
        let count = frame.count.unwrap_or(value & 0x3FF).min(1020);
        let free = first..first.saturating_add(count);
        (first >= 32 && free.end <= 1020).then_some(Self::Frame { doorbell: frame.registers.start + SET_SPI, free })
    }

    /// Lets a function send one message for configuration changes and one for each of its queues; their interrupts. None if that can't
    /// be, and then nothing has changed for the function.
    pub fn give(&mut self, function: DeviceFunction, transport: &mut PciTransport, queues: u16) -> Option<Range<u32>> {
        let vectors = queues + 1;
        if transport.vectors() < vectors {
            return None;
        }
        let (doorbell, first_data, interrupts) = self.take(function, u32::from(vectors))?;
        for (vector, data) in (0..vectors).zip(first_data..) {
            transport.set_message(vector, Message { address: doorbell, data }).ok()?;
        }
        let mut routes = InterruptRoutes { config: Some(0), ..Default::default() };
        for queue in 0..queues {
            routes.queues[usize::from(queue)] = Some(queue + 1);
        }
        transport.enable_msix(routes).ok()?;
        Some(interrupts)
    }

    /// Interrupts for a function: the doorbell, the first message's number, the interrupts.
    fn take(&mut self, function: DeviceFunction, count: u32) -> Option<(u64, u32, Range<u32>)> {
        match self {
            Self::Frame { doorbell, free } => {
                let mine = free.start..free.start.checked_add(count).filter(|&end| end <= free.end)?;
                free.start = mine.end;
                mine.clone().try_for_each(|number| gic::configure(Line { number, edge: true })).ok()?;
                Some((*doorbell, mine.start, mine))
            }
            Self::Translated(its) => {
                // The device tree's msi-map is the identity on all hypervisors that have a service.
                let requester = u32::from(function.bus) << 8 | u32::from(function.device) << 3 | u32::from(function.function);
                its.give(requester, count).map(|interrupts| (its.doorbell(), 0, interrupts))
            }
        }
    }
}
