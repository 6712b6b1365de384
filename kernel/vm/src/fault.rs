//! Missed: map entry, object, no page (page's life, step 3: Missed).
//!
//! The fault engine. It looks a page up, does at once what can be done at once (enter, zero, copy), and otherwise says what the caller must do:
//! ask the pager (`ask.rs`), wait, find memory, or tell the thread. Whoever woke up comes here again; nothing is remembered between. What is
//! done with a page that was found is `want.rs`'s.

use alloc::sync::Arc;

use abi::Code;
use abi::vm::{PAGE_SIZE, Protection};
use frames::{Frame, FrameNumber, Purpose};

use crate::ask::Absent;
use crate::core_state::Counter;
use crate::entry::Entry;
use crate::frame_table::Owner;
use crate::leaf::{Cell, LEAF_PAGES, Leaf, LeafRef};
use crate::map::Map;
use crate::object::{Inner, Kind, Object, PagerId};
use crate::page::Page;
use crate::source::NotPushed;
use crate::want::{Slot, Target, Want};
use crate::{Pmap, Vm};

/// What an access tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
    Execute,
}

impl Access {
    /// The right that it needs.
    #[must_use]
    pub const fn needs(self) -> Protection {
        match self {
            Self::Read => Protection::READ,
            Self::Write => Protection::WRITE,
            Self::Execute => Protection::EXECUTE,
        }
    }
}

/// A request to a pager: these pages are marked as requested, and must be answered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    pub pager: PagerId,
    /// The first page's number at the pager.
    pub first: u64,
    pub pages: u32,
    pub write: bool,
    /// What the thread waits for after it has asked.
    pub key: u64,
}

/// What the caller must do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: the page is there.
    Done,
    /// Come back at once: a lock was busy.
    Again,
    /// Wait until this key is woken, then come back.
    Wait(u64),
    /// Ask the pager, then wait for the key.
    Ask(Ask),
    /// Wait for memory.
    Shortage,
    /// It can't be: the thread gets an exception.
    Refuse(Code),
}

/// Which page is needed, and how.
#[derive(Clone, Copy)]
pub(crate) struct Need {
    pub(crate) page: u64,
    pub(crate) write: bool,
    /// Pages from this one on that may be asked for with it.
    pub(crate) reach: u64,
    pub(crate) purpose: Purpose,
}

impl Need {
    /// A page to be read, by nobody in particular.
    pub(crate) const fn to_read(page: u64, purpose: Purpose) -> Self {
        Self { page, write: false, reach: 1, purpose }
    }

    const fn slot(&self) -> usize {
        (self.page % LEAF_PAGES as u64) as usize
    }
}

/// What a look at a page says.
enum Found {
    Enter {
        frame: FrameNumber,
        writable: bool,
    },
    /// It is shared with another copy and shall be written.
    Copy,
    /// There is nothing yet.
    Missing,
    /// Its pager has it.
    AtPager,
    /// It was about to go to its pager, and doesn't go now.
    Unsent {
        frame: FrameNumber,
    },
    Wait(u64),
    Refuse(Code),
}

/// How a copy of a page's bytes went.
enum Copied {
    Done,
    /// It isn't resident.
    Absent,
    /// Its frame is being written out.
    Wait(u64),
}

impl<P: Pmap> Vm<P> {
    /// A thread's access to `address` failed.
    pub fn fault(&self, map: &Map<P>, address: u64, access: Access) -> Outcome {
        self.core.count(Counter::Faults, 1);
        let address = address & !(PAGE_SIZE - 1);
        let mut inner = map.lock();
        let purpose = inner.purpose();
        let Some((start, entry)) = inner.entry_at(address) else { return Outcome::Refuse(Code::INVALID_ADDRESS) };
        if !entry.protection.contains(access.needs()) {
            return Outcome::Refuse(Code::PROTECTION_FAILURE);
        }
        self.fault_entry(map, start, entry, address, access, purpose)
    }

    /// Makes a page of an entry resident and enters it.
    pub(crate) fn fault_entry(
        &self,
        map: &Map<P>,
        start: u64,
        entry: &mut Entry,
        address: u64,
        access: Access,
        purpose: Purpose,
    ) -> Outcome {
        let reach = (entry.end - address) / PAGE_SIZE;
        let target = Target {
            pmap: map.pmap(),
            address,
            protection: Self::never_both(entry.protection, access),
            wired: entry.wired > 0,
            following: reach - 1,
        };
        let need = Need { page: (entry.offset + (address - start)) / PAGE_SIZE, write: access == Access::Write, reach, purpose };
        let object = entry.object_or_new(self.core);
        self.resolve(object.arc(), need, &mut Want::Map(&target))
    }

