//! The fake task's names. They are never used again, so that a stale one is noticed.

use std::collections::BTreeMap;
use std::vec::Vec;

use abi::Code;
use abi::call::notify::{mach_notify_dead_name, mach_notify_no_senders};
use abi::item::PortName;

use super::{Carried, FakeKernel, Packet, Port, PortId, Receiver, State};

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Port { port: PortId, receive: bool, sends: u32 },
    SendOnce(PortId),
    Set,
    Dead { references: u32 },
}

#[derive(Default)]
pub(super) struct Space {
    entries: BTreeMap<u32, Entry>,
    last: u32,
}

impl Space {
    fn insert(&mut self, entry: Entry) -> u32 {
        self.last += 1;
        self.entries.insert(self.last, entry);
        self.last
    }

    pub(super) fn new_set(&mut self) -> u32 {
        self.insert(Entry::Set)
    }

    pub(super) fn add_send_once(&mut self, port: PortId) -> u32 {
        self.insert(Entry::SendOnce(port))
    }

    /// The name of a port's send and receive rights, new if it has none.
    fn name_of(&mut self, wanted: PortId) -> u32 {
        let found = self.entries.iter().find(|(_, entry)| matches!(entry, Entry::Port { port, .. } if *port == wanted));
        match found {
            Some((name, _)) => *name,
            None => self.insert(Entry::Port { port: wanted, receive: false, sends: 0 }),
        }
    }

    fn change(&mut self, port: PortId, change: impl FnOnce(&mut bool, &mut u32)) -> u32 {
        let name = self.name_of(port);
        if let Some(Entry::Port { receive, sends, .. }) = self.entries.get_mut(&name) {
            change(receive, sends);
        }
        self.clean(name);
        name
    }

    pub(super) fn add_send(&mut self, port: PortId) -> u32 {
        self.change(port, |_, sends| *sends += 1)
    }

    pub(super) fn set_receive(&mut self, port: PortId, has: bool) -> u32 {
        self.change(port, |receive, _| *receive = has)
    }

    /// Removes a name that stands for nothing any more.
    fn clean(&mut self, name: u32) {
        let empty = matches!(self.entries.get(&name), Some(Entry::Port { receive: false, sends: 0, .. } | Entry::Dead { references: 0 }));
        if empty {
            self.entries.remove(&name);
        }
    }

    pub(super) fn get(&self, name: u32) -> Option<&Entry> {
        self.entries.get(&name)
    }

    pub(super) fn receive(&self, name: u32) -> Option<PortId> {
        match self.get(name) {
            Some(Entry::Port { port, receive: true, .. }) => Some(*port),
            _ => None,
        }
    }

    pub(super) fn names(&self) -> Vec<u32> {
        self.entries.keys().copied().collect()
    }

    /// Takes references off what can be sent to, or off a dead name.
    pub(super) fn release(&mut self, name: u32, by: u32) -> Result<(), Code> {
        match self.entries.get_mut(&name) {
            Some(Entry::Port { sends, .. } | Entry::Dead { references: sends }) if *sends >= by => *sends -= by,
            Some(Entry::SendOnce(_)) if by == 1 => {
                self.entries.remove(&name);
            }
            other => panic!("name {name} hasn't {by} references to give back: {other:?}"),
        }
        self.clean(name);
        Ok(())
    }

    pub(super) fn remove_set(&mut self, name: u32) {
        assert_eq!(self.entries.remove(&name), Some(Entry::Set), "name {name} is no port set");
    }

    /// Turns the send rights to a port that died into dead names.
    fn bury(&mut self, dead: PortId) {
        for entry in self.entries.values_mut() {
            match entry {
                Entry::Port { port, sends, .. } if *port == dead => *entry = Entry::Dead { references: *sends },
                Entry::SendOnce(port) if *port == dead => *entry = Entry::Dead { references: 1 },
                _ => {}
            }
        }
        self.entries.retain(|_, entry| *entry != Entry::Dead { references: 0 });
    }
}

impl State {
    /// A new port that the task receives from.
    pub(super) fn new_receive(&mut self) -> (u32, PortId) {
        let port = PortId(self.ports.len());
        let name = self.space.set_receive(port, true);
        self.ports.push(Port::new(Receiver::Task(name)));
        (name, port)
    }

    pub(super) fn deallocate_name(&mut self, name: u32) -> Result<(), Code> {
        self.space.release(name, 1)
    }

    /// The port with a message among those that a name stands for; the outer none: there is no such name.
    pub(super) fn pending(&self, name: u32) -> Option<Option<PortId>> {
        if let Some(port) = self.space.receive(name) {
            return Some((!self.ports[port.0].queue.is_empty()).then_some(port));
        }
        if self.space.get(name) != Some(&Entry::Set) {
            return None;
        }
        Some(self.ports.iter().position(|port| port.set == Some(name) && !port.queue.is_empty()).map(PortId))
    }
}

impl FakeKernel {
    pub(super) fn give_send(&self, port: PortId) -> u32 {
        self.state.borrow_mut().space.add_send(port)
    }

    /// Ends a port: names die, and those who asked are told.
    pub fn kill(&self, port: PortId) {
        let told = {
            let mut state = self.state.borrow_mut();
            state.space.bury(port);
            let dead = &mut state.ports[port.0];
            dead.receiver = Receiver::Dead;
            dead.queue.clear();
            let mut told = core::mem::take(&mut dead.dead_name);
            // The notification brings a reference to the dead name; a name that is gone meanwhile isn't told of.
            told.retain(|(name, _)| match state.space.entries.get_mut(name) {
                Some(Entry::Dead { references }) => {
                    *references += 1;
                    true
                }
                _ => false,
            });
            told
        };
        for (name, to) in told {
            self.deliver(to, Packet::of(&mach_notify_dead_name::Request { name: PortName(name) }, None, Vec::new()));
        }
    }

    /// Says that the last send right to a port is gone, if the task wants to know.
    pub fn tell_no_senders(&self, port: PortId) -> bool {
        let told = self.state.borrow_mut().ports[port.0].no_senders.take();
        if let Some(to) = told {
            self.deliver(to, Packet::of(&mach_notify_no_senders::Request { mscount: 1 }, None, Vec::new()));
        }
        told.is_some()
    }

    /// The last of the task's rights to receive is gone.
    pub(super) fn drop_receive(&self, name: u32) -> Result<(), Code> {
        let port = {
            let mut state = self.state.borrow_mut();
            let port = state.space.receive(name).unwrap_or_else(|| panic!("name {name} is no receive right"));
            state.space.set_receive(port, false);
            port
        };
        self.kill(port);
        Ok(())
    }
}

impl Carried {
    /// The port of a right.
    pub(super) fn port(&self) -> Option<PortId> {
        match self {
            Self::Send(port) | Self::SendOnce(port) | Self::Receive(port) => Some(*port),
            _ => None,
        }
    }
}
