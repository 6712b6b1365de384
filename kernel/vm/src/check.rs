//! Everything that must always hold, asserted: called after each step of each model test, here and by whoever tests on [`FakePmap`].
//!
//! It walks from the roots (maps, copies in transit, transfers, pagers' objects) to the pages and compares what it finds with the frame records, the
//! translations, the pool and the swap space.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::vm::{PAGE_SIZE, Protection};
use frames::FrameNumber;

use crate::copy::Copy;
use crate::fake::FakePmap;
use crate::frame_table::Owner;
use crate::leaf::{LEAF_PAGES, Leaf, SharedPage};
use crate::map::{Map, MapInner};
use crate::object::Object;
use crate::page::Page;
use crate::swap::check::Residents;
use crate::transfer::Transfer;
use crate::{Pmap, Vm};

/// Whoever holds memory. Nobody else may.
#[derive(Default)]
pub struct Roots<'a> {
    pub maps: Vec<&'a Map<FakePmap>>,
    pub copies: Vec<&'a Copy>,
    pub objects: Vec<&'a Arc<Object>>,
    pub transfers: Vec<&'a Transfer>,
    /// Frames of the pool that are none of the VM system's.
    pub other_frames: usize,
}

/// A page in RAM.
struct Found {
    owner: Whose,
    is_dirty: bool,
}

#[derive(PartialEq, Eq, Debug, Clone, Copy)]
enum Whose {
    Leaf(*const Leaf),
    Page(*const SharedPage),
}

/// What the walk finds.
#[derive(Default)]
struct Census {
    objects: BTreeMap<*const Object, Arc<Object>>,
    leaves: BTreeMap<*const Leaf, (Arc<Leaf>, u32)>,
    shared: BTreeMap<*const SharedPage, (Arc<SharedPage>, u32)>,
    frames: BTreeMap<FrameNumber, Found>,
    /// Frames that transfers hold for pages.
    lent: BTreeSet<FrameNumber>,
    residents: Residents,
    returning: usize,
    /// Objects whose pages may be in transit to the default pager.
    in_transit: BTreeSet<*const Leaf>,
    /// Which pages of which objects can be seen.
    seen: Vec<(*const Object, u64, u64)>,
}

impl Census {
    fn object(&mut self, object: &Arc<Object>) {
        if self.objects.insert(Arc::as_ptr(object), Arc::clone(object)).is_some() {
            return;
        }
        for (_, leaf) in object.leaves_of(0, u64::MAX) {
            let known = self.leaves.entry(Arc::as_ptr(&leaf)).or_insert_with(|| (Arc::clone(&leaf), 0));
            known.1 += 1;
            if known.1 == 1 {
                self.leaf(&leaf);
            }
        }
        let source = object.lock().source.clone();
        if let Some(source) = source {
            self.object(source.object.arc());
        }
    }

    fn leaf(&mut self, leaf: &Arc<Leaf>) {
        let inner = leaf.lock();
        if let Some(extent) = inner.extent {
            assert!(self.residents.leaves.insert(extent, Arc::as_ptr(leaf)).is_none(), "two leaves in extent {extent}");
        }
        for at in 0..LEAF_PAGES {
            match inner.shared_at(at) {
                None => {
                    assert!(!matches!(inner.own_page(at), Page::Shared), "a shared page is in the table");
                    let home = inner.extent.map(|extent| u64::from(extent) * LEAF_PAGES as u64 + at as u64);
                    self.page(inner.own_page(at), Whose::Leaf(Arc::as_ptr(leaf)), home);
                }
                Some(shared) => {
                    let shared = shared.arc();
                    let known = self.shared.entry(Arc::as_ptr(shared)).or_insert_with(|| (Arc::clone(shared), 0));
                    known.1 += 1;
                    if known.1 == 1 {
                        let inner = shared.inner.lock();
                        if let Some(home) = inner.home {
                            assert!(self.residents.pages.insert(home, Arc::as_ptr(shared)).is_none(), "two pages at {home}");
                        }
                        self.page(&inner.page, Whose::Page(Arc::as_ptr(shared)), inner.home);
                    }
                }
            }
        }
    }

