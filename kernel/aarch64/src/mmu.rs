//! The kernel's own translations: RAM, devices, stacks.
//!
//! `boot.S` has mapped the image; here everything else is added to the same tables, once, while the machine boots. Nothing that has been
//! mapped is changed or split afterwards, so no break-before-make and no TLB maintenance is needed. User address spaces are `pmap.rs`.

use crate::cpu;
use crate::device_tree::Ranges;
use crate::layout::{DEVICE_BASE, IMAGE_BASE, LINEAR_END, STACK_BASE, STACK_SIZE, STACK_STRIDE, linear};
use arrayvec::ArrayVec;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::mutex::SpinMutex;

const PAGE: u64 = 4096;
const ENTRIES: usize = 512;
/// Tables for RAM and devices. A range of RAM with ragged ends takes five; QEMU's virt takes eight in all.
const TABLES: usize = 48;

// The first two kinds are those of user pages.
const _: () = assert!(pmap::MAIR == 0x04FF);

/// What memory is for: the bits of a leaf but for its address and kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// RAM: Normal write-back, never executed.
    Ram,
    /// Registers: Device-nGnRE.
    Device,
    /// Configuration space and the interrupt controller: Device-nGnRnE, a write has happened when it retires.
    Strict,
}

impl Memory {
    /// Index into MAIR_EL1 as `boot.S` sets it, shareability, accessed, never executed.
    const fn bits(self) -> u64 {
        let (index, shareability) = match self {
            Self::Ram => (0, 3),
            Self::Device => (1, 0),
            Self::Strict => (2, 0),
        };
        (index << 2) | (shareability << 8) | (1 << 10) | (1 << 53) | (1 << 54)
    }
}

/// Why something couldn't be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// Not page-aligned, beyond what can be addressed, or a device where RAM is.
    Address,
    /// All tables of the pool are used.
    NoTables,
}

#[repr(C, align(4096))]
struct Table([AtomicU64; ENTRIES]);

unsafe extern "C" {
    static kernel_root: Table;
    static empty_root: Table;
}

static POOL: [Table; TABLES] = [const { Table([const { AtomicU64::new(0) }; ENTRIES]) }; TABLES];

/// What changes when something is mapped.
struct Space {
    /// Physical address of the image.
    image: u64,
    tables_used: usize,
    ram: Ranges,
    devices: ArrayVec<Window, 256>,
    next_device: u64,
}

/// A mapped range of device registers.
struct Window {
    physical: Range<u64>,
    address: u64,
    memory: Memory,
}

static SPACE: SpinMutex<Space> =
    SpinMutex::new(Space { image: 0, tables_used: 0, ram: Ranges::new_const(), devices: ArrayVec::new_const(), next_device: DEVICE_BASE });

/// Leaves the identity map behind: from here on TTBR0 is for users, and empty.
pub fn init(image: u64) {
    SPACE.lock().image = image;
    finish_this_cpu();
}

/// The same for any CPU, after `boot.S`: an empty TTBR0 and T0SZ = 17.
pub fn finish_this_cpu() {
    let control = (cpu::read_register!("tcr_el1") & !0x3F) | 17;
    // SAFETY: this runs in the high half, on a stack there: nothing below is used any more. `empty_root` holds no valid entry, so
    // between the two writes no walk finds anything whatever T0SZ is; then the TLB forgets the identity map.
    unsafe {
        cpu::write_register!("ttbr0_el1", empty_root_physical());
        cpu::write_register!("tcr_el1", control);
        core::arch::asm!("tlbi vmalle1", "dsb nsh", "isb", options(nostack, preserves_flags));
    }
}

/// The physical address of something in the image.
pub fn image_physical(address: u64) -> u64 {
    address - IMAGE_BASE + SPACE.lock().image
}

/// The physical address of a table without entries.
pub fn empty_root_physical() -> u64 {
    image_physical((&raw const empty_root).addr() as u64)
}

/// Maps all RAM into the linear map; nothing of it is mapped as a device from now on. Parts may be mapped already.
pub fn map_all_ram(ram: &Ranges) -> Result<(), MapError> {
    SPACE.lock().ram = ram.clone();
    ram.iter().try_for_each(|range| map_ram(range.clone()))
}

/// Maps some RAM into the linear map. The same range may be mapped again.
pub fn map_ram(physical: Range<u64>) -> Result<(), MapError> {
    if physical.end > LINEAR_END {
        return Err(MapError::Address);
    }
    SPACE.lock().map(linear(physical.start), physical, Memory::Ram)
}

/// Maps a device's registers. The same range may be asked for again, and gives the same address.
pub fn map_device(physical: u64, bytes: u64, memory: Memory) -> Result<NonNull<u8>, MapError> {
    let end = physical.checked_add(bytes.max(1)).and_then(|end| end.checked_next_multiple_of(PAGE)).ok_or(MapError::Address)?;
    let start = physical & !(PAGE - 1);
    let address = SPACE.lock().device(start..end, memory)? + (physical - start);
    NonNull::new(core::ptr::with_exposed_provenance_mut(address as usize)).ok_or(MapError::Address)
}

