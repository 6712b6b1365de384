//! The memory all RAM exports share: a fixed number of frames, taken from the system in slabs and given back in slabs.
//!
//! A run of bytes is known by its [`Slot`]. Who holds a slot owns the bytes; they are those of whoever had them before, so
//! the holder overwrites all of them first. Neighbours: [`super::frames`], the books; [`super::leaf`], the holders.
//!
//! Lock order: `frames`, then a slab. A caller's own lock (a leaf of the store) comes before both.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use memmap2::MmapMut;

use super::frames::{FRAME_GRANULES, Frames, GRANULE_BYTES, PAGE_BYTES, Slot, Taken};
use super::slab::{self, ArenaOptions};
use crate::error::StoreError;

/// How much of an arena is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaUse {
    /// Pages that hold something.
    pub used_pages: usize,
    /// Bytes in those pages that are used: fewer only where compressed pages do not fill one.
    pub used_bytes: usize,
    /// Pages taken from the system.
    pub resident_pages: usize,
    /// Pages it may grow to.
    pub limit_pages: usize,
}

/// A limited amount of memory, in pages.
#[derive(Debug)]
pub struct Arena {
    options: ArenaOptions,
    limit_pages: usize,
    /// Frames that are not for pages, but for compressing some when all others are used.
    kept_back: AtomicUsize,
    /// As in the books, for those who only want an idea.
    used_pages: AtomicUsize,
    slabs: Vec<RwLock<Option<MmapMut>>>,
    frames: Mutex<Frames>,
}