    fn page(&mut self, page: &Page, owner: Whose, home: Option<u64>) {
        self.returning += usize::from(matches!(page, Page::Returning { .. }));
        if let (Some(home), true) = (home, page.is_waiting()) {
            self.residents.waiting.insert(home);
        }
        match page {
            Page::Resident { frame, dirty, kept } => {
                assert!(!(*dirty && *kept), "a dirty page is not what its pager has");
                let found = Found { owner, is_dirty: *dirty };
                assert!(self.frames.insert(frame.number(), found).is_none(), "two pages in {frame:?}");
            }
            Page::Returning { frame } => {
                let found = Found { owner, is_dirty: false };
                assert!(self.frames.insert(frame.number(), found).is_none(), "two pages in {frame:?}");
            }
            Page::Cleaning { frame } | Page::Filling { frame, .. } => {
                assert!(self.lent.insert(*frame), "two pages in {frame:?}");
            }
            _ => (),
        }
    }
}

impl Vm<FakePmap> {
    /// Asserts everything. Nobody may use the VM system meanwhile.
    pub fn check(&self, roots: &Roots<'_>) {
        let mut census = Census::default();
        roots.objects.iter().for_each(|object| census.object(object));
        for map in &roots.maps {
            let entries: Vec<_> = map.lock().entries().iter().map(|(start, entry)| (*start, entry.clone())).collect();
            for (start, entry) in entries {
                let Some(object) = &entry.object else { continue };
                let (first, end) = entry.pages_from(start);
                census.seen.push((Arc::as_ptr(object.arc()), first, end));
                census.object(object.arc());
            }
        }
        for segment in roots.copies.iter().flat_map(|copy| &copy.segments) {
            let (first, end) = (segment.offset / PAGE_SIZE, (segment.offset + segment.bytes) / PAGE_SIZE);
            census.seen.push((Arc::as_ptr(segment.object.arc()), first, end));
            census.object(segment.object.arc());
            census.in_transit.extend(segment.object.leaves_of(0, u64::MAX).iter().map(|(_, leaf)| Arc::as_ptr(leaf)));
        }
        self.check_holders(&census);
        self.check_frames(&census, roots);
        self.core.swap.lock().check(&census.residents);
        assert_eq!(self.core.returning(), census.returning, "the count of returning pages");
        for map in &roots.maps {
            let inner = map.lock();
            inner.check();
            self.check_translations(map, &inner, &census);
        }
    }

    fn check_holders(&self, census: &Census) {
        for (leaf, holders) in census.leaves.values() {
            assert_eq!(leaf.holders(), *holders, "holders of a leaf");
        }
        for (page, holders) in census.shared.values() {
            assert_eq!(page.holders(), *holders, "holders of a shared page");
        }
    }

    fn check_frames(&self, census: &Census, roots: &Roots<'_>) {
        let in_transfer: Vec<_> = roots.transfers.iter().flat_map(|transfer| &transfer.frames).map(frames::Frame::number).collect();
        for frame in &in_transfer {
            assert!(!census.frames.contains_key(frame), "{frame:?} is a page's and a transfer's");
        }
        for frame in &census.lent {
            assert!(in_transfer.contains(frame), "{frame:?} is lent to no transfer");
        }
        assert_eq!(self.core.pool().in_use(), census.frames.len() + in_transfer.len() + roots.other_frames, "every frame has an owner");
        for (number, found) in &census.frames {
            self.frames.look(*number, |owner, _| match (owner, found.owner) {
                (Owner::Leaf(leaf), Whose::Leaf(at)) => assert_eq!(leaf.as_ptr(), at, "{number:?} leads to its leaf"),
                (Owner::Page(page), Whose::Page(at)) => assert_eq!(page.as_ptr(), at, "{number:?} leads to its page"),
                (Owner::None, Whose::Leaf(at)) => assert!(census.in_transit.contains(&at), "{number:?} has no owner"),
                (owner, whose) => panic!("{number:?} leads to {owner:?} and is {whose:?}'s"),
            });
        }
        // Records of translations are true, and there are none of frames that nobody owns.
        let pool = self.core.pool();
        for index in 0..pool.span() {
            let number = pool.number_at(index);
            self.frames.look(number, |_, mappings| {
                for (pmap, address, _) in mappings {
                    let translation = pmap.translations().get(address).copied();
                    assert_eq!(translation.map(|translation| translation.frame), Some(number), "{address:#x} is recorded");
                }
                let is_owned = census.frames.contains_key(&number) || census.lent.contains(&number);
                assert!(mappings.is_empty() || is_owned, "{number:?} is mapped and free");
            });
        }
    }

