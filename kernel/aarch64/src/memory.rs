//! RAM: from the device tree to the linear map, the pool and the heap.

use crate::console::say;
use crate::cpu;
use crate::device_tree::{BadTree, Ranges, Tree};
use crate::layout::{LINEAR_BASE, LINEAR_END, linear};
use crate::mmu::{self, MapError};
use arrayvec::ArrayVec;
use core::arch::asm;
use core::ops::Range;
use frames::{Heap, LinearMap, Pool};
use spin::once::Once;

const PAGE: u64 = frames::PAGE_SIZE as u64;

#[global_allocator]
static HEAP: Heap = Heap::new();

static POOL: Once<Pool> = Once::new();

unsafe extern "C" {
    static __image_start: u8;
    static __image_end: u8;
}

/// Reads the device tree at a physical address.
pub fn tree(physical: u64) -> Result<Tree, BadTree> {
    const NOWHERE: BadTree = BadTree("it lies where no RAM can be");
    const HEADER: u64 = 8;
    if !physical.is_multiple_of(HEADER) || physical >= LINEAR_END {
        return Err(NOWHERE);
    }
    map_pages(&(physical..physical + HEADER)).map_err(|_| NOWHERE)?;
    // SAFETY: mapped just now, aligned; nobody writes a device tree.
    let size = Tree::size(unsafe { &*core::ptr::with_exposed_provenance(linear(physical) as usize) })?;
    map_pages(&(physical..physical + size)).map_err(|_| NOWHERE)?;
    // SAFETY: mapped whole; `init` reserves it, so it stays as it is.
    Tree::new(unsafe { bytes(&(physical..physical + size)) })
}

/// Maps all RAM and makes the pool and the heap of what nobody has yet. `image` is the kernel's physical address.
pub fn init(tree: Tree, image: u64, cpus: usize) -> Result<&'static Pool, BadTree> {
    let (mut reserved, unmapped) = tree.reserved()?;
    let ram = usable(&tree.memory()?, &unmapped)?;
    mmu::map_all_ram(&ram).map_err(|error| match error {
        MapError::Address => BadTree("its memory isn't made of pages"),
        MapError::NoTables => BadTree("its memory is in too many pieces"),
    })?;
    let image_bytes = (&raw const __image_end).addr() - (&raw const __image_start).addr();
    let mine = core::iter::once(image..image + image_bytes as u64)
        .chain(core::iter::once(tree.place()))
        .chain(tree.ramdisk())
        .chain(tree.modules()?.into_iter().map(|module| module.bytes));
    let mut all: ArrayVec<Range<u64>, 48> = reserved.drain(..).collect();
    all.extend(mine);
    // SAFETY: 1. `ram` has just been mapped at LINEAR_BASE, for good, and `all` holds everything in it that somebody uses: the image (with
    // its tables and stacks), the device tree, the loader's files and what the device tree reserves. 2. Called once, so it is the only pool.
    // 3. LINEAR_BASE is a multiple of 4 MiB.
    let pool = unsafe { Pool::new(&ram, &all, LinearMap { offset: LINEAR_BASE }, cpus, cpu::this_cpu) };
    let pool = pool.map_err(|error| {
        say!("{error:?}");
        BadTree("its memory is too small for a kernel")
    })?;
    // SAFETY: both write the page they are given and nothing else.
    let pool = unsafe { if has_zero_by_line() { pool.with_zero(zero_page) } else { pool }.with_copy(copy_page) };
    let pool = POOL.call_once(|| pool);
    HEAP.init(pool);
    Ok(pool)
}

/// The pool, once `init` has made it.
pub fn pool() -> &'static Pool {
    POOL.get().expect("memory comes before what needs it")
}

