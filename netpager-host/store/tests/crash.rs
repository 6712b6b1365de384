//! What stores on disk keep when the power fails, the disk fills up, does not sync, or turns read-only.
//!
//! The rule for every byte after a crash: it is what was there at the last flush, or what some write after that put there.

mod common;

use std::io;
use std::path::Path;
use std::sync::Arc;

use common::disk::{Crash, Disk};
use common::random::Random;
use store::vfs::Vfs as _;
use store::{FileStore, LogStore, Space, Store, StoreError};

const SIZE: usize = 48 * 1024;

type Open = fn(&Disk) -> Result<Box<dyn Store>, StoreError>;

/// The stores that promise to keep what was flushed.
const STORES: [(&str, Open); 2] = [
    ("file", |disk| Ok(Box::new(FileStore::open_in(disk, Path::new("/image"), SIZE as u64)?))),
    ("log", |disk| {
        // Segments of three pages, so that some are sealed and cleaned in every test.
        Ok(Box::new(LogStore::open_in(Arc::new(disk.clone()), Path::new("/log"), SIZE as u64, 16 << 10)?))
    }),
];

#[derive(Clone, Copy, Debug)]
enum Step {
    Write(usize, usize, u8),
    Zero(usize, usize, Space),
    Trim(usize, usize),
    Flush,
}

fn trace(seed: u64, steps: usize) -> Vec<Step> {
    let mut random = Random(seed);
    let mut step = |index: usize| {
        let page_aligned = random.once_in(2);
        let offset = if page_aligned { random.below(SIZE / 4096) * 4096 } else { random.below(SIZE) };
        let length = if page_aligned { (1 + random.below(3)) * 4096 } else { 1 + random.below(6000) }.min(SIZE - offset);
        match random.below(10) {
            0..=5 => Step::Write(offset, length, index as u8 + 1),
            6 => Step::Zero(offset, length, if random.once_in(2) { Space::Reserve } else { Space::Release }),
            7 => Step::Trim(offset, length),
            _ => Step::Flush,
        }
    };
    (0..steps).map(&mut step).collect()
}

/// For each byte what it is, and the set of what it may be after a crash. Bytes are below 64.
#[derive(Clone)]
struct Model {
    now: Vec<u8>,
    allowed: Vec<u64>,
}

impl Model {
    fn new() -> Self {
        Self { now: vec![0; SIZE], allowed: vec![1; SIZE] }
    }

    fn may_be(&mut self, offset: usize, length: usize, byte: u8) {
        self.now[offset..offset + length].fill(byte);
        self.allowed[offset..offset + length].iter_mut().for_each(|allowed| *allowed |= 1 << byte);
    }

    /// Learns what is there, which must be allowed; everything is durable then.
    fn settle(&mut self, store: &dyn Store, context: &str) {
        store.read_at(0, &mut self.now).unwrap();
        for (at, (allowed, byte)) in self.allowed.iter_mut().zip(&self.now).enumerate() {
            assert!(*allowed >> byte & 1 == 1, "{context}: byte {at} is {byte}, not one of the set {allowed:#x}");
            *allowed = 1 << byte;
        }
    }

    /// What is there is exactly what was written, but for what was trimmed or did not succeed, which may be any of several.
    fn check_exact(&self, store: &dyn Store, loose: &[(usize, usize)], context: &str) {
        let mut bytes = vec![0xee; SIZE];
        store.read_at(0, &mut bytes).unwrap();
        let mut exact = vec![true; SIZE];
        loose.iter().for_each(|&(offset, length)| exact[offset..offset + length].fill(false));
        for (at, (byte, now)) in bytes.iter().zip(&self.now).enumerate() {
            assert!(!exact[at] || byte == now, "{context}: byte {at} is {byte}, not {now}");
        }
    }
}

/// Makes one call, and notes what it may have done.
fn apply(store: &dyn Store, model: &mut Model, loose: &mut Vec<(usize, usize)>, step: Step) -> Result<(), StoreError> {
    let result = match step {
        Step::Write(offset, length, byte) => {
            model.may_be(offset, length, byte);
            store.write_at(offset as u64, &vec![byte; length])
        }
        Step::Zero(offset, length, space) => {
            model.may_be(offset, length, 0);
            store.write_zeroes(offset as u64, length as u64, space)
        }
        Step::Trim(offset, length) => {
            model.may_be(offset, length, 0);
            loose.push((offset, length));
            store.trim(offset as u64, length as u64)
        }
        Step::Flush => store.flush(),
    };
    match (&result, step) {
        (Ok(()), Step::Flush) => model.settle(store, "flushed"),
        (Ok(()), Step::Write(offset, length, _) | Step::Zero(offset, length, _)) => {
            loose.retain(|&(at, count)| at < offset || at + count > offset + length);
        }
        (Err(_), Step::Write(offset, length, _) | Step::Zero(offset, length, _)) => loose.push((offset, length)),
        _ => {}
    }
    result
}

