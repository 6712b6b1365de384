//! One device from reset to reset: the initialisation sequence, its health, and its end (virtio 1.3 §3.1).
//!
//! virtio-drivers' own sequence sets ACKNOWLEDGE and DRIVER together (which Firecracker refuses), never reads
//! FEATURES_OK back and does not wait for a reset. So the sequence is ours, on that crate's `Transport` trait. The
//! block and network drivers each hold a [`Session`] and their rings.

use crate::{
    Dma, OutOfMemory, Ring, RingError,
    transport::{RouteError, Routed},
};
use virtio_drivers::transport::{DeviceStatus, InterruptStatus};
use zerocopy::{FromBytes, IntoBytes};

/// `VIRTIO_F_VERSION_1`, without which a device is a legacy one.
const VERSION_1: u64 = 1 << 32;
/// Status reads until a device counts as one that does not reset: seconds, as each read leaves the guest.
const RESET_POLLS: u32 = 1_000_000;
/// Tries to read a configuration that does not change meanwhile.
const CONFIG_TRIES: u32 = 1_000;

/// Why a device could not be brought up. It has been told that the driver gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    #[error("the device does not finish its reset")]
    ResetStuck,
    #[error("the device offers no VIRTIO_F_VERSION_1: a legacy device")]
    Legacy,
    #[error("the device refused features {features:#x} of the {offered:#x} it offered")]
    FeaturesRefused { offered: u64, features: u64 },
    #[error("the device has no queue {queue}")]
    NoQueue { queue: u16 },
    #[error("queue {queue} takes {max} descriptors, too few for {needed}")]
    QueueTooSmall { queue: u16, max: u16, needed: u16 },
    #[error("queue {queue} is in use already")]
    QueueInUse { queue: u16 },
    #[error("queue {queue} could not be enabled")]
    QueueRefused { queue: u16 },
    #[error("the device did not accept its interrupt routes: {0}")]
    Routes(#[from] RouteError),
    #[error("the device configuration has no field at {offset:#x}")]
    ConfigMissing { offset: usize },
    #[error("the device configuration never stops changing")]
    ConfigUnstable,
    #[error("the device configuration makes no sense: {0}")]
    ConfigInvalid(&'static str),
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
}

/// Why a device that once worked works no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("the device asked for a reset (DEVICE_NEEDS_RESET)")]
    NeedsReset,
    #[error("the device broke the protocol: {0}")]
    Protocol(#[from] RingError),
    #[error("the device wrote a malformed packet header: {0}")]
    Malformed(&'static str),
    #[error("the driver gave the device up")]
    GivenUp,
}

/// A device that is down for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    pub failure: Failure,
    /// The device finished its reset, so it touches no memory any more. If false, buffers of failed requests must
    /// not be used again.
    pub quiesced: bool,
}

/// What an interrupt was about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// Some queue may have completions.
    pub queue: bool,
    /// The configuration changed; the driver has looked at it.
    pub config: bool,
}

/// A device under a driver.
#[derive(Debug)]
pub struct Session<T: Routed> {
    transport: T,
    features: u64,
    status: DeviceStatus,
    stopped: Option<Stopped>,
}

impl<T: Routed> Session<T> {
    /// Resets the device and negotiates: of the `wanted` features those that are offered.
    pub fn negotiate(transport: T, wanted: u64) -> Result<Self, InitError> {
        let mut session = Self { transport, features: 0, status: DeviceStatus::empty(), stopped: None };
        if !session.reset() {
            return Err(InitError::ResetStuck);
        }
        session.advance(DeviceStatus::ACKNOWLEDGE);
        session.advance(DeviceStatus::DRIVER);
        let offered = session.transport.read_device_features();
        if offered & VERSION_1 == 0 {
            return Err(session.refuse(InitError::Legacy));
        }
        let features = offered & (wanted | VERSION_1);
        session.transport.write_driver_features(features);
        session.advance(DeviceStatus::FEATURES_OK);
        if !session.transport.get_status().contains(DeviceStatus::FEATURES_OK) {
            return Err(session.refuse(InitError::FeaturesRefused { offered, features }));
        }
        session.features = features;
        Ok(session)
    }

    /// Whether all bits of `feature` were negotiated.
    pub fn has(&self, feature: u64) -> bool {
        self.features & feature == feature
    }

    pub fn features(&self) -> u64 {
        self.features
    }

