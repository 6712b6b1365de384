//! The invariants: every right that is counted exists once, every name is known, nobody waits for what is there.

use std::collections::HashMap;
use std::sync::Arc;

use super::world::{Fake, World};
use crate::entry::Entry;
use crate::message::{Capability, Message};
use crate::port::Receiver;
use crate::right::{Right, RightKind};
use crate::{PortSet, Space};

#[derive(Default, Debug, PartialEq, Eq)]
struct Counts {
    receives: u32,
    sends: u32,
    send_onces: u32,
}

#[derive(Default)]
struct Census(HashMap<u64, Counts>);

impl Census {
    fn right(&mut self, right: &Right<Fake>) {
        let Some(port) = right.port() else { return };
        let counts = self.0.entry(port.id()).or_default();
        match right.kind() {
            RightKind::Receive => counts.receives += 1,
            RightKind::Send => counts.sends += 1,
            RightKind::SendOnce => counts.send_onces += 1,
            RightKind::Dead | RightKind::Null => panic!("a dead right with a port"),
        }
    }

    fn message(&mut self, message: &Message<Fake>) {
        self.right(&message.remote);
        message.local.iter().for_each(|right| self.right(right));
        for capability in message.capabilities.iter().flatten() {
            match capability {
                Capability::Right(right) => self.right(right),
                Capability::Ports(rights) => rights.iter().for_each(|right| self.right(right)),
                Capability::Memory { .. } | Capability::Null => {}
            }
        }
    }

    fn entry(&mut self, entry: &Entry<Fake>) {
        match entry {
            Entry::Port { port, receive, urefs, .. } => {
                assert!(*receive || *urefs > 0, "an entry without a right");
                let counts = self.0.entry(port.id()).or_default();
                counts.receives += u32::from(*receive);
                counts.sends += u32::from(*urefs > 0);
            }
            Entry::SendOnce { port, .. } => self.0.entry(port.id()).or_default().send_onces += 1,
            Entry::Set(_) => {}
            Entry::Dead { urefs } => assert!(*urefs > 0),
        }
    }
}

fn has_set(space: &Space<Fake>, set: &Arc<PortSet<Fake>>) -> bool {
    let name = set.state.lock().name;
    matches!(space.lock().table.get(name), Some(Entry::Set(own)) if Arc::ptr_eq(own, set))
}

impl World {
    fn check_spaces(&self, census: &mut Census) {
        for space in &self.spaces {
            let names = space.lock();
            let ports = names.table.iter().filter(|(_, entry)| matches!(entry, Entry::Port { .. }));
            assert_eq!(names.index.len(), ports.count());
            for (name, entry) in names.table.iter() {
                census.entry(entry);
                if let Entry::Port { port, receive, .. } = entry {
                    assert_eq!(names.index.get(port.id()), Some(name));
                    assert!(!receive || port.state.lock().name_in(space.id()) == Some(name));
                }
                if let Entry::Port { port, request: Some(place), .. } | Entry::SendOnce { port, request: Some(place) } = entry {
                    let mut state = port.state.lock();
                    let request = state.requests.get_mut(*place).map(|request| request.name);
                    assert!(state.is_dead() || request == Some(name), "a request that isn't the name's");
                }
                if let Entry::Set(set) = entry {
                    let state = set.state.lock();
                    assert!(state.alive && state.name == name);
                    assert!(state.ready.is_empty() || state.waiting.is_empty(), "threads wait though a member is ready");
                    for port in state.ready.iter() {
                        let member = port.state.lock();
                        assert!(!member.queue.is_empty() && member.set.as_ref().is_some_and(|own| Arc::ptr_eq(own, set)));
                    }
                }
            }
        }
    }

    /// Call when the work list is empty.
    pub(super) fn check(&self) {
        assert!(self.effects.is_empty());
        let mut census = Census::default();
        self.check_spaces(&mut census);
        for port in &self.ports {
            let state = port.state.lock();
            state.queue.iter().for_each(|message| census.message(message));
            state.no_senders.iter().chain(&state.port_destroyed).for_each(|right| census.right(right));
            state.requests.iter().for_each(|request| census.right(&request.notify));
        }
        self.blocked.values().for_each(|(_, message, _)| census.message(message));
        for port in &self.ports {
            let mut state = port.state.lock();
            let counts = census.0.remove(&port.id()).unwrap_or_default();
            if state.is_dead() {
                assert!(port.is_dead() && state.queue.is_empty() && state.receivers.is_empty() && state.senders.is_empty());
                assert!(state.set.is_none() && state.no_senders.is_none() && state.requests.is_empty());
                continue;
            }
            assert_eq!((counts.sends, counts.send_onces), (state.sends, state.send_onces), "port {}", port.id());
            assert_eq!(counts.receives, u32::from(!matches!(state.receiver, Receiver::Kernel(_))), "port {}", port.id());
            if let Receiver::Space { space, .. } = state.receiver {
                let held = |at: usize| self.spaces[at].id() == space;
                assert!(state.receivers.iter().all(|wait| held(self.waiting[&wait.waiter].0)), "it moved on under a thread");
                let of_holder = self.spaces.iter().filter(|own| own.id() == space);
                assert!(state.live_set().is_none_or(|set| of_holder.clone().any(|own| has_set(own, &set))), "a set of another space");
            }
            if !matches!(state.receiver, Receiver::Space { .. }) {
                assert!(state.receivers.is_empty() && state.set.is_none() && state.payload.is_none(), "somebody thinks to receive");
            }
            assert!(state.queue.is_empty() || state.receivers.is_empty(), "threads wait though a message is there");
            assert!(state.senders.is_empty() || state.queue.len() >= state.limit as usize, "senders wait though there is room");
            let in_set = state.live_set().is_some();
            assert_eq!(state.listed.is_some(), in_set && !state.queue.is_empty());
        }
        assert!(census.0.is_empty(), "rights to unknown ports");
    }

    /// Ends everything and proves that nothing is left.
    pub(super) fn end(mut self) {
        for space in self.spaces.clone() {
            space.destroy(&mut self.effects);
            self.drain();
            self.check();
        }
        for port in self.ports.clone() {
            let _ = port.kill(&mut self.effects);
            self.drain();
        }
        self.blocked.keys().copied().collect::<std::vec::Vec<_>>().into_iter().for_each(|waiter| self.abort(waiter));
        self.drain();
        self.check();
        assert!(self.waiting.is_empty(), "threads wait for ever");
        assert!(self.carrier.memory.is_empty(), "memory leaked");
        for port in &self.ports {
            assert!(port.is_dead(), "port {} lives", port.id());
            assert_eq!(Arc::strong_count(port), 1, "port {} is held", port.id());
        }
    }
}
