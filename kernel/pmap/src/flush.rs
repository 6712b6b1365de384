//! The one invalidation sequence: store entries, DSB ISHST, TLBI, DSB ISH, ISB.
//!
//! A [`Flush`] remembers which pages' entries were changed and which tables were unlinked. Nothing that a broken entry pointed to may be
//! used for anything else before `finish`, which is the only way to get a [`Clean`]; making an entry that was broken takes one.

use crate::asid::Context;
use crate::geometry::span;
use crate::hardware::Hardware;
use core::sync::atomic::{Ordering::SeqCst, fence};

/// Translations that are removed in one invalidation sequence.
pub const BATCH: usize = 64;
/// Pages that are invalidated one by one; more are a range, or all of the ASID.
const SINGLY: usize = 16;
/// The longest range that is cheaper than all of the ASID.
const RANGE_PAGES: u64 = 4096;

/// Changes that TLBs may not know of yet.
#[must_use = "TLBs still hold what was changed"]
pub(crate) struct Flush {
    addresses: [u64; SINGLY],
    pages: usize,
    first: u64,
    last: u64,
    unlinked: usize,
}

/// The proof that no TLB holds what was changed.
pub(crate) struct Clean(());

impl Clean {
    /// For an entry that was invalid, and whose break was flushed, before the lock of its tables was taken: invalid entries are in no
    /// TLB, and every break is flushed before the lock is released.
    pub(crate) fn was_invalid() -> Self {
        Self(())
    }
}

impl Flush {
    pub(crate) const fn new() -> Self {
        Self { addresses: [0; SINGLY], pages: 0, first: u64::MAX, last: 0, unlinked: 0 }
    }

    /// A page's entry was broken, or lost rights.
    pub(crate) fn page(&mut self, address: u64) {
        if let Some(slot) = self.addresses.get_mut(self.pages) {
            *slot = address;
        }
        self.pages += 1;
        self.first = self.first.min(address);
        self.last = self.last.max(address);
    }

    /// A table was unlinked.
    pub(crate) fn table(&mut self) {
        self.unlinked += 1;
    }

    /// Completes the changes. `tables` are the first addresses that the unlinked tables translated.
    pub(crate) fn finish(self, hardware: &impl Hardware, context: &Context, tables: &[u64]) -> Clean {
        debug_assert_eq!(tables.len(), self.unlinked);
        if self.pages == 0 && self.unlinked == 0 {
            return Clean(());
        }
        hardware.dsb_ishst();
        // The ASID is read after the entries are written: a CPU that takes up a newer ASID meanwhile walks with it after its own barrier
        // (`Asids::activate`), and sees the new entries.
        fence(SeqCst);
        if let Some(asid) = context.asid() {
            self.invalidate(hardware, asid, tables);
        }
        hardware.dsb_ish();
        hardware.isb();
        Clean(())
    }

    fn invalidate(&self, hardware: &impl Hardware, asid: u16, tables: &[u64]) {
        if tables.len() > SINGLY {
            return hardware.tlbi_asid(asid);
        }
        if self.pages <= SINGLY {
            self.addresses[..self.pages].iter().for_each(|&address| hardware.tlbi_page(asid, address));
        } else {
            let pages = (self.last - self.first) / span(3) + 1;
            if pages > RANGE_PAGES || !hardware.tlbi_range(asid, self.first, pages) {
                return hardware.tlbi_asid(asid);
            }
        }
        tables.iter().for_each(|&address| hardware.tlbi_walk(asid, address));
    }
}
