//! The ramdisk that the machine was booted with, as bytes.

use core::ops::Deref;

use abi::Code;
use abi::call::device::D_READ;
use abi::vm::Protection;

use crate::device::Device;
use crate::{Mapping, SendRight};

/// The name of its device.
pub const NAME: &str = "rd0";

/// The mapped ramdisk.
#[derive(Debug)]
pub struct Ramdisk {
    mapping: Mapping,
    size: usize,
}

impl Ramdisk {
    /// Maps it.
    pub fn open(master: &SendRight) -> Result<Self, Code> {
        let device = Device::open(master, NAME, D_READ)?;
        let size = device.size()?;
        let memory = device.memory(size, Protection::READ)?;
        let mapping = Mapping::map(memory.copy(), 0, size, Protection::READ)?;
        Ok(Self { mapping, size: size as usize })
    }
}

impl Deref for Ramdisk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: 1. the mapping is at least so long, and lives as long as `self`; 2. the kernel gives the ramdisk's memory away for reading
        // only, to whomever, so nobody changes it.
        unsafe { core::slice::from_raw_parts(self.mapping.address() as *const u8, self.size) }
    }
}