impl Arena {
    /// An arena that will hold up to `bytes`, rounded down to pages. Takes nothing from the system yet.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let limit_pages = usize::try_from(bytes / PAGE_BYTES as u64).unwrap_or(usize::MAX).min((u32::MAX >> 1) as usize);
        let slabs = limit_pages.div_ceil(slab::SLAB_BYTES / PAGE_BYTES);
        Self {
            options: ArenaOptions::default(),
            limit_pages,
            kept_back: AtomicUsize::new(0),
            used_pages: AtomicUsize::new(0),
            slabs: (0..slabs).map(|_| RwLock::new(None)).collect(),
            frames: Mutex::new(Frames::new(limit_pages)),
        }
    }

    /// An arena whose memory is treated as `options` say.
    ///
    /// # Errors
    /// The system does not let this process lock so much memory.
    pub fn with_options(bytes: u64, options: ArenaOptions) -> io::Result<Self> {
        if options.lock_memory {
            let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
            let allowed = limit.is_none_or(|limit| limit >= bytes);
            // The limit does not bind the privileged, so what counts is whether it works.
            slab::map(options).ok().filter(|_| allowed || rustix::process::geteuid().is_root()).ok_or_else(|| {
                let limit = limit.map_or("no limit".to_owned(), |limit| format!("{limit} bytes"));
                io::Error::other(format!("this process may not lock {bytes} bytes of memory (RLIMIT_MEMLOCK: {limit})"))
            })?;
        }
        Ok(Self { options, ..Self::new(bytes) })
    }

    /// How much of it is used.
    #[must_use]
    pub fn usage(&self) -> ArenaUse {
        let frames = self.frames();
        ArenaUse {
            used_pages: frames.used_frames(),
            used_bytes: frames.used_granules() * GRANULE_BYTES,
            resident_pages: frames.resident_frames(),
            limit_pages: self.limit_pages,
        }
    }

    /// About how many pages can still be had.
    pub(super) fn free_pages(&self) -> usize {
        let gone = self.used_pages.load(Ordering::Relaxed) + self.kept_back.load(Ordering::Relaxed);
        self.limit_pages.saturating_sub(gone)
    }

    /// The most pages there can be.
    pub(super) const fn limit_pages(&self) -> usize {
        self.limit_pages
    }

    /// Keeps some frames for compressing pages: without any, a full arena could not begin to.
    pub(super) fn keep_back(&self, pages: usize) {
        self.kept_back.store(pages.min(self.limit_pages), Ordering::Relaxed);
    }

    /// Takes a slot, with whatever bytes it has.
    pub(super) fn take(&self, granules: usize) -> Result<Slot, StoreError> {
        let keep_free = if granules == FRAME_GRANULES { self.kept_back.load(Ordering::Relaxed) } else { 0 };
        let mut frames = self.frames();
        loop {
            match frames.take(granules, keep_free) {
                Taken::Slot(slot) => {
                    self.used_pages.store(frames.used_frames(), Ordering::Relaxed);
                    return Ok(slot);
                }
                Taken::Full => return Err(StoreError::ArenaFull),
                Taken::NeedsSlab(slab) => {
                    let memory = slab::map(self.options).map_err(|error| {
                        tracing::warn!("the system has no more memory for exports: {error}");
                        StoreError::ArenaFull
                    })?;
                    *self.slabs[slab].write().unwrap_or_else(PoisonError::into_inner) = Some(memory);
                    frames.open(slab);
                }
            }
        }
    }

    /// Takes a slot as large as `old`, and with the same bytes, in a frame that is fuller, if there is one.
    pub(super) fn copy_to_fuller(&self, old: &Slot) -> Option<Slot> {
        let new = self.frames().take_fuller(old)?;
        let mut bytes = [0; PAGE_BYTES];
        let bytes = &mut bytes[..old.bytes()];
        self.read(old, |from| bytes.copy_from_slice(from));
        self.write(&new, |to| to.copy_from_slice(bytes));
        Some(new)
    }

    /// Gives a slot back. An empty slab goes back to the system unless it is the only one with room.
    pub(super) fn give_back(&self, slot: &Slot) {
        let mut frames = self.frames();
        if let Some(slab) = frames.give_back(slot) {
            *self.slabs[slab].write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        self.used_pages.store(frames.used_frames(), Ordering::Relaxed);
    }

    /// Looks at a slot.
    pub(super) fn read<R>(&self, slot: &Slot, with: impl FnOnce(&[u8]) -> R) -> R {
        let slab = self.slabs[slot.slab()].read().unwrap_or_else(PoisonError::into_inner);
        let slab = slab.as_deref().expect("a slab with a page in use is there");
        with(&slab[slot.byte_range()])
    }

    /// Changes a slot.
    pub(super) fn write<R>(&self, slot: &Slot, with: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut slab = self.slabs[slot.slab()].write().unwrap_or_else(PoisonError::into_inner);
        let slab = slab.as_deref_mut().expect("a slab with a page in use is there");
        with(&mut slab[slot.byte_range()])
    }

    fn frames(&self) -> MutexGuard<'_, Frames> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether the books agree.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let frames = self.frames();
        let present: Vec<bool> = self.slabs.iter().map(|slab| slab.read().unwrap().is_some()).collect();
        assert_eq!(present, frames.check());
        assert_eq!(self.used_pages.load(Ordering::Relaxed), frames.used_frames());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLAB_PAGES: usize = slab::SLAB_BYTES / PAGE_BYTES;

    #[test]
    fn the_limit_holds_and_pages_come_back() {
        let arena = Arena::new(3 * PAGE_BYTES as u64 + 1);
        let mut slots: Vec<_> = (0..3).map(|_| arena.take(16).unwrap()).collect();
        arena.check();
        assert!(matches!(arena.take(16), Err(StoreError::ArenaFull)));
        arena.give_back(&slots.pop().unwrap());
        slots.push(arena.take(16).unwrap());
        assert_eq!(arena.usage().used_pages, 3);
        slots.iter().for_each(|slot| arena.give_back(slot));
        arena.check();
        assert_eq!(arena.usage().used_pages, 0);
    }

    #[test]
    fn memory_goes_back_to_the_system() {
        let arena = Arena::new(4 * slab::SLAB_BYTES as u64);
        let slots: Vec<_> = (0..4 * SLAB_PAGES).map(|_| arena.take(16).unwrap()).collect();
        assert_eq!(arena.usage().resident_pages, 4 * SLAB_PAGES);
        slots.iter().for_each(|slot| arena.give_back(slot));
        arena.check();
        assert_eq!(arena.usage().resident_pages, SLAB_PAGES);
    }

    #[test]
    fn slots_do_not_overlap() {
        let arena = Arena::new(2 * slab::SLAB_BYTES as u64);
        let slots: Vec<_> = (0..2 * SLAB_PAGES).map(|index| arena.take(if index % 2 == 0 { 16 } else { 5 }).unwrap()).collect();
        for (index, slot) in slots.iter().enumerate() {
            arena.write(slot, |bytes| bytes.fill((index % 251) as u8));
        }
        for (index, slot) in slots.iter().enumerate() {
            arena.read(slot, |bytes| assert!(bytes.iter().all(|&byte| byte == (index % 251) as u8)));
        }
    }

    #[test]
    fn memory_can_be_locked_where_the_system_allows() {
        let options = ArenaOptions { lock_memory: true, huge_pages: true };
        let locked_kib = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
            line.trim().trim_end_matches(" kB").trim().parse::<usize>().unwrap()
        };
        match Arena::with_options(slab::SLAB_BYTES as u64, options) {
            Ok(arena) => {
                let slot = arena.take(16).unwrap();
                arena.write(&slot, |bytes| bytes.fill(1));
                assert!(locked_kib() >= slab::SLAB_BYTES / 1024);
            }
            Err(error) => assert!(error.to_string().contains("RLIMIT_MEMLOCK"), "{error}"),
        }
    }
}
