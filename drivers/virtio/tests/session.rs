//! The initialisation sequence and the end of a device, against a model that checks every step.

use virtio::{
    DeviceStatus, DeviceType, Failure, InitError, Ring, RingConfig, Session,
    model::{Memory, ModelDevice, ModelTransport},
};

const INDIRECT: u64 = 1 << 28;
const EVENT_INDEX: u64 = 1 << 29;
const VERSION_1: u64 = 1 << 32;

fn device(memory: &Memory) -> ModelDevice {
    ModelDevice::new(memory, DeviceType::Block, INDIRECT | EVENT_INDEX, &[1, 2, 3, 4, 5, 6, 7, 8], &[100, 8])
}

fn negotiate(device: &ModelDevice) -> Result<Session<ModelTransport>, InitError> {
    Session::negotiate(device.transport(), EVENT_INDEX)
}

#[test]
fn a_device_comes_up_step_by_step() {
    let memory = Memory::new();
    let device = device(&memory);
    let mut session = negotiate(&device).unwrap();
    assert_eq!(device.accepted_features(), EVENT_INDEX | VERSION_1);
    assert!(session.has(EVENT_INDEX) && !session.has(INDIRECT));
    let size = session.queue_size(0, 256, 2).unwrap();
    assert_eq!(size, 64, "the next lower power of two");
    let ring = Ring::new(&memory, RingConfig { size, event_index: true, indirect_buffers: 0 }).unwrap();
    session.route_interrupts(1).unwrap();
    session.install(0, &ring).unwrap();
    assert_eq!(session.install(0, &ring), Err(InitError::QueueInUse { queue: 0 }));
    session.start();
    assert!(device.status().contains(DeviceStatus::DRIVER_OK));
    session.notify(0);
    assert_eq!(device.take_kicks(0), 1);
}

#[test]
fn a_queue_may_be_missing_or_too_small() {
    let memory = Memory::new();
    let mut session = negotiate(&device(&memory)).unwrap();
    assert_eq!(session.queue_size(1, 256, 1), Ok(8));
    assert_eq!(session.queue_size(1, 256, 9), Err(InitError::QueueTooSmall { queue: 1, max: 8, needed: 9 }));
    assert_eq!(session.queue_size(2, 256, 1), Err(InitError::NoQueue { queue: 2 }));
}

#[test]
fn what_cannot_be_driven_is_told_so() {
    let memory = Memory::new();
    let legacy = device(&memory);
    legacy.withhold_version_1();
    assert_eq!(negotiate(&legacy).err(), Some(InitError::Legacy));
    assert!(legacy.status().contains(DeviceStatus::FAILED));

    let refusing = device(&memory);
    refusing.refuse_features();
    let offered = INDIRECT | EVENT_INDEX | VERSION_1;
    let wanted = InitError::FeaturesRefused { offered, features: EVENT_INDEX | VERSION_1 };
    assert_eq!(negotiate(&refusing).err(), Some(wanted));
    assert!(refusing.status().contains(DeviceStatus::FAILED));

    let stuck = device(&memory);
    stuck.never_reset();
    assert_eq!(negotiate(&stuck).err(), Some(InitError::ResetStuck));
}

#[test]
fn configuration_is_bounded_and_consistent() {
    let memory = Memory::new();
    let device = device(&memory);
    let session = negotiate(&device).unwrap();
    assert_eq!(session.config::<u32>(4), Ok(0x0807_0605));
    assert_eq!(session.config::<u32>(8), Err(InitError::ConfigMissing { offset: 8 }));

    let changes = std::cell::Cell::new(2);
    let read = |session: &Session<ModelTransport>| {
        let low: u8 = session.config(0)?;
        if changes.get() > 0 {
            changes.set(changes.get() - 1);
            device.change_config(0, &[low + 10, 12]);
        }
        Ok((low, session.config::<u8>(1)?))
    };
    assert_eq!(session.config_snapshot(read), Ok((21, 12)), "both from after the last change");
    device.keep_changing();
    assert_eq!(session.config_snapshot(|session| session.config::<u8>(0)), Err(InitError::ConfigUnstable));
}

#[test]
fn a_stopped_device_is_reset_once_and_left_alone() {
    let memory = Memory::new();
    let device = device(&memory);
    let mut session = negotiate(&device).unwrap();
    session.start();
    assert!(!session.needs_reset());
    device.fail();
    assert!(session.needs_reset());
    let stopped = session.stop(Failure::NeedsReset);
    assert!(stopped.quiesced && device.status().is_empty());
    assert_eq!(session.stop(Failure::GivenUp), stopped, "the first failure counts");
    session.notify(0);
    assert_eq!(device.take_kicks(0), 0);
}

#[test]
fn a_device_that_does_not_stop_is_said_to_be_dangerous() {
    let memory = Memory::new();
    let device = device(&memory);
    let mut session = negotiate(&device).unwrap();
    session.start();
    device.never_reset();
    assert!(!session.stop(Failure::GivenUp).quiesced);
}
