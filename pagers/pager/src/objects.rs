//! The objects of a pager, by the name of the port that the kernel sends their messages to.

use alloc::collections::BTreeMap;

use runtime::ReceiveRight;

use crate::Control;

/// Which object: given in order, never again. Pagers keep what they know of an object under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u32);

impl ObjectId {
    /// The object that the pager's service port itself is.
    pub const SERVICE: Self = Self(0);
}

/// Where an object comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The pager's own port.
    Service,
    /// The kernel made it (memory_object_create): it ends when the kernel terminates it.
    Kernel,
    /// A client asked for it: it ends when nobody can map it any more.
    Client,
}

#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) id: ObjectId,
    pub(crate) origin: Origin,
    pub(crate) port: ReceiveRight,
    /// While the kernel has it mapped.
    pub(crate) control: Option<Control>,
}

#[derive(Debug, Default)]
pub(crate) struct Objects {
    by_port: BTreeMap<u64, Object>,
    next: u32,
}

impl Objects {
    pub(crate) fn add(&mut self, origin: Origin, port: ReceiveRight) -> &mut Object {
        let id = ObjectId(self.next);
        self.next += 1;
        let name = u64::from(port.name());
        self.by_port.entry(name).or_insert(Object { id, origin, port, control: None })
    }

    pub(crate) fn get(&mut self, port: u64) -> Option<&mut Object> {
        self.by_port.get_mut(&port)
    }

    pub(crate) fn remove(&mut self, port: u64) -> Option<Object> {
        self.by_port.remove(&port)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Object> {
        self.by_port.values()
    }
}
