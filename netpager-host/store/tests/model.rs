//! Every store against an array of bytes: what is read is what was written last, and holes are zeroes.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use store::vfs::HostVfs;
use store::{
    Arena, CompressedStore, Compressor, CompressorOptions, Content, DelayFilter, Delays, ErrorFilter, ErrorRates, FileStore, LogFilter,
    LogStore, RamStore, Space, State, StatsFilter, Store, StoreError,
};

/// More than one leaf of the RAM store, and no multiple of anything.
const SIZE: usize = (2 << 20) + 123_457;

fn ram() -> RamStore {
    RamStore::new(Arc::new(Arena::new(8 << 20)), SIZE as u64, u64::MAX).unwrap()
}

static ZEROES: [u8; SIZE] = [0; SIZE];

/// A store whose pages are compressed as soon as they are not looked at, in memory that is too small to leave them be.
fn compressed() -> CompressedStore {
    let options = CompressorOptions { cold_after: Duration::ZERO, cpu_percent: 50, wait: Duration::from_secs(30) };
    let compressor = Compressor::new(Arc::new(Arena::new(4 << 20)), options).unwrap();
    CompressedStore::new(compressor, SIZE as u64, u64::MAX).unwrap()
}

/// All filters around a store, doing nothing.
fn filtered(store: impl Store + 'static) -> Box<dyn Store> {
    let store = DelayFilter::new(ErrorFilter::new(store, ErrorRates::default(), 1), Delays::default());
    Box::new(LogFilter::new(StatsFilter::new(store), "filtered"))
}

/// All kinds of stores, as they are and filtered. The files are gone when the directory is dropped.
fn stores(directory: &tempfile::TempDir) -> Vec<Box<dyn Store>> {
    let file = |name| FileStore::open(&directory.path().join(name), SIZE as u64).unwrap();
    let log = |name| LogStore::open_in(Arc::new(HostVfs), &directory.path().join(name), SIZE as u64, 256 << 10).unwrap();
    vec![
        Box::new(ram()),
        Box::new(compressed()),
        Box::new(file("image")),
        Box::new(log("log")),
        filtered(ram()),
        filtered(compressed()),
        filtered(file("filtered image")),
        filtered(Arc::new(ram()) as Arc<dyn Store>),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Read,
    Write(u8),
    Zero(Space),
    Trim,
    Flush,
}

fn steps() -> impl Strategy<Value = Vec<(Step, usize, usize)>> {
    let step = prop_oneof![
        3 => Just(Step::Read),
        4 => (0..3u8).prop_map(Step::Write),
        1 => Just(Step::Zero(Space::Release)),
        1 => Just(Step::Zero(Space::Reserve)),
        1 => Just(Step::Trim),
        1 => Just(Step::Flush),
    ];
    prop::collection::vec((step, 0..SIZE, prop_oneof![1..10_000usize, 1..SIZE]), 1..20)
}

fn apply(store: &dyn Store, model: &mut [u8], step: &Step, offset: usize, length: usize) {
    let range = offset..SIZE.min(offset + length);
    let (at, count) = (offset as u64, range.len() as u64);
    match step {
        Step::Read => {
            let mut buffer = vec![0xee; range.len()];
            store.read_at(at, &mut buffer).unwrap();
            assert!(buffer == model[range.clone()], "read {count} bytes at {at}");
            let mut appended = vec![7];
            store.append_to(at, range.len(), &mut appended).unwrap();
            assert!(appended[0] == 7 && appended[1..] == model[range], "appended {count} bytes at {at}");
        }
        Step::Write(fill) => {
            store.write_at(at, &vec![*fill; range.len()]).unwrap();
            model[range].fill(*fill);
        }
        Step::Zero(space) => {
            store.write_zeroes(at, count, *space).unwrap();
            model[range].fill(0);
        }
        Step::Trim => {
            // Old bytes or zeroes: learn which.
            let before = model[range.clone()].to_vec();
            store.trim(at, count).unwrap();
            store.read_at(at, &mut model[range.clone()]).unwrap();
            assert!(model[range].iter().zip(before).all(|(&now, before)| now == before || now == 0));
        }
        Step::Flush => store.flush().unwrap(),
    }
}

/// Walks the extents and the states of the whole store.
fn check(store: &dyn Store, model: &[u8]) {
    let mut offset = 0;
    while offset < SIZE {
        let extent = store.extent_at(offset as u64, (SIZE - offset) as u64).unwrap();
        assert!(extent.length > 0 && offset + extent.length as usize <= SIZE);
        let bytes = &model[offset..offset + extent.length as usize];
        assert!(extent.content == Content::Data || bytes == &ZEROES[..bytes.len()], "data in a hole at {offset}");
        offset += extent.length as usize;
    }
    offset = 0;
    while offset < SIZE {
        let extent = store.state_at(offset as u64, (SIZE - offset) as u64).unwrap();
        assert!(extent.length > 0 && offset + extent.length as usize <= SIZE);
        let bytes = &model[offset..offset + extent.length as usize];
        assert!(!extent.state.is_empty() || bytes == &ZEROES[..bytes.len()], "data nowhere at {offset}");
        let kept_in = [State::RESIDENT, State::COMPRESSED, State::FILE].into_iter().filter(|&state| extent.state.contains(state));
        assert_eq!(kept_in.count(), usize::from(!extent.state.is_empty()), "a page is kept in one way");
        offset += extent.length as usize;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_store_is_an_array_of_bytes(steps in steps()) {
        let directory = tempfile::tempdir().unwrap();
        for store in stores(&directory) {
            let mut model = vec![0; SIZE];
            for (step, offset, length) in &steps {
                apply(&*store, &mut model, step, *offset, *length);
                check(&*store, &model);
            }
            apply(&*store, &mut model, &Step::Read, 0, SIZE);
        }
    }
}

#[test]
fn nothing_outside_a_store_can_be_touched() {
    let directory = tempfile::tempdir().unwrap();
    for store in stores(&directory) {
        let size = SIZE as u64;
        for offset in [size - 1, size, u64::MAX - 1, u64::MAX] {
            let refused = |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::OutOfRange { .. })));
            refused(store.read_at(offset, &mut [0; 2]));
            refused(store.write_at(offset, &[1; 2]));
            refused(store.trim(offset, 2));
            refused(store.write_zeroes(offset, 2, Space::Release));
            refused(store.write_zeroes(offset, u64::MAX, Space::Reserve));
            refused(store.extent_at(offset, 2).map(drop));
            refused(store.state_at(offset, 2).map(drop));
            let mut appended = vec![5];
            refused(store.append_to(offset, 2, &mut appended));
            assert_eq!(appended, [5]);
        }
        let mut last = [9];
        store.read_at(size - 1, &mut last).unwrap();
        assert_eq!(last, [0]);
    }
}

