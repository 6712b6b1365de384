//! The pages of 2 MiB of an export. All changes to them happen under the lock its [`super::table::Table`] keeps it in.
//!
//! A page is kept as it is, or packed (compressed). Whatever changes a page unpacks it; only the sweep packs, in two steps,
//! so that no lock is held while it compresses: it claims a page and copies it, and later installs the packed one if the
//! claim still stands. Every change of a page ends the claim on it.

use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use super::arena::Arena;
use super::frames::{FRAME_GRANULES, GRANULE_BYTES, PAGE_BYTES, Slot};
use super::ledger::Ledger;
use super::packed::{Damaged, unpack};
use crate::State;
use crate::error::StoreError;
use crate::zero::is_zero;

/// Pages in a leaf.
pub(super) const LEAF_PAGES: usize = 512;
/// Bytes of an export that a leaf covers.
pub(super) const LEAF_BYTES: usize = LEAF_PAGES * PAGE_BYTES;

/// Read or written since the sweep last looked.
const TOUCHED: u8 = 1;
/// The client asked for the space, so zeroes do not give it up, and it is never packed.
const RESERVED: u8 = 1 << 1;
/// The sweep compresses a copy of it.
const CLAIMED: u8 = 1 << 2;
/// Does not become much smaller.
const DENSE: u8 = 1 << 3;

/// Why a leaf could not do what it was asked.
#[derive(Debug)]
pub(super) enum LeafError {
    Store(StoreError),
    /// The page of this index.
    Damaged(usize),
}

impl From<StoreError> for LeafError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// An array of pages, and how many of them are kept. A page that is not kept is zeroes.
#[derive(Debug)]
pub(super) struct Leaf {
    pages: [Option<Slot>; LEAF_PAGES],
    kept: usize,
}

/// What a leaf needs from outside to keep or give up a page.
#[derive(Clone, Copy)]
pub(super) struct Memory<'a> {
    pub(super) arena: &'a Arena,
    pub(super) ledger: &'a Ledger,
}

impl Memory<'_> {
    fn take(self, granules: usize) -> Result<Slot, StoreError> {
        let cost = (granules * GRANULE_BYTES) as u64;
        self.ledger.charge(cost)?;
        let slot = self.arena.take(granules).inspect_err(|_| self.ledger.refund(cost))?;
        self.ledger.add(&slot);
        Ok(slot)
    }

    fn give_back(self, slot: &Slot) {
        if slot.marks.load(Relaxed) & RESERVED != 0 {
            self.ledger.reserve(false);
        }
        self.arena.give_back(slot);
        self.ledger.remove(slot);
    }
}

/// Copies the content of a slot, whichever way it is kept.
fn content(slot: &Slot, arena: &Arena, page: &mut [u8; PAGE_BYTES]) -> Result<(), Damaged> {
    if slot.granules() == FRAME_GRANULES {
        arena.read(slot, |bytes| page.copy_from_slice(bytes));
        return Ok(());
    }
    // Copied out first: decompressing takes longer than a slab may be locked.
    let mut packed = [0; PAGE_BYTES];
    let packed = &mut packed[..slot.bytes()];
    arena.read(slot, |bytes| packed.copy_from_slice(bytes));
    unpack(packed, page)
}

