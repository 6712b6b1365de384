//! A task's port space: allocation, names given and taken, and its end.

use alloc::sync::Arc;

use abi::Code;
use abi::call::mach_port::right;
use abi::message::kind;
use spin::{Mutex, MutexGuard};

use crate::effects::{Doomed, Effects};
use crate::entry::Entry;
use crate::names::Names;
use crate::port::{Port, Receiver, next_id};
use crate::right::Right;
use crate::set::PortSet;
use crate::{Host, NAME_DEAD, NAME_NULL, probe};

/// An entry to be named, and its port if it has one.
type New<H> = (Entry<H>, Option<Arc<Port<H>>>);

/// A port space.
pub struct Space<H: Host> {
    id: u64,
    names: Mutex<Names<H>>,
}

impl<H: Host> Space<H> {
    /// An empty space.
    pub fn new() -> Result<Arc<Self>, Code> {
        probe::<Self>()?;
        let id = next_id();
        Ok(Arc::new(Self { id, names: Mutex::new(Names::new(id)) }))
    }

    /// A number that no other space ever has.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Ends it: all names go, in steps, by way of `effects`.
    pub fn destroy(&self, effects: &mut Effects<H>) {
        let mut names = self.names.lock();
        names.alive = false;
        let all = core::mem::replace(&mut *names, Names::new(self.id));
        names.alive = false;
        drop(names);
        effects.end(Doomed::Space(all));
    }

    /// Its names, dead or alive.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Names<H>> {
        self.names.lock()
    }

    /// Its names, if it lives.
    pub(crate) fn lock_alive(&self) -> Result<MutexGuard<'_, Names<H>>, Code> {
        let names = self.names.lock();
        if names.alive { Ok(names) } else { Err(Code::INVALID_TASK) }
    }

    /// mach_port_allocate.
    pub fn allocate(&self, right: u32) -> Result<u32, Code> {
        let (entry, port) = self.new_entry(right)?;
        let mut names = self.lock_alive()?;
        names.table.reserve()?;
        names.index.reserve()?;
        let name = names.table.insert(entry);
        self.name_entry(&mut names, name, port);
        Ok(name)
    }

    /// mach_port_allocate_name.
    pub fn allocate_name(&self, right: u32, name: u32) -> Result<(), Code> {
        if name == NAME_NULL || name == NAME_DEAD {
            return Err(Code::INVALID_VALUE);
        }
        let (entry, port) = self.new_entry(right)?;
        let mut names = self.lock_alive()?;
        names.table.reserve_name(name)?;
        names.index.reserve()?;
        names.table.insert_at(name, entry);
        self.name_entry(&mut names, name, port);
        Ok(())
    }

    fn new_entry(&self, right: u32) -> Result<New<H>, Code> {
        match right {
            right::RECEIVE => {
                let port = Port::new_in(self.id)?;
                Ok((Entry::Port { port: port.clone(), receive: true, urefs: 0, request: None }, Some(port)))
            }
            right::PORT_SET => Ok((Entry::Set(PortSet::new()?), None)),
            right::DEAD_NAME => Ok((Entry::Dead { urefs: 1 }, None)),
            _ => Err(Code::INVALID_VALUE),
        }
    }

    /// Tells a new entry's port or set its name.
    fn name_entry(&self, names: &mut Names<H>, name: u32, port: Option<Arc<Port<H>>>) {
        if let Some(port) = port {
            port.state.lock().receiver = Receiver::Space { space: self.id, name };
            names.index.set(port.id(), name);
        } else if let Some(Entry::Set(set)) = names.table.get(name) {
            set.state.lock().name = name;
        }
    }

    /// Puts a right of the kernel's into the space, as if it came in a message: under the name that the port has there or a new
    /// one; [`NAME_DEAD`] for a dead right. On an error the right has ended.
    pub fn insert(&self, right: Right<H>, effects: &mut Effects<H>) -> Result<u32, Code> {
        self.lock().put(right, effects).map_err(|bits| match bits {
            abi::code::MSG_IPC_KERNEL => Code::RESOURCE_SHORTAGE,
            _ => Code::NO_SPACE,
        })
    }

    /// mach_port_insert_right. On an error the right has ended.
    pub fn insert_right(&self, name: u32, right: Right<H>, effects: &mut Effects<H>) -> Result<(), Code> {
        let result = if name == NAME_NULL || name == NAME_DEAD {
            Err((Code::INVALID_VALUE, right))
        } else {
            match self.lock_alive() {
                Ok(mut names) => names.put_at(name, right),
                Err(code) => Err((code, right)),
            }
        };
        result.map_err(|(code, right)| {
            right.destroy(effects);
            code
        })
    }

    /// mach_port_extract_right, for a disposition of `abi::message::kind`.
    pub fn extract_right(&self, name: u32, disposition: u8, effects: &mut Effects<H>) -> Result<Right<H>, Code> {
        if !kind::is_right(disposition) {
            return Err(Code::INVALID_VALUE);
        }
        self.lock_alive()?.take(name, disposition, true, effects)
    }

    /// The kernel object behind a name with a send right (traps that name a task, without the cost of a right).
    pub fn object(&self, name: u32) -> Result<H::Object, Code> {
        let mut names = self.lock_alive()?;
        match names.settle(name).ok_or(Code::INVALID_NAME)? {
            Entry::Port { port, urefs: 1.., .. } => port.object().ok_or(Code::INVALID_ARGUMENT),
            _ => Err(Code::INVALID_RIGHT),
        }
    }
}
