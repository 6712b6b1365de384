//! A port: a queue of messages with one receiver and counted rights to send to it.
//!
//! The receiver is a name in a space, a kernel object, nobody yet (the receive right is in a message or in the kernel's hands), or
//! gone for ever. All of it is behind one lock per port; what a change makes necessary elsewhere goes into [`Effects`].

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use abi::Code;
use spin::Mutex;

use crate::effects::{Doomed, Effect, Effects, Wake};
use crate::list::{List, Place};
use crate::notice::Event;
use crate::queue::Queue;
use crate::request::Request;
use crate::right::{Right, RightKind};
use crate::set::PortSet;
use crate::wait::Wait;
use crate::{Host, QUEUE_LIMIT_DEFAULT, probe};

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A number that nothing else in this crate ever had; never zero.
pub(crate) fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

/// A port.
pub struct Port<H: Host> {
    id: u64,
    /// Mirrors `Receiver::Dead`, to be read without the lock. Never goes back.
    dead: AtomicBool,
    pub(crate) state: Mutex<State<H>>,
}

/// Who receives.
pub(crate) enum Receiver<H: Host> {
    /// The space with this id, under a name.
    Space { space: u64, name: u32 },
    /// The kernel, on behalf of an object.
    Kernel(H::Object),
    /// Nobody now: the receive right is in the kernel's hands or in a message to the port given here.
    Transit(Option<Arc<Port<H>>>),
    /// Nobody ever again.
    Dead,
}

pub(crate) struct State<H: Host> {
    pub(crate) receiver: Receiver<H>,
    pub(crate) queue: Queue<H>,
    pub(crate) limit: u32,
    pub(crate) seqno: u32,
    pub(crate) make_sends: u32,
    pub(crate) sends: u32,
    pub(crate) send_onces: u32,
    pub(crate) payload: Option<u64>,
    /// The set that it is a member of, unless that set is dead.
    pub(crate) set: Option<Arc<PortSet<H>>>,
    /// Its place among the set's ready members: there if messages are queued, though a receiver may just have taken it.
    pub(crate) listed: Option<Place>,
    pub(crate) no_senders: Option<Right<H>>,
    pub(crate) port_destroyed: Option<Right<H>>,
    /// Dead-name requests.
    pub(crate) requests: List<Request<H>>,
    pub(crate) receivers: List<Wait<H>>,
    pub(crate) senders: List<H::Waiter>,
}

impl<H: Host> Port<H> {
    fn with(receiver: Receiver<H>) -> Result<Arc<Self>, Code> {
        probe::<Self>()?;
        let state = State {
            receiver,
            queue: Queue::new(),
            limit: QUEUE_LIMIT_DEFAULT,
            seqno: 0,
            make_sends: 0,
            sends: 0,
            send_onces: 0,
            payload: None,
            set: None,
            listed: None,
            no_senders: None,
            port_destroyed: None,
            requests: List::new(),
            receivers: List::new(),
            senders: List::new(),
        };
        Ok(Arc::new(Self { id: next_id(), dead: AtomicBool::new(false), state: Mutex::new(state) }))
    }

    /// A port whose messages the kernel executes for an object. It lives until [`Port::kill`].
    pub fn new_kernel(object: H::Object) -> Result<Arc<Self>, Code> {
        Self::with(Receiver::Kernel(object))
    }

    /// A port whose receive right the caller gives away.
    pub fn new_receive() -> Result<Right<H>, Code> {
        Ok(Right::counted(RightKind::Receive, Self::with(Receiver::Transit(None))?))
    }

    pub(crate) fn new_in(space: u64) -> Result<Arc<Self>, Code> {
        Self::with(Receiver::Space { space, name: 0 })
    }

    /// A number that no other port ever has.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Whether it is dead. It then stays so.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// The kernel object behind it.
    #[must_use]
    pub fn object(&self) -> Option<H::Object> {
        match &self.state.lock().receiver {
            Receiver::Kernel(object) => Some(object.clone()),
            _ => None,
        }
    }

    /// A new send right, counted as made. Dead if the port is.
    pub fn make_send(self: &Arc<Self>) -> Right<H> {
        let mut state = self.state.lock();
        if state.is_dead() {
            return Right::dead();
        }
        state.make_sends = state.make_sends.wrapping_add(1);
        state.sends += 1;
        Right::counted(RightKind::Send, self.clone())
    }

