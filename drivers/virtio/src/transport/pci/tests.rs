//! Capabilities and registers of a virtio function whose configuration space and BAR are plain memory.
//!
//! Memory does not behave like a device (a BAR cannot be sized, reading clears nothing), but it shows which register
//! is written with what, and a hostile capability list is a matter of bytes.

use super::{
    Message, NoVector, PciTransport, Window, Windows,
    capabilities::{Bars, Capabilities, CapabilityError, Mapper},
    ecam::Ecam,
    msix::Msix,
};
use crate::transport::{InterruptRoutes, MapRegisters, RouteError, Routed, Transport};
use core::ptr::NonNull;
use std::{boxed::Box, vec::Vec};
use virtio_drivers::transport::{
    DeviceType,
    pci::bus::{DeviceFunction, PciRoot},
};

const ECAM: u64 = 0x3f00_0000;
const BAR: u64 = 0x1000_0000;
const BAR_BYTES: usize = 0x4000;
const FUNCTION: DeviceFunction = DeviceFunction { bus: 0, device: 0, function: 0 };

const COMMON: usize = 0;
const ISR: usize = 0x1000;
const CONFIG: usize = 0x2000;
const NOTIFY: usize = 0x3000;
const TABLE: usize = 0x800;

/// Configuration space of one bus, and one BAR. Leaked, as registers live for ever.
#[derive(Clone, Copy)]
struct Fake {
    ecam: NonNull<u32>,
    bar: NonNull<u32>,
}

fn leak(bytes: usize, fill: u32) -> NonNull<u32> {
    // From u64s, for their alignment.
    let words: Vec<u64> = vec![u64::from(fill) << 32 | u64::from(fill); bytes / 8];
    NonNull::from(Box::leak(words.into_boxed_slice())).cast()
}

#[expect(unsafe_code, reason = "stands in for device registers")]
mod access {
    use super::{BAR, BAR_BYTES, ECAM, Fake, MapRegisters, NonNull};

    // SAFETY: both ranges are leaked, aligned to eight bytes and behind no reference; nothing else is mapped.
    unsafe impl MapRegisters for Fake {
        fn map(&self, physical: u64, bytes: usize) -> Option<NonNull<u8>> {
            let inside = |base: u64, size: usize| {
                let offset = usize::try_from(physical.checked_sub(base)?).ok()?;
                (offset.checked_add(bytes)? <= size).then_some(offset)
            };
            let (start, offset) = match (inside(ECAM, 1 << 20), inside(BAR, BAR_BYTES)) {
                (Some(offset), _) => (self.ecam, offset),
                (_, Some(offset)) => (self.bar, offset),
                _ => return None,
            };
            // SAFETY: the offset is inside the range.
            Some(unsafe { start.cast::<u8>().byte_add(offset) })
        }
    }

    impl Fake {
        pub(super) fn word(&self, bar_offset: usize) -> u32 {
            // SAFETY: leaked memory, and tests have one thread each.
            unsafe { self.bar.byte_add(bar_offset).read_volatile() }
        }

        pub(super) fn set(&self, bar_offset: usize, value: u32) {
            // SAFETY: as above.
            unsafe { self.bar.byte_add(bar_offset).write_volatile(value) }
        }

        pub(super) fn set_config(&self, register: usize, value: u32) {
            // SAFETY: as above.
            unsafe { self.ecam.byte_add(register).write_volatile(value) }
        }

        pub(super) fn config(&self, register: usize) -> u32 {
            // SAFETY: as above.
            unsafe { self.ecam.byte_add(register).read_volatile() }
        }
    }
}

/// A vendor capability at `at`, followed by one at `next`.
fn capability(fake: Fake, at: usize, next: u32, kind: u32, offset: usize, bytes: u32) {
    let length = if kind == 2 { 20 } else { 16 };
    fake.set_config(at, 0x09 | next << 8 | length << 16 | kind << 24);
    fake.set_config(at + 4, 4);
    fake.set_config(at + 8, offset as u32);
    fake.set_config(at + 12, bytes);
}

/// A sane function: four structures, doorbells four bytes apart, MSI-X with three vectors.
fn function() -> Fake {
    let fake = Fake { ecam: leak(1 << 20, 0), bar: leak(BAR_BYTES, 0) };
    fake.set_config(0, 0x1042_1af4);
    fake.set_config(4, 0x0010_0006);
    fake.set_config(0x34, 0x40);
    capability(fake, 0x40, 0x50, 1, COMMON, 0x38);
    capability(fake, 0x50, 0x60, 3, ISR, 4);
    capability(fake, 0x60, 0x70, 4, CONFIG, 0x40);
    capability(fake, 0x70, 0x90, 2, NOTIFY, 0x20);
    fake.set_config(0x80, 4);
    fake.set_config(0x90, 0x11 | 2 << 16);
    fake.set_config(0x94, TABLE as u32 | 4);
    // num_queues
    fake.set(COMMON + 0x10, 4 << 16);
    fake
}

fn bars() -> Bars {
    let mut bars = Bars::default();
    bars[4] = Some((BAR, BAR_BYTES as u64));
    bars
}

fn windows() -> Windows {
    Windows::new(Some(Window { pci: BAR, cpu: BAR, bytes: BAR_BYTES as u64 }), None)
}

fn transport(fake: Fake) -> Result<PciTransport, CapabilityError> {
    let ecam = Ecam::map(&fake, ECAM, 0, 1).expect("one bus");
    let root = PciRoot::new(ecam.share());
    let capabilities = Capabilities::read(&root, &ecam, FUNCTION);
    let windows = windows();
    let mapper = Mapper { map: &fake, windows: &windows, bars: bars() };
    let msix = match capabilities.msix {
        Some((at, place, _)) => Some(Msix::new(ecam.share(), FUNCTION, at, mapper.many(Some(place), "table")?)),
        None => None,
    };
    PciTransport::new(DeviceType::Block, &capabilities, &mapper, msix)
}

