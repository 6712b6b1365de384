//! Entered: user address spaces on this machine's tables and TLBs (page's life, step 9: Entered).
//!
//! Everything that has an order to it (break-before-make, invalidation before reuse, generations of ASIDs) is in the `pmap` crate, where
//! tests see it; here are the instructions.

use crate::cpu::{self, read_register, write_register};
use crate::layout::{MAX_CPUS, linear};
use crate::{memory, mmu};
use abi::vm::Protection;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use frames::{Frame, FrameNumber, Purpose};
use pmap::{Asids, ENTRIES, Hardware, MemoryType, Tables, tlbi};
use spin::once::Once;
use vm::{NoTables, Removed};

static ASIDS: Once<Asids> = Once::new();

/// Makes ready to lend ASIDs: as many as the CPU has, all of which `boot.S` switched on.
pub fn init() {
    const SIXTEEN_BITS: u64 = 1 << 36;
    let count = if read_register!("tcr_el1") & SIXTEEN_BITS != 0 { 1 << 16 } else { 1 << 8 };
    ASIDS.call_once(|| Asids::new(count, MAX_CPUS));
}

/// The translation tables of an address space.
pub struct AddressSpace(Tables<Cpu>);

impl AddressSpace {
    /// An empty one; none if there is no memory.
    pub fn new() -> Option<Self> {
        Tables::new(Cpu).ok().map(Self)
    }

    /// Makes it the one that TTBR0 has on this CPU. None: nothing is mapped. The caller keeps it alive until another is.
    pub fn activate(space: Option<&Self>) {
        let root = match (space, ASIDS.get()) {
            (Some(Self(tables)), Some(asids)) => tables.ttbr0(asids.activate(cpu::this_cpu(), tables.context(), &Cpu)),
            _ => mmu::empty_root_physical(),
        };
        // SAFETY: tables of a user space, or none: they hold no entry for the kernel's half, and no kernel code or data is below it.
        unsafe { write_register!("ttbr0_el1", root) };
    }
}

impl vm::Pmap for AddressSpace {
    fn enter(&self, address: u64, frame: FrameNumber, protection: Protection) -> Result<(), NoTables> {
        self.0.enter(address, frame, protection, MemoryType::Normal).map_err(|pmap::NoTables| NoTables)
    }

    fn remove(&self, start: u64, end: u64, removed: &mut dyn FnMut(Removed)) {
        self.0.remove(start, end, &mut |address, frame| removed(Removed { address, frame }));
    }

    fn restrict(&self, start: u64, end: u64, protection: Protection) {
        self.0.restrict(start, end, protection);
    }

    fn take_accessed(&self, address: u64) -> bool {
        self.0.take_accessed(address)
    }

    fn set_accessed(&self, address: u64) -> bool {
        self.0.set_accessed(address)
    }
}

/// This machine, to `pmap`.
struct Cpu;

/// An entry of a table.
fn entry(table: FrameNumber, index: usize) -> &'static AtomicU64 {
    assert!(index < ENTRIES);
    let address = linear(table.phys()) as usize + index * size_of::<u64>();
    // SAFETY: 1. `pmap` asks only about frames that it has from `allocate_table` and has not freed: RAM in the linear map, nobody else's.
    // 2. The index is inside the page. 3. The table walker writes it too, hence the atomic.
    unsafe { &*core::ptr::with_exposed_provenance(address) }
}

/// TLB maintenance with an operand.
macro_rules! tlbi {
    ($operation:literal, $operand:expr) => {
        // SAFETY: TLBs are caches of tables: forgetting entries changes no translation that is in them.
        unsafe { asm!(concat!($operation, ", {}"), in(reg) $operand, options(nostack, preserves_flags)) }
    };
}

impl Hardware for Cpu {
    fn allocate_table(&self) -> Option<FrameNumber> {
        let frame = memory::pool().allocate(Purpose::Kernel)?;
        memory::pool().zero(&frame);
        Some(frame.into_number())
    }

    fn free_table(&self, table: FrameNumber) {
        // SAFETY: `pmap` gives back what `allocate_table` gave up, once, when no walk can reach it any more.
        memory::pool().free(unsafe { Frame::from_number(table) });
    }

    fn load(&self, table: FrameNumber, index: usize) -> u64 {
        entry(table, index).load(Ordering::Relaxed)
    }

    fn store(&self, table: FrameNumber, index: usize, value: u64) {
        entry(table, index).store(value, Ordering::Relaxed);
    }

    fn exchange(&self, table: FrameNumber, index: usize, value: u64) -> u64 {
        entry(table, index).swap(value, Ordering::Relaxed)
    }

    fn compare_exchange(&self, table: FrameNumber, index: usize, old: u64, new: u64) -> Result<(), u64> {
        entry(table, index).compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed).map(drop)
    }

    fn dsb_ishst(&self) {
        cpu::dsb_ishst();
    }

    fn dsb_ish(&self) {
        cpu::dsb_ish();
    }

    fn isb(&self) {
        cpu::isb();
    }

    fn tlbi_page(&self, asid: u16, address: u64) {
        tlbi!("tlbi vale1is", tlbi::page(asid, address));
    }

    fn tlbi_walk(&self, asid: u16, address: u64) {
        tlbi!("tlbi vae1is", tlbi::page(asid, address));
    }

    fn tlbi_range(&self, asid: u16, address: u64, pages: u64) -> bool {
        const RANGES: u64 = 2;
        let has_ranges = read_register!("id_aa64isar0_el1") >> 56 & 15 >= RANGES;
        if has_ranges {
            let (operands, odd) = tlbi::ranges(asid, address, pages);
            // TLBI RVALE1IS, which assemblers know only for CPUs that have it.
            operands.for_each(|operand| tlbi!("sys #0, c8, c2, #5", operand));
            odd.into_iter().for_each(|page| self.tlbi_page(asid, page));
        }
        has_ranges
    }

    fn tlbi_asid(&self, asid: u16) {
        tlbi!("tlbi aside1is", tlbi::asid(asid));
    }

    fn tlbi_local(&self) {
        // SAFETY: as in `tlbi`.
        unsafe { asm!("tlbi vmalle1", options(nostack, preserves_flags)) };
    }

    fn sync_icache(&self, frame: FrameNumber) {
        // CTR_EL0: whether data needs no cleaning (IDC) and instructions no invalidation (DIC), and the lines.
        let control = read_register!("ctr_el0");
        let page = linear(frame.phys());
        let lines = |shift: u32| (page..page + frames::PAGE_SIZE as u64).step_by(4 << (control >> shift & 15));
        if control >> 28 & 1 == 0 {
            for line in lines(16) {
                // SAFETY: writes a line of the page back, if it is dirty.
                unsafe { asm!("dc cvau, {}", in(reg) line, options(nostack, preserves_flags)) };
            }
        }
        cpu::dsb_ish();
        if control >> 29 & 1 == 0 {
            for line in lines(0) {
                // SAFETY: instruction caches forget a line.
                unsafe { asm!("ic ivau, {}", in(reg) line, options(nostack, preserves_flags)) };
            }
            cpu::dsb_ish();
        }
        cpu::isb();
    }
}
