//! Memory in transit and copies: out-of-line data, vm_read, vm_write, vm_copy, and what a child inherits.
//!
//! A [`Copy`] holds objects, not bytes. Memory that the sender gives away is moved: its entry's object changes hands and no page is touched. Memory that
//! it keeps is shared page by page until somebody writes.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Code;
use abi::vm::{Inherit, PAGE_SIZE, Protection};
use frames::{Frame, Purpose};

use crate::entry::Entry;
use crate::fault::Outcome;
use crate::frame_table::Owner;
use crate::leaf::LEAF_PAGES;
use crate::map::{Map, Placement, Showing};
use crate::object::{Object, ObjectRef};
use crate::page::Page;
use crate::range::PageRange;
use crate::source::Source;
use crate::{NoMemory, Pmap, Vm, push};

/// A part of an object.
#[derive(Clone)]
pub struct Segment {
    pub object: ObjectRef,
    /// Byte offset, page aligned.
    pub offset: u64,
    /// Whole pages, in bytes.
    pub bytes: u64,
}

/// Memory that is in no map.
#[derive(Clone, Default)]
pub struct Copy {
    pub segments: Vec<Segment>,
}

impl Copy {
    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// The object and page number of the n-th page.
    #[must_use]
    pub fn page(&self, number: u64) -> Option<(&Arc<Object>, u64)> {
        let mut at = number * PAGE_SIZE;
        for segment in &self.segments {
            if at < segment.bytes {
                return Some((segment.object.arc(), (segment.offset + at) / PAGE_SIZE));
            }
            at -= segment.bytes;
        }
        None
    }

    /// New memory with these bytes, the rest of the last page zero.
    pub fn of_frames(core: &'static crate::Core, frames: Vec<Frame>) -> Result<Self, NoMemory> {
        let object = Object::anonymous(core);
        let pages = frames.len() as u64;
        {
            let mut inner = object.lock();
            for (number, frame) in frames.into_iter().enumerate() {
                let leaf = inner.leaf(core, number as u64);
                let _ = leaf.lock().replace(number % LEAF_PAGES, Page::Resident { frame, dirty: true, kept: false });
            }
        }
        let mut segments = Vec::new();
        push(&mut segments, Segment { object, offset: 0, bytes: pages * PAGE_SIZE })?;
        Ok(Self { segments })
    }
}

impl<P: Pmap> Vm<P> {
    /// Tells the frame table whose the frames of new memory are, so that they can be paged out.
    pub fn adopt_copy(&self, copy: &Copy) {
        for segment in &copy.segments {
            for (_, leaf) in segment.object.all_leaves() {
                for at in 0..LEAF_PAGES {
                    leaf.with(at, |cell| {
                        if let Page::Resident { frame, .. } = cell.page {
                            self.frames.adopt(frame, cell.owner);
                        }
                    });
                }
            }
        }
    }

    /// An object with the same contents from now on. Its pages have the same numbers.
    pub(crate) fn snapshot(&self, object: &ObjectRef, first: u64, end: u64) -> Result<ObjectRef, NoMemory> {
        let copy = Object::anonymous(self.core);
        let mut inner = object.lock();
        if object.pager_id().is_some() {
            inner.copies.try_reserve(1).map_err(|_| NoMemory)?;
            inner.copies.push(Arc::downgrade(copy.arc()));
            copy.lock().source = Some(Source { object: Arc::clone(object.arc()), first, end });
        } else {
            let mut into = copy.lock();
            into.set_leaves(inner.share_leaves(first, end));
            into.source.clone_from(&inner.source);
            if let Some(source) = &into.source {
                let mut from = source.object.lock();
                from.copies.try_reserve(1).map_err(|_| NoMemory)?;
                from.copies.push(Arc::downgrade(copy.arc()));
            }
        }
        Ok(copy)
    }

    /// Takes write access to an object's pages away from everybody, so that the next write is seen.
    fn write_protect_object(&self, object: &Object, first: u64, end: u64) {
        let leaves = object.lock().share_leaves(first, end);
        for leaf in leaves.into_values() {
            for at in 0..LEAF_PAGES {
                if let Some(frame) = leaf.arc().with(at, |cell| cell.page.frame()) {
                    self.frames.write_protect(frame);
                }
            }
        }
    }

    /// A snapshot of what an entry shows in `range`, which is inside it.
    fn copy_entry(&self, map: &Map<P>, start: u64, entry: &mut Entry, range: PageRange) -> Result<Segment, Code> {
        let offset = entry.offset + (range.start() - start);
        let object = entry.object_or_new(self.core).clone();
        if object.is_device() {
            return Ok(Segment { object, offset, bytes: range.bytes() });
        }
        let (first, end) = (offset / PAGE_SIZE, (offset + range.bytes()) / PAGE_SIZE);
        let copy = self.snapshot(&object, first, end)?;
        // Two uses: the entry's and ours.
        let is_private = entry.object.as_ref().is_some_and(|object| object.users() == 2);
        match is_private {
            true => map.pmap().restrict(range.start(), range.end(), Protection::READ.union(Protection::EXECUTE)),
            false => self.write_protect_object(&object, first, end),
        }
        Ok(Segment { object: copy, offset, bytes: range.bytes() })
    }

