//! A record for every frame: whose page it holds, where it is mapped, and how long it wasn't used.
//!
//! The records lead from a frame back to its page (for page-out, which looks for frames) and to its translations (for whoever must
//! take them away).

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};
use spin::Mutex;

use abi::vm::{PAGE_SIZE, Protection};
use frames::{Frame, FrameNumber, Pool};

use crate::leaf::{Leaf, SharedPage};
use crate::{NoMemory, NoTables, Pmap};

/// Whose page is in a frame.
#[derive(Clone, Debug, Default)]
pub(crate) enum Owner {
    #[default]
    None,
    Leaf(Weak<Leaf>),
    Page(Weak<SharedPage>),
}

impl core::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Leaf")
    }
}

impl core::fmt::Debug for SharedPage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SharedPage")
    }
}

/// A translation of a frame. The lowest bit of the address says that it is wired.
struct Mapping<P> {
    pmap: Arc<P>,
    address: u64,
}

impl<P> Mapping<P> {
    const fn page(&self) -> u64 {
        self.address & !(PAGE_SIZE - 1)
    }

    const fn is_wired(&self) -> bool {
        self.address & 1 != 0
    }

    fn is_at(&self, pmap: &Arc<P>, address: u64) -> bool {
        self.page() == address && Arc::ptr_eq(&self.pmap, pmap)
    }
}

/// Most frames are mapped once.
enum Mappings<P> {
    None,
    One(Mapping<P>),
    Many(Vec<Mapping<P>>),
}

struct Record<P> {
    owner: Owner,
    mappings: Mappings<P>,
    /// Passes of the clock's hand since it was used.
    age: u8,
}

/// Passes without use before a page may go: what was read ahead gets its chance.
const GRACE: u8 = 2;

/// Records in a chunk: its size suits the kernel heap.
const CHUNK: usize = 512;

/// All records.
pub(crate) struct FrameTable<P> {
    pool: &'static Pool,
    chunks: Vec<Vec<Mutex<Record<P>>>>,
    wired: AtomicUsize,
}

/// What the hand of the clock finds.
pub(crate) enum Seen {
    /// Nothing to evict: free, wired, or not a page of an object.
    Nothing,
    /// It was used since the last pass.
    Used,
    /// It wasn't; it is this page's.
    Idle(Owner),
}

impl<P: Pmap> FrameTable<P> {
    pub(crate) fn new(pool: &'static Pool) -> Result<Self, NoMemory> {
        let mut chunks = Vec::new();
        let mut left = pool.span();
        chunks.try_reserve_exact(left.div_ceil(CHUNK)).map_err(|_| NoMemory)?;
        while left > 0 {
            let records = left.min(CHUNK);
            let mut chunk = Vec::new();
            chunk.try_reserve_exact(records).map_err(|_| NoMemory)?;
            chunk.resize_with(records, || Mutex::new(Record { owner: Owner::None, mappings: Mappings::None, age: 0 }));
            chunks.push(chunk);
            left -= records;
        }
        Ok(Self { pool, chunks, wired: AtomicUsize::new(0) })
    }

    fn record(&self, frame: FrameNumber) -> &Mutex<Record<P>> {
        let index = self.pool.index_of(frame);
        &self.chunks[index / CHUNK][index % CHUNK]
    }

    /// A frame holds this page from now on.
    pub(crate) fn adopt(&self, frame: &Frame, owner: Owner) {
        let mut record = self.record(frame.number()).lock();
        record.owner = owner;
        record.age = 0;
    }

    /// Enters a translation and remembers it.
    pub(crate) fn enter(
        &self,
        frame: FrameNumber,
        pmap: &Arc<P>,
        address: u64,
        protection: Protection,
        wired: bool,
    ) -> Result<(), NoTables> {
        self.change(frame, |record| {
            record.age = 0;
            let marked = address | u64::from(wired);
            let known = record.mappings.find(pmap, address);
            match known {
                Some(mapping) => {
                    mapping.address = marked;
                    pmap.enter(address, frame, protection)
                }
                None => {
                    record.mappings.reserve().map_err(|_| NoTables)?;
                    pmap.enter(address, frame, protection)?;
                    record.mappings.push(Mapping { pmap: Arc::clone(pmap), address: marked });
                    Ok(())
                }
            }
        })
    }

