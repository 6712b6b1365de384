//! What the holder of a receive right sets and asks: queue limit, counts, payload, set membership, status, notifications.

use abi::Code;
use abi::call::notify::{mach_notify_dead_name, mach_notify_no_senders, mach_notify_port_destroyed};
use abi::table::Message;
use alloc::sync::Arc;
use spin::MutexGuard;

use crate::effects::Effects;
use crate::entry::Entry;
use crate::names::Names;
use crate::notice::Event;
use crate::port::{Port, State};
use crate::request::Request;
use crate::right::{Right, RightKind};
use crate::space::Space;
use crate::{Host, NAME_NULL, QUEUE_LIMIT_MAX};

/// mach_port_status_t.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The name of the set it is in, or the null name.
    pub set: u32,
    pub seqno: u32,
    pub make_sends: u32,
    pub queue_limit: u32,
    pub messages: u32,
    pub send_onces: u32,
    pub has_senders: bool,
    pub port_destroyed_requested: bool,
    pub no_senders_requested: bool,
}

impl Status {
    /// The structure's words, in order.
    #[must_use]
    pub fn words(&self) -> [u32; 9] {
        [
            self.set,
            self.seqno,
            self.make_sends,
            self.queue_limit,
            self.messages,
            self.send_onces,
            u32::from(self.has_senders),
            u32::from(self.port_destroyed_requested),
            u32::from(self.no_senders_requested),
        ]
    }
}

