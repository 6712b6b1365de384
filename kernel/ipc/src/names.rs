//! A space's names, and how rights leave and enter under them.
//!
//! An entry whose port died is turned into a dead name when somebody next looks at it ([`Names::settle`]): a port's death needn't
//! visit all spaces that know it.

use alloc::sync::Arc;

use abi::Code;
use abi::code::{MSG_IPC_KERNEL, MSG_IPC_SPACE};
use abi::message::kind;

use crate::effects::Effects;
use crate::entry::{Entry, cancel_request};
use crate::index::Index;
use crate::port::{Port, Receiver};
use crate::right::{Right, RightKind};
use crate::table::Table;
use crate::{Host, NAME_DEAD, NAME_NULL, UREFS_MAX};

pub(crate) struct Names<H: Host> {
    pub(crate) alive: bool,
    /// The id of the space.
    pub(crate) space: u64,
    pub(crate) table: Table<Entry<H>>,
    /// Names of `Entry::Port`s by port.
    pub(crate) index: Index,
}

impl<H: Host> Names<H> {
    pub(crate) const fn new(space: u64) -> Self {
        Self { alive: true, space, table: Table::new(), index: Index::new() }
    }

    /// The entry of a name, turned into a dead name if its port died.
    pub(crate) fn settle(&mut self, name: u32) -> Option<&mut Entry<H>> {
        let entry = self.table.get_mut(name)?;
        if let Some(urefs) = entry.died() {
            if let Entry::Port { port, .. } = entry {
                self.index.remove(port.id());
            }
            *entry = Entry::Dead { urefs };
        }
        Some(entry)
    }

    /// Takes an entry out, whatever it holds.
    pub(crate) fn remove(&mut self, name: u32) -> Option<Entry<H>> {
        let entry = self.table.remove(name)?;
        if let Entry::Port { port, .. } = &entry {
            self.index.remove(port.id());
        }
        Some(entry)
    }

