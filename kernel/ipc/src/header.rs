//! The two rights of a message's header, on their way in and out. Taking them in is atomic: both, or an error and nothing changed.

use abi::message::{COMPLEX, kind};
use abi::{Code, Header};

use crate::effects::Effects;
use crate::entry::Entry;
use crate::message::{Message, received};
use crate::names::Names;
use crate::right::{Right, RightKind};
use crate::space::Space;
use crate::{Host, NAME_DEAD, NAME_NULL};

const fn is_send(kind: u8) -> bool {
    kind >= kind::MOVE_SEND && kind <= kind::MAKE_SEND_ONCE
}

/// What a header's port fields stand for.
pub(crate) struct Rights<H: Host> {
    pub(crate) remote: Right<H>,
    pub(crate) local: Option<Right<H>>,
}

/// Takes the rights that a header names; gives the header as the kernel keeps it.
pub(crate) fn copyin<H: Host>(space: &Space<H>, header: &Header, effects: &mut Effects<H>) -> Result<(Header, Rights<H>), Code> {
    let (remote_kind, local_kind) = (header.remote_kind(), header.local_kind());
    let (remote_name, local_name) = (header.remote as u32, header.local as u32);
    let is_reply_sane = if local_kind == 0 { local_name == NAME_NULL } else { is_send(local_kind) };
    if !is_send(remote_kind) || !is_reply_sane {
        return Err(Code::SEND_INVALID_HEADER);
    }
    let mut names = space.lock_alive().map_err(|_| Code::SEND_INVALID_DEST)?;
    let rights = match local_name {
        NAME_NULL | NAME_DEAD => {
            let remote = names.take_destination(remote_name, remote_kind, effects)?;
            Rights { remote, local: (local_name == NAME_DEAD).then(Right::dead) }
        }
        name if name == remote_name => names.take_pair(name, remote_kind, local_kind, effects)?,
        _ => {
            if !names.has(local_name, local_kind) {
                let is_known = names.settle(remote_name).is_some();
                return Err(if is_known { Code::SEND_INVALID_REPLY } else { Code::SEND_INVALID_DEST });
            }
            let remote = names.take_destination(remote_name, remote_kind, effects)?;
            names.with_reply(remote, local_name, local_kind, effects)?
        }
    };
    drop(names);
    let kinds = Header::bits(received(remote_kind), received(local_kind));
    Ok((Header { bits: kinds | header.bits & COMPLEX, ..*header }, rights))
}

impl<H: Host> Names<H> {
    fn take_destination(&mut self, name: u32, kind: u8, effects: &mut Effects<H>) -> Result<Right<H>, Code> {
        self.take(name, kind, false, effects).map_err(|_| Code::SEND_INVALID_DEST)
    }

    fn with_reply(&mut self, remote: Right<H>, name: u32, kind: u8, effects: &mut Effects<H>) -> Result<Rights<H>, Code> {
        match self.take(name, kind, true, effects) {
            Ok(local) => Ok(Rights { remote, local: Some(local) }),
            Err(_) => {
                // Not reached: the right was looked for under the same lock, and a port that died meanwhile gives a dead right.
                effects.doom(remote);
                Err(Code::SEND_INVALID_REPLY)
            }
        }
    }

    /// Destination and reply under one name.
    fn take_pair(&mut self, name: u32, remote: u8, local: u8, effects: &mut Effects<H>) -> Result<Rights<H>, Code> {
        if self.settle(name).is_none() {
            return Err(Code::SEND_INVALID_DEST);
        }
        if !self.has(name, local) {
            return Err(Code::SEND_INVALID_REPLY);
        }
        let moves_one = |kind| kind == kind::MOVE_SEND_ONCE;
        let has_one = matches!(self.table.get(name), Some(Entry::Port { urefs: ..2, .. }));
        let moves_both = remote == kind::MOVE_SEND && local == kind::MOVE_SEND;
        if moves_one(remote) || moves_one(local) || (moves_both && has_one) {
            return Err(Code::SEND_INVALID_DEST);
        }
        if local == kind::COPY_SEND {
            // The copy first: moving may take the last reference.
            let copy = self.take(name, local, true, effects).map_err(|_| Code::SEND_INVALID_REPLY)?;
            return match self.take_destination(name, remote, effects) {
                Ok(remote) => Ok(Rights { remote, local: Some(copy) }),
                Err(code) => {
                    effects.doom(copy);
                    Err(code)
                }
            };
        }
        let remote = self.take_destination(name, remote, effects)?;
        self.with_reply(remote, name, local, effects)
    }
}

/// Ends the destination's right of a message that arrived in a space. Gives what the receiver sees as the local port: its kind,
/// and the port's name there or its payload.
fn copyout_destination<H: Host>(space: &Space<H>, remote: Right<H>, effects: &mut Effects<H>) -> (u8, u64) {
    let kind = remote.received_kind();
    let is_send_once = remote.kind() == RightKind::SendOnce;
    let Some(port) = remote.port().cloned() else {
        return (kind, u64::from(NAME_DEAD));
    };
    let mut state = port.state.lock();
    let is_dead = state.is_dead();
    let name = state.name_in(space.id());
    let seen = match state.payload {
        Some(payload) => (kind::PROTECTED_PAYLOAD, payload),
        None => (kind, u64::from(if is_dead { NAME_DEAD } else { name.unwrap_or(NAME_NULL) })),
    };
    if is_send_once && name.is_none() && !is_dead {
        // The receive right moved on while the message was on its way: that receiver is told that it won't come.
        drop(state);
        remote.destroy(effects);
        return seen;
    }
    if is_send_once {
        state.send_onces -= 1;
    } else {
        state.drop_send(effects);
    }
    drop(state);
    remote.into_port();
    seen
}

/// Puts the reply right into the receiver's space and ends the destination's: gives the header as the receiver sees it. On an
/// error the reply right has ended and is the null port.
pub(crate) fn copyout<H: Host>(space: &Space<H>, message: &mut Message<H>, effects: &mut Effects<H>) -> (Header, Result<(), Code>) {
    let header = message.header;
    let (reply_name, result) = match message.local.take() {
        None => (Ok(NAME_NULL), Ok(())),
        Some(right) => match space.lock().put(right, effects) {
            Ok(name) => (Ok(name), Ok(())),
            Err(bits) => (Err(()), Err(Code(Code::RCV_HEADER_ERROR.0 | bits))),
        },
    };
    let remote = core::mem::replace(&mut message.remote, Right::null());
    let (local_kind, local) = copyout_destination(space, remote, effects);
    let header = Header {
        bits: header.bits & COMPLEX | Header::bits(header.local_kind(), local_kind),
        size: message.bytes.len() as u32,
        remote: u64::from(reply_name.unwrap_or(NAME_NULL)),
        local,
        ..header
    };
    (header, result)
}
