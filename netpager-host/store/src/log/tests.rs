//! What is particular to the log: damage is found and named, space is given back, and old logs can be read.

use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::segment::{Found, SEGMENT_HEADER_BYTES};
use super::*;

const SIZE: u64 = 40 * PAGE;
const SEGMENT: u64 = 16 << 10;

fn open_sized(directory: &Path, size: u64) -> Result<LogStore, StoreError> {
    LogStore::open_in(Arc::new(HostVfs), directory, size, SEGMENT)
}

fn open(directory: &TempDir) -> LogStore {
    open_sized(directory.path(), SIZE).unwrap()
}

fn write(store: &LogStore, page: u64, byte: u8) {
    store.write_at(page * PAGE, &[byte; PAGE_BYTES]).unwrap();
}

/// The byte a page is full of.
fn read(store: &LogStore, page: u64) -> Result<u8, StoreError> {
    let mut bytes = [0xee; PAGE_BYTES];
    store.read_at(page * PAGE, &mut bytes)?;
    assert!(bytes.iter().all(|byte| *byte == bytes[0]));
    Ok(bytes[0])
}

fn records(store: &LogStore) -> Vec<(PathBuf, Found)> {
    let mut records = Vec::new();
    for shelf in store.index().shelves() {
        let path = segment::path(&store.directory, shelf.segment.id);
        let note = |found| {
            records.push((path.clone(), found));
            true
        };
        shelf.segment.scan(SEGMENT_HEADER_BYTES as u64, note).unwrap();
    }
    records
}

/// Damages a byte of a record, counted from its beginning.
fn damage(record: &(PathBuf, Found), byte: usize) {
    let mut bytes = fs::read(&record.0).unwrap();
    bytes[record.1.at as usize + byte] ^= 4;
    fs::write(&record.0, bytes).unwrap();
}

/// The last record of a page.
fn last_of(store: &LogStore, page: u64) -> (PathBuf, Found) {
    let is_it = |(_, found): &(PathBuf, Found)| found.record.subject == Subject { kind: Kind::Data, page, count: 1 };
    records(store).into_iter().rfind(is_it).unwrap()
}

#[test]
fn damaged_data_is_an_error_until_it_is_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    (0..6).for_each(|page| write(&store, page, page as u8 + 1));
    store.flush().unwrap();
    damage(&last_of(&store, 4), 1000);
    let check = |store: &LogStore| {
        let error = read(store, 4).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { offset } if offset == 4 * PAGE), "{error}");
        assert!(store.read_at(0, &mut [0; 6 * PAGE_BYTES]).is_err());
        assert!(store.write_at(4 * PAGE + 1, &[1]).is_err(), "the rest of the page would be made up");
        [0, 1, 2, 3, 5].into_iter().for_each(|page| assert_eq!(read(store, page).unwrap(), page as u8 + 1));
    };
    check(&store);
    drop(store);
    let store = open(&directory);
    check(&store);
    write(&store, 4, 99);
    assert_eq!(read(&store, 4).unwrap(), 99);
    drop(store);
    assert_eq!(read(&open(&directory), 4).unwrap(), 99);
}

#[test]
fn a_page_whose_record_is_damaged_is_lost_and_not_its_older_self() {
    for byte in [0, 8, 16, 30, 44] {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        write(&store, 7, 1);
        write(&store, 8, 1);
        store.flush().unwrap();
        write(&store, 7, 2);
        store.flush().unwrap();
        write(&store, 8, 2);
        store.flush().unwrap();
        let record = last_of(&store, 7);
        drop(store);
        damage(&record, byte);
        for _ in 0..2 {
            let store = open(&directory);
            assert!(matches!(read(&store, 7), Err(StoreError::Corrupt { .. })), "byte {byte}");
            assert_eq!(read(&store, 8).unwrap(), 2);
            store.index().check();
        }
    }
}

#[test]
fn zeroes_whose_record_is_damaged_are_still_zeroes() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    write(&store, 1, 1);
    store.trim(0, 5 * PAGE).unwrap();
    write(&store, 9, 9);
    store.flush().unwrap();
    let zeroes = records(&store).into_iter().find(|(_, found)| found.record.subject.kind == Kind::Zero).unwrap();
    drop(store);
    damage(&zeroes, 3);
    let store = open(&directory);
    assert_eq!((read(&store, 1).unwrap(), read(&store, 9).unwrap()), (0, 9));
}