impl<H: Host> Space<H> {
    /// Does something to the port of a receive right, under both locks.
    fn with_receive<R>(&self, name: u32, act: impl FnOnce(&Arc<Port<H>>, MutexGuard<'_, State<H>>) -> R) -> Result<R, Code> {
        let mut names = self.lock_alive()?;
        match names.settle(name).ok_or(Code::INVALID_NAME)? {
            Entry::Port { port, receive: true, .. } => Ok(act(port, port.state.lock())),
            _ => Err(Code::INVALID_RIGHT),
        }
    }

    /// mach_port_set_qlimit.
    pub fn set_queue_limit(&self, name: u32, limit: u32, effects: &mut Effects<H>) -> Result<(), Code> {
        if limit > QUEUE_LIMIT_MAX {
            return Err(Code::INVALID_VALUE);
        }
        self.with_receive(name, |_, mut state| {
            let more = limit.saturating_sub(state.limit);
            state.limit = limit;
            (0..more).for_each(|_| state.admit_sender(effects));
        })
    }

    /// mach_port_set_mscount.
    pub fn set_make_send_count(&self, name: u32, count: u32) -> Result<(), Code> {
        self.with_receive(name, |_, mut state| state.make_sends = count)
    }

    /// mach_port_set_seqno.
    pub fn set_seqno(&self, name: u32, seqno: u32) -> Result<(), Code> {
        self.with_receive(name, |_, mut state| state.seqno = seqno)
    }

    /// mach_port_set_protected_payload, and mach_port_clear_protected_payload with none.
    pub fn set_protected_payload(&self, name: u32, payload: Option<u64>) -> Result<(), Code> {
        self.with_receive(name, |_, mut state| state.payload = payload)
    }

    /// mach_port_get_receive_status.
    pub fn receive_status(&self, name: u32) -> Result<Status, Code> {
        self.with_receive(name, |_, mut state| {
            let set = state.live_set().map_or(NAME_NULL, |set| set.state.lock().name);
            Status {
                set,
                seqno: state.seqno,
                make_sends: state.make_sends,
                queue_limit: state.limit,
                messages: state.queue.len() as u32,
                send_onces: state.send_onces,
                has_senders: state.sends > 0,
                port_destroyed_requested: state.port_destroyed.is_some(),
                no_senders_requested: state.no_senders.is_some(),
            }
        })
    }

    /// mach_port_move_member: into a set, or out of any with the null name.
    pub fn move_member(&self, member: u32, set: u32, effects: &mut Effects<H>) -> Result<(), Code> {
        let mut names = self.lock_alive()?;
        let port = match names.settle(member).ok_or(Code::INVALID_NAME)? {
            Entry::Port { port, receive: true, .. } => port.clone(),
            _ => return Err(Code::INVALID_RIGHT),
        };
        if set == NAME_NULL {
            return if port.state.lock().leave_set() { Ok(()) } else { Err(Code::NOT_IN_SET) };
        }
        let set = match names.settle(set).ok_or(Code::INVALID_NAME)? {
            Entry::Set(set) => set.clone(),
            _ => return Err(Code::INVALID_RIGHT),
        };
        let mut state = port.state.lock();
        if state.set.as_ref().is_some_and(|old| Arc::ptr_eq(old, &set)) {
            return Ok(());
        }
        state.leave_set();
        state.join_set(&port, &set, effects)
    }

    /// mach_port_request_notification. Gives the request that it replaces. On an error `notify` has ended.
    pub fn request_notification(
        &self,
        name: u32,
        id: i32,
        sync: u32,
        notify: Option<Right<H>>,
        effects: &mut Effects<H>,
    ) -> Result<Option<Right<H>>, Code> {
        if notify.as_ref().is_some_and(|right| right.kind() != RightKind::SendOnce) {
            notify.into_iter().for_each(|right| right.destroy(effects));
            return Err(Code::INVALID_CAPABILITY);
        }
        let mut notify = notify;
        let result = match id {
            mach_notify_port_destroyed::Request::ID if sync != 0 => Err(Code::INVALID_VALUE),
            mach_notify_port_destroyed::Request::ID => {
                self.with_receive(name, |_, mut state| core::mem::replace(&mut state.port_destroyed, notify.take()))
            }
            mach_notify_no_senders::Request::ID => {
                self.with_receive(name, |_, mut state| state.request_no_senders(sync, notify.take(), effects))
            }
            mach_notify_dead_name::Request::ID => {
                self.lock_alive().and_then(|mut names| names.request_dead_name(name, sync != 0, &mut notify, effects))
            }
            _ => Err(Code::INVALID_VALUE),
        };
        notify.into_iter().for_each(|right| right.destroy(effects));
        result
    }
}

impl<H: Host> State<H> {
    fn request_no_senders(&mut self, sync: u32, notify: Option<Right<H>>, effects: &mut Effects<H>) -> Option<Right<H>> {
        let previous = self.no_senders.take();
        match notify {
            Some(right) if self.sends == 0 && sync <= self.make_sends => {
                effects.notify(right, Event::NoSenders(self.make_sends));
            }
            notify => self.no_senders = notify,
        }
        previous
    }
}

impl<H: Host> Names<H> {
    /// Leaves `notify` where it is if it isn't used.
    fn request_dead_name(
        &mut self,
        name: u32,
        immediate: bool,
        notify: &mut Option<Right<H>>,
        effects: &mut Effects<H>,
    ) -> Result<Option<Right<H>>, Code> {
        loop {
            let (port, request) = match self.settle(name).ok_or(Code::INVALID_NAME)? {
                Entry::Port { port, request, .. } | Entry::SendOnce { port, request } => (port.clone(), request),
                Entry::Dead { urefs } if immediate && notify.is_some() => {
                    *urefs = urefs.checked_add(1).ok_or(Code::UREFS_OVERFLOW)?;
                    notify.take().into_iter().for_each(|right| effects.notify(right, Event::DeadName(name)));
                    return Ok(None);
                }
                Entry::Dead { .. } => return Err(Code::INVALID_ARGUMENT),
                Entry::Set(_) => return Err(Code::INVALID_RIGHT),
            };
            let mut state = port.state.lock();
            if state.is_dead() {
                continue;
            }
            let previous = request.take().and_then(|place| state.requests.remove(place));
            if let Some(right) = notify.take() {
                match state.requests.push(Request { name, notify: right }) {
                    Ok(place) => *request = Some(place),
                    Err(unused) => {
                        *notify = Some(unused.notify);
                        // A request that can't be replaced for want of memory has ended: its owner hears that.
                        if let Some(old) = previous {
                            effects.notify(old.notify, Event::PortDeleted(name));
                        }
                        return Err(Code::RESOURCE_SHORTAGE);
                    }
                }
            }
            return Ok(previous.map(|old| old.notify));
        }
    }
}
