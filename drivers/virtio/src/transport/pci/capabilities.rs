//! The structures of a virtio function, found by its PCI capabilities (virtio 1.3 §4.1.4).
//!
//! A capability is a claim by the device: a BAR, an offset and a length. It becomes register pointers only after the
//! range was checked against the BAR, the BAR against the bridge's windows, and the address for alignment.

use super::{super::MapRegisters, ecam::Ecam, windows::Windows};
use crate::transport::registers;
use safe_mmio::UniqueMmioPointer;
use virtio_drivers::transport::pci::{
    VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_PCI_CAP_ISR_CFG, VIRTIO_PCI_CAP_NOTIFY_CFG,
    bus::{ConfigurationAccess, DeviceFunction, PCI_CAP_ID_VNDR, PciRoot},
};

const CAPABILITY_MSIX: u8 = 0x11;
/// A list of capabilities has no more entries than configuration space has room for; a longer one is a loop.
const MOST_CAPABILITIES: usize = 48;

/// Why a function cannot be driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityError {
    #[error("no {0} structure: not a modern virtio device")]
    Missing(&'static str),
    #[error("a structure in BAR {bar} at {offset:#x}+{bytes:#x}, which is not inside an assigned memory BAR")]
    OutsideBar { bar: u8, offset: u32, bytes: u32 },
    #[error("the {0} structure is too small")]
    TooSmall(&'static str),
    #[error("registers at bus address {pci:#x} cannot be mapped")]
    Unmapped { pci: u64 },
    #[error("an odd multiplier of notification offsets, {0}")]
    NotifyMultiplier(u32),
}

/// A range inside a BAR.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    bar: u8,
    offset: u32,
    bytes: u32,
}

/// Where everything is.
#[derive(Debug, Default)]
pub(super) struct Capabilities {
    pub(super) common: Option<Place>,
    pub(super) notify: Option<Place>,
    pub(super) notify_multiplier: u32,
    pub(super) interrupt_status: Option<Place>,
    pub(super) config: Option<Place>,
    /// The MSI-X capability's offset in configuration space, its table and number of vectors.
    pub(super) msix: Option<(u8, Place, u16)>,
}

impl Capabilities {
    /// Walks the list. Of several structures of one kind the first counts, as the specification wants.
    pub(super) fn read(root: &PciRoot<Ecam>, ecam: &Ecam, function: DeviceFunction) -> Self {
        let mut found = Self::default();
        for capability in root.capabilities(function).take(MOST_CAPABILITIES) {
            let word = |offset: u8| ecam.read_word(function, capability.offset.saturating_add(offset) & !3);
            match capability.id {
                CAPABILITY_MSIX if found.msix.is_none() => {
                    let vectors = (capability.private_header & 0x7ff) + 1;
                    let table = word(4);
                    let bytes = u32::from(vectors) * super::msix::ENTRY_BYTES;
                    let place = Place { bar: (table & 7) as u8, offset: table & !7, bytes };
                    found.msix = Some((capability.offset, place, vectors));
                }
                PCI_CAP_ID_VNDR => {
                    let [length, kind] = capability.private_header.to_le_bytes();
                    let place = Place { bar: word(4) as u8, offset: word(8), bytes: word(12) };
                    let multiplier = if length >= 20 { word(16) } else { 0 };
                    found.add(kind, length, place, multiplier);
                }
                _ => {}
            }
        }
        found
    }

    fn add(&mut self, kind: u8, length: u8, place: Place, multiplier: u32) {
        match kind {
            _ if length < 16 => {}
            VIRTIO_PCI_CAP_COMMON_CFG => _ = self.common.get_or_insert(place),
            VIRTIO_PCI_CAP_NOTIFY_CFG if length >= 20 && self.notify.is_none() => {
                self.notify = Some(place);
                self.notify_multiplier = multiplier;
            }
            VIRTIO_PCI_CAP_ISR_CFG => _ = self.interrupt_status.get_or_insert(place),
            VIRTIO_PCI_CAP_DEVICE_CFG => _ = self.config.get_or_insert(place),
            _ => {}
        }
    }
}

/// The memory BARs of a function: bus address and size.
pub(super) type Bars = [Option<(u64, u64)>; 6];

/// What turns a [`Place`] into registers.
pub(super) struct Mapper<'a, M: MapRegisters> {
    pub(super) map: &'a M,
    pub(super) windows: &'a Windows,
    pub(super) bars: Bars,
}

impl<M: MapRegisters> Mapper<'_, M> {
    /// Maps a structure of fixed layout.
    pub(super) fn one<R>(&self, place: Option<Place>, name: &'static str) -> Result<UniqueMmioPointer<'static, R>, CapabilityError> {
        let place = place.ok_or(CapabilityError::Missing(name))?;
        if (place.bytes as usize) < size_of::<R>() {
            return Err(CapabilityError::TooSmall(name));
        }
        let (pci, cpu) = self.address(place)?;
        registers::map_one(self.map, cpu).ok_or(CapabilityError::Unmapped { pci })
    }

    /// Maps an array of registers.
    pub(super) fn many<R>(&self, place: Option<Place>, name: &'static str) -> Result<UniqueMmioPointer<'static, [R]>, CapabilityError> {
        let place = place.ok_or(CapabilityError::Missing(name))?;
        let (pci, cpu) = self.address(place)?;
        registers::map_slice(self.map, cpu, place.bytes as usize).ok_or(CapabilityError::Unmapped { pci })
    }

    fn address(&self, place: Place) -> Result<(u64, u64), CapabilityError> {
        let Place { bar, offset, bytes } = place;
        let outside = CapabilityError::OutsideBar { bar, offset, bytes };
        let (base, size) = self.bars.get(usize::from(bar)).copied().flatten().ok_or(outside)?;
        if bytes == 0 || u64::from(offset) + u64::from(bytes) > size {
            return Err(outside);
        }
        let pci = base + u64::from(offset);
        let cpu = self.windows.cpu_address(pci, bytes.into()).ok_or(CapabilityError::Unmapped { pci })?;
        Ok((pci, cpu))
    }
}
