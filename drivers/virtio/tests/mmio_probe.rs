//! What may be behind a virtio-mmio window.

use std::ptr::NonNull;
use virtio::{
    DeviceType, MapRegisters, Transport,
    transport::mmio::{ProbeError, probe},
};

const PHYSICAL: u64 = 0x0a00_0000;
const WINDOW: usize = 0x200;

struct Window(NonNull<u32>);

// SAFETY: the one window is leaked memory, aligned and behind no reference.
unsafe impl MapRegisters for Window {
    fn map(&self, physical: u64, bytes: usize) -> Option<NonNull<u8>> {
        let offset = usize::try_from(physical.checked_sub(PHYSICAL)?).ok()?;
        if offset + bytes > WINDOW {
            return None;
        }
        // SAFETY: the offset is inside the window.
        Some(unsafe { self.0.cast::<u8>().byte_add(offset) })
    }
}

fn window(magic: u32, version: u32, device: u32) -> Window {
    let mut words = vec![0u32; WINDOW / 4];
    words[..3].copy_from_slice(&[magic, version, device]);
    Window(NonNull::from(Box::leak(words.into_boxed_slice())).cast())
}

const MAGIC: u32 = u32::from_le_bytes(*b"virt");

#[test]
fn a_modern_device_is_found() {
    let transport = probe(&window(MAGIC, 2, 2), PHYSICAL, 0x200).unwrap().expect("a device");
    assert_eq!(transport.device_type(), DeviceType::Block);
}

#[test]
fn an_empty_slot_is_no_error() {
    assert!(matches!(probe(&window(MAGIC, 2, 0), PHYSICAL, 0x200), Ok(None)));
    assert!(matches!(probe(&window(MAGIC, 1, 0), PHYSICAL, 0x200), Ok(None)), "legacy slots are empty too");
}

#[test]
fn a_legacy_device_is_refused_with_advice() {
    let error = probe(&window(MAGIC, 1, 2), PHYSICAL, 0x200).unwrap_err();
    assert_eq!(error, ProbeError::Legacy);
    assert!(error.to_string().contains("force-legacy=false"));
}

#[test]
fn what_is_no_device_is_said_so() {
    assert!(matches!(probe(&window(0, 2, 2), PHYSICAL, 0x200), Err(ProbeError::Transport(_))));
    assert!(matches!(probe(&window(MAGIC, 9, 2), PHYSICAL, 0x200), Err(ProbeError::Transport(_))));
    assert_eq!(probe(&window(MAGIC, 2, 2), PHYSICAL, 0x80).err(), Some(ProbeError::WindowTooSmall { bytes: 0x80 }));
    let unmapped = ProbeError::Unmapped { physical: PHYSICAL + 0x1000 };
    assert_eq!(probe(&window(MAGIC, 2, 2), PHYSICAL + 0x1000, 0x200).err(), Some(unmapped));
}
