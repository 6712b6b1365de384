//! What is particular to the compressed store: what is packed and when, and that it is not lost or shown to others.

use std::time::Duration;

use proptest::prelude::*;

use super::super::frames::{GRANULE_BYTES, PAGE_BYTES};
use super::super::leaf::{LEAF_BYTES, LeafError};
use super::super::packed::Packer;
use super::super::sweep::{Effort, Sweeper};
use super::super::{Arena, CompressorOptions};
use super::*;
use crate::State;

const PAGE: u64 = PAGE_BYTES as u64;
const LEAF: u64 = LEAF_BYTES as u64;
const HEED: Effort = Effort { heed_touch: true, tighten: false };
const ANY: Effort = Effort { heed_touch: false, tighten: true };

fn table(arena: &Arc<Arena>) -> Table {
    Table::new(arena.clone(), 3 * LEAF, u64::MAX).unwrap()
}

fn arena() -> Arc<Arena> {
    Arc::new(Arena::new(64 << 20))
}

/// Bytes as programs have them, different for each `tag`: compresses well, or (`noise`) not at all.
fn bytes(tag: u64, length: usize, noise: bool) -> Vec<u8> {
    let mut state = tag.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut pointer = 0;
    let mut word = || {
        let random = next();
        if random.is_multiple_of(6) {
            pointer = 0x7f00_0000_1000 + (random >> 8 & 0xf) * 8;
        }
        if noise { random } else { pointer }
    };
    let mut bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| word().to_le_bytes()).collect();
    bytes.truncate(length);
    bytes
}

fn read(table: &Table, offset: u64, length: usize) -> Result<Vec<u8>, StoreError> {
    let mut buffer = vec![0xee; length];
    super::super::read_at(table, offset, &mut buffer).map(|()| buffer)
}

fn pack_all(table: &Table) -> usize {
    Sweeper::new().turn(table, ANY, usize::MAX)
}

fn is_packed(table: &Table, page: u64) -> bool {
    super::super::state_at(table, page * PAGE, 1).unwrap().state == State::COMPRESSED
}

#[test]
fn untouched_pages_are_packed_and_read_back() {
    let (arena, mut sweeper) = (arena(), Sweeper::new());
    let table = table(&arena);
    let data = bytes(1, 100 * PAGE_BYTES, false);
    table.write(0, &data).unwrap();
    assert_eq!(sweeper.turn(&table, HEED, usize::MAX), 0, "all were just written");
    read(&table, 7 * PAGE, 1).unwrap();
    let saved = sweeper.turn(&table, HEED, usize::MAX);
    table.check();
    assert!(!is_packed(&table, 7) && is_packed(&table, 6) && is_packed(&table, 8));
    let usage = table.ledger().usage(table.size());
    assert_eq!(usage.compressed_original_bytes, 99 * PAGE);
    assert_eq!(usage.compressed_stored_bytes + saved as u64, 99 * PAGE);
    assert!(saved as u64 > 70 * PAGE, "{saved}");
    assert_eq!(usage.resident_bytes, PAGE);
    assert!(read(&table, 0, data.len()).unwrap() == data);
    assert!(arena.usage().used_pages < 30);
}

#[test]
fn a_page_written_while_it_is_packed_keeps_what_was_written() {
    let arena = arena();
    let table = table(&arena);
    let (old, new) = (bytes(1, PAGE_BYTES, false), bytes(2, PAGE_BYTES, false));
    table.write(0, &old).unwrap();
    let mut copy = [0; PAGE_BYTES];
    let claim = |copy: &mut [u8; PAGE_BYTES]| {
        let mut claimed = false;
        table
            .change_existing(0, |leaf| {
                claimed = leaf.claim(0, false, &arena, copy);
                Ok(())
            })
            .unwrap();
        claimed
    };
    let mut packer = Packer::new();
    let install = |packed: Option<&[u8]>| {
        let mut saved = 0;
        table
            .change_existing(0, |leaf| {
                saved = leaf.install(0, packed, table.memory());
                Ok(())
            })
            .unwrap();
        saved
    };
    assert!(claim(&mut copy));
    table.write(0, &new).unwrap();
    assert_eq!(install(packer.pack(&copy)), 0, "the claim ended with the write");
    assert_eq!(read(&table, 0, PAGE_BYTES).unwrap(), new);
    assert!(claim(&mut copy));
    assert!(install(packer.pack(&copy)) > 0);
    assert_eq!(read(&table, 0, PAGE_BYTES).unwrap(), new);
    assert_eq!(install(packer.pack(&copy)), 0, "it is packed");
    table.check();
}