    /// Copies a range out of a map.
    pub fn copy_in(&self, map: &Map<P>, range: PageRange) -> Result<Copy, Code> {
        let mut inner = map.lock();
        inner.check_covered(range)?;
        if inner.overlapping(range).any(|(_, entry)| !entry.protection.contains(Protection::READ)) {
            return Err(Code::PROTECTION_FAILURE);
        }
        let mut copy = Copy::default();
        let mut at = range.start();
        while at < range.end() {
            let (start, entry) = inner.entry_at(at).ok_or(Code::INVALID_ADDRESS)?;
            let end = entry.end.min(range.end());
            let segment = self.copy_entry(map, start, entry, PageRange::aligned(at, end))?;
            push(&mut copy.segments, segment)?;
            at = end;
        }
        Ok(copy)
    }

    /// Moves a range out of a map.
    pub fn move_in(&self, map: &Map<P>, range: PageRange) -> Result<Copy, Code> {
        let mut inner = map.lock();
        inner.check_covered(range)?;
        if inner.overlapping(range).any(|(_, entry)| !entry.protection.contains(Protection::READ)) {
            return Err(Code::PROTECTION_FAILURE);
        }
        let entries = inner.overlapping(range).count();
        let (mut segments, mut parts) = (Vec::new(), Vec::new());
        segments.try_reserve(entries).map_err(|_| Code::RESOURCE_SHORTAGE)?;
        parts.try_reserve(entries).map_err(|_| Code::RESOURCE_SHORTAGE)?;
        // What others see too can't be taken from them: it is copied. A part of an object that only this map sees is taken out of it below.
        for (start, entry) in inner.overlapping(range) {
            let shown = PageRange::aligned(start.max(range.start()), entry.end.min(range.end()));
            let offset = entry.offset + (shown.start() - start);
            let (first, end) = (offset / PAGE_SIZE, (offset + shown.bytes()) / PAGE_SIZE);
            let object = match &entry.object {
                None => Object::anonymous(self.core),
                Some(object) if object.is_device() || object.is_exclusive() && shown.bytes() == entry.end - start => object.clone(),
                Some(object) if object.pager_id().is_none() && object.users() == inner.uses_of(object) => {
                    parts.push((object.clone(), first, end));
                    object.clone()
                }
                Some(object) => {
                    let copy = self.snapshot(object, first, end)?;
                    self.write_protect_object(object, first, end);
                    copy
                }
            };
            segments.push(Segment { object, offset, bytes: shown.bytes() });
        }
        inner.clip(range);
        self.remove_translations(map, range);
        drop(inner.remove(range));
        for (whole, first, end) in parts {
            let part = self.extract(&whole, first, end);
            for segment in
                segments.iter_mut().filter(|segment| segment.first_page() == first && Arc::ptr_eq(segment.object.arc(), whole.arc()))
            {
                segment.object = part.clone();
            }
        }
        Ok(Copy { segments })
    }

    /// Maps a copy at an address of the kernel's choice.
    pub fn copy_out(&self, map: &Map<P>, copy: Copy) -> Result<u64, (Code, Copy)> {
        let mut inner = map.lock();
        let Some(start) = inner.find_hole(copy.bytes(), 0) else { return Err((Code::NO_SPACE, copy)) };
        let mut at = start;
        for Segment { object, offset, bytes } in copy.segments {
            inner.insert(at, bytes, Showing { object: Some(object), offset, ..Showing::ZERO });
            at += bytes;
        }
        Ok(start)
    }

    /// Replaces what a range shows by a copy of the same size. The rights stay.
    pub fn overwrite(&self, map: &Map<P>, range: PageRange, copy: Copy) -> Result<(), Code> {
        let mut inner = map.lock();
        inner.check_covered(range)?;
        if inner.overlapping(range).any(|(_, entry)| !entry.protection.contains(Protection::WRITE)) {
            return Err(Code::PROTECTION_FAILURE);
        }
        if copy.bytes() != range.bytes() || inner.overlapping(range).any(|(_, entry)| entry.shows_others()) {
            return Err(Code::INVALID_ARGUMENT);
        }
        inner.clip(range);
        self.remove_translations(map, range);
        let old = inner.remove(range);
        let mut at = range.start();
        for Segment { object, offset, bytes } in copy.segments {
            let mut left = bytes;
            let mut offset = offset;
            while left > 0 {
                let Some((start, entry)) = old.range(..=at).next_back() else { return Err(Code::INVALID_ADDRESS) };
                debug_assert!(*start <= at && at < entry.end);
                let part = left.min(entry.end - at);
                inner.insert_entry(at, Entry { end: at + part, object: Some(object.clone()), offset, ..entry.clone() });
                at += part;
                offset += part;
                left -= part;
            }
        }
        inner.merge(range);
        Ok(())
    }

