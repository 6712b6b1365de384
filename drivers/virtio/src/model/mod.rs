//! The other side: memory, transport and queues of a virtio device, for tests on the host.
//!
//! Written from the specification and not from the driver's code, and stricter than real devices: it panics on
//! anything a driver must not do, such as memory it was not given, status bits out of order, or a malformed chain. It
//! also misbehaves on request, which real devices cannot be asked to.

mod memory;
mod queue;
mod registers;

pub use memory::Memory;
pub use queue::{Chain, DeviceQueue};
pub use registers::{ModelDevice, ModelTransport};
