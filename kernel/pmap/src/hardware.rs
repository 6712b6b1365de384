//! What the logic asks of the machine: entries of tables, table frames, TLB invalidation, barriers.
//!
//! The order of these calls is the point of this crate, so they are as thin as the instructions. `kernel/aarch64` implements them, and
//! `tests/ghost` does with a model that is stricter than any CPU.

use frames::FrameNumber;

/// The machine. Every TLBI but `tlbi_local` is for all CPUs of the inner-shareable domain.
pub trait Hardware: Send + Sync {
    /// A frame for a table, filled with zeroes.
    fn allocate_table(&self) -> Option<FrameNumber>;

    /// Takes a table's frame back; no CPU can reach it any more.
    fn free_table(&self, table: FrameNumber);

    /// Reads an entry: one 8-byte load.
    fn load(&self, table: FrameNumber, index: usize) -> u64;

    /// Writes an entry: one 8-byte store. Used only where the hardware does not write, that is on invalid entries.
    fn store(&self, table: FrameNumber, index: usize, value: u64);

    /// Writes an entry and returns what it replaced, atomically: hardware may set the accessed flag in between.
    fn exchange(&self, table: FrameNumber, index: usize, value: u64) -> u64;

    /// Writes an entry if it still is `old`; else returns what it is.
    fn compare_exchange(&self, table: FrameNumber, index: usize, old: u64, new: u64) -> Result<(), u64>;

    /// DSB ISHST: entries written before are seen by table walks that begin after.
    fn dsb_ishst(&self);

    /// DSB ISH: all that came before is complete, invalidations of TLBs included.
    fn dsb_ish(&self);

    /// ISB.
    fn isb(&self);

    /// TLBI VALE1IS: the last-level entry of one page. Operand: [`crate::tlbi::page`].
    fn tlbi_page(&self, asid: u16, address: u64);

    /// TLBI VAE1IS: the entries of all levels for an address, where a table was unlinked. Operand: [`crate::tlbi::page`].
    fn tlbi_walk(&self, asid: u16, address: u64);

    /// TLBI RVALE1IS: last-level entries of adjacent pages. False, having done nothing, without FEAT_TLBIRANGE. Operands: [`crate::tlbi::ranges`].
    fn tlbi_range(&self, asid: u16, address: u64, pages: u64) -> bool {
        let _ = (asid, address, pages);
        false
    }

    /// TLBI ASIDE1IS: everything of one ASID, all levels.
    fn tlbi_asid(&self, asid: u16);

    /// TLBI VMALLE1: everything, on this CPU only.
    fn tlbi_local(&self);

    /// Makes a page's contents visible to instruction fetches on all CPUs: cleans the data cache, invalidates the instruction cache.
    fn sync_icache(&self, frame: FrameNumber);
}