/// Runs a trace until the power fails in the middle of the disk's call of a number, and looks at what a crash of each kind
/// leaves. Says whether the trace came to its end before that.
fn crash_at(name: &str, open: Open, steps: &[Step], call: usize, crashes: &[Crash]) -> bool {
    let disk = Disk::default();
    disk.fail_power_at(call);
    let (mut model, mut loose) = (Model::new(), Vec::new());
    let ran = open(&disk).map(|store| steps.iter().all(|&step| apply(&*store, &mut model, &mut loose, step).is_ok()));
    for &crash in crashes {
        let context = format!("{name}, power fails at call {call}, {crash:?}");
        let restarted = disk.restart(crash);
        let store = open(&restarted).unwrap_or_else(|error| panic!("{context}: {error}"));
        if matches!(crash, Crash::Process) {
            model.check_exact(&*store, &loose, &context);
        }
        let mut model = model.clone();
        model.settle(&*store, &context);
        // It goes on from there, and a second crash finds it no worse.
        apply(&*store, &mut model, &mut Vec::new(), Step::Write(100, 9000, 63)).unwrap();
        apply(&*store, &mut model, &mut Vec::new(), Step::Flush).unwrap();
        drop(store);
        let again = open(&restarted.restart(Crash::Clean)).unwrap_or_else(|error| panic!("{context}, again: {error}"));
        model.settle(&*again, &format!("{context}, again"));
    }
    ran.unwrap_or(false)
}

#[test]
fn every_prefix_of_a_trace_leaves_what_was_flushed() {
    for (name, open) in STORES {
        let steps = trace(7, 20);
        assert!(steps.iter().filter(|step| matches!(step, Step::Flush)).count() >= 2);
        let crashes: Vec<Crash> = [Crash::Process, Crash::Clean].into_iter().chain((0..3).map(Crash::Power)).collect();
        let calls = (1..2000).find(|&call| crash_at(name, open, &steps, call, &crashes)).expect("the trace ends");
        assert!(calls > 20, "{name}: {calls}");
    }
}

