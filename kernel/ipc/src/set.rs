//! A port set: one place to receive from many ports.
//!
//! A set doesn't know its members, they know their set. It keeps the members that have messages, in turn, and the threads that
//! wait. Its lock comes after a port's: a sender that holds a port may look here, and a receiver that takes a ready member from
//! here lets go before it locks that port.

use alloc::sync::Arc;

use abi::Code;
use spin::Mutex;

use crate::effects::{Doomed, Effect, Effects, Wake};
use crate::list::List;
use crate::port::{Port, State};
use crate::wait::Wait;
use crate::{Host, probe};

/// A port set.
pub struct PortSet<H: Host> {
    pub(crate) state: Mutex<SetState<H>>,
}

pub(crate) struct SetState<H: Host> {
    pub(crate) alive: bool,
    /// Its name, for mach_port_get_receive_status.
    pub(crate) name: u32,
    pub(crate) members: usize,
    /// Members with messages, in the order of their turns. Room is reserved for all members.
    pub(crate) ready: List<Arc<Port<H>>>,
    pub(crate) waiting: List<Wait<H>>,
}

impl<H: Host> PortSet<H> {
    pub(crate) fn new() -> Result<Arc<Self>, Code> {
        probe::<Self>()?;
        let state = SetState { alive: true, name: 0, members: 0, ready: List::new(), waiting: List::new() };
        Ok(Arc::new(Self { state: Mutex::new(state) }))
    }

    /// Ends it: waiting threads are told, members are free.
    pub(crate) fn end(&self, effects: &mut Effects<H>) {
        let mut state = self.state.lock();
        state.alive = false;
        let ready = core::mem::replace(&mut state.ready, List::new());
        let waiting = core::mem::replace(&mut state.waiting, List::new());
        drop(state);
        drop(ready);
        effects.end(Doomed::Receivers(waiting, Code::RCV_PORT_DIED));
    }
}

impl<H: Host> SetState<H> {
    /// The next waiting thread that takes a message of this size; those before it are told that it is too large for them.
    pub(crate) fn take_waiting(&mut self, size: u32, effects: &mut Effects<H>) -> Option<H::Waiter> {
        take(&mut self.waiting, size, effects)
    }
}

/// See [`SetState::take_waiting`].
pub(crate) fn take<H: Host>(waiting: &mut List<Wait<H>>, size: u32, effects: &mut Effects<H>) -> Option<H::Waiter> {
    while let Some(Wait { waiter, max_size }) = waiting.pop() {
        if size <= max_size {
            return Some(waiter);
        }
        effects.push(Effect::Wake { waiter, why: Wake::TooLarge(size) });
    }
    None
}

impl<H: Host> State<H> {
    /// Its set, if that lives.
    pub(crate) fn live_set(&mut self) -> Option<Arc<PortSet<H>>> {
        let set = self.set.as_ref()?;
        if set.state.lock().alive {
            return Some(set.clone());
        }
        self.set = None;
        self.listed = None;
        None
    }

    /// Leaves its set. False if it was in none.
    pub(crate) fn leave_set(&mut self) -> bool {
        let listed = self.listed.take();
        let Some(set) = self.set.take() else { return false };
        let mut state = set.state.lock();
        state.members -= 1;
        let ready = listed.and_then(|place| state.ready.remove(place));
        let alive = state.alive;
        drop(state);
        drop(ready);
        alive
    }

    /// Joins a set: its own waiting threads are told, its messages go to those of the set.
    pub(crate) fn join_set(&mut self, port: &Arc<Port<H>>, set: &Arc<PortSet<H>>, effects: &mut Effects<H>) -> Result<(), Code> {
        {
            let mut state = set.state.lock();
            if !state.alive {
                return Err(Code::INVALID_NAME);
            }
            let members = state.members + 1;
            if !state.ready.reserve(members) {
                return Err(Code::RESOURCE_SHORTAGE);
            }
            state.members = members;
        }
        self.set = Some(set.clone());
        self.turn_receivers_away(Code::RCV_PORT_CHANGED, effects);
        self.publish(port, effects);
        Ok(())
    }

    /// Hands queued messages to threads that wait, and takes its turn in its set if any are left.
    pub(crate) fn publish(&mut self, port: &Arc<Port<H>>, effects: &mut Effects<H>) {
        let Some(set) = self.live_set() else {
            self.feed(None, effects);
            return;
        };
        let mut state = set.state.lock();
        self.feed(Some(&mut state), effects);
        if self.queue.is_empty() {
            self.unlist(&mut state);
        } else if self.listed.is_none() && state.alive {
            // Room for every member was reserved when it joined.
            self.listed = state.ready.push(port.clone()).ok();
        }
    }

    /// Moves to the end of the turns, after a receiver took it off the list.
    pub(crate) fn publish_after_turn(&mut self, port: &Arc<Port<H>>, effects: &mut Effects<H>) {
        if let Some(set) = self.live_set() {
            // It may have left and joined again since: then its new turn is given up.
            self.unlist(&mut set.state.lock());
        }
        self.publish(port, effects);
    }

    fn unlist(&mut self, state: &mut SetState<H>) {
        if let Some(place) = self.listed.take() {
            // The caller holds an `Arc` of this port, so this one isn't the last.
            drop(state.ready.remove(place));
        }
    }

    fn feed(&mut self, mut set: Option<&mut SetState<H>>, effects: &mut Effects<H>) {
        while let Some(front) = self.queue.front() {
            let size = front.size();
            let waiter = match &mut set {
                Some(set) => set.take_waiting(size, effects),
                None => take(&mut self.receivers, size, effects),
            };
            let Some(waiter) = waiter else { return };
            let Some(message) = self.dequeue(effects) else { return };
            effects.push(Effect::Deliver { waiter, message });
        }
    }

    /// Takes the first message and gives it its number.
    pub(crate) fn dequeue(&mut self, effects: &mut Effects<H>) -> Option<crate::Message<H>> {
        let mut message = self.queue.pop()?;
        self.number(&mut message);
        self.admit_sender(effects);
        Some(message)
    }

    pub(crate) fn number(&mut self, message: &mut crate::Message<H>) {
        message.header.seqno = self.seqno;
        self.seqno = self.seqno.wrapping_add(1);
    }
}