    /// Changes a frame's translations, and counts whether it is wired.
    fn change<R>(&self, frame: FrameNumber, work: impl FnOnce(&mut Record<P>) -> R) -> R {
        let mut record = self.record(frame).lock();
        let before = record.mappings.is_wired();
        let result = work(&mut record);
        match (before, record.mappings.is_wired()) {
            (false, true) => self.wired.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.wired.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
        result
    }

    /// How many frames are held by a wired translation.
    pub(crate) fn wired_frames(&self) -> usize {
        self.wired.load(Ordering::Relaxed)
    }

    /// A translation is gone from its pmap.
    pub(crate) fn forget(&self, frame: FrameNumber, pmap: &Arc<P>, address: u64) {
        self.change(frame, |record| record.mappings.remove(pmap, address));
    }

    /// Removes all translations of a frame. The caller's lock on its page keeps new ones away; the record's lock is held until they are gone, so
    /// that none is removed that another CPU entered at the same address meanwhile.
    pub(crate) fn unmap(&self, frame: FrameNumber) {
        self.change(frame, |record| {
            record.mappings.each(|mapping| mapping.pmap.remove(mapping.page(), mapping.page() + PAGE_SIZE, &mut |_| ()));
            record.mappings = Mappings::None;
        });
    }

    /// Removes the translations of a frame that is left behind at `address`, but not the wired ones of those who stay.
    pub(crate) fn leave(&self, frame: FrameNumber, pmap: &Arc<P>, address: u64) {
        self.change(frame, |record| {
            record.mappings.retain(|mapping| {
                let stays = mapping.is_wired() && !mapping.is_at(pmap, address);
                if !stays {
                    mapping.pmap.remove(mapping.page(), mapping.page() + PAGE_SIZE, &mut |_| ());
                }
                stays
            });
        });
    }

    /// A page that is no more doesn't need its frame's record.
    pub(crate) fn disown(&self, index: usize) {
        let mut record = self.chunks[index / CHUNK][index % CHUNK].lock();
        let is_gone = match &record.owner {
            Owner::None => true,
            Owner::Leaf(leaf) => leaf.strong_count() == 0,
            Owner::Page(page) => page.strong_count() == 0,
        };
        if is_gone {
            record.owner = Owner::None;
        }
    }

    /// Takes write access away from all translations of a frame.
    pub(crate) fn write_protect(&self, frame: FrameNumber) {
        let record = self.record(frame).lock();
        let readable = Protection::READ.union(Protection::EXECUTE);
        record.mappings.each(|mapping| mapping.pmap.restrict(mapping.page(), mapping.page() + PAGE_SIZE, readable));
    }

    /// Whether a frame is mapped at this place.
    pub(crate) fn is_entered(&self, frame: FrameNumber, pmap: &Arc<P>, address: u64) -> bool {
        self.record(frame).lock().mappings.find(pmap, address).is_some()
    }

    /// Whether a frame is mapped anywhere.
    pub(crate) fn is_mapped(&self, frame: FrameNumber) -> bool {
        !matches!(self.record(frame).lock().mappings, Mappings::None)
    }

    /// Whether a wired translation holds the frame.
    pub(crate) fn is_wired(&self, frame: FrameNumber) -> bool {
        self.record(frame).lock().mappings.is_wired()
    }

    /// Looks at the accessed flags of a frame's translations and forgets them; true if it may be evicted.
    pub(crate) fn is_idle(&self, frame: FrameNumber) -> bool {
        let mut record = self.record(frame).lock();
        if record.age < GRACE - 1 || record.mappings.is_wired() {
            return false;
        }
        let is_used = record.mappings.take_accessed();
        if is_used {
            record.age = 0;
        }
        !is_used
    }

    /// What a record says: the owner, and each translation's pmap, address, and whether it is wired.
    #[cfg(any(test, feature = "fake"))]
    pub(crate) fn look<R>(&self, frame: FrameNumber, work: impl FnOnce(&Owner, &[(Arc<P>, u64, bool)]) -> R) -> R {
        let record = self.record(frame).lock();
        let mut mappings = Vec::new();
        record.mappings.each(|mapping| mappings.push((Arc::clone(&mapping.pmap), mapping.page(), mapping.is_wired())));
        work(&record.owner, &mappings)
    }

    /// The clock's hand passes a frame.
    pub(crate) fn pass(&self, index: usize) -> Seen {
        let mut record = self.chunks[index / CHUNK][index % CHUNK].lock();
        if matches!(record.owner, Owner::None) || record.mappings.is_wired() {
            return Seen::Nothing;
        }
        if record.mappings.take_accessed() {
            record.age = 0;
            return Seen::Used;
        }
        record.age = record.age.saturating_add(1);
        if record.age >= GRACE { Seen::Idle(record.owner.clone()) } else { Seen::Used }
    }
}

impl<P: Pmap> Mappings<P> {
    fn find(&mut self, pmap: &Arc<P>, address: u64) -> Option<&mut Mapping<P>> {
        let matches = |mapping: &&mut Mapping<P>| mapping.is_at(pmap, address);
        match self {
            Self::None => None,
            Self::One(mapping) => Some(mapping).filter(matches),
            Self::Many(list) => list.iter_mut().find(matches),
        }
    }

    /// Room for one more.
    fn reserve(&mut self) -> Result<(), NoMemory> {
        match self {
            Self::None => Ok(()),
            Self::Many(list) => list.try_reserve(1).map_err(|_| NoMemory),
            Self::One(_) => {
                let mut list = Vec::new();
                list.try_reserve(2).map_err(|_| NoMemory)?;
                if let Self::One(first) = core::mem::replace(self, Self::None) {
                    list.push(first);
                }
                *self = Self::Many(list);
                Ok(())
            }
        }
    }

    fn push(&mut self, mapping: Mapping<P>) {
        match self {
            Self::Many(list) => list.push(mapping),
            _ => *self = Self::One(mapping),
        }
    }

    fn remove(&mut self, pmap: &Arc<P>, address: u64) {
        self.retain(|mapping| !mapping.is_at(pmap, address));
    }

    fn retain(&mut self, mut stays: impl FnMut(&Mapping<P>) -> bool) {
        match self {
            Self::One(mapping) if !stays(mapping) => *self = Self::None,
            Self::Many(list) => {
                list.retain(stays);
                if list.is_empty() {
                    *self = Self::None;
                }
            }
            _ => (),
        }
    }

    fn each(&self, mut work: impl FnMut(&Mapping<P>)) {
        match self {
            Self::None => (),
            Self::One(mapping) => work(mapping),
            Self::Many(list) => list.iter().for_each(work),
        }
    }

    fn is_wired(&self) -> bool {
        let mut wired = false;
        self.each(|mapping| wired |= mapping.is_wired());
        wired
    }

    fn take_accessed(&self) -> bool {
        let mut accessed = false;
        self.each(|mapping| accessed |= mapping.pmap.take_accessed(mapping.page()));
        accessed
    }
}