/// The bytes of a file that the loader has put into RAM; none if it isn't all in RAM.
pub fn file(tree: Tree, range: &Range<u64>) -> Option<&'static [u8]> {
    let (_, unmapped) = tree.reserved().ok()?;
    let ram = usable(&tree.memory().ok()?, &unmapped).ok()?;
    let inside = ram.iter().any(|ram| ram.start <= range.start && range.end <= ram.end);
    // SAFETY: `init` has mapped that RAM and reserved the loader's files; nobody writes them.
    inside.then(|| unsafe { bytes(range) })
}

/// # Safety
/// The range is mapped RAM that nobody writes from now on.
unsafe fn bytes(range: &Range<u64>) -> &'static [u8] {
    // SAFETY: the caller's promise; LINEAR_END keeps the sum in range.
    unsafe {
        core::slice::from_raw_parts(core::ptr::with_exposed_provenance(linear(range.start) as usize), (range.end - range.start) as usize)
    }
}

fn map_pages(range: &Range<u64>) -> Result<(), MapError> {
    mmu::map_ram(range.start & !(PAGE - 1)..range.end.next_multiple_of(PAGE))
}

/// Memory in whole pages below LINEAR_END, without what may not be mapped.
fn usable(memory: &Ranges, unmapped: &Ranges) -> Result<Ranges, BadTree> {
    const PIECES: BadTree = BadTree("its memory is in too many pieces");
    let mut usable = Ranges::new();
    for range in memory {
        let end = range.end.min(LINEAR_END) & !(PAGE - 1);
        let mut rest = range.start.next_multiple_of(PAGE)..end;
        // Each step takes the hole that comes first; what lies before it is usable.
        while let Some(hole) = unmapped.iter().filter(|hole| hole.start < rest.end && rest.start < hole.end).min_by_key(|hole| hole.start) {
            let before = rest.start..hole.start & !(PAGE - 1);
            if !before.is_empty() {
                usable.try_push(before).map_err(|_| PIECES)?;
            }
            rest.start = hole.end.next_multiple_of(PAGE);
        }
        if !rest.is_empty() {
            usable.try_push(rest).map_err(|_| PIECES)?;
        }
    }
    Ok(usable)
}

fn has_zero_by_line() -> bool {
    const PROHIBITED: u64 = 1 << 4;
    cpu::read_register!("dczid_el0") & PROHIBITED == 0
}

/// # Safety
/// `page` is a page of RAM in the linear map, which is the caller's.
unsafe fn zero_page(page: *mut u8) {
    let line = 4u64 << (cpu::read_register!("dczid_el0") & 15);
    // SAFETY: DC ZVA writes the `line` bytes around its address; lines are powers of two up to 2 KiB, so all 4096 / line are in the page.
    unsafe {
        asm!("2: dc zva, {at}", "add {at}, {at}, {line}", "cmp {at}, {end}", "b.lo 2b",
            at = inout(reg) page => _, line = in(reg) line, end = in(reg) page.add(frames::PAGE_SIZE), options(nostack));
    }
}

/// # Safety
/// Both are pages of RAM in the linear map; `to` is the caller's.
unsafe fn copy_page(from: *const u8, to: *mut u8) {
    // SAFETY: reads 4096 bytes at `from`, writes as many at `to`, 64 at a time.
    unsafe {
        asm!("2: ldp {a}, {b}, [{from}]", "ldp {c}, {d}, [{from}, #16]", "ldp {e}, {f}, [{from}, #32]", "ldp {g}, {h}, [{from}, #48]",
            "stp {a}, {b}, [{to}]", "stp {c}, {d}, [{to}, #16]", "stp {e}, {f}, [{to}, #32]", "stp {g}, {h}, [{to}, #48]",
            "add {from}, {from}, #64", "add {to}, {to}, #64", "cmp {to}, {end}", "b.lo 2b",
            a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _, e = out(reg) _, f = out(reg) _, g = out(reg) _, h = out(reg) _,
            from = inout(reg) from => _, to = inout(reg) to => _, end = in(reg) to.add(frames::PAGE_SIZE), options(nostack));
    }
}
