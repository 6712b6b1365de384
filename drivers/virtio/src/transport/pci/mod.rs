//! virtio over PCI, modern devices only (virtio 1.3 §4.1).
//!
//! Under direct boot nobody has set up the bus: [`Bus::scan`] finds the functions, gives their BARs addresses from
//! the windows the device tree names, and returns a [`PciTransport`] for each virtio device. Configuration access and
//! BAR sizing are virtio-drivers'; the transport is ours because a kick has to be one store and MSI-X has to work.
//!
//! Functions behind bridges are found only if firmware has numbered their bus.

mod bus;
mod capabilities;
mod ecam;
mod msix;
mod transport;
mod windows;

pub use bus::{Bus, Found, ScanError};
pub use capabilities::CapabilityError;
pub use ecam::Ecam;
pub use msix::{Message, NoVector};
pub use transport::PciTransport;
pub use virtio_drivers::transport::pci::bus::DeviceFunction;
pub use windows::{Window, Windows};

#[cfg(test)]
mod tests;
