//! A pmap without hardware, stricter than the real one, for the tests of whoever stands on this crate.
//!
//! It is an ordered map of translations. What hardware would forgive or hide it doesn't: addresses that aren't aligned or aren't the user's, a frame
//! entered over another (break-before-make would be needed), a page that is writable and executable. `check.rs` compares it with the frame records.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};
use spin::Mutex;

use abi::vm::{PAGE_SIZE, Protection, USER_END, USER_START};
use frames::FrameNumber;

use crate::fault::Access;
use crate::{NoTables, Pmap, Removed};

/// One page's translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    pub frame: FrameNumber,
    pub protection: Protection,
    pub accessed: bool,
}

/// The translations of one address space. Clones are the same one: a fake CPU keeps one while it has it loaded.
#[derive(Clone, Default)]
pub struct FakePmap {
    tables: Arc<Tables>,
}

#[derive(Default)]
struct Tables {
    translations: Mutex<BTreeMap<u64, Translation>>,
    /// Enters that will fail for want of a table.
    failures: AtomicUsize,
    replaced: AtomicUsize,
}

impl FakePmap {
    /// An empty address space.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What a CPU does at an access: gives the frame and remembers the use, or faults.
    pub fn access(&self, address: u64, access: Access) -> Option<FrameNumber> {
        let mut translations = self.tables.translations.lock();
        let translation = translations.get_mut(&(address & !(PAGE_SIZE - 1)))?;
        if !translation.protection.contains(access.needs()) {
            return None;
        }
        translation.accessed = true;
        Some(translation.frame)
    }

    /// All translations.
    #[must_use]
    pub fn translations(&self) -> BTreeMap<u64, Translation> {
        self.tables.translations.lock().clone()
    }

    /// The next `enters` find no memory for a table.
    pub fn fail(&self, enters: usize) {
        self.tables.failures.store(enters, Ordering::Relaxed);
    }

    /// How often a frame was entered over another: each would cost a break-before-make.
    #[must_use]
    pub fn replaced(&self) -> usize {
        self.tables.replaced.load(Ordering::Relaxed)
    }
}

fn assert_range(start: u64, end: u64) {
    assert!(start.is_multiple_of(PAGE_SIZE) && end.is_multiple_of(PAGE_SIZE), "{start:#x}..{end:#x} isn't whole pages");
    assert!(start <= end && end <= USER_END, "{start:#x}..{end:#x} isn't the user's");
}

impl Pmap for FakePmap {
    fn enter(&self, address: u64, frame: FrameNumber, protection: Protection) -> Result<(), NoTables> {
        assert_range(address, address + PAGE_SIZE);
        assert!(address >= USER_START, "the first page is never mapped");
        assert!(!protection.contains(Protection::WRITE.union(Protection::EXECUTE)), "writable and executable");
        if self.tables.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            return Err(NoTables);
        }
        let old = self.tables.translations.lock().insert(address, Translation { frame, protection, accessed: true });
        if old.is_some_and(|old| old.frame != frame) {
            self.tables.replaced.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn remove(&self, start: u64, end: u64, removed: &mut dyn FnMut(Removed)) {
        assert_range(start, end);
        loop {
            let first = {
                let mut translations = self.tables.translations.lock();
                let first = translations.range(start..end).next().map(|(address, translation)| (*address, translation.frame));
                if let Some((address, _)) = first {
                    translations.remove(&address);
                }
                first
            };
            let Some((address, frame)) = first else { return };
            removed(Removed { address, frame });
        }
    }

    fn restrict(&self, start: u64, end: u64, protection: Protection) {
        assert_range(start, end);
        for translation in self.tables.translations.lock().range_mut(start..end).map(|(_, translation)| translation) {
            translation.protection = translation.protection.intersection(protection);
        }
    }

    fn take_accessed(&self, address: u64) -> bool {
        assert_range(address, address + PAGE_SIZE);
        self.tables.translations.lock().get_mut(&address).is_some_and(|translation| core::mem::take(&mut translation.accessed))
    }

    fn set_accessed(&self, address: u64) -> bool {
        let mut translations = self.tables.translations.lock();
        let translation = translations.get_mut(&(address & !(PAGE_SIZE - 1)));
        translation.map(|translation| translation.accessed = true).is_some()
    }
}