    /// The size for a queue: a power of two, no more than `wanted` and the device's maximum, at least `needed`.
    pub fn queue_size(&mut self, queue: u16, wanted: u16, needed: u16) -> Result<u16, InitError> {
        let max = self.transport.max_queue_size(queue).min(1 << 15) as u16;
        if max == 0 {
            return Err(InitError::NoQueue { queue });
        }
        let limit = wanted.clamp(1, max);
        let size = 1 << limit.ilog2();
        if size < needed { Err(InitError::QueueTooSmall { queue, max, needed }) } else { Ok(size) }
    }

    /// Tells the device where the ring of a queue is.
    pub fn install<D: Dma>(&mut self, queue: u16, ring: &Ring<D>) -> Result<(), InitError> {
        if self.transport.queue_used(queue) {
            return Err(InitError::QueueInUse { queue });
        }
        let [descriptors, available, used] = ring.addresses().map(|address| address.bits());
        self.transport.queue_set(queue, ring.size().into(), descriptors, available, used);
        if self.transport.queue_used(queue) { Ok(()) } else { Err(InitError::QueueRefused { queue }) }
    }

    /// Routes the interrupts of `queues` queues. Comes after negotiation and before the first `install`.
    pub fn route_interrupts(&mut self, queues: u16) -> Result<(), InitError> {
        Ok(self.transport.route_interrupts(queues)?)
    }

    /// Lets the device go: from here on it works.
    pub fn start(&mut self) {
        self.advance(DeviceStatus::DRIVER_OK);
    }

    /// Announces what was added to a queue.
    pub fn notify(&mut self, queue: u16) {
        if self.stopped.is_none() {
            self.transport.notify(queue);
        }
    }

    /// Acknowledges a shared or legacy interrupt and says what it was about. With MSI-X the vector says it.
    pub fn acknowledge(&mut self) -> Notice {
        let status = self.transport.ack_interrupt();
        Notice {
            queue: status.contains(InterruptStatus::QUEUE_INTERRUPT),
            config: status.contains(InterruptStatus::DEVICE_CONFIGURATION_INTERRUPT),
        }
    }

    /// Whether the device asks for a reset. To be looked at on a configuration interrupt or a timeout.
    pub fn needs_reset(&self) -> bool {
        self.stopped.is_none() && self.transport.get_status().contains(DeviceStatus::DEVICE_NEEDS_RESET)
    }

    /// Stops the device for good; the first failure is the one that is kept.
    pub fn stop(&mut self, failure: Failure) -> Stopped {
        if let Some(stopped) = self.stopped {
            return stopped;
        }
        let stopped = Stopped { failure, quiesced: self.reset() };
        *self.stopped.insert(stopped)
    }

    /// Why and how the device was stopped, if it was.
    pub fn stopped(&self) -> Option<Stopped> {
        self.stopped
    }

    /// Reads one field of the device configuration.
    pub fn config<F: FromBytes + IntoBytes>(&self, offset: usize) -> Result<F, InitError> {
        self.transport.read_config_space(offset).map_err(|_| InitError::ConfigMissing { offset })
    }

    /// Reads several fields that belong together.
    pub fn config_snapshot<R>(&self, read: impl Fn(&Self) -> Result<R, InitError>) -> Result<R, InitError> {
        for _ in 0..CONFIG_TRIES {
            let before = self.transport.read_config_generation();
            let value = read(self);
            if self.transport.read_config_generation() == before {
                return value;
            }
        }
        Err(InitError::ConfigUnstable)
    }

    /// The transport, for what only it knows (a PCI function, an MSI-X table).
    pub fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Adds one status bit: some devices take no more at a time.
    fn advance(&mut self, bit: DeviceStatus) {
        self.status |= bit;
        self.transport.set_status(self.status);
    }

    fn refuse(&mut self, error: InitError) -> InitError {
        // On top of what the device confirmed, which may be less than was set.
        self.status = self.transport.get_status();
        self.advance(DeviceStatus::FAILED);
        error
    }

    fn reset(&mut self) -> bool {
        self.status = DeviceStatus::empty();
        self.transport.set_status(self.status);
        (0..RESET_POLLS).any(|_| {
            let finished = self.transport.get_status().is_empty();
            if !finished {
                core::hint::spin_loop();
            }
            finished
        })
    }
}