    fn check_translations(&self, map: &Map<FakePmap>, inner: &MapInner, census: &Census) {
        for (address, translation) in map.pmap().translations() {
            if !self.core.pool().contains(translation.frame) {
                continue;
            }
            let number = translation.frame;
            self.frames.look(number, |_, mappings| {
                let is_known = mappings.iter().any(|(pmap, at, _)| Arc::ptr_eq(pmap, map.pmap()) && *at == address);
                assert!(is_known, "{address:#x} -> {number:?} is in no record");
            });
            let range = crate::PageRange::aligned(address, address + PAGE_SIZE);
            let (start, entry) = inner.overlapping(range).next().expect("a translation is inside an entry");
            assert!(entry.protection.contains(translation.protection), "{address:#x} has more rights than its entry");
            let object = entry.object.as_ref().expect("a translation is of an object");
            let page = (entry.offset + (address - start)) / PAGE_SIZE;
            let (shown, is_exclusive) = census.shown(object.arc(), page);
            assert_eq!(shown, Some(number), "{address:#x} shows its object's page");
            if translation.protection.contains(Protection::WRITE) {
                let found = census.frames.get(&number);
                assert!(found.is_some_and(|found| found.is_dirty), "{address:#x} is writable and not dirty");
                assert!(is_exclusive, "{address:#x} is writable and shared");
            }
        }
    }

    /// Extents of swap space that hold something.
    pub fn extents_in_use(&self) -> usize {
        self.core.swap.lock().in_use()
    }

    /// Works on the bytes of a page in RAM, found by its frame, as a CPU's access through a translation would. False if a transfer has it.
    pub fn with_bytes(&self, frame: FrameNumber, mut work: impl FnMut(&frames::Pool, &frames::Frame)) -> bool {
        let owner = self.frames.look(frame, |owner, _| owner.clone());
        let mut done = false;
        let mut look = |page: &Page| {
            if let Page::Resident { frame: of, .. } | Page::Returning { frame: of } = page
                && of.number() == frame
            {
                work(self.core.pool(), of);
                done = true;
            }
        };
        match owner {
            Owner::None => (),
            Owner::Leaf(leaf) => {
                let leaf = leaf.upgrade().expect("a page that is mapped has a leaf");
                let inner = leaf.lock();
                (0..LEAF_PAGES).for_each(|at| look(inner.own_page(at)));
            }
            Owner::Page(page) => look(&page.upgrade().expect("a page that is mapped exists").inner.lock().page),
        }
        done
    }
}

impl Census {
    /// The frame that an object shows for a page, and whether it may be written: nobody else has it, and no copy lacks it.
    fn shown(&self, object: &Arc<Object>, page: u64) -> (Option<FrameNumber>, bool) {
        let at = (page % LEAF_PAGES as u64) as usize;
        let source = object.lock().source.as_ref().filter(|source| source.covers(page)).map(|source| source.object.clone());
        let own = object
            .existing_leaf(page)
            .and_then(|leaf| leaf.with(at, |cell| (!matches!(cell.page, Page::Empty)).then(|| (cell.page.frame(), cell.exclusive))));
        match (own, source) {
            (Some((frame, exclusive)), _) => (frame, exclusive && !self.is_lacked(object, page)),
            (None, Some(source)) => (self.shown(source.arc(), page).0, false),
            (None, None) => (None, false),
        }
    }

    /// Whether a copy looks in this object for a page that somebody can see.
    fn is_lacked(&self, object: &Arc<Object>, page: u64) -> bool {
        let copies: Vec<_> = object.lock().copies.iter().filter_map(alloc::sync::Weak::upgrade).collect();
        copies.iter().any(|copy| {
            let covers = copy.lock().source.as_ref().is_some_and(|source| source.covers(page));
            let is_seen = self.seen.iter().any(|(seen, first, end)| *seen == Arc::as_ptr(copy) && (*first..*end).contains(&page));
            let at = (page % LEAF_PAGES as u64) as usize;
            covers && is_seen && copy.existing_leaf(page).is_none_or(|leaf| leaf.lock().is_empty(at))
        })
    }
}

impl MapInner {
    /// Asserts that entries don't overlap and their size is right.
    fn check(&self) {
        let mut at = abi::vm::USER_START;
        let mut size = 0;
        for (start, entry) in self.entries() {
            assert!(*start >= at && entry.end > *start && entry.end <= abi::vm::USER_END, "entries overlap at {start:#x}");
            assert!(entry.max_protection.contains(entry.protection), "{start:#x} has more rights than it may");
            at = entry.end;
            size += entry.end - start;
        }
        assert_eq!(size, self.size(), "the map's size");
    }
}

impl<P: Pmap> Map<P> {
    /// How many entries there are.
    #[must_use]
    pub fn entry_count(&self) -> usize {
        self.lock().entries().len()
    }
}
