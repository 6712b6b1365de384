//! Memory that its owner gives away, or that nobody sees any more.
//!
//! Pages that only one map shows change hands with their object; a part of an object is taken out of it, leaf by leaf. What somebody else sees too is
//! copied instead (`copy.rs`). Who sees what is told by an object's uses: entries of maps, and segments of copies.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Code;
use abi::vm::{PAGE_SIZE, Protection};
use frames::Frame;

use crate::copy::{Copy, Segment};
use crate::entry::Entry;
use crate::frame_table::Owner;
use crate::leaf::LEAF_PAGES;
use crate::map::{Map, MapInner};
use crate::object::{Object, ObjectRef};
use crate::page::Page;
use crate::range::PageRange;
use crate::{NoMemory, Pmap, Vm};

/// Entries that one call looks at to tell who else sees its pages. After that it supposes that somebody does.
const LOOKS: usize = 1 << 16;

/// How an entry's memory leaves its map.
enum Way {
    /// With its object, if it has one.
    Whole,
    /// As a part of its object, which stays.
    Part,
    /// As this copy: others see it.
    Copied(ObjectRef),
}

impl<P: Pmap> Vm<P> {
    /// Moves a range out of a map.
    pub fn move_in(&self, map: &Map<P>, range: PageRange) -> Result<Copy, Code> {
        let mut inner = map.lock();
        inner.check_covered(range)?;
        if inner.overlapping(range).any(|(_, entry)| !entry.protection.contains(Protection::READ)) {
            return Err(Code::PROTECTION_FAILURE);
        }
        let entries = inner.overlapping(range).count();
        let (mut segments, mut ways) = (Vec::new(), Vec::new());
        segments.try_reserve(entries).map_err(|_| Code::RESOURCE_SHORTAGE)?;
        ways.try_reserve(entries).map_err(|_| Code::RESOURCE_SHORTAGE)?;
        let mut looks = LOOKS;
        for (start, entry) in inner.overlapping(range) {
            ways.push(self.way_out(&inner, start, entry, range, &mut looks)?);
        }
        inner.clip(range);
        self.remove_translations(map, range);
        let mut removed = inner.remove(range);
        for (way, (start, entry)) in ways.into_iter().zip(&mut removed) {
            let (offset, bytes) = (entry.offset, entry.end - start);
            let object = match way {
                Way::Copied(copy) => copy,
                Way::Whole => entry.object.take().unwrap_or_else(|| Object::anonymous(self.core)),
                Way::Part => self.extract(entry.object_or_new(self.core), offset / PAGE_SIZE, (offset + bytes) / PAGE_SIZE),
            };
            segments.push(Segment { object, offset, bytes });
        }
        self.drop_entries(&inner, removed);
        Ok(Copy { segments })
    }

    /// Decides how what an entry shows in `range` leaves, and copies it if it must be copied.
    fn way_out(&self, inner: &MapInner, start: u64, entry: &Entry, range: PageRange, looks: &mut usize) -> Result<Way, NoMemory> {
        let Some(object) = entry.object.as_ref().filter(|object| !object.is_device()) else { return Ok(Way::Whole) };
        let (from, to) = (start.max(range.start()), entry.end.min(range.end()));
        let offset = entry.offset + (from - start);
        let (first, end) = (offset / PAGE_SIZE, (offset + (to - from)) / PAGE_SIZE);
        if object.pager_id().is_none() {
            if object.is_exclusive() {
                return Ok(if to - from == entry.end - start { Way::Whole } else { Way::Part });
            }
            let is_inside = |at: u64, entry: &Entry| range.start() <= at && entry.end <= range.end();
            if let Some(uses) = inner.uses(object, looks, Some(start), is_inside).filter(|uses| uses.all == object.users()) {
                // Pages that are shown twice would go on being the same memory.
                if !uses.shows(first, end) {
                    return Ok(if uses.inside == uses.all { Way::Whole } else { Way::Part });
                }
            }
        }
        let copy = self.snapshot(object, first, end)?;
        self.write_protect_object(object, first, end);
        Ok(Way::Copied(copy))
    }

    /// Entries that are in no map any more: pages that nobody else sees are freed.
    pub(crate) fn drop_entries(&self, inner: &MapInner, mut removed: BTreeMap<u64, Entry>) {
        let mut looks = LOOKS;
        while let Some((start, entry)) = removed.pop_first() {
            let Some(object) = entry.object.as_ref().filter(|object| object.pager_id().is_none() && !object.is_device()) else { continue };
            // What only this entry used goes with it. What only this map uses, elsewhere, keeps the rest.
            if object.is_exclusive() {
                continue;
            }
            let Some(uses) = inner.uses(object, &mut looks, None, |_, _| false) else { continue };
            looks = looks.saturating_sub(removed.len());
            let gone = removed.values().filter(|entry| entry.is_of(object)).count() as u32 + 1;
            let (first, end) = entry.pages_from(start);
            if object.users() == uses.all + gone && !uses.shows(first, end) {
                self.drop_pages(object, first, end);
            }
        }
    }

