//! Either transport as one type, so that a kernel has one driver type whatever the machine offers.

use super::{RouteError, Routed, mmio::MmioTransport, pci::PciTransport};
use virtio_drivers::{
    PhysAddr, Result,
    transport::{DeviceStatus, DeviceType, InterruptStatus, Transport},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A device on virtio-mmio or on PCI.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one per device; a box would cost every kick a load")]
pub enum AnyTransport {
    Mmio(MmioTransport<'static>),
    Pci(PciTransport),
}

macro_rules! either {
    ($self:expr, $transport:ident => $call:expr) => {
        match $self {
            Self::Mmio($transport) => $call,
            Self::Pci($transport) => $call,
        }
    };
}

impl Transport for AnyTransport {
    fn device_type(&self) -> DeviceType {
        either!(self, transport => transport.device_type())
    }

    fn read_device_features(&mut self) -> u64 {
        either!(self, transport => transport.read_device_features())
    }

    fn write_driver_features(&mut self, features: u64) {
        either!(self, transport => transport.write_driver_features(features));
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        either!(self, transport => transport.max_queue_size(queue))
    }

    fn notify(&mut self, queue: u16) {
        either!(self, transport => transport.notify(queue));
    }

    fn get_status(&self) -> DeviceStatus {
        either!(self, transport => transport.get_status())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        either!(self, transport => transport.set_status(status));
    }

    fn set_guest_page_size(&mut self, bytes: u32) {
        either!(self, transport => transport.set_guest_page_size(bytes));
    }

    fn requires_legacy_layout(&self) -> bool {
        either!(self, transport => transport.requires_legacy_layout())
    }

    fn queue_set(&mut self, queue: u16, size: u32, descriptors: PhysAddr, driver: PhysAddr, device: PhysAddr) {
        either!(self, transport => transport.queue_set(queue, size, descriptors, driver, device));
    }

    fn queue_unset(&mut self, queue: u16) {
        either!(self, transport => transport.queue_unset(queue));
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        either!(self, transport => transport.queue_used(queue))
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        either!(self, transport => transport.ack_interrupt())
    }

    fn read_config_generation(&self) -> u32 {
        either!(self, transport => transport.read_config_generation())
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        either!(self, transport => transport.read_config_space(offset))
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, offset: usize, value: T) -> Result<()> {
        either!(self, transport => transport.write_config_space(offset, value))
    }
}

impl Routed for AnyTransport {
    fn route_interrupts(&mut self, queues: u16) -> core::result::Result<(), RouteError> {
        either!(self, transport => transport.route_interrupts(queues))
    }
}

/// A kernel brings a device up on one CPU and serves it on others.
const _: fn() = || {
    fn can_be_sent<T: Send>() {}
    can_be_sent::<AnyTransport>();
};