#[test]
fn damage_nobody_can_name_the_pages_of_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    (0..3).for_each(|page| write(&store, page, 1));
    (0..3).for_each(|page| write(&store, page, 2));
    store.flush().unwrap();
    let (first, second) = (last_of(&store, 0), last_of(&store, 1));
    drop(store);
    damage(&first, 10);
    damage(&second, 10);
    let error = open_sized(directory.path(), SIZE).unwrap_err().to_string();
    assert!(error.contains("2 records") && error.contains("nothing was changed"), "{error}");
    damage(&first, 10);
    damage(&second, 10);
    assert_eq!(read(&open(&directory), 0).unwrap(), 2, "nothing was changed");
}

#[test]
fn what_was_not_flushed_and_is_torn_is_as_if_never_written() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    write(&store, 0, 1);
    store.flush().unwrap();
    write(&store, 0, 2);
    let torn = last_of(&store, 0);
    drop(store);
    damage(&torn, 2000);
    let store = open(&directory);
    assert_eq!(read(&store, 0).unwrap(), 1);
    write(&store, 1, 3);
    drop(store);
    let store = open(&directory);
    assert_eq!((read(&store, 0).unwrap(), read(&store, 1).unwrap()), (1, 3));
}

#[test]
fn the_log_stays_short_and_damage_outlives_cleaning() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    (0..12).for_each(|page| write(&store, page, 200));
    store.flush().unwrap();
    damage(&last_of(&store, 3), 500);
    damage(&last_of(&store, 4), 20);
    for round in 0..600u64 {
        write(&store, 20 + round % 10, (round % 100) as u8 + 1);
        let bytes = store.usage().file_bytes;
        assert!(bytes <= 2 * 22 * DATA_BYTES as u64 + 6 * SEGMENT, "{bytes}");
        store.index().check();
    }
    for store in [&store, &{ open_again(&directory) }] {
        for page in 0..12 {
            match page {
                3 | 4 => assert!(matches!(read(store, page), Err(StoreError::Corrupt { .. }))),
                _ => assert_eq!(read(store, page).unwrap(), 200),
            }
        }
        (0..10).for_each(|page| assert_eq!(read(store, 20 + page).unwrap(), ((590 + page) % 100) as u8 + 1));
    }
}

/// A flushed log of a few segments, page by page what it holds, and all its bytes.
fn flushed_log(directory: &TempDir) -> (Vec<u8>, Vec<(PathBuf, Vec<u8>)>) {
    let store = open(directory);
    (0..7).for_each(|page| write(&store, page, 100 + page as u8));
    store.flush().unwrap();
    store.trim(0, 2 * PAGE).unwrap();
    (2..5).for_each(|page| write(&store, page, 200 + page as u8));
    store.flush().unwrap();
    let model = (0..8).map(|page| read(&store, page).unwrap()).collect();
    let paths = store.index().shelves().map(|shelf| segment::path(&store.directory, shelf.segment.id)).collect::<Vec<_>>();
    (model, paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect())
}

#[test]
fn no_flipped_bit_makes_a_flushed_page_another_one() {
    let directory = tempfile::tempdir().unwrap();
    let (model, files) = flushed_log(&directory);
    let (mut refused, mut lost) = (0, 0);
    for (path, bytes) in &files {
        // All of the headers, and some of the data.
        for at in (0..bytes.len()).filter(|at| at % 997 == 0 || (at - 64.min(*at)) % DATA_BYTES < 64) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(path, damaged).unwrap();
            match open_sized(directory.path(), SIZE) {
                Err(_) => refused += 1,
                Ok(store) => {
                    for (page, &byte) in model.iter().enumerate() {
                        match read(&store, page as u64) {
                            Ok(found) => assert_eq!(found, byte, "page {page}, byte {at} of {}", path.display()),
                            Err(StoreError::Corrupt { .. }) => lost += 1,
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            }
            files.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
        }
    }
    // What names a segment cannot be done without; everything else costs one page at most.
    assert!(refused > 0 && refused <= 64 * files.len() && lost > 0, "{refused} {lost}");
}

#[test]
fn nothing_in_the_files_makes_opening_panic() {
    let directory = tempfile::tempdir().unwrap();
    let (_, files) = flushed_log(&directory);
    let mut seed = 1u64;
    let mut random = |bound: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % bound
    };
    for _ in 0..80 {
        for (path, bytes) in &files {
            let mut bytes = bytes.clone();
            (0..random(4)).for_each(|_| {
                let at = random(bytes.len());
                bytes[at] = random(256) as u8;
            });
            if random(3) == 0 {
                bytes.truncate(random(bytes.len()));
            }
            fs::write(path, bytes).unwrap();
        }
        if let Ok(store) = open_sized(directory.path(), SIZE) {
            (0..8).for_each(|page| drop(read(&store, page)));
            write(&store, 1, 9);
            assert_eq!(read(&store, 1).unwrap(), 9);
        }
        for entry in fs::read_dir(directory.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
}

/// Opens a copy of a log that is in use.
fn open_again(directory: &TempDir) -> LogStore {
    let copy = directory.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(directory.path()).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    open_sized(&copy, SIZE).unwrap()
}

#[test]
fn zeroes_cost_nothing_and_give_space_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_sized(directory.path(), 1 << 40).unwrap();
    let before = store.usage().file_bytes;
    store.write_at(12_345, &vec![0; 1 << 20]).unwrap();
    store.write_zeroes(0, 1 << 40, Space::Release).unwrap();
    assert_eq!(store.usage().file_bytes, before);
    for page in 0..100 {
        write(&store, page << 20, 1);
    }
    store.trim(0, 1 << 40).unwrap();
    (0..40).for_each(|round| write(&store, 0, round + 1));
    assert!(store.usage().file_bytes < 8 * SEGMENT, "{:?}", store.usage());
    assert_eq!(store.state_at(PAGE, 1 << 39).unwrap().length, 1 << 39);
}

#[test]
fn what_is_not_flushed_is_said_to_be_dirty() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    write(&store, 0, 1);
    assert_eq!(store.state_at(0, PAGE).unwrap().state, State::FILE | State::DIRTY);
    store.flush().unwrap();
    assert_eq!(store.state_at(0, PAGE).unwrap().state, State::FILE);
    write(&store, 1, 1);
    assert_eq!(store.state_at(0, 3 * PAGE).unwrap(), StateExtent { length: PAGE, state: State::FILE });
}

#[test]
fn flushing_twice_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    write(&store, 0, 1);
    store.flush().unwrap();
    let bytes = store.usage().file_bytes;
    (0..10).for_each(|_| store.flush().unwrap());
    assert_eq!(store.usage().file_bytes, bytes);
}

