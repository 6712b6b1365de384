//! What stored pages cost the process, by the system's own count. Alone in its process, so that nothing else is counted.

use std::sync::Arc;

use store::{Arena, RamStore, Store};

const PAGE: usize = 4096;
const PAGES: usize = 64 << 10;

/// Bytes of memory this process has.
fn resident_bytes() -> usize {
    let fields = std::fs::read_to_string("/proc/self/statm").unwrap();
    fields.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * PAGE
}

#[test]
fn a_stored_page_costs_twenty_bytes_more_than_it_holds_and_a_page_of_zeroes_nothing() {
    let store = RamStore::new(Arc::new(Arena::new(1 << 30)), 1 << 40, u64::MAX).unwrap();
    let (page, zeroes) = ([0xa5; 16 * PAGE], [0; 16 * PAGE]);
    store.write_at(1 << 39, &page).unwrap();
    store.write_zeroes(1 << 39, 16 * PAGE as u64, store::Space::Release).unwrap();
    let before = resident_bytes();
    (0..PAGES / 16).for_each(|run| store.write_at((run * zeroes.len()) as u64, &zeroes).unwrap());
    assert!(resident_bytes() - before <= 64 * 1024, "zeroes cost {}", resident_bytes() - before);
    (0..PAGES / 16).for_each(|run| store.write_at((run * page.len()) as u64, &page).unwrap());
    let cost = resident_bytes() - before;
    let overhead = cost.checked_sub(PAGES * PAGE).expect("the pages themselves are there") as f64 / PAGES as f64;
    println!("overhead per page: {overhead:.1} bytes");
    assert!(overhead <= 20.0, "{overhead}");
    let said = store.usage().overhead_bytes as f64 / PAGES as f64;
    assert!((8.0..=20.0).contains(&said), "{said}");
    store.trim(0, 1 << 40).unwrap();
    assert!(resident_bytes() - before < cost / 8, "the system has its memory back");
}