#[test]
fn random_traces_leave_what_was_flushed() {
    let rounds = std::env::var("STORE_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(40);
    for (name, open) in STORES {
        let mut random = Random(99);
        for _ in 0..rounds {
            let steps = trace(random.next(), 40);
            let crashes = [Crash::Process, Crash::Power(random.next()), Crash::Power(random.next())];
            crash_at(name, open, &steps, 1 + random.below(90), &crashes);
        }
    }
}

#[test]
fn a_failed_flush_is_remembered_until_a_restart_and_loses_nothing_flushed_before() {
    for (name, open) in STORES {
        for seed in 0..20 {
            let disk = Disk::default();
            let store = open(&disk).unwrap();
            let (mut model, mut loose) = (Model::new(), Vec::new());
            apply(&*store, &mut model, &mut loose, Step::Write(0, 20_000, 1)).unwrap();
            apply(&*store, &mut model, &mut loose, Step::Flush).unwrap();
            apply(&*store, &mut model, &mut loose, Step::Write(5_000, 20_000, 2)).unwrap();
            disk.fail_syncs(1);
            apply(&*store, &mut model, &mut loose, Step::Flush).unwrap_err();
            for step in [Step::Flush, Step::Write(0, 1, 3), Step::Zero(0, 1, Space::Release), Step::Trim(0, 1)] {
                let refused = apply(&*store, &mut model.clone(), &mut loose, step);
                assert!(matches!(refused, Err(StoreError::Poisoned)), "{name}: {step:?} {refused:?}");
            }
            store.read_at(0, &mut [0; 100]).unwrap();
            drop(store);
            let store = open(&disk.restart(Crash::Power(seed))).unwrap();
            model.settle(&*store, name);
            apply(&*store, &mut model, &mut loose, Step::Write(0, 1, 3)).unwrap();
            apply(&*store, &mut model, &mut loose, Step::Flush).unwrap();
        }
    }
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_space_and_keeps_what_it_has() {
    for (name, open) in STORES {
        let disk = Disk::default();
        let store = open(&disk).unwrap();
        let (mut model, mut loose) = (Model::new(), Vec::new());
        apply(&*store, &mut model, &mut loose, Step::Write(0, 16 * 1024, 1)).unwrap();
        apply(&*store, &mut model, &mut loose, Step::Flush).unwrap();
        disk.set_capacity(Some(disk.used() + 6000));
        let error = apply(&*store, &mut model, &mut loose, Step::Write(24 * 1024, 16 * 1024, 2)).unwrap_err();
        assert!(error.is_out_of_space(), "{name}: {error}");
        model.check_exact(&*store, &loose, name);
        apply(&*store, &mut model, &mut loose, Step::Flush).unwrap();
        disk.set_capacity(None);
        apply(&*store, &mut model, &mut loose, Step::Write(24 * 1024, 16 * 1024, 3)).unwrap();
        apply(&*store, &mut model, &mut loose, Step::Flush).unwrap();
        drop(store);
        model.settle(&*open(&disk.restart(Crash::Clean)).unwrap(), name);
    }
}

#[test]
fn a_disk_that_is_full_now_and_then_loses_nothing_either() {
    for (name, open) in STORES {
        let (mut random, mut refused) = (Random(5), 0);
        for round in 0..12 {
            let context = format!("{name}, round {round}");
            let disk = Disk::default();
            let store = open(&disk).unwrap();
            let (mut model, mut loose) = (Model::new(), Vec::new());
            for step in trace(random.next(), 40) {
                let capacity = disk.used() + random.below(20_000);
                disk.set_capacity(random.once_in(2).then_some(capacity));
                if let Err(error) = apply(&*store, &mut model, &mut loose, step) {
                    assert!(error.is_out_of_space(), "{context}: {step:?}: {error}");
                    refused += 1;
                }
                model.check_exact(&*store, &loose, &context);
                if random.once_in(8) {
                    model.check_exact(&*open(&disk.restart(Crash::Process)).unwrap(), &loose, &context);
                }
            }
            drop(store);
            let restarted = disk.restart(Crash::Power(random.next()));
            model.settle(&*open(&restarted).unwrap(), &context);
        }
        assert!(refused > 10, "{name}: the disk was full {refused} times");
    }
}

#[test]
fn a_disk_that_turns_read_only_says_so_and_can_be_read() {
    for (name, open) in STORES {
        let disk = Disk::default();
        let store = open(&disk).unwrap();
        let (mut model, mut loose) = (Model::new(), Vec::new());
        apply(&*store, &mut model, &mut loose, Step::Write(0, 9000, 1)).unwrap();
        apply(&*store, &mut model, &mut loose, Step::Flush).unwrap();
        disk.set_read_only(true);
        for step in [Step::Write(1, 2, 2), Step::Zero(0, 4096, Space::Release)] {
            let refused = apply(&*store, &mut model, &mut loose, step);
            assert!(matches!(refused, Err(StoreError::ReadOnly)), "{name}: {refused:?}");
        }
        model.check_exact(&*store, &loose, name);
    }
}

#[test]
fn a_disk_is_served_by_one_store_at_a_time() {
    for (name, open) in STORES {
        let disk = Disk::default();
        let first = open(&disk).unwrap();
        let Err(error) = open(&disk) else { panic!("{name} was opened twice") };
        assert!(error.to_string().contains("used by another process"), "{name}: {error}");
        drop(first);
        open(&disk).unwrap();
    }
}

#[test]
fn the_disk_under_these_tests_does_lose_what_was_not_synced() {
    let disk = Disk::default();
    let store = STORES[0].1(&disk).unwrap();
    store.write_at(0, &[1; SIZE]).unwrap();
    let read = |disk: &Disk| {
        let mut bytes = vec![0; SIZE];
        STORES[0].1(disk).unwrap().read_at(0, &mut bytes).unwrap();
        bytes.iter().filter(|&&byte| byte == 1).count()
    };
    assert_eq!(read(&disk.restart(Crash::Clean)), 0);
    assert_eq!(read(&disk.restart(Crash::Process)), SIZE);
    let torn: Vec<usize> = (0..20).map(|seed| read(&disk.restart(Crash::Power(seed)))).collect();
    assert!(torn.iter().any(|&kept| kept > 0 && kept < SIZE && kept % 512 != 0), "{torn:?}");
    assert_eq!(disk.files().len(), 1);
    disk.flip(Path::new("/image"), 0, 0x80);
    let mut byte = [0];
    store.read_at(0, &mut byte).unwrap();
    assert_eq!(byte, [0x81]);
    let _: io::Error = disk.open(Path::new("/nothing"), false).unwrap_err();
}
