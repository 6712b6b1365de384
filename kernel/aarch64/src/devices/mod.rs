//! Finding devices, and joining the virtio drivers to the nucleus.
//!
//! The drivers know nothing of the kernel, the nucleus nothing of virtio: `block` and `net` are where they meet, `resources` is what
//! drivers need of the kernel, `lines` says which device an interrupt is about.

mod block;
pub mod lines;
mod msi;
mod net;
mod pci;
mod resources;

use crate::console::say;
use crate::device_tree::{Line, Tree};
use crate::machine::Aarch64;
use alloc::vec::Vec;
pub use block::Block;
use core::fmt::Display;
use core::ops::Range;
use frames::Pool;
use lines::{MAX_DEVICES, Source};
pub use net::Net;
use nucleus::machine::Device;
use resources::Resources;
use virtio::transport::mmio;
use virtio::transport::pci::Bus;
use virtio::{AnyTransport, DeviceType, Transport};

/// How a device that was found interrupts.
enum Interrupts {
    Wire(Line),
    Messages(Range<u32>),
}

/// What is found.
struct Devices {
    resources: Resources,
    found: Vec<Device<Aarch64>>,
}

/// Brings up every disk and network interface. One that can't be used is left out, and said.
pub fn find(tree: Tree, pool: &'static Pool) -> Vec<Device<Aarch64>> {
    let mut devices = Devices { resources: Resources(pool), found: Vec::new() };
    devices.find_pci(tree);
    devices.find_slots(tree);
    devices.found
}

impl Devices {
    fn find_slots(&mut self, tree: Tree) {
        for slot in tree.virtio_slots() {
            let Range { start, end } = slot.registers;
            match mmio::probe(&self.resources, start, end - start) {
                Ok(None) => {}
                Ok(Some(transport)) => {
                    self.add(&format_args!("virtio-mmio {start:#x}"), AnyTransport::Mmio(transport), Interrupts::Wire(slot.line))
                }
                Err(error) => say!("virtio-mmio {start:#x}: {error}"),
            }
        }
    }

    fn find_pci(&mut self, tree: Tree) {
        let Some(host) = tree.pci_host().map(pci::Host::new) else { return };
        let Some(configuration) = host.configuration() else {
            return say!("PCI: no configuration space");
        };
        let mut messages = msi::Messages::find(tree, self.resources.0);
        for (function, found) in Bus::new(configuration).scan(&mut host.windows(), &self.resources) {
            let name = format_args!("PCI {function}");
            let mut found = match found {
                Ok(found) => found,
                Err(error) => {
                    say!("{name}: {error}");
                    continue;
                }
            };
            let queues = if found.device_type == DeviceType::Network { 2 } else { 1 };
            let given =
                messages.as_mut().and_then(|messages| messages.give(function, &mut found.transport, queues)).map(Interrupts::Messages);
            let wire = || host.wire(function, found.interrupt_pin).map(Interrupts::Wire);
            match given.or_else(wire) {
                Some(interrupts) => self.add(&name, AnyTransport::Pci(found.transport), interrupts),
                None => say!("{name}: it has no way to interrupt"),
            }
        }
    }

    fn add(&mut self, name: &dyn Display, transport: AnyTransport, interrupts: Interrupts) {
        if self.found.len() == MAX_DEVICES {
            return say!("{name}: there are {MAX_DEVICES} devices already");
        }
        if let Err(error) = self.try_add(transport, interrupts) {
            say!("{name}: {error}");
        }
    }

    fn try_add(&mut self, transport: AnyTransport, interrupts: Interrupts) -> Result<(), Unusable> {
        let index = self.found.len();
        let source = |interrupts| match interrupts {
            Interrupts::Wire(line) => Source::wired(index, line).map_err(Unusable::Interrupt),
            Interrupts::Messages(numbers) => Ok(Source::messages(index, numbers)),
        };
        let device = match transport.device_type() {
            DeviceType::Block => {
                let driver = Block::bring_up(transport, self.resources).map_err(Unusable::Driver)?;
                Device::Block(Block::listen(driver, source(interrupts)?))
            }
            DeviceType::Network => {
                let driver = Net::bring_up(transport, self.resources).map_err(Unusable::Driver)?;
                Device::Net(Net::listen(driver, source(interrupts)?, index))
            }
            other => return Err(Unusable::Kind(other)),
        };
        self.found.push(device);
        Ok(())
    }
}

/// Why a device is left out.
enum Unusable {
    Kind(DeviceType),
    Driver(virtio::InitError),
    Interrupt(crate::gic::GicError),
}

impl Display for Unusable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "nothing uses a {kind:?} device"),
            Self::Driver(error) => write!(f, "{error}"),
            Self::Interrupt(error) => write!(f, "{error}"),
        }
    }
}
