//! Counting and ending rights by name: mach_port_deallocate, destroy, get_refs, mod_refs, type, rename.

use abi::Code;
use abi::call::mach_port::right;

use crate::effects::Effects;
use crate::entry::{self, Entry, cancel_request};
use crate::names::Names;
use crate::port::{Receiver, end_receive};
use crate::right::{Right, RightKind};
use crate::space::Space;
use crate::{Host, NAME_DEAD, NAME_NULL, UREFS_MAX};

impl<H: Host> Space<H> {
    /// mach_port_deallocate: one reference less to a send, send-once or dead right.
    pub fn deallocate(&self, name: u32, effects: &mut Effects<H>) -> Result<(), Code> {
        let mut names = self.lock_alive()?;
        match names.settle(name).ok_or(Code::INVALID_NAME)? {
            Entry::Port { urefs: 1.., .. } => names.change_sends(name, -1, effects),
            Entry::SendOnce { .. } => {
                names.end_send_once(name, effects);
                Ok(())
            }
            Entry::Dead { .. } => {
                names.drop_dead(name);
                Ok(())
            }
            Entry::Port { .. } | Entry::Set(_) => Err(Code::INVALID_RIGHT),
        }
    }

    /// mach_port_destroy: everything that a name stands for.
    pub fn destroy_name(&self, name: u32, effects: &mut Effects<H>) -> Result<(), Code> {
        let entry = self.lock_alive()?.remove(name).ok_or(Code::INVALID_NAME)?;
        entry::end(name, entry, effects);
        Ok(())
    }

    /// mach_port_get_refs.
    pub fn get_refs(&self, name: u32, right: u32) -> Result<u32, Code> {
        if right > right::DEAD_NAME {
            return Err(Code::INVALID_VALUE);
        }
        let mut names = self.lock_alive()?;
        let entry = names.settle(name).ok_or(Code::INVALID_NAME)?;
        let has = entry.type_bits() & right::type_bit(right) != 0;
        Ok(if has { entry.urefs(right) } else { 0 })
    }

    /// mach_port_type.
    pub fn type_of(&self, name: u32) -> Result<u32, Code> {
        Ok(self.lock_alive()?.settle(name).ok_or(Code::INVALID_NAME)?.type_bits())
    }

    /// mach_port_mod_refs.
    pub fn mod_refs(&self, name: u32, right: u32, delta: i32, effects: &mut Effects<H>) -> Result<(), Code> {
        if right > right::DEAD_NAME {
            return Err(Code::INVALID_VALUE);
        }
        let mut names = self.lock_alive()?;
        let entry = names.settle(name).ok_or(Code::INVALID_NAME)?;
        if entry.type_bits() & right::type_bit(right) == 0 {
            return Err(Code::INVALID_RIGHT);
        }
        match right {
            right::SEND => names.change_sends(name, delta, effects),
            right::DEAD_NAME => names.change_deads(name, delta),
            _ => match delta {
                0 => Ok(()),
                -1 => {
                    names.end_single(name, right, effects);
                    Ok(())
                }
                _ => Err(Code::INVALID_VALUE),
            },
        }
    }

    /// mach_port_rename.
    pub fn rename(&self, old: u32, new: u32) -> Result<(), Code> {
        if new == NAME_NULL || new == NAME_DEAD {
            return Err(Code::INVALID_VALUE);
        }
        let mut names = self.lock_alive()?;
        names.table.reserve_name(new)?;
        names.settle(old).ok_or(Code::INVALID_NAME)?;
        names.rename(old, new);
        Ok(())
    }
}

/// References after a change, within what a name can have.
fn changed(urefs: u16, delta: i32) -> Result<u16, Code> {
    match i64::from(urefs) + i64::from(delta) {
        ..0 => Err(Code::INVALID_VALUE),
        sum => u16::try_from(sum).map_err(|_| Code::UREFS_OVERFLOW),
    }
}

const _: () = assert!(UREFS_MAX == u16::MAX);

impl<H: Host> Names<H> {
    fn change_sends(&mut self, name: u32, delta: i32, effects: &mut Effects<H>) -> Result<(), Code> {
        let Some(Entry::Port { port, receive, urefs, request }) = self.table.get_mut(name) else {
            return Err(Code::INVALID_RIGHT);
        };
        *urefs = changed(*urefs, delta)?;
        if *urefs > 0 {
            return Ok(());
        }
        let port = port.clone();
        let receives = *receive;
        let request = if receives { None } else { request.take() };
        if !receives {
            self.remove(name);
        }
        let mut state = port.state.lock();
        state.drop_send(effects);
        cancel_request(&mut state, name, request, effects);
        Ok(())
    }

    fn change_deads(&mut self, name: u32, delta: i32) -> Result<(), Code> {
        let Some(Entry::Dead { urefs }) = self.table.get_mut(name) else { return Err(Code::INVALID_RIGHT) };
        *urefs = changed(*urefs, delta)?;
        if *urefs == 0 {
            self.remove(name);
        }
        Ok(())
    }

    fn end_send_once(&mut self, name: u32, effects: &mut Effects<H>) {
        let Some(Entry::SendOnce { port, request }) = self.remove(name) else { return };
        cancel_request(&mut port.state.lock(), name, request, effects);
        Right::counted(RightKind::SendOnce, port).destroy(effects);
    }

    /// Ends a receive right, a send-once right or a set.
    fn end_single(&mut self, name: u32, right: u32, effects: &mut Effects<H>) {
        match right {
            right::SEND_ONCE => self.end_send_once(name, effects),
            right::RECEIVE => self.end_receive(name, effects),
            _ => {
                if let Some(Entry::Set(set)) = self.remove(name) {
                    set.end(effects);
                }
            }
        }
    }

    fn end_receive(&mut self, name: u32, effects: &mut Effects<H>) {
        let Some(Entry::Port { port, receive, urefs, request }) = self.table.get_mut(name) else { return };
        let port = port.clone();
        *receive = false;
        if *urefs == 0 {
            cancel_request(&mut port.state.lock(), name, request.take(), effects);
            self.remove(name);
        }
        // With send references left the entry settles as a dead name when it is next looked at, unless a port-destroyed
        // request keeps the port alive.
        end_receive(port, effects);
    }

    fn rename(&mut self, old: u32, new: u32) {
        let Some(entry) = self.remove(old) else { return };
        match &entry {
            Entry::Port { port, receive, request, .. } => {
                self.index.set(port.id(), new);
                let mut state = port.state.lock();
                if *receive {
                    state.receiver = Receiver::Space { space: self.space, name: new };
                }
                if let Some(request) = request.and_then(|place| state.requests.get_mut(place)) {
                    request.name = new;
                }
            }
            Entry::SendOnce { port, request } => {
                let mut state = port.state.lock();
                if let Some(request) = request.and_then(|place| state.requests.get_mut(place)) {
                    request.name = new;
                }
            }
            Entry::Set(set) => set.state.lock().name = new,
            Entry::Dead { .. } => {}
        }
        self.table.insert_at(new, entry);
    }
}