    /// task_create's inheritance: fills an empty map from a parent's.
    pub fn fork(&self, parent: &Map<P>, child: &Map<P>) -> Result<(), Code> {
        let mut from = parent.lock();
        let mut into = child.lock();
        let all = PageRange::aligned(0, abi::vm::USER_END);
        for (start, entry) in from.inside_mut(all) {
            let range = PageRange::aligned(start, entry.end);
            let object = match entry.inherit {
                Inherit::None => continue,
                Inherit::Share => Some(entry.object_or_new(self.core).clone()),
                Inherit::Copy if entry.object.is_none() => None,
                Inherit::Copy => Some(self.copy_entry(parent, start, entry, range)?.object),
            };
            into.insert_entry(start, Entry { object, wired: 0, ..entry.clone() });
        }
        Ok(())
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
                let _ = emptied.lock().replace(at, Page::Empty);
            }
            leaves.insert(number, taken);
        }
        into.set_leaves(leaves);
        drop(into);
        part
    }

    /// Frees the pages of a range of an object that nobody else sees.
    pub(crate) fn drop_pages(&self, object: &ObjectRef, first: u64, end: u64) {
        let mut inner = object.lock();
        drop(inner.take_leaves(first, end));
        for (number, from, to) in edges(first, end) {
            if inner.leaf_if_any(number * LEAF_PAGES as u64).is_none() {
                continue;
            }
            let leaf = self.own_leaf(&mut inner, number * LEAF_PAGES as u64).clone();
            for at in from..to {
                let (mut page, shared) = leaf.lock().replace(at, Page::Empty);
                page.discard(self.core);
                drop(shared);
            }
        }
    }

    /// Makes a page of a copy resident; used before its bytes are needed.
    pub fn resolve_copy(&self, copy: &Copy, number: u64) -> Outcome {
        match copy.page(number) {
            Some((object, page)) => self.resolve(object, page, false, None, Purpose::User),
            None => Outcome::Refuse(Code::INVALID_ARGUMENT),
        }
    }

    /// Reads bytes of a resident page of a copy; false if it isn't resident any more.
    pub fn read_copy(&self, copy: &Copy, number: u64, offset: usize, bytes: &mut [u8]) -> bool {
        let Some((object, page)) = copy.page(number) else { return false };
        self.with_frame(object, page, |pool, frame| pool.read(frame, offset, bytes)).is_some()
    }

    /// Works on the frame of a resident page; none if it isn't resident (any more).
    pub(crate) fn with_frame<R>(&self, object: &Arc<Object>, page: u64, work: impl FnOnce(&frames::Pool, &Frame) -> R) -> Option<R> {
        let leaf = object.existing_leaf(page)?;
        leaf.with((page % LEAF_PAGES as u64) as usize, |cell| match cell.page {
            Page::Resident { frame, .. } | Page::Returning { frame, .. } => Some(work(self.core.pool(), frame)),
            _ => None,
        })
    }

    /// Maps nothing yet, but owns: an object of zeroes for `placement`, as vm_allocate makes.
    pub fn allocate(&self, map: &Map<P>, placement: Placement, size: u64) -> Result<u64, Code> {
        map.enter(placement, size, Showing::ZERO)
    }

    /// The frame of a resident page that shall leave its object for another: only if nobody else shares, maps or wires it.
    pub(crate) fn take_page(&self, object: &Arc<Object>, page: u64) -> Option<Frame> {
        let mut inner = object.lock();
        let leaf = self.own_leaf(&mut inner, page);
        let at = (page % LEAF_PAGES as u64) as usize;
        leaf.arc().with(at, |cell| match cell.page {
            Page::Resident { frame, .. } if cell.exclusive && !self.frames.is_mapped(frame.number()) => {
                let frame = cell.page.take_frame()?;
                self.frames.adopt(&frame, Owner::None);
                Some(frame)
            }
            _ => None,
        })
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

impl Segment {
    const fn first_page(&self) -> u64 {
        self.offset / PAGE_SIZE
    }
}

impl Entry {
    /// Whether what is written to it is seen elsewhere, or belongs to a pager: then it can't be exchanged for other memory.
    fn shows_others(&self) -> bool {
        self.wired > 0
            || self.object.as_ref().is_some_and(|object| !object.is_exclusive() || object.pager_id().is_some() || object.is_device())
    }
}