impl Leaf {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self { pages: [const { None }; LEAF_PAGES], kept: 0 })
    }

    /// Whether no page is kept, so that the leaf is not needed.
    pub(super) const fn is_empty(&self) -> bool {
        self.kept == 0
    }

    /// Shows page `index`; nothing, if it is zeroes.
    pub(super) fn read<R>(&self, index: usize, arena: &Arena, with: impl FnOnce(Option<&[u8]>) -> R) -> Result<R, LeafError> {
        let Some(slot) = &self.pages[index] else { return Ok(with(None)) };
        if slot.marks.load(Relaxed) & TOUCHED == 0 {
            slot.marks.fetch_or(TOUCHED, Relaxed);
        }
        if slot.granules() == FRAME_GRANULES {
            return Ok(arena.read(slot, |bytes| with(Some(bytes))));
        }
        let mut page = [0; PAGE_BYTES];
        content(slot, arena, &mut page).map_err(|Damaged| LeafError::Damaged(index))?;
        Ok(with(Some(&page)))
    }

    /// Copies into page `index`, beginning `start` bytes into it. A page that becomes all zeroes is given up.
    pub(super) fn write(&mut self, index: usize, start: usize, data: &[u8], memory: Memory<'_>) -> Result<(), LeafError> {
        let zero = is_zero(data);
        if self.pages[index].is_none() && zero {
            return Ok(());
        }
        self.change(index, start..start + data.len(), zero, memory, |bytes| bytes.copy_from_slice(data))
    }

    /// Zeroes part of page `index`, and gives the page up if nothing else is in it.
    pub(super) fn zero(&mut self, index: usize, start: usize, length: usize, memory: Memory<'_>) -> Result<(), LeafError> {
        if self.pages[index].is_none() {
            return Ok(());
        }
        if length == PAGE_BYTES {
            self.give_up(index, memory);
            return Ok(());
        }
        self.change(index, start..start + length, true, memory, |bytes| bytes.fill(0))
    }

    /// Zeroes part of page `index` and makes sure that the page can be written to.
    pub(super) fn reserve(&mut self, index: usize, start: usize, length: usize, memory: Memory<'_>) -> Result<(), LeafError> {
        self.change(index, start..start + length, false, memory, |bytes| bytes.fill(0))?;
        if let Some(slot) = &self.pages[index]
            && slot.marks.fetch_or(RESERVED, Relaxed) & RESERVED == 0
        {
            memory.ledger.reserve(true);
        }
        Ok(())
    }

    /// Changes `range` of page `index`, which then is kept as it is; or given up, if `to_zero` says that the change makes
    /// zeroes, nothing else is left, and it is not reserved.
    fn change(
        &mut self,
        index: usize,
        range: Range<usize>,
        to_zero: bool,
        memory: Memory<'_>,
        with: impl FnOnce(&mut [u8]),
    ) -> Result<(), LeafError> {
        let whole = range.len() == PAGE_BYTES;
        match &mut self.pages[index] {
            Some(slot) if slot.granules() == FRAME_GRANULES => {
                let marks = slot.marks.get_mut();
                *marks = *marks & RESERVED | TOUCHED;
                let may_give_up = to_zero && *marks & RESERVED == 0;
                let now_zero = memory.arena.write(slot, |bytes| {
                    with(&mut bytes[range]);
                    may_give_up && is_zero(bytes)
                });
                if now_zero {
                    self.give_up(index, memory);
                }
                Ok(())
            }
            Some(packed) if !whole => {
                let mut page = [0; PAGE_BYTES];
                content(packed, memory.arena, &mut page).map_err(|Damaged| LeafError::Damaged(index))?;
                with(&mut page[range]);
                let zero = to_zero && is_zero(&page);
                self.put(index, zero, memory, |bytes| bytes.copy_from_slice(&page))
            }
            _ => self.put(index, to_zero, memory, |bytes| {
                if !whole {
                    bytes.fill(0);
                }
                with(&mut bytes[range]);
            }),
        }
    }

    /// Keeps page `index` in a new slot, all of which `with` fills, since it still shows what someone else kept there; or
    /// gives the page up, if it is zero. What was kept before is let go only when nothing can fail any more.
    fn put(&mut self, index: usize, zero: bool, memory: Memory<'_>, with: impl FnOnce(&mut [u8])) -> Result<(), LeafError> {
        let slot = if zero { None } else { Some(memory.take(FRAME_GRANULES)?) };
        if let Some(slot) = &slot {
            memory.arena.write(slot, with);
            slot.marks.store(TOUCHED, Relaxed);
        }
        self.give_up(index, memory);
        if slot.is_some() {
            self.pages[index] = slot;
            self.kept += 1;
        }
        Ok(())
    }

    /// Claims page `index` for packing, and copies it, if it is worth trying: a page that was touched since it was last
    /// asked for is not, if `heed_touch`.
    pub(super) fn claim(&mut self, index: usize, heed_touch: bool, arena: &Arena, page: &mut [u8; PAGE_BYTES]) -> bool {
        let Some(slot) = &mut self.pages[index] else { return false };
        let packed = slot.granules() != FRAME_GRANULES;
        let marks = slot.marks.get_mut();
        let touched = *marks & TOUCHED != 0;
        *marks &= !TOUCHED;
        if packed || touched && heed_touch || *marks & (RESERVED | DENSE) != 0 {
            return false;
        }
        *marks |= CLAIMED;
        arena.read(slot, |bytes| page.copy_from_slice(bytes));
        true
    }

    /// Ends the claim on page `index` with what its copy became: packed, or (`None`) not worth it. Says how many bytes were
    /// saved: none, if the page was changed in the meantime or there is no room to be had for what is packed.
    pub(super) fn install(&mut self, index: usize, packed: Option<&[u8]>, memory: Memory<'_>) -> usize {
        let Some(slot) = self.pages[index].as_mut() else { return 0 };
        let marks = slot.marks.get_mut();
        if *marks & CLAIMED == 0 {
            return 0;
        }
        *marks &= !CLAIMED;
        let Some(packed) = packed else {
            *marks |= DENSE;
            return 0;
        };
        // Not through the ledger: a page becomes smaller, so an export at its quota must be able to do this.
        let Ok(new) = memory.arena.take(packed.len() / GRANULE_BYTES) else { return 0 };
        memory.arena.write(&new, |bytes| bytes.copy_from_slice(packed));
        self.replace(index, new, memory);
        PAGE_BYTES - packed.len()
    }

    /// Moves packed page `index` to a frame that is fuller, if there is one, so that the one it is in becomes empty.
    pub(super) fn tighten(&mut self, index: usize, memory: Memory<'_>) {
        let Some(old) = self.pages[index].as_ref().filter(|slot| slot.granules() != FRAME_GRANULES) else { return };
        if let Some(new) = memory.arena.copy_to_fuller(old) {
            self.replace(index, new, memory);
        }
    }

    /// Puts a slot that is no larger, and not yet charged for, in the place of page `index`.
    fn replace(&mut self, index: usize, new: Slot, memory: Memory<'_>) {
        let Some(old) = &mut self.pages[index] else { return memory.arena.give_back(&new) };
        memory.ledger.shrink(old, &new);
        memory.arena.give_back(&std::mem::replace(old, new));
    }

    /// Gives up every page.
    pub(super) fn clear(&mut self, memory: Memory<'_>) {
        (0..LEAF_PAGES).for_each(|index| self.give_up(index, memory));
    }

    /// Where page `index` is kept.
    pub(super) fn state(&self, index: usize) -> State {
        let Some(slot) = &self.pages[index] else { return State::empty() };
        let kept = if slot.granules() == FRAME_GRANULES { State::RESIDENT } else { State::COMPRESSED };
        let reserved = slot.marks.load(Relaxed) & RESERVED != 0;
        if reserved { kept | State::RESERVED } else { kept }
    }

    fn give_up(&mut self, index: usize, memory: Memory<'_>) {
        if let Some(slot) = self.pages[index].take() {
            self.kept -= 1;
            memory.give_back(&slot);
        }
    }

    /// Says whether the count is right; returns what the pages cost.
    #[cfg(test)]
    pub(super) fn check(&self) -> usize {
        assert_eq!(self.pages.iter().flatten().count(), self.kept);
        self.pages.iter().flatten().map(Slot::bytes).sum()
    }

    /// Damages a packed page.
    #[cfg(test)]
    pub(super) fn flip_bit(&self, index: usize, arena: &Arena, bit: usize) {
        let slot = self.pages[index].as_ref().filter(|slot| slot.granules() != FRAME_GRANULES).expect("a packed page");
        arena.write(slot, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
    }
}