#[test]
fn threads_see_whole_pages_of_one_another() {
    let directory = tempfile::tempdir().unwrap();
    let log = LogStore::open_in(Arc::new(HostVfs), &directory.path().join("log"), SIZE as u64, 64 << 10).unwrap();
    // Not the file: the kernel promises no atomic pages.
    let stores: [&dyn Store; 3] = [&ram(), &compressed(), &log];
    for store in stores {
        std::thread::scope(|scope| {
            for writer in 1..=2u8 {
                scope.spawn(move || (0..1500).for_each(|round| store.write_at(round % 3 * 4096, &[writer; 4096]).unwrap()));
            }
            scope.spawn(move || (0..500).for_each(|round| store.trim(round % 3 * 4096, 4096).unwrap()));
            scope.spawn(move || (0..50).for_each(|_| store.flush().unwrap()));
            scope.spawn(move || {
                for round in 0..1500 {
                    let mut page = [0; 4096];
                    store.read_at(round % 3 * 4096, &mut page).unwrap();
                    assert!(page.iter().all(|&byte| byte == page[0]), "half a page");
                }
            });
        });
    }
}

#[test]
fn what_a_thread_wrote_is_what_it_reads_whatever_others_do() {
    let directory = tempfile::tempdir().unwrap();
    for store in &stores(&directory) {
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                scope.spawn(move || {
                    let mut written = [0u8; 64];
                    for round in 0..400u64 {
                        // Neighbours of other threads' pages, in the same leaves and segments.
                        let mine = (round.wrapping_mul(0x9e37_79b9) >> 7) % 64;
                        let at = (mine * 4 + thread) * 4096;
                        let byte = if round % 5 == 0 { 0 } else { (round % 250) as u8 + 1 };
                        store.write_at(at, &[byte; 4096]).unwrap();
                        written[mine as usize] = byte;
                        let looked = (round * 7 % 64) as usize;
                        let mut page = [0xee; 4096];
                        store.read_at((looked as u64 * 4 + thread) * 4096, &mut page).unwrap();
                        assert!(page.iter().all(|&byte| byte == written[looked]), "{} is not {}", page[0], written[looked]);
                    }
                });
            }
        });
    }
}
