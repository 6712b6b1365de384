//! Sealed pages against a server that looks, changes, swaps, and goes back in time.

use abi::Code;
use net_pager::seal::Sealing;
use pager::testing::{Answer, Mapped};

use crate::bench::{Bench, MIB, page, run};
use crate::pipes::Pipes;

const PAGE: usize = 4096;

/// Where the pages of the first object lie in the export.
fn place(number: u64) -> std::ops::Range<usize> {
    let start = MIB + number as usize * PAGE;
    start..start + PAGE
}

fn bytes(bench: &Bench, number: u64) -> Vec<u8> {
    bench.pipes.0.borrow().store.borrow().bytes[place(number)].to_vec()
}

fn put(bench: &Bench, number: u64, bytes: &[u8]) {
    bench.pipes.0.borrow().store.borrow_mut().bytes[place(number)].copy_from_slice(bytes);
}

fn written(sealing: Sealing, seed: u64) -> (Bench, Mapped) {
    let mut bench = Bench::sealed(Pipes::with_store(2, 8 * MIB, seed), seed, sealing);
    let object = bench.object(2);
    bench.give(&object, run(0, 64), 1);
    bench.settle();
    (bench, object)
}

#[test]
fn the_server_sees_ciphertext_and_the_kernel_its_pages() {
    let (mut bench, object) = written(Sealing::On, 31);
    for number in 0..64 {
        let (plain, kept) = (page(number, 1), bytes(&bench, number));
        let alike = plain.iter().zip(&kept).filter(|(one, other)| one == other).count();
        assert!(alike < 100, "{alike} of 4096 bytes of page {number} are what they were");
    }
    let expected: Vec<_> = (0..64).map(|number| Some(page(number, 1))).collect();
    assert!(bench.fetch(&object, run(0, 64)) == expected);
}

#[test]
fn changed_swapped_and_older_pages_are_errors_and_the_others_are_none() {
    let (mut bench, object) = written(Sealing::On, 32);
    let old = bytes(&bench, 20);
    bench.give(&object, run(20, 1), 2);
    bench.settle();
    put(&bench, 20, &old);
    let mut changed = bytes(&bench, 3);
    changed[4095] ^= 0x80;
    put(&bench, 3, &changed);
    let (ten, eleven) = (bytes(&bench, 10), bytes(&bench, 11));
    put(&bench, 10, &eleven);
    put(&bench, 11, &ten);
    put(&bench, 30, &[0; PAGE]);
    let found = bench.fetch(&object, run(0, 64));
    for (number, content) in (0..).zip(found) {
        let is_good = ![3, 10, 11, 20, 30].contains(&number);
        assert!(content == is_good.then(|| page(number, 1)), "page {number}");
    }
    let counters = bench.harness.server.pager().counters();
    assert_eq!((counters.pages_broken, counters.pages_in), (5, 59));
    assert!(bench.harness.kernel.console().contains("not what it was given"));
}

#[test]
fn a_broken_page_stays_lost_until_it_is_written_anew() {
    let (mut bench, object) = written(Sealing::On, 33);
    let good = bytes(&bench, 5);
    put(&bench, 5, &[1; PAGE]);
    assert_eq!(bench.fetch(&object, run(5, 1)), [None]);
    // Even if the server thinks better of it: it has shown what it is.
    put(&bench, 5, &good);
    bench.harness.request(&object, run(5, 1));
    assert_eq!(bench.harness.answers(&object), [Answer::Error(run(5, 1), Code::MEMORY_ERROR)]);
    bench.give(&object, run(5, 1), 2);
    bench.settle();
    assert_eq!(bench.fetch(&object, run(5, 1)), [Some(page(5, 2))]);
}

#[test]
fn zero_pages_are_told_or_kept_secret_as_asked() {
    for (sealing, is_secret) in [(Sealing::On, false), (Sealing::Full, true)] {
        let (mut bench, object) = written(sealing, 34);
        bench.give(&object, run(0, 64), 0);
        bench.settle();
        let zeroes = (0..64).filter(|number| bytes(&bench, *number) == [0; PAGE]).count();
        assert_eq!(zeroes, if is_secret { 0 } else { 64 }, "{sealing:?}");
        let expected: Vec<_> = (0..64).map(|number| Some(page(number, 0))).collect();
        assert!(bench.fetch(&object, run(0, 64)) == expected, "{sealing:?}");
    }
}

#[test]
fn a_page_on_its_way_out_is_sealed_and_served_all_the_same() {
    let (mut bench, object) = written(Sealing::On, 35);
    bench.pipes.0.borrow_mut().is_stuck = true;
    bench.give(&object, run(0, 8), 2);
    bench.harness.request(&object, run(0, 8));
    let answers = bench.harness.answers(&object);
    let bytes = (0..8).flat_map(|number| page(number, 2)).collect();
    assert_eq!(answers, [Answer::Supply { offset: 0, bytes }]);
}