    /// A page is writable or executable, never both: where an entry allows both, the last access decides, and the next of the other kind faults.
    fn never_both(protection: Protection, access: Access) -> Protection {
        match (protection.contains(Protection::WRITE.union(Protection::EXECUTE)), access) {
            (false, _) => protection,
            (true, Access::Execute) => protection.difference(Protection::WRITE),
            (true, _) => protection.difference(Protection::EXECUTE),
        }
    }

    /// Makes a page of an object resident, ready to be written if asked, and does with it what is wanted.
    pub(crate) fn resolve(&self, object: &Arc<Object>, need: Need, want: &mut Want<'_, P>) -> Outcome {
        if let Kind::Device { first, pages } = object.kind() {
            return Self::enter_device(*first, *pages, need.page, want);
        }
        let mut inner = object.lock();
        // A source is locked before any leaf.
        let source = inner.source.as_ref().filter(|source| source.covers(need.page)).cloned();
        let from = source.as_ref().and_then(|source| source.object.existing_leaf(need.page));
        let at = need.slot();
        let leaf = match need.write {
            true => Arc::clone(self.own_leaf(&mut inner, need.page).arc()),
            false => Arc::clone(inner.leaf(self.core, need.page).arc()),
        };
        let is_resident = |cell: Cell<'_>| cell.page.frame().is_some();
        let is_pushed = need.write && !inner.copies.is_empty() && leaf.with(at, is_resident);
        if is_pushed && let Err(NotPushed(outcome)) = self.push(&mut inner, need.page) {
            return outcome;
        }
        let mut slot = Slot { leaf: &leaf, locked: leaf.lock(), at, is_copied: !inner.copies.is_empty(), is_private: object.users() == 1 };
        // It may have come in since: then the copies lack it.
        if need.write && !is_pushed && slot.is_copied && slot.with(is_resident) {
            return Outcome::Again;
        }
        match slot.with(|cell| look(cell, need.write)) {
            Found::Enter { frame, writable } => {
                // Copies may lack a page that is only read now: its writer comes back to push it.
                let writable = writable && (need.write || !slot.is_copied);
                self.deliver(&mut slot, frame, writable, want)
            }
            Found::Unsent { frame } => {
                self.core.add_returning(-1);
                self.deliver(&mut slot, frame, true, want)
            }
            Found::Copy => self.copy_page(&mut slot, want, need.purpose),
            Found::AtPager => self.ask(object, &mut inner, slot, need, Absent::Paged),
            Found::Wait(key) => Outcome::Wait(key),
            Found::Refuse(code) => Outcome::Refuse(code),
            Found::Missing => match (object.kind(), source) {
                (Kind::Pager(_), _) => self.ask(object, &mut inner, slot, need, Absent::Never),
                (_, Some(source)) => {
                    if let Some(outcome) = from.and_then(|from| self.use_source(&from, &mut slot, need, want)) {
                        return outcome;
                    }
                    drop(slot);
                    drop(inner);
                    let need = Need { write: false, reach: need.reach.min(source.end - need.page), ..need };
                    match self.resolve(source.object.arc(), need, &mut Want::Bytes(&mut |_, _| ())) {
                        Outcome::Done => Outcome::Again,
                        other => other,
                    }
                }
                _ => self.zero_fill(&mut slot, need, want),
            },
        }
    }

