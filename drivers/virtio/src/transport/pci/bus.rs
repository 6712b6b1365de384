//! Finding virtio functions and giving their BARs addresses.
//!
//! Only virtio functions are touched. BARs that firmware assigned stay where they are.

use super::{
    super::MapRegisters,
    capabilities::{Bars, Capabilities, CapabilityError, Mapper},
    ecam::Ecam,
    msix::Msix,
    transport::PciTransport,
    windows::Windows,
};
use alloc::vec::Vec;
use virtio_drivers::transport::{
    DeviceType,
    pci::{
        VIRTIO_VENDOR_ID,
        bus::{BarInfo, Command, ConfigurationAccess, DeviceFunction, DeviceFunctionInfo, HeaderType, PciError, PciRoot},
        virtio_device_type,
    },
};

const HEADER_TYPE: u8 = 0x0c;
const MULTIFUNCTION: u32 = 1 << 23;
const INTERRUPT_PIN: u8 = 0x3c;

/// A virtio device on the bus.
#[derive(Debug)]
pub struct Found {
    pub function: DeviceFunction,
    pub device_type: DeviceType,
    /// 1 to 4 for INTA to INTD, 0 if the function raises no line: with the function's number, the key into the device
    /// tree's `interrupt-map`.
    pub interrupt_pin: u8,
    pub transport: PciTransport,
}

/// Why a virtio function was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    #[error("virtio device id {device_id:#06x} is not known")]
    UnknownDevice { device_id: u16 },
    #[error("a BAR of a type that does not exist")]
    BarType,
    #[error("no room in the windows of the bridge for a BAR of {bytes:#x} bytes")]
    NoRoom { bytes: u64 },
    #[error(transparent)]
    Capability(#[from] CapabilityError),
}

impl From<PciError> for ScanError {
    fn from(_: PciError) -> Self {
        Self::BarType
    }
}

/// A PCI host bridge.
pub struct Bus {
    root: PciRoot<Ecam>,
    ecam: Ecam,
}

impl Bus {
    /// Takes over the configuration space of the bridge.
    pub fn new(ecam: Ecam) -> Self {
        Self { root: PciRoot::new(ecam.share()), ecam }
    }

    /// Brings up every virtio function on the buses that are mapped. One that cannot be used is reported and does not
    /// keep others from being found.
    pub fn scan(&mut self, windows: &mut Windows, map: &impl MapRegisters) -> Vec<(DeviceFunction, Result<Found, ScanError>)> {
        let functions: Vec<_> = self.functions().collect();
        let virtio: Vec<_> = functions.into_iter().filter(|&(_, id)| id as u16 == VIRTIO_VENDOR_ID).collect();
        // What firmware has assigned is known before anything is given out.
        let mut sized = Vec::new();
        for (function, id) in virtio {
            let bars = self.root.bars(function);
            for (address, bytes) in bars.iter().flatten().flatten().filter_map(BarInfo::memory_address_size) {
                if address != 0 {
                    windows.reserve(address..address.saturating_add(bytes));
                }
            }
            sized.push((function, (id >> 16) as u16, bars));
        }
        let claim = |(function, device_id, bars): (_, _, Result<[Option<BarInfo>; 6], PciError>)| {
            let found = bars.map_err(ScanError::from);
            (function, found.and_then(|bars| self.claim(function, device_id, bars, windows, map)))
        };
        sized.into_iter().map(claim).collect()
    }

    /// Functions that exist, with their device and vendor ids.
    fn functions(&self) -> impl Iterator<Item = (DeviceFunction, u32)> + '_ {
        let devices = self.ecam.buses().flat_map(|bus| (0..32).map(move |device| (bus, device)));
        devices.flat_map(move |(bus, device)| {
            let at = move |function| DeviceFunction { bus, device, function };
            // Each read is an exit, so functions 1 to 7 are asked for only where there can be some.
            let functions = match self.id(at(0)) {
                None => 0,
                Some(_) if self.ecam.read_word(at(0), HEADER_TYPE) & MULTIFUNCTION != 0 => 8,
                Some(_) => 1,
            };
            (0..functions).filter_map(move |function| Some((at(function), self.id(at(function))?)))
        })
    }

    fn id(&self, function: DeviceFunction) -> Option<u32> {
        Some(self.ecam.read_word(function, 0)).filter(|&id| id != !0)
    }

    fn claim(
        &mut self,
        function: DeviceFunction,
        device_id: u16,
        bars: [Option<BarInfo>; 6],
        windows: &mut Windows,
        map: &impl MapRegisters,
    ) -> Result<Found, ScanError> {
        let device_type = device_type(device_id).ok_or(ScanError::UnknownDevice { device_id })?;
        let bars = self.assign(function, bars, windows)?;
        let command = self.root.get_status_command(function).1;
        self.root.set_command(function, command | Command::MEMORY_SPACE | Command::BUS_MASTER);

        let capabilities = Capabilities::read(&self.root, &self.ecam, function);
        let mapper = Mapper { map, windows, bars };
        let msix = match capabilities.msix {
            Some((capability, place, _)) => {
                let table = mapper.many(Some(place), "MSI-X table")?;
                Some(Msix::new(self.ecam.share(), function, capability, table))
            }
            None => None,
        };
        let transport = PciTransport::new(device_type, &capabilities, &mapper, msix)?;
        let interrupt_pin = (self.ecam.read_word(function, INTERRUPT_PIN) >> 8) as u8;
        Ok(Found { function, device_type, interrupt_pin, transport })
    }

    /// Gives addresses to memory BARs that have none. I/O BARs (of transitional devices) are not needed.
    fn assign(&mut self, function: DeviceFunction, bars: [Option<BarInfo>; 6], windows: &mut Windows) -> Result<Bars, ScanError> {
        let mut assigned = Bars::default();
        for (index, info) in (0u8..).zip(&bars) {
            let Some((info, (mut address, bytes))) = info.as_ref().and_then(|bar| Some((bar, bar.memory_address_size()?))) else {
                continue;
            };
            if address == 0 {
                let wide = info.takes_two_entries();
                address = windows.allocate(bytes, wide).ok_or(ScanError::NoRoom { bytes })?;
                match u32::try_from(address) {
                    Ok(address) if !wide => self.root.set_bar_32(function, index, address),
                    _ => self.root.set_bar_64(function, index, address),
                }
            }
            assigned[usize::from(index)] = Some((address, bytes));
        }
        Ok(assigned)
    }
}

fn device_type(device_id: u16) -> Option<DeviceType> {
    virtio_device_type(&DeviceFunctionInfo {
        vendor_id: VIRTIO_VENDOR_ID,
        device_id,
        class: 0,
        subclass: 0,
        prog_if: 0,
        revision: 0,
        header_type: HeaderType::Standard,
    })
}
