//! How a device is reached: virtio-mmio or PCI, behind one type.
//!
//! virtio-drivers' `Transport` trait is the contract; its MMIO transport is used as it is, the PCI one is ours (one
//! store per kick, MSI-X). [`Routed`] adds the one step that trait lacks: interrupt vectors are part of
//! initialisation, since a reset clears them.

mod any;
pub mod mmio;
pub mod pci;
mod registers;

pub use any::AnyTransport;
pub use registers::MapRegisters;
pub use virtio_drivers::transport::Transport;

/// The most queues a driver here routes.
pub const MAX_ROUTED_QUEUES: usize = 8;

/// Which MSI-X vector each event of a device raises. `None` means the device raises no interrupt for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterruptRoutes {
    /// For configuration changes and DEVICE_NEEDS_RESET.
    pub config: Option<u16>,
    /// For completions on each queue.
    pub queues: [Option<u16>; MAX_ROUTED_QUEUES],
}

/// The device has no resources for a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("no vector {vector} for configuration changes")]
    Config { vector: u16 },
    #[error("no vector {vector} for queue {queue}")]
    Queue { queue: u16, vector: u16 },
    #[error("{queues} queues are more than can be routed")]
    TooManyQueues { queues: u16 },
}

/// A transport that knows where its interrupts go.
pub trait Routed: Transport {
    /// Applies the routes to the configuration event and to queues `0..queues`. Called at every initialisation,
    /// before queues are enabled. A transport with one shared interrupt has nothing to do.
    fn route_interrupts(&mut self, queues: u16) -> Result<(), RouteError>;
}
