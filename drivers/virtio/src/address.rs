//! Addresses as the device sees them.
//!
//! A device address is not a physical address: behind an IOMMU, or for a device on a translating bus, they differ. So
//! they are distinct types from the first day, and only the environment, which knows the translation, makes one.

use core::fmt;

/// An address a device may be given. Whoever makes one vouches that the device may touch the memory behind it for as
/// long as a request that names it is in flight: DMA is outside what the language checks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DmaAddr(u64);

impl DmaAddr {
    /// Takes the address bits as the device is to see them.
    pub const fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits to put into a descriptor or register.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The address `bytes` further on, or `None` past the end of the address space.
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(bits) => Some(Self(bits)),
            None => None,
        }
    }
}

impl fmt::Debug for DmaAddr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DmaAddr({:#x})", self.0)
    }
}

/// A run of device-visible memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub addr: DmaAddr,
    pub len: u32,
}

impl Segment {
    pub const fn new(addr: DmaAddr, len: u32) -> Self {
        Self { addr, len }
    }
}

/// A segment and what the device may do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffer {
    /// The device only reads it.
    Readable(Segment),
    /// The device only writes it.
    Writable(Segment),
}

impl Buffer {
    /// The memory, whichever way it is used.
    pub const fn segment(self) -> Segment {
        match self {
            Self::Readable(segment) | Self::Writable(segment) => segment,
        }
    }
}
