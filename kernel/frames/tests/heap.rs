//! The kernel heap: sizes, exhaustion, what goes back to the pool.

use frames::{Heap, PAGE_SIZE, Pool};
use std::alloc::{GlobalAlloc, Layout};

/// A heap on a pool of its own, which stays.
macro_rules! heap {
    ($pages:expr) => {{
        static POOL: std::sync::OnceLock<Pool> = std::sync::OnceLock::new();
        static HEAP: Heap = Heap::new();
        let pool = POOL.get_or_init(|| Pool::for_tests($pages));
        HEAP.init(pool);
        (pool, &HEAP)
    }};
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// Allocates until there is no more.
fn exhaust(heap: &Heap, layout: Layout) -> Vec<*mut u8> {
    // SAFETY: the layout is not empty.
    std::iter::from_fn(|| Some(unsafe { heap.alloc(layout) }).filter(|object| !object.is_null())).collect()
}

fn free_all(heap: &Heap, objects: impl IntoIterator<Item = *mut u8>, layout: Layout) {
    // SAFETY: from `exhaust` with this layout, freed once.
    objects.into_iter().for_each(|object| unsafe { heap.dealloc(object, layout) });
}

#[test]
fn a_heap_without_pool_has_nothing() {
    let heap = Heap::new();
    // SAFETY: the layout is not empty.
    assert!(unsafe { heap.alloc(layout(8, 8)) }.is_null());
    assert_eq!((heap.used_bytes(), heap.headroom()), (0, 0));
}

#[test]
fn small_objects_use_every_frame_and_give_all_but_one_back() {
    const PAGES: usize = if cfg!(miri) { 10 } else { 40 };
    let (pool, heap) = heap!(PAGES);
    // (size, size classes so far): each class keeps a frame.
    let sizes: &[(usize, usize)] =
        if cfg!(miri) { &[(500, 1), (2000, 2)] } else { &[(1, 1), (16, 1), (100, 2), (500, 3), (1344, 4), (2000, 5)] };
    for &(size, classes) in sizes {
        let layout = layout(size, 1);
        let objects = exhaust(heap, layout);
        let room = PAGES - classes + 1;
        assert!(objects.len() * size.max(8) * 2 > room * PAGE_SIZE / 2, "{size}: {}", objects.len());
        assert_eq!(pool.available(), 0, "the kernel goes down to the last frame");
        // Out of order: the even ones first, so that all slabs are on the list again.
        let (even, odd): (Vec<_>, Vec<_>) = objects.iter().enumerate().partition(|(at, _)| at % 2 == 0);
        free_all(heap, even.into_iter().map(|(_, o)| *o), layout);
        free_all(heap, odd.into_iter().map(|(_, o)| *o).rev(), layout);
        assert_eq!((heap.used_bytes(), heap.held_frames(), pool.in_use()), (0, classes, classes));
    }
    pool.check();
}

#[test]
fn freed_objects_are_used_again_before_new_memory() {
    let (pool, heap) = heap!(20);
    let layout = layout(64, 64);
    // SAFETY: not empty; freed once each.
    unsafe {
        let keep = heap.alloc(layout);
        for _ in 0..(if cfg!(miri) { 100 } else { 1000 }) {
            let object = heap.alloc(layout);
            assert_eq!(object.addr() % 64, 0);
            heap.dealloc(object, layout);
        }
        assert_eq!((pool.in_use(), heap.used_bytes()), (1, 64));
        heap.dealloc(keep, layout);
    }
}

#[test]
#[cfg_attr(miri, ignore = "writes megabytes")]
fn large_allocations_take_only_their_pages() {
    let (pool, heap) = heap!(6000);
    for (size, align, pages) in
        [(3000, 8, 1), (5 * PAGE_SIZE - 1, 8, 5), (100, 8192, 2), (1025 * PAGE_SIZE, 4096, 1025), (9 << 20, 64, 2304)]
    {
        let layout = layout(size, align);
        // SAFETY: not empty; inside; freed once.
        unsafe {
            let memory = heap.alloc(layout);
            assert!(!memory.is_null() && memory.addr().is_multiple_of(align), "{size}");
            memory.write_bytes(0x11, size);
            assert_eq!((pool.in_use(), heap.used_bytes()), (pages, pages * PAGE_SIZE));
            heap.dealloc(memory, layout);
        }
        assert_eq!(pool.in_use(), 0);
        pool.check();
    }
    // SAFETY: not empty.
    assert!(unsafe { heap.alloc(layout(6001 * PAGE_SIZE, 8)) }.is_null());
}

#[test]
fn growing_keeps_the_contents_and_moves_only_when_it_must() {
    let (pool, heap) = heap!(if cfg!(miri) { 80 } else { 200 });
    let mut size = 10;
    // SAFETY: sizes are those of the last step; bytes are inside.
    unsafe {
        let mut memory = heap.alloc(layout(size, 1));
        (0..size).for_each(|at| memory.add(at).write(at as u8));
        for new in [12, 16, 17, 900, 5000, 8000, 8193, 20_000, 60, 10] {
            let moved = heap.realloc(memory, layout(size, 1), new);
            assert_eq!(moved == memory, matches!(new, 12 | 16 | 8000), "{size} to {new}");
            (0..size.min(new)).for_each(|at| assert_eq!(moved.add(at).read(), at as u8));
            (0..new).for_each(|at| moved.add(at).write(at as u8));
            (memory, size) = (moved, new);
        }
        let too_much = heap.realloc(memory, layout(size, 1), 1 << 20);
        assert!(too_much.is_null());
        assert_eq!(memory.add(9).read(), 9, "a refused request loses nothing");
        heap.dealloc(memory, layout(size, 1));
    }
    assert_eq!(heap.used_bytes(), 0);
    pool.check();
}
