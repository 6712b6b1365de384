//! Every store against an array of bytes: what is read is what was written last, and holes are zeroes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use store::{Arena, Content, DelayFilter, Delays, ErrorFilter, ErrorRates, FileStore, RamStore, Space, Store, StoreError};

/// More than one leaf of the RAM store, and no multiple of anything.
const SIZE: usize = (2 << 20) + 123_457;

fn ram() -> RamStore {
    RamStore::new(Arc::new(Arena::new(8 << 20)), SIZE as u64, u64::MAX).unwrap()
}

static ZEROES: [u8; SIZE] = [0; SIZE];

/// All kinds of stores. The files are gone when the directory is dropped.
fn stores(directory: &tempfile::TempDir) -> Vec<Box<dyn Store>> {
    let file = FileStore::open(&directory.path().join("image"), SIZE as u64).unwrap();
    vec![Box::new(ram()), Box::new(file), Box::new(DelayFilter::new(ErrorFilter::new(ram(), ErrorRates::default(), 1), Delays::default()))]
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
    prop::collection::vec((step, 0..SIZE, prop_oneof![1..10_000usize, 1..SIZE]), 1..25)
}

fn apply(store: &dyn Store, model: &mut [u8], step: &Step, offset: usize, length: usize) {
    let range = offset..SIZE.min(offset + length);
    let (at, count) = (offset as u64, range.len() as u64);
    match step {
        Step::Read => {
            let mut buffer = vec![0xee; range.len()];
            store.read_at(at, &mut buffer).unwrap();
            assert!(buffer == model[range], "read {count} bytes at {at}");
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

/// Walks the extents of the whole store.
fn check(store: &dyn Store, model: &[u8]) {
    let mut offset = 0;
    while offset < SIZE {
        let extent = store.extent_at(offset as u64, (SIZE - offset) as u64).unwrap();
        assert!(extent.length > 0 && offset + extent.length as usize <= SIZE);
        let bytes = &model[offset..offset + extent.length as usize];
        assert!(extent.content == Content::Data || bytes == &ZEROES[..bytes.len()], "data in a hole at {offset}");
        offset += extent.length as usize;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

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
        }
        let mut last = [9];
        store.read_at(size - 1, &mut last).unwrap();
        assert_eq!(last, [0]);
    }
}

#[test]
fn threads_see_whole_pages_of_one_another() {
    let directory = tempfile::tempdir().unwrap();
    // Not the file: the kernel promises no atomic pages.
    let store = &stores(&directory)[0];
    std::thread::scope(|scope| {
        for writer in 1..=2u8 {
            scope.spawn(move || (0..2000).for_each(|round| store.write_at(round % 3 * 4096, &[writer; 4096]).unwrap()));
        }
        scope.spawn(move || (0..500).for_each(|round| store.trim(round % 3 * 4096, 4096).unwrap()));
        scope.spawn(move || {
            for round in 0..2000 {
                let mut page = [0; 4096];
                store.read_at(round % 3 * 4096, &mut page).unwrap();
                assert!(page.iter().all(|&byte| byte == page[0]), "half a page");
            }
        });
    });
}

#[test]
fn errors_come_as_often_as_asked_and_change_nothing() {
    let filter = ErrorFilter::new(ram(), ErrorRates { read: 0, write: 250, flush: 1000 }, 42);
    let failures = (0..4000).filter(|_| filter.write_at(0, &[1]).is_err()).count();
    assert!((800..1200).contains(&failures), "{failures}");
    assert!(matches!(filter.flush(), Err(StoreError::Injected)));
    filter.read_at(0, &mut [0]).unwrap();
    let always = ErrorFilter::new(ram(), ErrorRates { write: 1000, ..ErrorRates::default() }, 1);
    assert!(always.write_at(0, &[1]).is_err() && always.trim(0, 1).is_err() && always.write_zeroes(0, 1, Space::Reserve).is_err());
    let mut byte = [9];
    always.read_at(0, &mut byte).unwrap();
    assert_eq!(byte, [0]);
    always.armed().store(false, Ordering::Relaxed);
    always.write_at(0, &[1]).unwrap();
}

#[test]
fn a_delay_is_waited_for() {
    let filter = DelayFilter::new(ram(), Delays { read: Duration::from_millis(20), ..Delays::default() });
    let start = Instant::now();
    filter.write_at(0, &[1]).unwrap();
    filter.read_at(0, &mut [0]).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(20) && !filter.is_immediate());
}