#[test]
fn a_page_that_does_not_compress_is_tried_once_until_it_is_written() {
    let arena = arena();
    let table = table(&arena);
    table.write(0, &bytes(1, PAGE_BYTES, true)).unwrap();
    assert_eq!(pack_all(&table), 0);
    let mut copy = [0; PAGE_BYTES];
    let mut claim = || {
        let mut claimed = false;
        table
            .change_existing(0, |leaf| {
                claimed = leaf.claim(0, false, &arena, &mut copy);
                Ok(())
            })
            .unwrap();
        claimed
    };
    assert!(!claim());
    table.write(5, &[0]).unwrap();
    assert!(claim());
}

#[test]
fn reserved_pages_are_left_as_they_are() {
    let arena = arena();
    let table = table(&arena);
    table.write_zeroes(0, PAGE, Space::Reserve).unwrap();
    table.write(0, &bytes(1, PAGE_BYTES, false)).unwrap();
    assert_eq!(pack_all(&table), 0);
    table.write(PAGE, &bytes(2, PAGE_BYTES, false)).unwrap();
    assert!(pack_all(&table) > 0);
    table.write_zeroes(PAGE, 10, Space::Reserve).unwrap();
    table.check();
    let expected = [vec![0; 10], bytes(2, PAGE_BYTES, false)[10..].to_vec()].concat();
    assert_eq!(read(&table, PAGE, PAGE_BYTES).unwrap(), expected);
    assert_eq!(super::super::state_at(&table, 0, LEAF).unwrap().length, 2 * PAGE);
    assert_eq!(table.ledger().usage(LEAF).reserved_bytes, 2 * PAGE);
}

#[test]
fn damage_is_an_error_and_not_data() {
    let arena = arena();
    let table = table(&arena);
    table.write(LEAF, &bytes(1, 3 * PAGE_BYTES, false)).unwrap();
    assert!(pack_all(&table) > 0);
    table
        .change_existing(1, |leaf| {
            leaf.flip_bit(1, &arena, 100);
            Ok::<_, LeafError>(())
        })
        .unwrap();
    let error = read(&table, LEAF, 3 * PAGE_BYTES).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { offset } if offset == LEAF + PAGE), "{error}");
    assert!(matches!(table.write(LEAF + PAGE, &[1]), Err(StoreError::Corrupt { .. })), "its rest would be made up");
    read(&table, LEAF, PAGE_BYTES).unwrap();
    read(&table, LEAF + 2 * PAGE, PAGE_BYTES).unwrap();
    table.write(LEAF + PAGE, &bytes(2, PAGE_BYTES, false)).unwrap();
    assert_eq!(read(&table, LEAF + PAGE, PAGE_BYTES).unwrap(), bytes(2, PAGE_BYTES, false));
    table.check();
}

#[test]
fn what_is_left_of_compressed_pages_is_moved_together() {
    let arena = arena();
    let table = table(&arena);
    table.write(0, &bytes(1, 400 * PAGE_BYTES, false)).unwrap();
    pack_all(&table);
    let full = arena.usage();
    // One page of each frame stays.
    for page in (0..400).filter(|page| page % 5 != 0) {
        table.write_zeroes(page * PAGE, PAGE, Space::Release).unwrap();
    }
    let sparse = arena.usage();
    assert!(sparse.used_bytes < full.used_bytes / 4 && sparse.used_pages > full.used_pages / 2, "{sparse:?}");
    pack_all(&table);
    table.check();
    let tight = arena.usage();
    assert!(tight.used_pages <= full.used_pages / 3, "{tight:?} {full:?}");
    assert_eq!(read(&table, 100 * PAGE, PAGE_BYTES).unwrap(), bytes(1, 400 * PAGE_BYTES, false)[100 * PAGE_BYTES..][..PAGE_BYTES]);
}

