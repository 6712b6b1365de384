//! What is particular to the RAM store: what it costs, and that nobody sees another's bytes.

use super::*;
use proptest::prelude::*;

const PAGE: u64 = PAGE_BYTES as u64;
const LEAF: u64 = LEAF_BYTES as u64;

fn store(size: u64, quota: u64) -> RamStore {
    RamStore::new(Arc::new(Arena::new(64 << 20)), size, quota).unwrap()
}

#[test]
fn zeroes_cost_nothing() {
    let store = store(1 << 40, 0);
    store.write_at(12345, &vec![0; 3 * LEAF_BYTES]).unwrap();
    store.write_zeroes(0, 1 << 40, Space::Release).unwrap();
    assert_eq!(store.used_bytes(), 0);
    store.table.check();
}

#[test]
fn a_page_that_becomes_zero_is_given_up() {
    let store = store(LEAF, u64::MAX);
    store.write_at(10, &[1; 10_000]).unwrap();
    assert_eq!(store.table.memory().arena.usage().used_pages, 3);
    store.write_at(0, &vec![0; 2 * PAGE_BYTES]).unwrap();
    store.table.check();
    assert_eq!(store.table.memory().arena.usage().used_pages, 1);
    store.write_at(2 * PAGE, &vec![0; 2000]).unwrap();
    store.table.check();
    assert_eq!(store.table.memory().arena.usage().used_pages, 0);
}

#[test]
fn the_quota_is_the_cost_and_a_full_export_fits_it() {
    let size = 2 * LEAF + PAGE;
    let store = store(size, RamStore::full_cost(size).unwrap());
    store.write_at(0, &vec![1; size as usize]).unwrap();
    store.table.check();
    assert_eq!(store.used_bytes(), size + store.usage().overhead_bytes);
    store.trim(0, size).unwrap();
    store.table.check();
    assert_eq!(store.table.memory().arena.usage().used_pages, 0);
}

#[test]
fn the_quota_stops_writes_but_not_reads_or_overwrites() {
    let overhead = (size_of::<Node>() + size_of::<Leaf>()) as u64;
    let store = store(1 << 30, overhead + PAGE);
    store.write_at(0, &[1]).unwrap();
    let error = store.write_at(PAGE, &[1]).unwrap_err();
    assert!(matches!(error, StoreError::Quota { .. }) && error.is_out_of_space());
    assert!(store.write_at(LEAF, &[1]).is_err(), "not even a table");
    store.write_at(5, &[2]).unwrap();
    store.write_at(PAGE, &[0; 100]).unwrap();
    store.table.check();
    store.trim(0, PAGE).unwrap();
    store.write_at(PAGE, &[1]).unwrap();
    store.table.check();
}

#[test]
fn the_arena_stops_writes_too_and_nothing_leaks() {
    let arena = Arc::new(Arena::new(2 * PAGE));
    let store = RamStore::new(arena.clone(), LEAF, u64::MAX).unwrap();
    assert!(matches!(store.write_at(0, &vec![1; 3 * PAGE_BYTES]), Err(StoreError::ArenaFull)));
    store.table.check();
    drop(store);
    assert_eq!(arena.usage().used_pages, 0);
}

#[test]
fn reserved_space_outlives_zeroes_until_it_is_released() {
    let store = store(LEAF, u64::MAX);
    store.write_zeroes(0, 2 * PAGE, Space::Reserve).unwrap();
    store.write_at(0, &[0; 2 * PAGE_BYTES]).unwrap();
    assert_eq!(store.extent_at(0, LEAF).unwrap(), Extent { length: 2 * PAGE, content: Content::Data });
    store.table.check();
    store.write_zeroes(0, LEAF, Space::Release).unwrap();
    assert_eq!(store.extent_at(0, LEAF).unwrap(), Extent { length: LEAF, content: Content::Hole });
    store.table.check();
}

#[test]
fn a_used_page_shows_nothing_of_its_last_owner() {
    let arena = Arc::new(Arena::new(PAGE));
    let first = RamStore::new(arena.clone(), LEAF, u64::MAX).unwrap();
    let second = RamStore::new(arena, LEAF, u64::MAX).unwrap();
    first.write_at(0, &[0xaa; PAGE_BYTES]).unwrap();
    first.trim(0, PAGE).unwrap();
    second.write_at(100, &[1]).unwrap();
    let mut page = [9; PAGE_BYTES];
    second.read_at(0, &mut page).unwrap();
    assert_eq!(page.iter().map(|&byte| u32::from(byte)).sum::<u32>(), 1);
}

#[test]
fn an_export_may_be_thin_but_not_endless() {
    let arena = Arc::new(Arena::new(0));
    assert!(RamStore::new(arena.clone(), RamStore::SIZE_MAX, 0).is_some());
    assert!(RamStore::new(arena, RamStore::SIZE_MAX + 1, 0).is_none());
    assert_eq!(RamStore::full_cost(u64::MAX), None);
}

proptest! {
    #[test]
    fn the_books_agree_after_every_step(
        steps in prop::collection::vec((0..5u8, 0..3 * LEAF, 1..200_000u64, any::<u8>()), 1..60),
        quota in 0..800_000u64,
    ) {
        let store = store(3 * LEAF, quota);
        for (kind, offset, length, fill) in steps {
            let length = length.min(store.size() - offset);
            let result = match kind {
                0 | 1 => store.write_at(offset, &vec![fill; length as usize]),
                2 => store.trim(offset, length),
                3 => store.write_zeroes(offset, length, Space::Reserve),
                _ => store.write_zeroes(offset, length, Space::Release),
            };
            let accepted = matches!(result, Ok(()) | Err(StoreError::Quota { .. }));
            prop_assert!(accepted);
            prop_assert!(store.used_bytes() <= quota);
            store.table.check();
        }
    }
}
