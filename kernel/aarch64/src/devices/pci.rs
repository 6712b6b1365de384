//! The PCI host bridge: what the device tree says of it, as the bus code wants it.

use crate::device_tree::{Line, cells, line};
use crate::mmu::{self, Memory};
use dtoolkit::fdt::FdtNode;
use dtoolkit::{Node, Property};
use virtio::MapRegisters;
use virtio::transport::pci::{DeviceFunction, Ecam, Window, Windows};

/// A host bridge whose configuration space is memory.
pub struct Host {
    node: FdtNode<'static>,
}

/// Configuration space is mapped more strictly than registers.
struct Strict;

// SAFETY: as for `Resources`, with Device-nGnRnE.
unsafe impl MapRegisters for Strict {
    fn map(&self, physical: u64, bytes: usize) -> Option<core::ptr::NonNull<u8>> {
        mmu::map_device(physical, bytes as u64, Memory::Strict).ok()
    }
}

impl Host {
    pub fn new(node: FdtNode<'static>) -> Self {
        Self { node }
    }

    /// Its configuration space.
    pub fn configuration(&self) -> Option<Ecam> {
        const BUS_BYTES: u64 = 1 << 20;
        let region = self.node.reg().ok()??.next()?;
        let (physical, bytes) = (region.address::<u64>().ok()?, region.size::<u64>().ok()?);
        let mut range = cells(&self.node, "bus-range");
        let (first, last) = (range.next().unwrap_or(0), range.next().unwrap_or(255));
        // Buses behind bridges get numbers from firmware; without it only the first has any.
        let buses = (bytes / BUS_BYTES).min(u64::from(last.checked_sub(first)?) + 1).min(4);
        Ecam::map(&Strict, physical, u8::try_from(first).ok()?, buses as u16)
    }

    /// Where BARs may lie.
    pub fn windows(&self) -> Windows {
        const MEMORY_32: u32 = 2;
        const MEMORY_64: u32 = 3;
        let find = |kind: u32| {
            let ranges: &'static [u8] = self.node.property("ranges")?.value_as().ok()?;
            let mut words = ranges.chunks_exact(4).map(|cell| u64::from(u32::from_be_bytes([cell[0], cell[1], cell[2], cell[3]])));
            // Three cells of bus address (the first says which space), two of CPU address, two of size.
            let mut entries = core::iter::from_fn(|| {
                let mut next = || words.next();
                let space = next()?;
                let mut pair = || Some(next()? << 32 | next()?);
                Some((space as u32 >> 24 & 3, Window { pci: pair()?, cpu: pair()?, bytes: pair()? }))
            });
            entries.find(|&(space, _)| space == kind).map(|(_, window)| window)
        };
        Windows::new(find(MEMORY_32), find(MEMORY_64))
    }

    /// The interrupt that a function's pin (1 to 4) is wired to.
    pub fn wire(&self, function: DeviceFunction, pin: u8) -> Option<Line> {
        let mut mask = cells(&self.node, "interrupt-map-mask");
        let mask = [mask.next()?, mask.next()?, mask.next()?, mask.next()?];
        let wanted =
            [u32::from(function.bus) << 16 | u32::from(function.device) << 11 | u32::from(function.function) << 8, 0, 0, u32::from(pin)];
        let mut map = cells(&self.node, "interrupt-map");
        // Entries are: address (3), pin (1), controller (1), its address (some), its interrupt (3). All controllers are the one GIC.
        let parent_cells = self.parent_address_cells()?;
        loop {
            let child = [map.next()?, map.next()?, map.next()?, map.next()?];
            map.next()?;
            for _ in 0..parent_cells {
                map.next()?;
            }
            let interrupt = [map.next()?, map.next()?, map.next()?];
            if (0..4).all(|at| (child[at] ^ wanted[at]) & mask[at] == 0) {
                return line(interrupt);
            }
        }
    }

    /// How many cells of the map are the GIC's address: an entry has 8 and them, and the map has whole entries that all start with the same
    /// kind of address. Both 0 and 2 are in use.
    fn parent_address_cells(&self) -> Option<usize> {
        let controller = cells(&self.node, "interrupt-map").nth(4)?;
        let total = cells(&self.node, "interrupt-map").count();
        (0..=2).find(|&extra| {
            let entry = 8 + extra;
            total.is_multiple_of(entry) && cells(&self.node, "interrupt-map").skip(4).step_by(entry).all(|parent| parent == controller)
        })
    }
}