fn compressor(arena: &Arc<Arena>, wait: Duration) -> Arc<Compressor> {
    Compressor::new(arena.clone(), CompressorOptions { wait, ..CompressorOptions::default() }).unwrap()
}

#[test]
fn more_pages_than_memory_are_held() {
    let arena = Arc::new(Arena::new(8 << 20));
    let store = CompressedStore::new(compressor(&arena, Duration::from_secs(20)), 64 << 20, u64::MAX).unwrap();
    let pages = 7 * arena.limit_pages() as u64 / 2;
    for page in 0..pages {
        store.write_at(page * PAGE, &bytes(page, PAGE_BYTES, false)).unwrap();
    }
    for page in 0..pages {
        let mut buffer = Vec::new();
        store.append_to(page * PAGE, PAGE_BYTES, &mut buffer).unwrap();
        assert!(buffer == bytes(page, PAGE_BYTES, false), "page {page}");
    }
    let usage = store.usage();
    assert_eq!(usage.resident_bytes + usage.compressed_original_bytes, pages * PAGE);
    assert!(usage.resident_bytes + usage.compressed_stored_bytes <= 8 << 20);
    store.table.check();
}

#[test]
fn room_is_made_before_anyone_has_to_wait() {
    let arena = Arc::new(Arena::new(4 << 20));
    let store = CompressedStore::new(compressor(&arena, Duration::ZERO), 64 << 20, u64::MAX).unwrap();
    let (mut page, mut waited) = (0, 0);
    let deadline = Instant::now() + Duration::from_secs(30);
    while page < 2 * arena.limit_pages() as u64 {
        // As a service does that only writes by itself when that does not wait.
        if store.is_immediate() {
            store.write_at(page * PAGE, &bytes(page, PAGE_BYTES, false)).unwrap();
            page += 1;
        } else {
            assert!(Instant::now() < deadline, "{:?}", arena.usage());
            waited += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert!(waited > 0);
}

#[test]
fn a_quota_too_is_made_room_in() {
    let arena = arena();
    let quota = (1 << 20) + 64 * 1024;
    let store = CompressedStore::new(compressor(&arena, Duration::from_secs(20)), 1 << 30, quota).unwrap();
    for page in 0..512 {
        store.write_at(page * PAGE, &bytes(page, PAGE_BYTES, false)).unwrap();
        assert!(store.used_bytes() <= quota);
    }
    store.table.check();
}

#[test]
fn when_nothing_can_be_compressed_a_write_fails_soon_and_nothing_is_lost() {
    let arena = Arc::new(Arena::new(1 << 20));
    let store = CompressedStore::new(compressor(&arena, Duration::from_secs(60)), 64 << 20, u64::MAX).unwrap();
    let start = Instant::now();
    let error = (0..300).find_map(|page| store.write_at(page * PAGE, &bytes(page, PAGE_BYTES, true)).err()).unwrap();
    assert!(matches!(error, StoreError::ArenaFull) && start.elapsed() < Duration::from_secs(30));
    assert!(!store.is_immediate());
    let held = arena.usage().used_pages as u64;
    assert!(held >= 250);
    for page in 0..held {
        assert!(read(&store.table, page * PAGE, PAGE_BYTES).unwrap() == bytes(page, PAGE_BYTES, true));
    }
    store.trim(0, 64 << 20).unwrap();
    assert!(store.is_immediate());
    store.write_at(0, &[1]).unwrap();
}

#[test]
fn cold_pages_are_compressed_in_the_background_and_the_thread_ends() {
    let arena = arena();
    let options = CompressorOptions { cold_after: Duration::from_millis(5), cpu_percent: 100, ..CompressorOptions::default() };
    let compressor = Compressor::new(arena.clone(), options).unwrap();
    let store = CompressedStore::new(compressor, 1 << 20, u64::MAX).unwrap();
    let data = bytes(1, 1 << 20, false);
    store.write_at(0, &data).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while store.usage().resident_bytes > 0 {
        assert!(Instant::now() < deadline, "{:?}", store.usage());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(read(&store.table, 0, 1 << 20).unwrap() == data);
    drop(store);
    assert_eq!(Arc::strong_count(&arena), 1, "the thread would still have it");
    arena.check();
    assert_eq!(arena.usage().used_pages, 0);
}

#[test]
fn exports_never_see_pages_of_one_another() {
    // Little memory, so that every slot changes hands all the time.
    let arena = Arc::new(Arena::new(256 * PAGE));
    let options = CompressorOptions { cold_after: Duration::from_millis(1), cpu_percent: 100, wait: Duration::from_millis(1) };
    let compressor = Compressor::new(arena.clone(), options).unwrap();
    std::thread::scope(|scope| {
        for owner in 0..3u64 {
            let compressor = compressor.clone();
            scope.spawn(move || {
                let store = CompressedStore::new(compressor, LEAF, u64::MAX).unwrap();
                let mut tags = [0; 150];
                for round in 0..6_000u64 {
                    let (page, tag) = ((round * 7919 % 150) as usize, owner << 32 | round);
                    match round % 5 {
                        0 => {
                            store.trim(page as u64 * PAGE, PAGE).unwrap();
                            tags[page] = 0;
                        }
                        1 | 2 if store.write_at(page as u64 * PAGE, &bytes(tag, PAGE_BYTES, round % 3 == 0)).is_ok() => tags[page] = tag,
                        _ => {}
                    }
                    let looked = (round * 31 % 150) as usize;
                    let expected = if tags[looked] == 0 { vec![0; PAGE_BYTES] } else { content_of(tags[looked]) };
                    assert!(read(&store.table, looked as u64 * PAGE, PAGE_BYTES).unwrap() == expected);
                }
                store.table.check_own();
            });
        }
    });
    // The thread may be at a table that is otherwise gone.
    drop(compressor);
    arena.check();
    assert_eq!(arena.usage().used_pages, 0);
}

fn content_of(tag: u64) -> Vec<u8> {
    bytes(tag, PAGE_BYTES, (tag & 0xffff_ffff).is_multiple_of(3))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_books_and_the_bytes_agree_after_every_step(
        steps in prop::collection::vec((0..7u8, 0..LEAF + LEAF / 2, 1..100_000usize, any::<bool>()), 1..40),
    ) {
        let (arena, mut sweeper) = (arena(), Sweeper::new());
        let table = table(&arena);
        let mut model = vec![0; 3 * LEAF_BYTES];
        for (index, (kind, offset, length, noise)) in steps.into_iter().enumerate() {
            let range = offset as usize..offset as usize + length;
            match kind {
                0 | 1 => {
                    let data = bytes(index as u64, length, noise);
                    table.write(offset, &data).unwrap();
                    model[range].copy_from_slice(&data);
                }
                2 | 3 => {
                    let space = if kind == 2 { Space::Release } else { Space::Reserve };
                    table.write_zeroes(offset, length as u64, space).unwrap();
                    model[range].fill(0);
                }
                4 => prop_assert!(read(&table, offset, length).unwrap() == model[range]),
                _ => drop(sweeper.turn(&table, Effort { heed_touch: kind == 5, tighten: noise }, length)),
            }
            table.check();
        }
        prop_assert!(read(&table, 0, model.len()).unwrap() == model);
        prop_assert_eq!(arena.usage().used_bytes % GRANULE_BYTES, 0);
    }
}
