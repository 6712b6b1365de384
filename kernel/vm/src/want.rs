//! What is done with a page once it is found: it is entered in a map, or its bytes are used.
//!
//! Bytes are used under the page's own lock, by the look-up that found it (`fault.rs`): nothing can make the page a copy's, or send it home,
//! between the look and the use.

use alloc::sync::Arc;
use spin::MutexGuard;

use abi::Code;
use abi::vm::{PAGE_SIZE, Protection};
use frames::{Frame, FrameNumber, Pool};

use crate::fault::Outcome;
use crate::leaf::{Cell, LEAF_PAGES, Leaf, LeafInner};
use crate::page::Page;
use crate::{NoTables, Pmap, Vm};

/// Where a page shall be entered.
pub(crate) struct Target<'a, P> {
    pub(crate) pmap: &'a Arc<P>,
    pub(crate) address: u64,
    pub(crate) protection: Protection,
    pub(crate) wired: bool,
    /// Pages of the entry that follow this one.
    pub(crate) following: u64,
}

/// What a page is wanted for.
pub(crate) enum Want<'a, P> {
    /// To be entered in a map.
    Map(&'a Target<'a, P>),
    /// For its bytes: to be read, or written if the need says so.
    Bytes(&'a mut dyn FnMut(&Pool, &Frame)),
}

/// A page's place in a locked leaf.
pub(crate) struct Slot<'a> {
    pub(crate) leaf: &'a Arc<Leaf>,
    pub(crate) locked: MutexGuard<'a, LeafInner>,
    pub(crate) at: usize,
    /// Copies look here for pages that they don't have: a page is writable only after it was pushed to them.
    pub(crate) is_copied: bool,
    /// The object has one user.
    pub(crate) is_private: bool,
}

impl Slot<'_> {
    /// Works on the page.
    pub(crate) fn with<R>(&mut self, work: impl FnOnce(Cell<'_>) -> R) -> R {
        self.leaf.with_locked(&mut self.locked, self.at, work)
    }
}

/// Neighbours that are entered with a page, if they are there.
const AROUND: usize = 16;

impl<P: Pmap> Vm<P> {
    pub(crate) fn enter_device(first: FrameNumber, pages: u64, page: u64, want: &Want<'_, P>) -> Outcome {
        let Want::Map(target) = want else { return Outcome::Refuse(Code::MEMORY_ERROR) };
        if page >= pages {
            return Outcome::Refuse(Code::MEMORY_ERROR);
        }
        let protection = target.protection.difference(Protection::EXECUTE);
        match target.pmap.enter(target.address, FrameNumber(first.0 + page as u32), protection) {
            Ok(()) => Outcome::Done,
            Err(_) => Outcome::Shortage,
        }
    }

    /// Does with a resident page what is wanted. `writable` if it may be written from now on without another look.
    pub(crate) fn deliver(&self, slot: &mut Slot<'_>, frame: FrameNumber, writable: bool, want: &mut Want<'_, P>) -> Outcome {
        match want {
            Want::Bytes(work) => slot.with(|cell| self.use_bytes(cell, *work)).unwrap_or(Outcome::Again),
            Want::Map(target) => {
                if self.enter_one(frame, target.address, writable, target).is_err() {
                    return Outcome::Shortage;
                }
                if !target.wired {
                    self.enter_around(slot, target);
                }
                Outcome::Done
            }
        }
    }

    /// Likewise, for a page that belongs to somebody else: it is read, or entered to be read. None if it isn't resident.
    pub(crate) fn lend(&self, cell: Cell<'_>, want: &mut Want<'_, P>) -> Option<Outcome> {
        match want {
            Want::Bytes(work) => self.use_bytes(cell, *work),
            Want::Map(target) => Some(match self.enter_one(cell.page.frame()?, target.address, false, target) {
                Ok(()) => Outcome::Done,
                Err(NoTables) => Outcome::Shortage,
            }),
        }
    }

    fn use_bytes(&self, cell: Cell<'_>, work: &mut dyn FnMut(&Pool, &Frame)) -> Option<Outcome> {
        match cell.page {
            Page::Resident { frame, .. } | Page::Returning { frame, .. } => {
                work(self.core.pool(), frame);
                Some(Outcome::Done)
            }
            // The transfer has the frame.
            Page::Cleaning { .. } => Some(Outcome::Wait(cell.key)),
            _ => None,
        }
    }

    fn enter_one(&self, frame: FrameNumber, address: u64, writable: bool, target: &Target<'_, P>) -> Result<(), NoTables> {
        let protection = match writable {
            true => target.protection,
            false => target.protection.difference(Protection::WRITE),
        };
        self.frames.enter(frame, target.pmap, address, protection, target.wired)
    }

    /// A run arrives as a whole, and so is a copy read: what follows the page and isn't entered yet is entered with it.
    fn enter_around(&self, slot: &mut Slot<'_>, target: &Target<'_, P>) {
        let most = (AROUND.min(LEAF_PAGES - slot.at) as u64).min(target.following + 1) as usize;
        for next in 1..most {
            let is_copied = slot.is_copied;
            let address = target.address + next as u64 * PAGE_SIZE;
            let neighbour = slot.leaf.with_locked(&mut slot.locked, slot.at + next, |cell| match cell.page {
                Page::Resident { frame, dirty, .. } if !self.frames.is_entered(frame.number(), target.pmap, address) => {
                    let writable = *dirty && cell.exclusive && !is_copied;
                    Some(self.enter_one(frame.number(), address, writable, target))
                }
                _ => None,
            });
            if !matches!(neighbour, Some(Ok(()))) {
                return;
            }
        }
    }
}