    /// Whether [`Names::pop`] has nothing more to give.
    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_bare()
    }

    /// Takes any entry out, for the end of the space.
    pub(crate) fn pop(&mut self) -> Option<(u32, Entry<H>)> {
        self.table.pop()
    }

    /// Whether [`Names::take`] would find the right (a dead name counts as a send right).
    pub(crate) fn has(&mut self, name: u32, kind: u8) -> bool {
        match (kind, self.settle(name)) {
            (kind::MAKE_SEND | kind::MAKE_SEND_ONCE | kind::MOVE_RECEIVE, Some(Entry::Port { receive, .. })) => *receive,
            (kind::COPY_SEND | kind::MOVE_SEND, Some(Entry::Port { urefs, .. })) => *urefs > 0,
            (kind::MOVE_SEND_ONCE, Some(Entry::SendOnce { .. })) => true,
            (kind::COPY_SEND | kind::MOVE_SEND | kind::MOVE_SEND_ONCE, Some(Entry::Dead { .. })) => true,
            _ => false,
        }
    }

    /// Takes or makes a right by disposition. With `dead_ok` a dead name gives a dead right.
    pub(crate) fn take(&mut self, name: u32, kind: u8, dead_ok: bool, effects: &mut Effects<H>) -> Result<Right<H>, Code> {
        loop {
            let entry = self.settle(name).ok_or(Code::INVALID_NAME)?;
            let right = match (kind, entry) {
                (kind::MAKE_SEND, Entry::Port { port, receive: true, .. }) => return Ok(port.make_send()),
                (kind::MAKE_SEND_ONCE, Entry::Port { port, receive: true, .. }) => return Ok(port.make_send_once()),
                (kind::COPY_SEND, Entry::Port { port, urefs: 1.., .. }) => port.copy_send(),
                (kind::MOVE_RECEIVE, Entry::Port { receive: true, .. }) => self.move_receive(name, effects),
                (kind::MOVE_SEND, Entry::Port { urefs: 1.., .. }) => self.move_send(name, effects),
                (kind::MOVE_SEND_ONCE, Entry::SendOnce { .. }) => self.move_send_once(name, effects),
                (kind::COPY_SEND, Entry::Dead { .. }) if dead_ok => return Ok(Right::dead()),
                (kind::MOVE_SEND | kind::MOVE_SEND_ONCE, Entry::Dead { .. }) if dead_ok => {
                    self.drop_dead(name);
                    return Ok(Right::dead());
                }
                _ => return Err(Code::INVALID_RIGHT),
            };
            // None: the port died since the entry was settled, so it settles as dead now.
            if let Some(right) = right {
                return Ok(right);
            }
        }
    }

    fn move_receive(&mut self, name: u32, effects: &mut Effects<H>) -> Option<Right<H>> {
        let Some(Entry::Port { port, receive, urefs, request }) = self.table.get_mut(name) else { return None };
        let port = port.clone();
        let mut state = port.state.lock();
        state.clear_receiver(effects);
        *receive = false;
        if *urefs == 0 {
            cancel_request(&mut state, name, request.take(), effects);
            drop(state);
            self.remove(name);
        } else {
            drop(state);
        }
        Some(Right::counted(RightKind::Receive, port))
    }

    fn move_send(&mut self, name: u32, effects: &mut Effects<H>) -> Option<Right<H>> {
        let Some(Entry::Port { port, receive, urefs, request }) = self.table.get_mut(name) else { return None };
        let port = port.clone();
        let mut state = port.state.lock();
        if state.is_dead() {
            return None;
        }
        *urefs -= 1;
        if *urefs > 0 {
            state.sends += 1;
        } else if !*receive {
            cancel_request(&mut state, name, request.take(), effects);
            drop(state);
            self.remove(name);
            return Some(Right::counted(RightKind::Send, port));
        }
        drop(state);
        Some(Right::counted(RightKind::Send, port))
    }

    fn move_send_once(&mut self, name: u32, effects: &mut Effects<H>) -> Option<Right<H>> {
        let Some(Entry::SendOnce { port, request }) = self.table.get_mut(name) else { return None };
        let port = port.clone();
        let mut state = port.state.lock();
        if state.is_dead() {
            return None;
        }
        cancel_request(&mut state, name, request.take(), effects);
        drop(state);
        self.remove(name);
        Some(Right::counted(RightKind::SendOnce, port))
    }

    /// One reference less to a dead name.
    pub(crate) fn drop_dead(&mut self, name: u32) {
        if let Some(Entry::Dead { urefs }) = self.table.get_mut(name) {
            *urefs -= 1;
            if *urefs == 0 {
                self.remove(name);
            }
        }
    }

    /// The name that the space has for a live port, by a send or receive right.
    fn name_of(&self, port: &Port<H>) -> Option<u32> {
        self.index.get(port.id())
    }

    /// Puts a right into the space under the name it has there or a new one. A dead right gives [`NAME_DEAD`]. On an error the
    /// right has ended, and the error's bits say why.
    pub(crate) fn put(&mut self, right: Right<H>, effects: &mut Effects<H>) -> Result<u32, i32> {
        match right.kind() {
            RightKind::Null => return Ok(NAME_NULL),
            RightKind::Dead => return Ok(NAME_DEAD),
            RightKind::Send | RightKind::SendOnce | RightKind::Receive => {}
        }
        let known = match right.port() {
            Some(port) if port.is_dead() => {
                effects.doom(right);
                return Ok(NAME_DEAD);
            }
            Some(port) if right.kind() != RightKind::SendOnce => self.name_of(port),
            _ => None,
        };
        if !self.alive {
            effects.doom(right);
            return Err(MSG_IPC_SPACE);
        }
        let name = match known {
            Some(name) => name,
            None => match self.table.reserve().and_then(|()| self.index.reserve()) {
                Ok(()) => self.table.insert(Entry::Dead { urefs: 1 }),
                Err(code) => {
                    effects.doom(right);
                    return Err(if code == Code::NO_SPACE { MSG_IPC_SPACE } else { MSG_IPC_KERNEL });
                }
            },
        };
        self.settle_in(name, known.is_some(), right);
        Ok(name)
    }

    /// Puts a right under a name that the caller chose. Gives it back if that can't be.
    pub(crate) fn put_at(&mut self, name: u32, right: Right<H>) -> Result<(), (Code, Right<H>)> {
        let Some(port) = right.port().cloned() else { return Err((Code::INVALID_CAPABILITY, right)) };
        if port.is_dead() {
            return Err((Code::INVALID_CAPABILITY, right));
        }
        let known = if right.kind() == RightKind::SendOnce { None } else { self.name_of(&port) };
        if let Some(known) = known {
            if known != name {
                return Err((Code::RIGHT_EXISTS, right));
            }
            let is_full = matches!(self.table.get(name), Some(Entry::Port { urefs: UREFS_MAX, .. }));
            if right.kind() == RightKind::Send && is_full {
                return Err((Code::UREFS_OVERFLOW, right));
            }
        } else {
            if let Err(code) = self.table.reserve_name(name).and_then(|()| self.index.reserve()) {
                return Err((code, right));
            }
            self.table.insert_at(name, Entry::Dead { urefs: 1 });
        }
        self.settle_in(name, known.is_some(), right);
        Ok(())
    }

    /// Writes a right into an entry: one that knows its port, or a new one.
    fn settle_in(&mut self, name: u32, is_known: bool, right: Right<H>) {
        let kind = right.kind();
        let Some(port) = right.into_port() else { return };
        match kind {
            RightKind::SendOnce => self.write(name, Entry::SendOnce { port, request: None }),
            RightKind::Send if is_known => self.add_send(name, &port),
            RightKind::Send => self.write_port(name, Entry::Port { port, receive: false, urefs: 1, request: None }),
            RightKind::Receive => self.write_receive(name, is_known, port),
            RightKind::Dead | RightKind::Null => {}
        }
    }

    fn write(&mut self, name: u32, entry: Entry<H>) {
        if let Some(slot) = self.table.get_mut(name) {
            *slot = entry;
        }
    }

    fn write_port(&mut self, name: u32, entry: Entry<H>) {
        if let Entry::Port { port, .. } = &entry {
            self.index.set(port.id(), name);
        }
        self.write(name, entry);
    }

    fn add_send(&mut self, name: u32, port: &Arc<Port<H>>) {
        let Some(Entry::Port { urefs, .. }) = self.table.get_mut(name) else { return };
        if *urefs > 0 {
            // The entry has a send right, all its references share that one. It is not the last, so nobody needs to be told.
            port.state.lock().sends -= 1;
        }
        // References stay at the maximum (GNU Mach's choice for rights in messages).
        *urefs = urefs.saturating_add(1);
    }

    fn write_receive(&mut self, name: u32, is_known: bool, port: Arc<Port<H>>) {
        port.state.lock().receiver = Receiver::Space { space: self.space, name };
        match self.table.get_mut(name) {
            Some(Entry::Port { receive, .. }) if is_known => *receive = true,
            _ => self.write_port(name, Entry::Port { port, receive: true, urefs: 0, request: None }),
        }
    }
}
