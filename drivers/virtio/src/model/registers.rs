//! The registers of a virtio device, as a transport: initialisation checked step by step, interrupts and kicks counted.

use super::{DeviceQueue, Memory};
use crate::{Routed, transport::RouteError};
use std::{cell::RefCell, rc::Rc};
use virtio_drivers::{
    Error, PhysAddr,
    transport::{DeviceStatus, DeviceType, InterruptStatus, Transport},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

const VERSION_1: u64 = 1 << 32;
const EVENT_INDEX: u64 = 1 << 29;

#[derive(Debug)]
struct Registers {
    device_type: DeviceType,
    offered: u64,
    accepted: u64,
    refuse_features: bool,
    status: DeviceStatus,
    /// Status reads a reset takes; `None` if it never finishes.
    reset_polls: Option<u32>,
    resetting: u32,
    config: Vec<u8>,
    generation: u32,
    /// The generation changes at every read.
    unstable: bool,
    max_sizes: Vec<u32>,
    queues: Vec<Option<(u16, [u64; 3])>>,
    kicks: Vec<u32>,
    /// The interrupt status register.
    interrupts: u32,
    routed: Option<u16>,
}

/// The test's hold on a device.
#[derive(Clone, Debug)]
pub struct ModelDevice {
    registers: Rc<RefCell<Registers>>,
    memory: Memory,
}

/// The driver's hold on it.
#[derive(Debug)]
pub struct ModelTransport(Rc<RefCell<Registers>>);

impl ModelDevice {
    /// A device that offers `features` and VERSION_1, with queues of at most these sizes.
    pub fn new(memory: &Memory, device_type: DeviceType, features: u64, config: &[u8], max_sizes: &[u32]) -> Self {
        let registers = Registers {
            device_type,
            offered: features | VERSION_1,
            accepted: 0,
            refuse_features: false,
            // As firmware may have left it.
            status: DeviceStatus::ACKNOWLEDGE | DeviceStatus::FAILED,
            reset_polls: Some(3),
            resetting: 0,
            config: config.to_vec(),
            generation: 0,
            unstable: false,
            max_sizes: max_sizes.to_vec(),
            queues: vec![None; max_sizes.len()],
            kicks: vec![0; max_sizes.len()],
            interrupts: 0,
            routed: None,
        };
        Self { registers: Rc::new(RefCell::new(registers)), memory: memory.clone() }
    }

    pub fn transport(&self) -> ModelTransport {
        ModelTransport(self.registers.clone())
    }

    /// The device side of a queue the driver installed.
    pub fn queue(&self, queue: usize) -> DeviceQueue {
        let registers = self.registers.borrow();
        let (size, addresses) = registers.queues[queue].expect("the driver installed the queue");
        DeviceQueue::new(&self.memory, size, addresses, registers.accepted & EVENT_INDEX != 0)
    }

    /// Kicks of a queue since the last call.
    pub fn take_kicks(&self, queue: usize) -> u32 {
        core::mem::take(&mut self.registers.borrow_mut().kicks[queue])
    }

    /// Raises the interrupt for completions.
    pub fn raise(&self) {
        self.registers.borrow_mut().interrupts |= InterruptStatus::QUEUE_INTERRUPT.bits();
    }

    /// Changes configuration bytes and raises the interrupt for that.
    pub fn change_config(&self, offset: usize, bytes: &[u8]) {
        let mut registers = self.registers.borrow_mut();
        registers.config[offset..offset + bytes.len()].copy_from_slice(bytes);
        registers.generation += 1;
        registers.interrupts |= InterruptStatus::DEVICE_CONFIGURATION_INTERRUPT.bits();
    }

    /// Has an error only a reset cures.
    pub fn fail(&self) {
        let mut registers = self.registers.borrow_mut();
        registers.status |= DeviceStatus::DEVICE_NEEDS_RESET;
        registers.interrupts |= InterruptStatus::DEVICE_CONFIGURATION_INTERRUPT.bits();
    }

    /// Does not finish resets any more.
    pub fn never_reset(&self) {
        self.registers.borrow_mut().reset_polls = None;
    }

    /// Does not confirm FEATURES_OK.
    pub fn refuse_features(&self) {
        self.registers.borrow_mut().refuse_features = true;
    }

    /// Is a legacy device.
    pub fn withhold_version_1(&self) {
        self.registers.borrow_mut().offered &= !VERSION_1;
    }

    /// Changes its configuration all the time.
    pub fn keep_changing(&self) {
        self.registers.borrow_mut().unstable = true;
    }

    pub fn status(&self) -> DeviceStatus {
        self.registers.borrow().status
    }

    pub fn accepted_features(&self) -> u64 {
        self.registers.borrow().accepted
    }

    /// How many queues had their interrupts routed in this initialisation.
    pub fn routed_queues(&self) -> Option<u16> {
        self.registers.borrow().routed
    }
}

impl Registers {
    fn reset(&mut self) {
        self.accepted = 0;
        self.queues.fill(None);
        self.kicks.fill(0);
        self.interrupts = 0;
        self.routed = None;
        match self.reset_polls {
            Some(polls) => self.resetting = polls,
            None => self.resetting = u32::MAX,
        }
        self.status = DeviceStatus::empty();
    }

    /// One more bit, in the order of the specification: what Firecracker insists on.
    fn advance(&mut self, status: DeviceStatus) {
        assert_eq!(self.resetting, 0, "the driver did not wait for the reset");
        let added = status - self.status;
        assert!(status.contains(self.status), "the driver took back a status bit");
        let step = [
            (DeviceStatus::empty(), DeviceStatus::ACKNOWLEDGE),
            (DeviceStatus::ACKNOWLEDGE, DeviceStatus::DRIVER),
            (DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER, DeviceStatus::FEATURES_OK),
            (DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER | DeviceStatus::FEATURES_OK, DeviceStatus::DRIVER_OK),
        ]
        .contains(&(self.status, added));
        assert!(step || added == DeviceStatus::FAILED, "{:?} after {:?}", added, self.status);
        let confirmed = !(added == DeviceStatus::FEATURES_OK && self.refuse_features);
        self.status |= if confirmed { added } else { DeviceStatus::empty() };
    }

    fn config_bytes(&self, offset: usize, bytes: usize) -> Result<&[u8], Error> {
        self.config.get(offset..offset + bytes).ok_or(Error::ConfigSpaceTooSmall)
    }
}

impl Transport for ModelTransport {
    fn device_type(&self) -> DeviceType {
        self.0.borrow().device_type
    }

    fn read_device_features(&mut self) -> u64 {
        let registers = self.0.borrow();
        assert_eq!(registers.status, DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
        registers.offered
    }

    fn write_driver_features(&mut self, features: u64) {
        let mut registers = self.0.borrow_mut();
        assert_eq!(registers.status, DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
        assert_eq!(features & !registers.offered, 0, "features that were not offered");
        registers.accepted = features;
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.0.borrow().max_sizes.get(usize::from(queue)).copied().unwrap_or(0)
    }

    fn notify(&mut self, queue: u16) {
        let mut registers = self.0.borrow_mut();
        assert!(registers.status.contains(DeviceStatus::DRIVER_OK), "a kick before DRIVER_OK");
        registers.kicks[usize::from(queue)] += 1;
    }

    fn get_status(&self) -> DeviceStatus {
        let mut registers = self.0.borrow_mut();
        if registers.resetting > 0 {
            if registers.resetting != u32::MAX {
                registers.resetting -= 1;
            }
            return DeviceStatus::DRIVER;
        }
        registers.status
    }

    fn set_status(&mut self, status: DeviceStatus) {
        let mut registers = self.0.borrow_mut();
        if status.is_empty() { registers.reset() } else { registers.advance(status) }
    }

    fn set_guest_page_size(&mut self, _bytes: u32) {
        panic!("a legacy register");
    }

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(&mut self, queue: u16, size: u32, descriptors: PhysAddr, driver: PhysAddr, device: PhysAddr) {
        let mut registers = self.0.borrow_mut();
        assert!(registers.status.contains(DeviceStatus::FEATURES_OK), "a queue before FEATURES_OK");
        assert!(!registers.status.contains(DeviceStatus::DRIVER_OK), "a queue after DRIVER_OK");
        assert!(registers.routed.is_some_and(|queues| queue < queues), "a queue before its interrupt route");
        assert!(size <= registers.max_sizes[usize::from(queue)] && size.is_power_of_two());
        registers.queues[usize::from(queue)] = Some((size as u16, [descriptors, driver, device]));
    }

    fn queue_unset(&mut self, queue: u16) {
        self.0.borrow_mut().queues[usize::from(queue)] = None;
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.0.borrow().queues.get(usize::from(queue)).is_some_and(Option::is_some)
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::from_bits_truncate(core::mem::take(&mut self.0.borrow_mut().interrupts))
    }

    fn read_config_generation(&self) -> u32 {
        let mut registers = self.0.borrow_mut();
        registers.generation += u32::from(registers.unstable);
        registers.generation
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T, Error> {
        assert!(offset.is_multiple_of(align_of::<T>()), "a misaligned configuration field");
        assert!(size_of::<T>() <= 4, "no more than four bytes at a time are sure to be consistent");
        let registers = self.0.borrow();
        let bytes = registers.config_bytes(offset, size_of::<T>())?;
        Ok(T::read_from_bytes(bytes).expect("as many bytes as T has"))
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, offset: usize, value: T) -> Result<(), Error> {
        let mut registers = self.0.borrow_mut();
        registers.config_bytes(offset, size_of::<T>())?;
        registers.config[offset..offset + size_of::<T>()].copy_from_slice(value.as_bytes());
        Ok(())
    }
}

impl Routed for ModelTransport {
    fn route_interrupts(&mut self, queues: u16) -> Result<(), RouteError> {
        let mut registers = self.0.borrow_mut();
        assert!(registers.status.contains(DeviceStatus::FEATURES_OK), "routes before FEATURES_OK");
        registers.routed = Some(queues);
        Ok(())
    }
}