#[test]
fn an_export_may_grow_but_not_shrink() {
    let directory = tempfile::tempdir().unwrap();
    write(&open(&directory), 39, 1);
    let larger = open_sized(directory.path(), 4000 * PAGE).unwrap();
    write(&larger, 3999, 2);
    assert_eq!((read(&larger, 39).unwrap(), read(&larger, 3999).unwrap()), (1, 2));
    drop(larger);
    let error = open_sized(directory.path(), SIZE).unwrap_err().to_string();
    assert!(error.contains("nothing was changed"), "{error}");
}

#[test]
fn a_log_that_version_one_wrote_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/log-v1");
    for entry in fs::read_dir(fixture).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
    }
    let store = open(&directory);
    let found: Vec<u8> = (0..5).map(|page| read(&store, page).unwrap()).collect();
    assert_eq!(found, [11, 0, 13, 0, 0]);
    assert_eq!(read(&store, 39).unwrap(), 14);
    drop(store);
    let path = segment::path(directory.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    let checksum = record::checksum(0, &bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let error = open_sized(directory.path(), SIZE).unwrap_err().to_string();
    assert!(error.contains("version 2") && error.contains("knows version 1"), "{error}");
    bytes[20] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = open_sized(directory.path(), SIZE).unwrap_err().to_string();
    assert!(error.contains("the header is damaged"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_index_agrees_after_every_step_and_after_opening(
        steps in prop::collection::vec((0..7u8, 0..SIZE, 1..5 * PAGE, 1..=255u8), 1..60),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut model = vec![0; SIZE as usize];
        let mut store = open(&directory);
        for (kind, offset, length, byte) in steps {
            let length = length.min(SIZE - offset);
            let range = offset as usize..(offset + length) as usize;
            match kind {
                0..=3 => {
                    store.write_at(offset, &vec![byte; length as usize]).unwrap();
                    model[range].fill(byte);
                }
                4 => {
                    store.write_zeroes(offset, length, Space::Release).unwrap();
                    model[range].fill(0);
                }
                5 => store.flush().unwrap(),
                _ => {
                    drop(store);
                    store = open(&directory);
                }
            }
            store.index().check();
            let mut bytes = vec![0xee; SIZE as usize];
            store.read_at(0, &mut bytes).unwrap();
            prop_assert!(bytes == model);
        }
    }
}

/// Writes the fixture of [`a_log_that_version_one_wrote_can_be_read`] where `STORE_FIXTURE` says. Run by hand when there is a
/// new version; the fixtures of old ones stay.
#[test]
#[ignore = "makes a fixture"]
fn write_a_fixture() {
    let directory = PathBuf::from(std::env::var_os("STORE_FIXTURE").expect("STORE_FIXTURE names the directory to write"));
    let store = open_sized(&directory, SIZE).unwrap();
    write(&store, 0, 11);
    write(&store, 1, 12);
    write(&store, 2, 13);
    store.trim(PAGE, PAGE).unwrap();
    store.flush().unwrap();
    write(&store, 39, 14);
    store.flush().unwrap();
}
