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
use crate::fault::{Need, Outcome};
use crate::frame_table::Owner;
use crate::leaf::LEAF_PAGES;
use crate::map::{Map, Placement, Showing};
use crate::object::{Object, ObjectRef};
use crate::page::Page;
use crate::range::PageRange;
use crate::source::Source;
use crate::want::Want;
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
        let mut at = number.checked_mul(PAGE_SIZE)?;
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
        let mut segments = Vec::new();
        if segments.try_reserve(1).is_err() {
            frames.into_iter().for_each(|frame| core.pool().free(frame));
            return Err(NoMemory);
        }
        segments.push(Segment::of_frames(core, frames));
        Ok(Self { segments })
    }

    /// How many of its segments show an object.
    pub(crate) fn uses_of(&self, object: &Arc<Object>) -> u32 {
        self.segments.iter().filter(|segment| Arc::ptr_eq(segment.object.arc(), object)).count() as u32
    }
}

impl Segment {
    /// New memory with these bytes.
    pub(crate) fn of_frames(core: &'static crate::Core, frames: Vec<Frame>) -> Self {
        let object = Object::anonymous(core);
        let bytes = frames.len() as u64 * PAGE_SIZE;
        let mut inner = object.lock();
        for (number, frame) in (0..).zip(frames) {
            let leaf = inner.leaf(core, number);
            let _ = leaf.lock().replace((number % LEAF_PAGES as u64) as usize, Page::Resident { frame, dirty: true, kept: false });
        }
        drop(inner);
        Self { object, offset: 0, bytes }
    }
}

impl<P: Pmap> Vm<P> {
    /// Tells the frame table whose the frames of new memory are, so that they can be paged out.
    pub fn adopt_copy(&self, copy: &Copy) {
        self.own_copy(copy, |owner| owner);
    }

    /// The frames of new memory are not paged out.
    pub(crate) fn disown_copy(&self, copy: &Copy) {
        self.own_copy(copy, |_| Owner::None);
    }

    fn own_copy(&self, copy: &Copy, owner: impl Fn(Owner) -> Owner) {
        for segment in &copy.segments {
            for (_, leaf) in segment.object.leaves_of(0, segment.bytes / PAGE_SIZE) {
                for at in 0..LEAF_PAGES {
                    leaf.with(at, |cell| {
                        if let Page::Resident { frame, .. } = cell.page {
                            self.frames.adopt(frame, owner(cell.owner));
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
            inner.add_copy(copy.arc())?;
            copy.lock().source = Some(Source { object: object.clone(), first, end });
        } else {
            let mut into = copy.lock();
            into.set_leaves(inner.share_leaves(first, end));
            into.source.clone_from(&inner.source);
            if let Some(source) = &into.source {
                source.object.lock().add_copy(copy.arc())?;
            }
        }
        Ok(copy)
    }

    /// Takes write access to an object's pages away from everybody, so that the next write is seen. Whole leaves: they are what is shared.
    pub(crate) fn write_protect_object(&self, object: &Object, first: u64, end: u64) {
        for (_, leaf) in object.leaves_of(first, end) {
            for at in 0..LEAF_PAGES {
                leaf.with(at, |cell| {
                    if let Some(frame) = cell.page.frame() {
                        self.frames.write_protect(frame);
                    }
                });
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
            true => entry.write_protect(&**map.pmap(), start, first, end),
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

    /// Maps a copy at an address of the kernel's choice.
    pub fn copy_out(&self, map: &Map<P>, copy: Copy) -> Result<u64, (Code, Copy)> {
        let mut inner = map.lock();
        let Some(start) = inner.find_hole(copy.bytes(), 0) else { return Err((Code::NO_SPACE, copy)) };
        let mut at = start;
        for Segment { object, offset, bytes } in copy.segments.into_iter().filter(|segment| segment.bytes > 0) {
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
        self.drop_entries(&inner, old);
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

    /// Makes a page of a copy resident; used before its bytes are needed.
    pub fn resolve_copy(&self, copy: &Copy, number: u64) -> Outcome {
        match copy.page(number) {
            Some((object, page)) => self.resolve(object, Need::to_read(page, Purpose::User), &mut Want::Bytes(&mut |_, _| ())),
            None => Outcome::Refuse(Code::INVALID_ARGUMENT),
        }
    }

    /// Reads bytes of a resident page of a copy; false if it isn't resident any more.
    pub fn read_copy(&self, copy: &Copy, number: u64, offset: usize, bytes: &mut [u8]) -> bool {
        let Some((object, page)) = copy.page(number) else { return false };
        let read = &mut |pool: &frames::Pool, frame: &Frame| pool.read(frame, offset, bytes);
        self.resolve(object, Need::to_read(page, Purpose::User), &mut Want::Bytes(read)) == Outcome::Done
    }

    /// Maps nothing yet, but owns: an object of zeroes for `placement`, as vm_allocate makes.
    pub fn allocate(&self, map: &Map<P>, placement: Placement, size: u64) -> Result<u64, Code> {
        map.enter(placement, size, Showing::ZERO)
    }
}

impl Entry {
    /// Takes write access away from what it maps of the leaves that the pages `first..end` are in.
    fn write_protect(&self, pmap: &impl Pmap, start: u64, first: u64, end: u64) {
        let leaf = LEAF_PAGES as u64;
        let address = |page: u64| start + page.saturating_mul(PAGE_SIZE).saturating_sub(self.offset);
        let from = address(first / leaf * leaf);
        let to = address(end.next_multiple_of(leaf)).min(self.end);
        pmap.restrict(from, to, Protection::READ.union(Protection::EXECUTE));
    }

    /// Whether what is written to it is seen elsewhere, or belongs to a pager: then it can't be exchanged for other memory.
    fn shows_others(&self) -> bool {
        self.wired > 0
            || self.object.as_ref().is_some_and(|object| !object.is_exclusive() || object.pager_id().is_some() || object.is_device())
    }
}
