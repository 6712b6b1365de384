//! Receive rights in messages must not go round in circles: a port queued, however deep, in its own queue could never be reached
//! again.
//!
//! Each receive right in transit points to the port that its message goes to. Before a message with receive rights is queued, the
//! chain from its destination is followed; if it comes to a port whose right the message carries, or is longer than [`DEPTH_MAX`],
//! the message is destroyed instead, which is what GNU Mach does with it. One lock keeps two such walks apart. Links can vanish
//! during a walk but those of a real circle can't: nobody can receive from a port whose receive right is in transit.

use alloc::sync::Arc;

use spin::Mutex;

use crate::Host;
use crate::message::{Capability, Message};
use crate::port::{Port, Receiver};
use crate::right::{Right, RightKind};

/// The longest chain of receive rights that are queued in each other's queues.
pub(crate) const DEPTH_MAX: usize = 64;

static TRANSIT: Mutex<()> = Mutex::new(());

/// Links all receive rights of a message to its destination. False if one of them would go round, or too deep.
pub(crate) fn link<H: Host>(message: &Message<H>) -> bool {
    let Some(destination) = message.remote.port() else { return true };
    let _alone = TRANSIT.lock();
    for capability in message.capabilities.iter().flatten() {
        let is_linked = match capability {
            Capability::Right(right) => link_one(right, destination),
            Capability::Ports(rights) => rights.iter().all(|right| link_one(right, destination)),
            Capability::Memory { .. } | Capability::Null => true,
        };
        if !is_linked {
            return false;
        }
    }
    true
}

fn link_one<H: Host>(right: &Right<H>, destination: &Arc<Port<H>>) -> bool {
    let Some(port) = right.port().filter(|_| right.kind() == RightKind::Receive) else { return true };
    let mut next = destination.clone();
    for _ in 0..DEPTH_MAX {
        if Arc::ptr_eq(&next, port) {
            return false;
        }
        let further = match &next.state.lock().receiver {
            Receiver::Transit(further) => further.clone(),
            // The kernel executes the message at once, so nothing is queued; and its objects shan't be held by a link.
            Receiver::Kernel(_) => return true,
            Receiver::Space { .. } | Receiver::Dead => None,
        };
        match further {
            Some(further) => next = further,
            None => {
                let old = core::mem::replace(&mut port.state.lock().receiver, Receiver::Transit(Some(destination.clone())));
                drop(old);
                return true;
            }
        }
    }
    false
}
