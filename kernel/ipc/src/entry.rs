//! What a name in a space stands for.

use alloc::sync::Arc;

use abi::call::mach_port::right;

use crate::effects::Effects;
use crate::list::Place;
use crate::notice::Event;
use crate::port::{Port, State, end_receive};
use crate::right::{Right, RightKind};
use crate::set::PortSet;
use crate::{Host, TYPE_DEAD_NAME_REQUEST};

pub(crate) enum Entry<H: Host> {
    /// The receive right, `urefs` references to one send right, or both.
    Port {
        port: Arc<Port<H>>,
        receive: bool,
        urefs: u16,
        request: Option<Place>,
    },
    /// One send-once right.
    SendOnce {
        port: Arc<Port<H>>,
        request: Option<Place>,
    },
    Set(Arc<PortSet<H>>),
    Dead {
        urefs: u16,
    },
}

impl<H: Host> Entry<H> {
    /// If its port died since: the references that it has as a dead name. A request's notification counts as one.
    pub(crate) fn died(&self) -> Option<u16> {
        match self {
            Self::Port { port, receive: false, urefs, request } if port.is_dead() => {
                Some(urefs.saturating_add(u16::from(request.is_some())))
            }
            Self::SendOnce { port, request } if port.is_dead() => Some(1 + u16::from(request.is_some())),
            _ => None,
        }
    }

    /// mach_port_type_t.
    pub(crate) fn type_bits(&self) -> u32 {
        let request = |request: &Option<Place>| if request.is_some() { TYPE_DEAD_NAME_REQUEST } else { 0 };
        match self {
            Self::Port { receive, urefs, request: asked, .. } => {
                let receive = if *receive { right::type_bit(right::RECEIVE) } else { 0 };
                let send = if *urefs > 0 { right::type_bit(right::SEND) } else { 0 };
                receive | send | request(asked)
            }
            Self::SendOnce { request: asked, .. } => right::type_bit(right::SEND_ONCE) | request(asked),
            Self::Set(_) => right::type_bit(right::PORT_SET),
            Self::Dead { .. } => right::type_bit(right::DEAD_NAME),
        }
    }

    /// The user references that mach_port_get_refs tells for a right it has.
    pub(crate) const fn urefs(&self, of: u32) -> u32 {
        match self {
            Self::Port { urefs, .. } if of == right::SEND => *urefs as u32,
            Self::Dead { urefs } => *urefs as u32,
            _ => 1,
        }
    }
}

/// Takes the dead-name request of an entry back from its port: the requester is told that the name is gone.
pub(crate) fn cancel_request<H: Host>(state: &mut State<H>, name: u32, request: Option<Place>, effects: &mut Effects<H>) {
    if let Some(request) = request.and_then(|place| state.requests.remove(place)) {
        effects.notify(request.notify, Event::PortDeleted(name));
    }
}

/// Ends all that an entry held, after it was taken out of its space.
pub(crate) fn end<H: Host>(name: u32, entry: Entry<H>, effects: &mut Effects<H>) {
    match entry {
        Entry::Port { port, receive, urefs, request } => {
            let mut state = port.state.lock();
            if state.is_dead() {
                return;
            }
            cancel_request(&mut state, name, request, effects);
            if urefs > 0 {
                state.drop_send(effects);
            }
            drop(state);
            if receive {
                end_receive(port, effects);
            }
        }
        Entry::SendOnce { port, request } => {
            cancel_request(&mut port.state.lock(), name, request, effects);
            Right::counted(RightKind::SendOnce, port).destroy(effects);
        }
        Entry::Set(set) => set.end(effects),
        Entry::Dead { .. } => {}
    }
}
