//! Virtio transports and the split ring.
//!
//! Everything a virtio driver needs that is not about one kind of device: finding devices on PCI and virtio-mmio,
//! the initialisation sequence, interrupts, and a split virtqueue that allocates nothing once it is built. The block
//! and network drivers are built on it and contain no `unsafe`; the kernel below supplies memory ([`Dma`]) and device
//! mappings ([`MapRegisters`]) and decides who waits for what.
//!
//! The `virtio-drivers` crate supplies the `Transport` trait, the MMIO transport and the PCI bus; its rings are not
//! used, because a pager needs deep queues, scatter lists, notification suppression that works and MSI-X.

#![cfg_attr(not(any(test, feature = "model")), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

mod address;
mod event;
mod layout;
mod ring;
mod session;
mod shared;
mod slots;
pub mod transport;

#[cfg(any(test, feature = "model"))]
pub mod model;

pub use address::{Buffer, DmaAddr, Segment};
pub use ring::{AddError, Ring, RingConfig, RingError, Used};
pub use session::{Failure, InitError, Notice, Session, Stopped};
pub use shared::{Dma, DmaPages, OutOfMemory, PAGE_BYTES, Region};
pub use transport::{AnyTransport, InterruptRoutes, MapRegisters, Routed};
pub use virtio_drivers::transport::{DeviceStatus, DeviceType, Transport};