/// Maps a stack for a CPU; the address of its top.
pub fn map_stack(cpu: usize, physical: u64) -> Result<u64, MapError> {
    let bottom = STACK_BASE + cpu as u64 * STACK_STRIDE + STACK_STRIDE - STACK_SIZE;
    SPACE.lock().map(bottom, physical..physical + STACK_SIZE, Memory::Ram)?;
    Ok(bottom + STACK_SIZE)
}

impl Space {
    fn device(&mut self, physical: Range<u64>, memory: Memory) -> Result<u64, MapError> {
        let known =
            |window: &&Window| window.memory == memory && window.physical.start <= physical.start && physical.end <= window.physical.end;
        if let Some(window) = self.devices.iter().find(known) {
            return Ok(window.address + (physical.start - window.physical.start));
        }
        // A page between two windows stays unmapped. Keeping the offset in 2 MiB lets large ones have blocks.
        const BLOCK: u64 = 1 << 21;
        let small = physical.end - physical.start < BLOCK;
        let next = self.next_device + PAGE;
        let address = if small { next } else { next.next_multiple_of(BLOCK) + physical.start % BLOCK };
        if self.ram.iter().any(|ram| ram.start < physical.end && physical.start < ram.end) {
            return Err(MapError::Address);
        }
        if self.devices.is_full() {
            return Err(MapError::NoTables);
        }
        self.map(address, physical.clone(), memory)?;
        self.next_device = address + (physical.end - physical.start);
        self.devices.push(Window { physical, address, memory });
        Ok(address)
    }

    /// Maps a range with the largest blocks that fit.
    fn map(&mut self, mut address: u64, physical: Range<u64>, memory: Memory) -> Result<(), MapError> {
        if !(address | physical.start | physical.end).is_multiple_of(PAGE) || physical.end > 1 << 48 {
            return Err(MapError::Address);
        }
        let mut next = physical.start;
        while next < physical.end {
            let bytes = self.map_one(address, next, physical.end - next, memory)?;
            address += bytes;
            next += bytes;
        }
        cpu::dsb_ishst();
        cpu::isb();
        Ok(())
    }

    /// Maps the first block of a range; its size.
    fn map_one(&mut self, address: u64, physical: u64, limit: u64, memory: Memory) -> Result<u64, MapError> {
        // SAFETY: the linker made it, in the image, mapped for good; entries are atomics.
        let mut table: &'static Table = unsafe { &kernel_root };
        for level in 0..4 {
            let shift = 39 - 9 * level;
            let size = 1u64 << shift;
            // Of level 0, only the 256 entries of this half exist.
            let index = (address >> shift) as usize & if level == 0 { 255 } else { 511 };
            let old = table.0[index].load(Ordering::Relaxed);
            let fits = level > 0 && (address | physical).is_multiple_of(size) && limit >= size;
            let is_table = old & 3 == 3 && level < 3;
            if old & 1 != 0 && !is_table {
                // Already mapped by a block or page: to the same, or this module has a bug.
                let to = (old & 0x0000_FFFF_FFFF_F000) + (physical & (size - 1));
                assert!(to == physical, "kernel address {address:#x} is mapped twice");
                return Ok((size - (physical & (size - 1))).min(limit));
            }
            if fits && !is_table {
                let kind = if level == 3 { 3 } else { 1 };
                table.0[index].store(physical | memory.bits() | kind, Ordering::Relaxed);
                return Ok(size);
            }
            table = if is_table { self.table_at(old) } else { self.new_table(&table.0[index])? };
        }
        unreachable!("level 3 always fits")
    }

    fn table_at(&self, entry: u64) -> &'static Table {
        let address = (entry & 0x0000_FFFF_FFFF_F000) - self.image + IMAGE_BASE;
        // SAFETY: every table of the kernel's half is one of the image's: POOL or those of boot.S. All live for good, are mapped at
        // IMAGE_BASE, and are only accessed as atomics once Rust runs.
        unsafe { &*core::ptr::with_exposed_provenance(address as usize) }
    }

    fn new_table(&mut self, entry: &AtomicU64) -> Result<&'static Table, MapError> {
        let table = POOL.get(self.tables_used).ok_or(MapError::NoTables)?;
        self.tables_used += 1;
        let physical = (table as *const Table).expose_provenance() as u64 - IMAGE_BASE + self.image;
        // A walk that sees the entry must see an empty table: .bss was cleared before any walk could.
        cpu::dsb_ishst();
        entry.store(physical | 3, Ordering::Relaxed);
        Ok(table)
    }
}
