//! Carried: a message that was copied in goes to whoever waits, into the queue, or to the kernel (page's life, step 5: Carried).

use crate::effects::Effects;
use crate::message::Message;
use crate::port::{Port, Receiver, State};
use crate::right::RightKind;
use crate::wait::WaitToken;
use crate::{Host, transit};
use alloc::sync::Arc;

/// How to send.
pub enum How<W> {
    /// Respect the queue's limit (which doesn't bind send-once rights). If it is full and there is a waiter, queue that.
    Normal(Option<W>),
    /// Ignore the limit: the kernel's own messages.
    Always,
}

/// What came of it.
#[must_use = "most outcomes hand the message back"]
pub enum Sent<H: Host> {
    /// The destination is a kernel object: execute the message for it, then [`Message::consume`] it.
    Kernel { object: H::Object, message: Message<H> },
    /// This thread waited and waits no more: give it the message.
    Deliver { waiter: H::Waiter, message: Message<H> },
    /// It is queued.
    Queued,
    /// The queue is full. With a token the waiter is queued and gets [`crate::Wake::Retry`]; then send the message again.
    Full { message: Message<H>, token: Option<WaitToken<H>> },
    /// The port died, or the message carries a receive right into its own queue: destroy it. The sender's call succeeds.
    Dead(Message<H>),
    /// The queue is full and there is no memory to queue the waiter (SEND_NO_BUFFER).
    NoMemory(Message<H>),
}

/// Sends a message.
pub fn send<H: Host>(message: Message<H>, how: How<H::Waiter>, effects: &mut Effects<H>) -> Sent<H> {
    let Some(port) = message.remote.port().cloned() else { return Sent::Dead(message) };
    if message.carries_receive && !transit::link(&message) {
        return Sent::Dead(message);
    }
    let mut state = port.state.lock();
    match &state.receiver {
        Receiver::Dead => Sent::Dead(message),
        Receiver::Kernel(object) => Sent::Kernel { object: object.clone(), message },
        Receiver::Space { .. } | Receiver::Transit(_) => state.accept(&port, message, how, effects),
    }
}

impl<H: Host> State<H> {
    fn accept(&mut self, port: &Arc<Port<H>>, mut message: Message<H>, how: How<H::Waiter>, effects: &mut Effects<H>) -> Sent<H> {
        let is_bound = message.remote.kind() == RightKind::Send && matches!(how, How::Normal(_));
        // A limit of zero stops senders even if somebody waits, as in Mach.
        if self.queue.is_empty()
            && !(is_bound && self.limit == 0)
            && let Some(waiter) = self.take_waiting(message.size(), effects)
        {
            self.number(&mut message);
            // Each message that leaves admits one blocked sender; this one leaves at once.
            self.admit_sender(effects);
            return Sent::Deliver { waiter, message };
        }
        if let How::Normal(waiter) = how
            && is_bound
            && self.queue.len() >= self.limit as usize
        {
            return self.refuse(port, message, waiter);
        }
        self.queue.push(message);
        if self.listed.is_none() && self.set.is_some() {
            self.publish(port, effects);
        }
        Sent::Queued
    }

    fn take_waiting(&mut self, size: u32, effects: &mut Effects<H>) -> Option<H::Waiter> {
        match &self.set {
            None => crate::set::take(&mut self.receivers, size, effects),
            Some(_) => {
                let set = self.live_set();
                match set {
                    Some(set) => set.state.lock().take_waiting(size, effects),
                    None => crate::set::take(&mut self.receivers, size, effects),
                }
            }
        }
    }

    fn refuse(&mut self, port: &Arc<Port<H>>, message: Message<H>, waiter: Option<H::Waiter>) -> Sent<H> {
        let Some(waiter) = waiter else { return Sent::Full { message, token: None } };
        match self.senders.push(waiter) {
            Ok(place) => Sent::Full { message, token: Some(WaitToken::to_send(port.clone(), place)) },
            Err(_) => Sent::NoMemory(message),
        }
    }
}

/// Passes a [`crate::Wake::Retry`] on to the next blocked sender: for a thread that got one and won't send (it was aborted).
pub fn decline_retry<H: Host>(message: &Message<H>, effects: &mut Effects<H>) {
    if let Some(port) = message.remote.port() {
        port.state.lock().admit_sender(effects);
    }
}