    /// The leaf of a page, split from its copies so that its pages can be written.
    pub(crate) fn own_leaf<'a>(&self, inner: &'a mut Inner, page: u64) -> &'a mut LeafRef {
        let leaf = inner.leaf(self.core, page);
        if !leaf.is_exclusive() {
            *leaf = leaf.split(|frame, owner| self.frames.adopt(frame, owner));
        }
        leaf
    }

    fn zero_fill(&self, slot: &mut Slot<'_>, need: Need, want: &mut Want<'_, P>) -> Outcome {
        let Some(frame) = self.core.pool().allocate(need.purpose) else { return Outcome::Shortage };
        self.core.pool().zero(&frame);
        self.core.count(Counter::ZeroFills, 1);
        self.place(slot, frame, need.write, want)
    }

    /// Puts a frame of the leaf's own in a slot that is empty or shared, and delivers it.
    fn place(&self, slot: &mut Slot<'_>, frame: Frame, dirty: bool, want: &mut Want<'_, P>) -> Outcome {
        self.frames.adopt(&frame, Owner::Leaf(Arc::downgrade(slot.leaf)));
        let number = frame.number();
        drop(slot.locked.replace(slot.at, Page::Resident { frame, dirty, kept: false }));
        self.deliver(slot, number, dirty, want)
    }

    /// A write to a page that another copy shares.
    fn copy_page(&self, slot: &mut Slot<'_>, want: &mut Want<'_, P>, purpose: Purpose) -> Outcome {
        let Some(frame) = self.core.pool().allocate(purpose) else { return Outcome::Shortage };
        let is_private = slot.is_private;
        let copied = slot.with(|cell| self.copy_out_of(&cell, &frame, is_private, want));
        self.place_copy(slot, frame, copied, want).unwrap_or(Outcome::Again)
    }

    fn place_copy(&self, slot: &mut Slot<'_>, frame: Frame, copied: Copied, want: &mut Want<'_, P>) -> Option<Outcome> {
        if let Copied::Done = copied {
            self.core.count(Counter::CopyFaults, 1);
            return Some(self.place(slot, frame, true, want));
        }
        self.core.pool().free(frame);
        match copied {
            Copied::Wait(key) => Some(Outcome::Wait(key)),
            _ => None,
        }
    }

    /// Copies a page that shall be left behind, and first takes it away from whoever maps it, so that no write is missed: they come back and
    /// find the right one. Wired translations are left to those who keep the page: an object with one user has only the one that is
    /// replaced now.
    fn copy_out_of(&self, cell: &Cell<'_>, to: &Frame, is_private: bool, want: &Want<'_, P>) -> Copied {
        match (&*cell.page, want) {
            (Page::Cleaning { .. }, _) => return Copied::Wait(cell.key),
            (Page::Resident { frame, .. } | Page::Returning { frame, .. }, Want::Map(target)) if is_private => {
                self.frames.leave(frame.number(), target.pmap, target.address);
                self.core.pool().copy(frame, to);
            }
            (Page::Resident { frame, .. } | Page::Returning { frame, .. }, _) => {
                self.frames.unmap(frame.number());
                self.core.pool().copy(frame, to);
            }
            _ => return Copied::Absent,
        }
        Copied::Done
    }

    /// A page that a copy hasn't got: the source's is used to be read, or copied to be written. None if the source must be asked first.
    fn use_source(&self, from: &Arc<Leaf>, slot: &mut Slot<'_>, need: Need, want: &mut Want<'_, P>) -> Option<Outcome> {
        if !need.write {
            return from.with(slot.at, |cell| self.lend(cell, want));
        }
        let Some(frame) = self.core.pool().allocate(need.purpose) else { return Some(Outcome::Shortage) };
        let copied = from.with(slot.at, |cell| self.copy_out_of(&cell, &frame, slot.is_private, want));
        self.place_copy(slot, frame, copied, want)
    }
}

/// What an access does to a page.
fn look(cell: Cell<'_>, write: bool) -> Found {
    match cell.page {
        Page::Empty => Found::Missing,
        Page::Paged => Found::AtPager,
        Page::Requested { .. } | Page::Filling { .. } | Page::Leaving | Page::Shared => Found::Wait(cell.key),
        Page::Failed { code, known } => {
            let code = *code;
            *cell.page = Page::absent(*known);
            Found::Refuse(code)
        }
        Page::Lost { code } => Found::Refuse(*code),
        Page::Cleaning { .. } if write => Found::Wait(cell.key),
        Page::Cleaning { frame } => Found::Enter { frame: *frame, writable: false },
        Page::Resident { .. } | Page::Returning { .. } if write && !cell.exclusive => Found::Copy,
        Page::Resident { frame, dirty, kept } => {
            *dirty |= write;
            *kept &= !write;
            Found::Enter { frame: frame.number(), writable: *dirty && cell.exclusive }
        }
        Page::Returning { .. } if write => {
            let Page::Returning { frame, .. } = core::mem::take(cell.page) else { return Found::Missing };
            let number = frame.number();
            *cell.page = Page::Resident { frame, dirty: true, kept: false };
            Found::Unsent { frame: number }
        }
        Page::Returning { frame, .. } => Found::Enter { frame: frame.number(), writable: false },
    }
}