    /// A new send-once right. Dead if the port is.
    pub fn make_send_once(self: &Arc<Self>) -> Right<H> {
        let mut state = self.state.lock();
        if state.is_dead() {
            return Right::dead();
        }
        state.send_onces += 1;
        Right::counted(RightKind::SendOnce, self.clone())
    }

    /// Another send right beside one that the caller knows to exist. None if the port is dead.
    pub(crate) fn copy_send(self: &Arc<Self>) -> Option<Right<H>> {
        let mut state = self.state.lock();
        if state.is_dead() {
            return None;
        }
        state.sends += 1;
        Some(Right::counted(RightKind::Send, self.clone()))
    }

    /// Ends a kernel port: its rights become dead names. Gives the object back; other ports are left alone.
    pub fn kill(self: &Arc<Self>, effects: &mut Effects<H>) -> Option<H::Object> {
        let state = self.state.lock();
        match &state.receiver {
            Receiver::Kernel(object) => {
                let object = object.clone();
                self.die(state, effects);
                Some(object)
            }
            _ => None,
        }
    }

    /// Makes it dead and hands everything it held to `effects`.
    fn die(self: &Arc<Self>, mut state: spin::MutexGuard<'_, State<H>>, effects: &mut Effects<H>) {
        state.leave_set();
        let receiver = core::mem::replace(&mut state.receiver, Receiver::Dead);
        self.dead.store(true, Ordering::Release);
        state.payload = None;
        effects.end(Doomed::Queue(core::mem::replace(&mut state.queue, Queue::new())));
        effects.end(Doomed::Receivers(core::mem::replace(&mut state.receivers, List::new()), Code::RCV_PORT_DIED));
        effects.end(Doomed::Senders(core::mem::replace(&mut state.senders, List::new())));
        effects.end(Doomed::Requests(core::mem::replace(&mut state.requests, List::new())));
        let rights = [state.no_senders.take(), state.port_destroyed.take()];
        drop(state);
        // An object or a port may end here: not under the lock.
        drop(receiver);
        rights.into_iter().flatten().for_each(|right| effects.doom(right));
    }
}

impl<H: Host> State<H> {
    pub(crate) const fn is_dead(&self) -> bool {
        matches!(self.receiver, Receiver::Dead)
    }

    /// The name under which a space receives from it.
    pub(crate) fn name_in(&self, space: u64) -> Option<u32> {
        match self.receiver {
            Receiver::Space { space: receiver, name } if receiver == space => Some(name),
            _ => None,
        }
    }

    /// One send right less.
    pub(crate) fn drop_send(&mut self, effects: &mut Effects<H>) {
        self.sends -= 1;
        if self.sends == 0 {
            if let Some(right) = self.no_senders.take() {
                effects.notify(right, Event::NoSenders(self.make_sends));
            }
            if let Receiver::Kernel(object) = &self.receiver {
                effects.push(Effect::NoSenders(object.clone()));
            }
        }
    }

    /// Leaves its space: whoever waits on it is told, and what the receiver had set is forgotten.
    pub(crate) fn clear_receiver(&mut self, effects: &mut Effects<H>) {
        self.leave_set();
        self.receiver = Receiver::Transit(None);
        self.payload = None;
        self.make_sends = 0;
        self.seqno = 0;
        self.turn_receivers_away(Code::RCV_PORT_DIED, effects);
    }

    pub(crate) fn turn_receivers_away(&mut self, code: Code, effects: &mut Effects<H>) {
        if !self.receivers.is_empty() {
            effects.end(Doomed::Receivers(core::mem::replace(&mut self.receivers, List::new()), code));
        }
    }

    /// Wakes one blocked sender if there is room for its message.
    pub(crate) fn admit_sender(&mut self, effects: &mut Effects<H>) {
        if !self.senders.is_empty()
            && self.queue.len() < self.limit as usize
            && let Some(waiter) = self.senders.pop()
        {
            effects.push(Effect::Wake { waiter, why: Wake::Retry });
        }
    }
}

/// Ends a receive right: the port dies, unless a port-destroyed request sends the right on.
pub(crate) fn end_receive<H: Host>(port: Arc<Port<H>>, effects: &mut Effects<H>) {
    let mut state = port.state.lock();
    if state.is_dead() {
        return;
    }
    state.clear_receiver(effects);
    match state.port_destroyed.take() {
        Some(to) => {
            drop(state);
            effects.notify(to, Event::PortDestroyed(Right::counted(RightKind::Receive, port)));
        }
        None => port.die(state, effects),
    }
}
