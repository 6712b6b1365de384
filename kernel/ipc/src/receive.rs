//! Receiving: from a port, or from whichever member of a set has a message, in turn.

use alloc::sync::Arc;

use abi::Code;

use crate::Host;
use crate::effects::Effects;
use crate::entry::Entry;
use crate::message::Message;
use crate::port::{Port, State};
use crate::set::PortSet;
use crate::space::Space;
use crate::wait::{Wait, WaitToken};

/// How to receive.
pub struct Receive<W> {
    /// The size of the buffer.
    pub max_size: u32,
    /// RCV_LARGE: a message that is too large stays queued.
    pub large: bool,
    /// Who waits if there is no message. None: don't.
    pub waiter: Option<W>,
}

/// What came of it.
#[must_use = "a message may be in it"]
pub enum Received<H: Host> {
    /// A message for [`crate::copyout`].
    Message(Message<H>),
    /// None yet; the waiter is queued. A message may already be on its way to it.
    Wait(WaitToken<H>),
    /// RCV_TOO_LARGE: the size, and without `large` the message, for [`crate::copyout_destination`].
    TooLarge(u32, Option<Message<H>>),
    /// RCV_INVALID_NAME, RCV_IN_SET; RCV_TIMED_OUT if there is none and no waiter.
    Err(Code),
}

enum Source<H: Host> {
    Port(Arc<Port<H>>),
    Set(Arc<PortSet<H>>),
}

/// Receives a message. One that a waiting thread is given later by [`crate::Sent::Deliver`] or [`crate::Effect::Deliver`] may
/// still be larger than `max_size`, unless `large` was set: whoever delivers it checks [`Message::size`].
pub fn receive<H: Host>(space: &Space<H>, name: u32, how: Receive<H::Waiter>, effects: &mut Effects<H>) -> Received<H> {
    let source = {
        let Ok(mut names) = space.lock_alive() else { return Received::Err(Code::RCV_INVALID_NAME) };
        match names.settle(name) {
            Some(Entry::Port { port, receive: true, .. }) => Source::Port(port.clone()),
            Some(Entry::Set(set)) => Source::Set(set.clone()),
            _ => return Received::Err(Code::RCV_INVALID_NAME),
        }
    };
    match source {
        Source::Port(port) => from_port(space, &port, how, effects),
        Source::Set(set) => from_set(&set, how, effects),
    }
}

fn from_port<H: Host>(space: &Space<H>, port: &Arc<Port<H>>, how: Receive<H::Waiter>, effects: &mut Effects<H>) -> Received<H> {
    let mut state = port.state.lock();
    if state.name_in(space.id()).is_none() {
        return Received::Err(Code::RCV_INVALID_NAME);
    }
    if state.set.is_some() && state.live_set().is_some() {
        return Received::Err(Code::RCV_IN_SET);
    }
    if let Some(received) = state.take_message(&how, effects) {
        return received;
    }
    match wait(how) {
        Ok(wait) => match state.receivers.push(wait) {
            Ok(place) => Received::Wait(WaitToken::on_port(port.clone(), place)),
            Err(_) => Received::Err(Code::RESOURCE_SHORTAGE),
        },
        Err(code) => Received::Err(code),
    }
}

fn from_set<H: Host>(set: &Arc<PortSet<H>>, how: Receive<H::Waiter>, effects: &mut Effects<H>) -> Received<H> {
    loop {
        let mut state = set.state.lock();
        if !state.alive {
            return Received::Err(Code::RCV_INVALID_NAME);
        }
        let Some(port) = state.ready.pop() else {
            return match wait(how) {
                Ok(wait) => match state.waiting.push(wait) {
                    Ok(place) => Received::Wait(WaitToken::on_set(set.clone(), place)),
                    Err(_) => Received::Err(Code::RESOURCE_SHORTAGE),
                },
                Err(code) => Received::Err(code),
            };
        };
        drop(state);
        let mut state = port.state.lock();
        if !state.set.as_ref().is_some_and(|current| Arc::ptr_eq(current, set)) {
            continue;
        }
        let received = state.take_message(&how, effects);
        state.publish_after_turn(&port, effects);
        if let Some(received) = received {
            return received;
        }
    }
}

fn wait<H: Host>(how: Receive<H::Waiter>) -> Result<Wait<H>, Code> {
    let max_size = if how.large { how.max_size } else { u32::MAX };
    how.waiter.map(|waiter| Wait { waiter, max_size }).ok_or(Code::RCV_TIMED_OUT)
}

impl<H: Host> State<H> {
    fn take_message(&mut self, how: &Receive<H::Waiter>, effects: &mut Effects<H>) -> Option<Received<H>> {
        let size = self.queue.front()?.size();
        if size <= how.max_size {
            return self.dequeue(effects).map(Received::Message);
        }
        let message = if how.large { None } else { self.dequeue(effects) };
        Some(Received::TooLarge(size, message))
    }
}
