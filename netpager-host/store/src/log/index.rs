//! Where in the log each page is, and how much of each segment is still needed. Eight bytes for each page of the leaves that
//! have one.

use std::collections::BTreeMap;

use super::record::{DATA_BYTES, Kind, Subject, UNIT_BYTES};
use super::segment::Segment;

const LEAF_PAGES: u64 = 512;

/// Where a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64);

impl Place {
    /// Nowhere: it is zeroes.
    pub(super) const HOLE: Self = Self(0);
    /// What it held was damaged.
    pub(super) const LOST: Self = Self(u64::MAX);

    /// In the record that begins there. Never [`Place::HOLE`], as a segment begins with its header.
    pub(super) const fn new(segment: u32, at: u64) -> Self {
        Self(((segment as u64) << 32) | (at / UNIT_BYTES as u64))
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// A number that is larger for a place that is further on.
    pub(super) const fn to_bits(self) -> u64 {
        self.0
    }

    pub(super) const fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(super) const fn at(self) -> u64 {
        (self.0 & 0xffff_ffff) * UNIT_BYTES as u64
    }

    /// Where the record behind this one of a page begins.
    pub(super) const fn next(self) -> Self {
        Self(self.0 + (DATA_BYTES / UNIT_BYTES) as u64)
    }

    /// Whether it is in a record.
    pub(super) fn is_record(self) -> bool {
        self != Self::HOLE && self != Self::LOST
    }
}

/// A segment, and what it is used for.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) segment: Segment,
    pub(super) length: u64,
    /// Bytes of records that pages are in.
    pub(super) live: u64,
}

/// The index.
#[derive(Debug)]
pub(super) struct Index {
    leaves: Vec<Option<Box<[Place; LEAF_PAGES as usize]>>>,
    shelves: BTreeMap<u32, Shelf>,
    live_pages: u64,
}

impl Index {
    pub(super) fn new(pages: u64) -> Self {
        let leaves = (0..pages.div_ceil(LEAF_PAGES)).map(|_| None).collect();
        Self { leaves, shelves: BTreeMap::new(), live_pages: 0 }
    }

    /// Whether the pages a record is about can be in the index.
    pub(super) fn covers(&self, subject: Subject) -> bool {
        subject.page + u64::from(subject.count) <= self.leaves.len() as u64 * LEAF_PAGES
    }

    pub(super) fn place(&self, page: u64) -> Place {
        self.leaves[(page / LEAF_PAGES) as usize].as_ref().map_or(Place::HOLE, |leaf| leaf[(page % LEAF_PAGES) as usize])
    }

    /// How many pages from `page` on, and before `end`, `of` says the same of.
    pub(super) fn run<T: PartialEq>(&self, page: u64, end: u64, of: impl Fn(Place) -> T) -> (T, u64) {
        let first = of(self.place(page));
        let mut next = page + 1;
        while next < end {
            let leaf_end = end.min((next / LEAF_PAGES + 1) * LEAF_PAGES);
            let same = match &self.leaves[(next / LEAF_PAGES) as usize] {
                None if of(Place::HOLE) == first => leaf_end,
                None => next,
                Some(_) => (next..leaf_end).find(|&page| of(self.place(page)) != first).unwrap_or(leaf_end),
            };
            let stopped = same < leaf_end;
            next = same;
            if stopped {
                break;
            }
        }
        (first, next - page)
    }

    /// Follows a record that begins at `place`.
    pub(super) fn apply(&mut self, subject: Subject, place: Place) {
        match subject.kind {
            Kind::Data => self.set(subject.page, place),
            Kind::Lost => self.set(subject.page, Place::LOST),
            Kind::Zero => self.clear(subject.page, subject.page + u64::from(subject.count)),
            Kind::Mark | Kind::Seal => {}
        }
    }

    /// The pages that are in records of a segment.
    pub(super) fn pages_in(&self, segment: u32) -> Vec<u64> {
        let leaves = (0..).zip(&self.leaves).filter_map(|(number, leaf)| Some((number, leaf.as_ref()?)));
        let pages = leaves.flat_map(|(number, leaf)| (number * LEAF_PAGES..).zip(leaf.iter()));
        pages.filter(|(_, place)| place.is_record() && place.segment() == segment).map(|(page, _)| page).collect()
    }

    fn set(&mut self, page: u64, place: Place) {
        let leaf = self.leaves[(page / LEAF_PAGES) as usize].get_or_insert_with(|| Box::new([Place::HOLE; LEAF_PAGES as usize]));
        let old = std::mem::replace(&mut leaf[(page % LEAF_PAGES) as usize], place);
        self.count(old, -1);
        self.count(place, 1);
    }

    fn clear(&mut self, start: u64, end: u64) {
        let mut page = start;
        while page < end {
            let leaf_end = end.min((page / LEAF_PAGES + 1) * LEAF_PAGES);
            if self.leaves[(page / LEAF_PAGES) as usize].is_some() {
                (page..leaf_end).for_each(|page| self.set(page, Place::HOLE));
                let leaf = &mut self.leaves[(page / LEAF_PAGES) as usize];
                if leaf.as_ref().is_some_and(|leaf| leaf.iter().all(|&place| place == Place::HOLE)) {
                    *leaf = None;
                }
            }
            page = leaf_end;
        }
    }

    fn count(&mut self, place: Place, change: i64) {
        if place.is_record() {
            self.live_pages = self.live_pages.wrapping_add_signed(change);
            if let Some(shelf) = self.shelves.get_mut(&place.segment()) {
                shelf.live = shelf.live.wrapping_add_signed(change * DATA_BYTES as i64);
            }
        }
    }

    pub(super) fn add(&mut self, segment: Segment, length: u64) {
        self.shelves.insert(segment.id, Shelf { segment, length, live: 0 });
    }

    pub(super) fn remove(&mut self, id: u32) {
        self.shelves.remove(&id);
    }

    pub(super) fn shelf(&self, id: u32) -> Option<&Shelf> {
        self.shelves.get(&id)
    }

    /// Notes how long a segment has become.
    pub(super) fn grow(&mut self, id: u32, length: u64) {
        if let Some(shelf) = self.shelves.get_mut(&id) {
            shelf.length = length;
        }
    }

    pub(super) fn shelves(&self) -> impl Iterator<Item = &Shelf> {
        self.shelves.values()
    }

    /// Pages that are in a record.
    pub(super) const fn live_pages(&self) -> u64 {
        self.live_pages
    }

    /// Bytes of all segments.
    pub(super) fn total_bytes(&self) -> u64 {
        self.shelves.values().map(|shelf| shelf.length).sum()
    }

    /// Bytes of the index itself.
    pub(super) fn overhead_bytes(&self) -> u64 {
        let leaves = self.leaves.iter().flatten().count() as u64 * LEAF_PAGES * 8;
        leaves + (self.leaves.len() * 8 + self.shelves.len() * size_of::<Shelf>()) as u64
    }

    /// Says whether the counts are right.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let mut live: BTreeMap<u32, u64> = BTreeMap::new();
        let places = self.leaves.iter().flatten().flat_map(|leaf| leaf.iter()).filter(|place| place.is_record());
        places.for_each(|place| *live.entry(place.segment()).or_default() += DATA_BYTES as u64);
        assert_eq!(live.values().sum::<u64>(), self.live_pages * DATA_BYTES as u64);
        for (id, shelf) in &self.shelves {
            assert_eq!(shelf.live, live.remove(id).unwrap_or(0));
            assert!(shelf.live <= shelf.length);
        }
        assert!(live.is_empty(), "a page is in a segment that is gone");
    }
}