    /// The frame of a resident page that shall leave its object for another: only if nobody else shares, maps or wires it, and nobody but
    /// `data` can look for it.
    pub(crate) fn take_page(&self, data: &Copy, object: &Arc<Object>, page: u64) -> Option<Frame> {
        if object.pager_id().is_some() || object.users() != data.uses_of(object) {
            return None;
        }
        let inner = object.lock();
        let leaf = Arc::clone(inner.leaf_if_any(page)?.arc());
        leaf.with((page % LEAF_PAGES as u64) as usize, |cell| match cell.page {
            Page::Resident { frame, .. } if cell.exclusive && !self.frames.is_mapped(frame.number()) => {
                let frame = cell.page.take_frame()?;
                self.frames.adopt(&frame, Owner::None);
                Some(frame)
            }
            _ => None,
        })
    }

    /// Takes the pages of a range out of an object that nobody else sees, into one of their own. They keep their numbers.
    fn extract(&self, object: &ObjectRef, first: u64, end: u64) -> ObjectRef {
        let part = Object::anonymous(self.core);
        let mut inner = object.lock();
        let mut into = part.lock();
        into.source.clone_from(&inner.source);
        if let Some(source) = &into.source {
            source.object.lock().copies.push(Arc::downgrade(part.arc()));
        }
        let mut leaves = inner.take_leaves(first, end);
        for (number, from, to) in edges(first, end) {
            if inner.leaf_if_any(number * LEAF_PAGES as u64).is_none() {
                continue;
            }
            let rest = self.own_leaf(&mut inner, number * LEAF_PAGES as u64);
            let taken = rest.split(|frame, owner| self.frames.adopt(frame, owner));
            for at in 0..LEAF_PAGES {
                let emptied = if (from..to).contains(&at) { &*rest } else { &taken };
                let (page, shared) = emptied.lock().replace(at, Page::Empty);
                debug_assert!(page.frame().is_none(), "the pages of a split leaf are shared ones");
                drop(shared);
            }
            leaves.insert(number, taken);
        }
        into.set_leaves(leaves);
        drop(into);
        drop(inner);
        part
    }

    /// Frees the pages of a range of an object that nobody else sees.
    fn drop_pages(&self, object: &ObjectRef, first: u64, end: u64) {
        let mut inner = object.lock();
        drop(inner.take_leaves(first, end));
        for (number, from, to) in edges(first, end) {
            if inner.leaf_if_any(number * LEAF_PAGES as u64).is_none() {
                continue;
            }
            let leaf = Arc::clone(self.own_leaf(&mut inner, number * LEAF_PAGES as u64).arc());
            for at in from..to {
                let (mut page, shared) = leaf.lock().replace(at, Page::Empty);
                page.discard(self.core);
                drop(shared);
            }
        }
    }
}

/// Who shows an object in a map.
struct Uses {
    all: u32,
    /// Those inside a range of interest.
    inside: u32,
    /// The pages that each shows.
    shown: Vec<(u64, u64)>,
}

impl Uses {
    /// Whether any page of a range is shown.
    fn shows(&self, first: u64, end: u64) -> bool {
        self.shown.iter().any(|(from, to)| *from < end && first < *to)
    }
}

impl MapInner {
    /// The entries that show an object; what the one at `asking` shows is left out. None if there are more than may be looked at.
    fn uses(&self, object: &ObjectRef, looks: &mut usize, asking: Option<u64>, is_inside: impl Fn(u64, &Entry) -> bool) -> Option<Uses> {
        *looks = looks.checked_sub(self.entries().len())?;
        let mut uses = Uses { all: 0, inside: 0, shown: Vec::new() };
        for (start, entry) in self.entries().iter().filter(|(_, entry)| entry.is_of(object)) {
            uses.all += 1;
            uses.inside += u32::from(is_inside(*start, entry));
            if asking != Some(*start) {
                crate::push(&mut uses.shown, entry.pages_from(*start)).ok()?;
            }
        }
        Some(uses)
    }
}

/// The leaves that a range covers in part: number, first slot, end.
fn edges(first: u64, end: u64) -> impl Iterator<Item = (u64, usize, usize)> {
    let leaf = LEAF_PAGES as u64;
    let head =
        (!first.is_multiple_of(leaf)).then(|| (first / leaf, (first % leaf) as usize, (end - first / leaf * leaf).min(leaf) as usize));
    let tail_is_head = head.is_some() && first / leaf == end / leaf;
    let tail = (!end.is_multiple_of(leaf) && !tail_is_head).then(|| (end / leaf, 0, (end % leaf) as usize));
    head.into_iter().chain(tail)
}
