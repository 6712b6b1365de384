//! What the kernel puts behind ports and into messages: where `ipc` meets the rest.

use alloc::sync::Arc;
use core::marker::PhantomData;

use crate::disk::Disk;
use crate::machine::Machine;
use crate::net_ring::NetRing;
use crate::out_of_line::OutOfLine;
use crate::pager::Pager;
use crate::task::Task;
use crate::thread::Thread;

/// `ipc` as this kernel uses it.
pub(crate) struct Ipc<M>(PhantomData<M>);

impl<M: Machine> ipc::Host for Ipc<M> {
    type Object = Object<M>;
    type Memory = OutOfLine;
    type Waiter = Arc<Thread<M>>;
}

pub(crate) type Port<M> = Arc<ipc::Port<Ipc<M>>>;
pub(crate) type Right<M> = ipc::Right<Ipc<M>>;
pub(crate) type Message<M> = ipc::Message<Ipc<M>>;
pub(crate) type Effects<M> = ipc::Effects<Ipc<M>>;
pub(crate) type Capability<M> = ipc::Capability<Ipc<M>>;

/// What a kernel port stands for.
pub(crate) enum Object<M: Machine> {
    Task(Arc<Task<M>>),
    Thread(Arc<Thread<M>>),
    /// mach_host_self: to look at.
    Host,
    /// The privileged host port.
    HostPriv,
    /// To open devices.
    DeviceMaster,
    Disk(Arc<Disk<M>>),
    Net(Arc<NetRing<M>>),
    Ramdisk,
    /// Bytes that nobody can guess.
    Random,
    /// The time of day.
    Clock,
    /// Memory of a device that can be mapped.
    DeviceMemory {
        memory: Arc<vm::Object>,
        writable: bool,
    },
    /// A memory object's control port.
    Control(Arc<Pager<M>>),
    /// A memory object's name port: it does nothing.
    Name,
}

impl<M: Machine> Clone for Object<M> {
    fn clone(&self) -> Self {
        match self {
            Self::Task(task) => Self::Task(Arc::clone(task)),
            Self::Thread(thread) => Self::Thread(Arc::clone(thread)),
            Self::Host => Self::Host,
            Self::HostPriv => Self::HostPriv,
            Self::DeviceMaster => Self::DeviceMaster,
            Self::Disk(disk) => Self::Disk(Arc::clone(disk)),
            Self::Net(ring) => Self::Net(Arc::clone(ring)),
            Self::Ramdisk => Self::Ramdisk,
            Self::Random => Self::Random,
            Self::Clock => Self::Clock,
            Self::DeviceMemory { memory, writable } => Self::DeviceMemory { memory: Arc::clone(memory), writable: *writable },
            Self::Control(pager) => Self::Control(Arc::clone(pager)),
            Self::Name => Self::Name,
        }
    }
}
