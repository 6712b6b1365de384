//! virtio-mmio, the modern register layout only (virtio 1.3 §4.2).
//!
//! The transport is virtio-drivers'; this finds out what, if anything, is behind a window the device tree names. Most
//! windows of a QEMU `virt` machine are empty, which is no error.

use super::{MapRegisters, RouteError, Routed, registers};
use virtio_drivers::transport::{
    DeviceTypeError,
    mmio::{MmioError, MmioVersion},
};

pub use virtio_drivers::transport::mmio::MmioTransport;

/// Where the device configuration starts.
const CONFIG_OFFSET: u64 = 0x100;

/// Why a window could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    #[error("a virtio-mmio window of {bytes} bytes is too small")]
    WindowTooSmall { bytes: u64 },
    #[error("the window at {physical:#x} cannot be mapped")]
    Unmapped { physical: u64 },
    #[error("a legacy virtio-mmio device (version 1); QEMU needs -global virtio-mmio.force-legacy=false")]
    Legacy,
    #[error("not a usable virtio-mmio device: {0}")]
    Transport(MmioError),
}

/// Looks at the window at `physical`. `Ok(None)` means that no device is plugged in.
pub fn probe(map: &impl MapRegisters, physical: u64, bytes: u64) -> Result<Option<MmioTransport<'static>>, ProbeError> {
    let config_bytes = bytes.checked_sub(CONFIG_OFFSET).ok_or(ProbeError::WindowTooSmall { bytes })?;
    let header = registers::map_one(map, physical).ok_or(ProbeError::Unmapped { physical })?;
    let config = registers::map_slice(map, physical + CONFIG_OFFSET, config_bytes as usize).ok_or(ProbeError::Unmapped { physical })?;
    match MmioTransport::new_from_unique(header, config) {
        Ok(transport) if transport.version() == MmioVersion::Legacy => {
            // Dropping the transport would write its reset register, which a legacy device has too: harmless.
            Err(ProbeError::Legacy)
        }
        Ok(transport) => Ok(Some(transport)),
        // Device id 0 is the placeholder of an empty slot.
        Err(MmioError::InvalidDeviceID(DeviceTypeError::InvalidDeviceType(0))) => Ok(None),
        Err(error) => Err(ProbeError::Transport(error)),
    }
}

impl Routed for MmioTransport<'_> {
    /// virtio-mmio has one interrupt, which the device tree names.
    fn route_interrupts(&mut self, _queues: u16) -> Result<(), RouteError> {
        Ok(())
    }
}