#[test]
fn a_kick_is_one_store_to_the_queues_own_doorbell() {
    let fake = function();
    let mut transport = transport(fake).unwrap();
    // The offset of whichever queue is selected.
    fake.set(COMMON + 0x1c, 3 << 16);
    transport.queue_set(2, 64, 0x1_2345_6000, 0x7000, 0x8000);
    assert_eq!((fake.word(COMMON + 0x20), fake.word(COMMON + 0x24)), (0x2345_6000, 1));
    assert_eq!((fake.word(COMMON + 0x28), fake.word(COMMON + 0x30)), (0x7000, 0x8000));
    assert!(transport.queue_used(2));
    transport.notify(1);
    fake.set(COMMON + 0x14, 0x5a5a_0000);
    transport.notify(2);
    assert_eq!(fake.word(NOTIFY + 12), 2);
    assert_eq!(fake.word(COMMON + 0x14), 0x5a5a_0000, "no other register was touched");
    assert_eq!((0..8).filter(|index| fake.word(NOTIFY + 4 * index) != 0).count(), 1, "queue 1 has none yet");
}

#[test]
fn a_queue_whose_doorbell_is_out_of_reach_stays_disabled() {
    let fake = function();
    let mut transport = transport(fake).unwrap();
    fake.set(COMMON + 0x1c, 8 << 16);
    transport.queue_set(0, 64, 0x6000, 0x7000, 0x8000);
    assert!(!transport.queue_used(0));
    transport.notify(0);
}

#[test]
fn vectors_are_programmed_enabled_and_routed() {
    let fake = function();
    let mut transport = transport(fake).unwrap();
    assert_eq!(transport.vectors(), 3);
    let message = Message { address: 0x1_0802_0040, data: 81 };
    transport.set_message(2, message).unwrap();
    let entry = |index: usize| [0, 4, 8, 12].map(|field| fake.word(TABLE + 16 * index + field));
    assert_eq!(entry(2), [0x0802_0040, 1, 81, 0]);
    transport.mask_vector(2).unwrap();
    assert_eq!(entry(2), [0x0802_0040, 1, 81, 1]);
    assert_eq!(transport.set_message(3, message), Err(NoVector { vector: 3, vectors: 3 }));

    let mut routes = InterruptRoutes { config: Some(0), ..Default::default() };
    routes.queues[0] = Some(3);
    assert_eq!(transport.enable_msix(routes), Err(NoVector { vector: 3, vectors: 3 }));
    routes.queues[0] = Some(2);
    transport.enable_msix(routes).unwrap();
    assert_eq!(fake.config(0x90) >> 31, 1, "MSI-X is on");
    assert_eq!(fake.config(4) & 0x406, 0x406, "INTx is off, the rest of the command stays");
    transport.route_interrupts(1).unwrap();
    assert_eq!((fake.word(COMMON + 0x10) & 0xffff, fake.word(COMMON + 0x18) >> 16), (0, 2));
    assert_eq!(transport.route_interrupts(9), Err(RouteError::TooManyQueues { queues: 9 }));
}

#[test]
fn configuration_space_is_bounded() {
    let fake = function();
    let transport = transport(fake).unwrap();
    fake.set(CONFIG + 0x3c, 0x0403_0201);
    assert_eq!(transport.read_config_space::<u16>(0x3e).unwrap(), 0x0403);
    assert!(transport.read_config_space::<u32>(0x3e).is_err());
    assert!(transport.read_config_space::<u8>(0x40).is_err());
    assert!(transport.read_config_space::<u8>(usize::MAX).is_err());
}

#[test]
fn hostile_capabilities_are_refused_by_name() {
    type Spoil = fn(Fake);
    let outside = |offset, bytes| CapabilityError::OutsideBar { bar: 4, offset, bytes };
    let cases: [(Spoil, CapabilityError); 7] = [
        (|fake| fake.set_config(0x48, 0x3ff0), outside(0x3ff0, 0x38)),
        (|fake| fake.set_config(0x48, u32::MAX), outside(u32::MAX, 0x38)),
        (|fake| fake.set_config(0x7c, 0), outside(NOTIFY as u32, 0)),
        (|fake| fake.set_config(0x4c, 0x20), CapabilityError::TooSmall("common configuration")),
        (|fake| fake.set_config(0x80, 3), CapabilityError::NotifyMultiplier(3)),
        (|fake| fake.set_config(0x48, 2), CapabilityError::Unmapped { pci: BAR + 2 }),
        (|fake| fake.set_config(0x44, 5), CapabilityError::OutsideBar { bar: 5, offset: 0, bytes: 0x38 }),
    ];
    for (spoil, wanted) in cases {
        let fake = function();
        spoil(fake);
        assert_eq!(transport(fake).err(), Some(wanted));
    }
}

#[test]
fn a_capability_list_that_bites_its_tail_ends() {
    let fake = function();
    capability(fake, 0x50, 0x40, 3, ISR, 4);
    assert_eq!(transport(fake).err(), Some(CapabilityError::Missing("notification")));
}

#[test]
fn what_is_not_mapped_is_no_device() {
    let fake = function();
    let ecam = Ecam::map(&fake, ECAM, 0, 1).unwrap();
    let root = PciRoot::new(ecam.share());
    let far = DeviceFunction { bus: 1, device: 0, function: 0 };
    assert!(Capabilities::read(&root, &ecam, far).msix.is_none());
    assert!(Ecam::map(&fake, ECAM, 0, 2).is_none(), "no more than there is");
}
