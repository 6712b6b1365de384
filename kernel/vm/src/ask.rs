//! Which pages a miss asks a pager for: the one that was missed, and as many after it as its object's reader seems to want.

use alloc::sync::Arc;

use abi::Code;

use crate::core_state::Counter;
use crate::fault::{Ask, Need, Outcome};
use crate::home::Home;
use crate::leaf::{LEAF_PAGES, Leaf, LeafInner};
use crate::object::{Inner, Kind, Object, Pager, PagerId};
use crate::page::Page;
use crate::want::Slot;
use crate::{Pmap, Vm};

/// Why a page isn't in RAM.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    /// It was never asked for.
    Never,
    /// Its pager has it.
    Paged,
}

impl<P: Pmap> Vm<P> {
    /// Marks a run of absent pages as requested.
    pub(crate) fn ask(&self, object: &Arc<Object>, inner: &mut Inner, mut slot: Slot<'_>, need: Need, why: Absent) -> Outcome {
        let (home, pager, policy) = match object.kind() {
            Kind::Pager(id) => match object.pager() {
                // What the default pager adopted is there; what only the dead pager had is lost.
                Pager { dead: Some(code), .. } if why == Absent::Never => return Outcome::Refuse(code),
                Pager { dead: Some(_), .. } => (Home::Swap, PagerId::DEFAULT, self.core.default_policy()),
                Pager { ready: false, .. } => return Outcome::Wait(object.ready_key()),
                Pager { policy, .. } => (Home::Object(Arc::clone(object)), *id, Some(policy)),
            },
            _ => (Home::Swap, PagerId::DEFAULT, self.core.default_policy()),
        };
        let Some(policy) = policy else { return Outcome::Refuse(Code::MEMORY_FAILURE) };
        let is_swap = matches!(home, Home::Swap);
        let Some(first) = (if is_swap { slot.locked.home(slot.at) } else { Some(need.page) }) else {
            return Outcome::Refuse(Code::MEMORY_FAILURE);
        };
        let spare = u32::try_from(self.core.pool().available() / 4).unwrap_or(u32::MAX);
        let reach = u32::try_from(need.reach).unwrap_or(u32::MAX);
        let window = inner.read_ahead(need.page, policy.run_pages.min(spare).min(reach));
        let mut pages = match is_swap {
            true => self.request_from_swap(&mut slot, first, window),
            false => request(slot.leaf, &mut slot.locked, slot.at, window),
        };
        drop(slot);
        while !is_swap && pages < window && (need.page + u64::from(pages)).is_multiple_of(LEAF_PAGES as u64) {
            let leaf = Arc::clone(inner.leaf(self.core, need.page + u64::from(pages)).arc());
            let more = request(&leaf, &mut leaf.lock(), 0, window - pages);
            if more == 0 {
                break;
            }
            pages += more;
        }
        if pages == 0 {
            // A shared page that somebody else asked for just now.
            return Outcome::Again;
        }
        inner.expected = need.page + u64::from(pages);
        self.core.count(Counter::Requests, 1);
        self.core.count(Counter::PagesRequested, u64::from(pages));
        Outcome::Ask(Ask { pager, first, pages, write: need.write, key: home.key(first) })
    }

    /// Marks pages whose homes follow one another. Anonymous pages that were never touched are nowhere.
    fn request_from_swap(&self, slot: &mut Slot<'_>, first: u64, most: u32) -> u32 {
        let mut run = 0;
        while run < most && slot.at + (run as usize) < LEAF_PAGES {
            let (at, home) = (slot.at + run as usize, first + u64::from(run));
            if slot.locked.home(at) != Some(home) {
                break;
            }
            let marked = slot.leaf.with_locked(&mut slot.locked, at, |cell| {
                let is_there = matches!(cell.page, Page::Paged);
                if is_there {
                    *cell.page = Page::Requested { known: true };
                    self.core.swap.lock().asked(home);
                }
                is_there
            });
            if !marked {
                break;
            }
            run += 1;
        }
        run
    }
}

/// Marks absent pages of a pager's object from a slot on, as many as there are in a row; gives how many.
fn request(leaf: &Arc<Leaf>, locked: &mut LeafInner, at: usize, most: u32) -> u32 {
    let mut run = 0;
    while run < most && at + (run as usize) < LEAF_PAGES {
        let marked = leaf.with_locked(locked, at + run as usize, |cell| {
            let known = match cell.page {
                Page::Paged => true,
                Page::Empty => false,
                _ => return false,
            };
            *cell.page = Page::Requested { known };
            true
        });
        if !marked {
            break;
        }
        run += 1;
    }
    run
}

impl Inner {
    /// How many pages to ask for at a miss: twice as many as last time for a sequential reader, fewer for any other.
    fn read_ahead(&mut self, page: u64, most: u32) -> u32 {
        self.window = match page == self.expected {
            true => (self.window * 2).max(8),
            false => self.window / 4,
        };
        self.window = self.window.clamp(1, most.max(1));
        self.window
    }
}
