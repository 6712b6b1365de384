//! The registers of one virtio function (virtio 1.3 §4.1.4.3).
//!
//! Where each queue's doorbell is is looked up once, when the queue is set up; a kick is then a single store, which
//! is the one exit of the fast path.

use super::{
    super::{InterruptRoutes, MAX_ROUTED_QUEUES, MapRegisters, RouteError, Routed, registers::ConfigSpace},
    capabilities::{Capabilities, CapabilityError, Mapper},
    msix::{Message, Msix, NoVector},
};
use safe_mmio::{
    UniqueMmioPointer, field, field_shared,
    fields::{ReadOnly, ReadPure, ReadPureWrite, WriteOnly},
};
use virtio_drivers::{
    Error, PhysAddr,
    transport::{DeviceStatus, DeviceType, InterruptStatus, Transport},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `VIRTIO_MSI_NO_VECTOR`.
const NO_VECTOR: u16 = 0xffff;

/// `virtio_pci_common_cfg`. 64-bit fields are written as two halves: more is not promised to work.
#[derive(Debug)]
#[repr(C)]
struct Common {
    device_feature_select: ReadPureWrite<u32>,
    device_feature: ReadPure<u32>,
    driver_feature_select: ReadPureWrite<u32>,
    driver_feature: ReadPureWrite<u32>,
    config_msix_vector: ReadPureWrite<u16>,
    num_queues: ReadPure<u16>,
    device_status: ReadPureWrite<u8>,
    config_generation: ReadPure<u8>,
    queue_select: ReadPureWrite<u16>,
    queue_size: ReadPureWrite<u16>,
    queue_msix_vector: ReadPureWrite<u16>,
    queue_enable: ReadPureWrite<u16>,
    queue_notify_off: ReadPure<u16>,
    queue_desc_low: ReadPureWrite<u32>,
    queue_desc_high: ReadPureWrite<u32>,
    queue_driver_low: ReadPureWrite<u32>,
    queue_driver_high: ReadPureWrite<u32>,
    queue_device_low: ReadPureWrite<u32>,
    queue_device_high: ReadPureWrite<u32>,
}

/// A modern virtio device on PCI.
#[derive(Debug)]
pub struct PciTransport {
    device_type: DeviceType,
    common: UniqueMmioPointer<'static, Common>,
    notify: UniqueMmioPointer<'static, [WriteOnly<u16>]>,
    notify_multiplier: u32,
    interrupt_status: UniqueMmioPointer<'static, ReadOnly<u8>>,
    config: Option<ConfigSpace>,
    msix: Option<Msix>,
    routes: InterruptRoutes,
    /// Index into `notify` for each queue that was set up.
    doorbells: [Option<usize>; MAX_ROUTED_QUEUES],
}

impl PciTransport {
    pub(super) fn new<M: MapRegisters>(
        device_type: DeviceType,
        capabilities: &Capabilities,
        mapper: &Mapper<'_, M>,
        msix: Option<Msix>,
    ) -> Result<Self, CapabilityError> {
        let notify_multiplier = capabilities.notify_multiplier;
        if !notify_multiplier.is_multiple_of(2) {
            return Err(CapabilityError::NotifyMultiplier(notify_multiplier));
        }
        let config = match capabilities.config {
            Some(place) => Some(ConfigSpace::new(mapper.many(Some(place), "device configuration")?)),
            None => None,
        };
        Ok(Self {
            device_type,
            common: mapper.one(capabilities.common, "common configuration")?,
            notify: mapper.many(capabilities.notify, "notification")?,
            notify_multiplier,
            interrupt_status: mapper.one(capabilities.interrupt_status, "interrupt status")?,
            config,
            msix,
            routes: InterruptRoutes::default(),
            doorbells: [None; MAX_ROUTED_QUEUES],
        })
    }

    /// MSI-X vectors of the function; 0 if it has no MSI-X.
    pub fn vectors(&self) -> u16 {
        self.msix.as_ref().map_or(0, Msix::vectors)
    }

    /// Sets what a vector writes and where, and unmasks it.
    pub fn set_message(&mut self, vector: u16, message: Message) -> Result<(), NoVector> {
        self.msix.as_mut().ok_or(NoVector { vector, vectors: 0 })?.set(vector, message)
    }

    /// Masks a vector until its message is set again.
    pub fn mask_vector(&mut self, vector: u16) -> Result<(), NoVector> {
        self.msix.as_mut().ok_or(NoVector { vector, vectors: 0 })?.mask(vector)
    }

    /// Turns MSI-X on and says which vector each event raises. Comes before the transport is given to a driver, whose
    /// initialisation then tells the device. Until this is called the device raises its INTx line.
    pub fn enable_msix(&mut self, routes: InterruptRoutes) -> Result<(), NoVector> {
        let vectors = self.vectors();
        let mut named = routes.queues.into_iter().chain([routes.config]).flatten();
        if let Some(vector) = named.find(|&vector| vector >= vectors) {
            return Err(NoVector { vector, vectors });
        }
        let msix = self.msix.as_mut().ok_or(NoVector { vector: 0, vectors })?;
        msix.enable();
        self.routes = routes;
        Ok(())
    }

    fn select(&mut self, queue: u16) {
        field!(self.common, queue_select).write(queue);
    }

    /// Where the selected queue's doorbell is, if the device put it inside the notification structure.
    fn doorbell(&self) -> Option<usize> {
        let offset = u64::from(field_shared!(self.common, queue_notify_off).read());
        let index = offset * u64::from(self.notify_multiplier) / size_of::<u16>() as u64;
        usize::try_from(index).ok().filter(|&index| index < self.notify.len())
    }
}

impl Transport for PciTransport {
    fn device_type(&self) -> DeviceType {
        self.device_type
    }

    fn read_device_features(&mut self) -> u64 {
        field!(self.common, device_feature_select).write(0);
        let low = field_shared!(self.common, device_feature).read();
        field!(self.common, device_feature_select).write(1);
        let high = field_shared!(self.common, device_feature).read();
        u64::from(high) << 32 | u64::from(low)
    }

    fn write_driver_features(&mut self, features: u64) {
        field!(self.common, driver_feature_select).write(0);
        field!(self.common, driver_feature).write(features as u32);
        field!(self.common, driver_feature_select).write(1);
        field!(self.common, driver_feature).write((features >> 32) as u32);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        if queue >= field_shared!(self.common, num_queues).read() {
            return 0;
        }
        self.select(queue);
        field_shared!(self.common, queue_size).read().into()
    }

    fn notify(&mut self, queue: u16) {
        if let Some(Some(index)) = self.doorbells.get(usize::from(queue)).copied()
            && let Some(mut doorbell) = self.notify.get(index)
        {
            doorbell.write(queue);
        }
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(field_shared!(self.common, device_status).read().into())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        field!(self.common, device_status).write(status.bits() as u8);
    }

    fn set_guest_page_size(&mut self, _bytes: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    /// Leaves a queue disabled whose doorbell it cannot ring; who installs a queue looks whether it is in use then.
    fn queue_set(&mut self, queue: u16, size: u32, descriptors: PhysAddr, driver: PhysAddr, device: PhysAddr) {
        self.select(queue);
        let doorbell = self.doorbell();
        match self.doorbells.get_mut(usize::from(queue)) {
            Some(cached) if doorbell.is_some() => *cached = doorbell,
            _ => return,
        }
        field!(self.common, queue_size).write(size as u16);
        field!(self.common, queue_desc_low).write(descriptors as u32);
        field!(self.common, queue_desc_high).write((descriptors >> 32) as u32);
        field!(self.common, queue_driver_low).write(driver as u32);
        field!(self.common, queue_driver_high).write((driver >> 32) as u32);
        field!(self.common, queue_device_low).write(device as u32);
        field!(self.common, queue_device_high).write((device >> 32) as u32);
        field!(self.common, queue_enable).write(1);
    }

    /// A queue on PCI is given up by resetting the device.
    fn queue_unset(&mut self, _queue: u16) {}

    fn queue_used(&mut self, queue: u16) -> bool {
        self.select(queue);
        field_shared!(self.common, queue_enable).read() != 0
    }

    /// Reading the status clears it and lowers the INTx line. With MSI-X it says nothing.
    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::from_bits_truncate(self.interrupt_status.read().into())
    }

    fn read_config_generation(&self) -> u32 {
        field_shared!(self.common, config_generation).read().into()
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T, Error> {
        self.config.as_ref().ok_or(Error::ConfigSpaceMissing)?.read(offset).ok_or(Error::ConfigSpaceTooSmall)
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, offset: usize, value: T) -> Result<(), Error> {
        self.config.as_mut().ok_or(Error::ConfigSpaceMissing)?.write(offset, value).ok_or(Error::ConfigSpaceTooSmall)
    }
}

impl Routed for PciTransport {
    fn route_interrupts(&mut self, queues: u16) -> Result<(), RouteError> {
        if usize::from(queues) > MAX_ROUTED_QUEUES {
            return Err(RouteError::TooManyQueues { queues });
        }
        if !self.msix.as_ref().is_some_and(Msix::is_enabled) {
            return Ok(());
        }
        // A device that has no resources for a vector says so by reading back "none".
        let vector = self.routes.config.unwrap_or(NO_VECTOR);
        field!(self.common, config_msix_vector).write(vector);
        if field_shared!(self.common, config_msix_vector).read() != vector {
            return Err(RouteError::Config { vector });
        }
        for (queue, route) in (0..queues).zip(self.routes.queues) {
            let vector = route.unwrap_or(NO_VECTOR);
            self.select(queue);
            field!(self.common, queue_msix_vector).write(vector);
            if field_shared!(self.common, queue_msix_vector).read() != vector {
                return Err(RouteError::Queue { queue, vector });
            }
        }
        Ok(())
    }
}

impl Drop for PciTransport {
    /// Nobody is left to serve the device, so it is told to stop.
    fn drop(&mut self) {
        self.set_status(DeviceStatus::empty());
    }
}
