//! One thing at a time: attaching, zero pages, errors, full and emptied servers, connections that drop.

use abi::Code;
use nbd::{NbdError, TransmissionFlags};
use pager::testing::Answer;

use crate::bench::{Bench, MIB, page, run, settings};
use crate::pipes::Pipes;
use crate::server::Store;

#[test]
fn pages_go_out_and_come_back() {
    let mut bench = Bench::attached(2, 8, 1);
    let object = bench.object(4);
    bench.give(&object, run(250, 20), 1);
    bench.settle();
    let found = bench.fetch(&object, run(248, 24));
    for (number, content) in (248..).zip(found) {
        let version = u64::from((250..270).contains(&number));
        assert_eq!(content, Some(page(number, version)), "page {number}");
    }
    let counters = bench.harness.server.pager().counters();
    assert_eq!((counters.pages_in, counters.pages_out), (20, 20));
}

#[test]
fn what_was_never_written_doesn_t_cross_the_wire() {
    let mut bench = Bench::attached(2, 8, 2);
    let object = bench.object(4);
    bench.settle();
    let reads = bench.pipes.0.borrow().store.borrow().reads;
    bench.harness.request(&object, run(0, 256));
    assert_eq!(bench.harness.answers(&object), [Answer::Unavailable(run(0, 256))]);
    assert_eq!(bench.pipes.0.borrow().store.borrow().reads, reads);
}

#[test]
fn zero_pages_are_zeroes_on_the_server_and_unavailable_here() {
    let mut bench = Bench::attached(2, 8, 3);
    let object = bench.object(4);
    bench.give(&object, run(0, 64), 1);
    bench.settle();
    bench.give(&object, run(0, 64), 0);
    bench.harness.request(&object, run(0, 64));
    assert_eq!(bench.harness.answers(&object), [Answer::Unavailable(run(0, 64))]);
    bench.settle();
    let world = bench.pipes.0.borrow();
    let store = world.store.borrow();
    assert!(store.zeroes > 0 && store.bytes[MIB..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_page_on_its_way_out_is_served_from_here() {
    let mut bench = Bench::attached(2, 8, 4);
    let object = bench.object(4);
    bench.pipes.0.borrow_mut().is_stuck = true;
    bench.give(&object, run(0, 70), 1);
    bench.give(&object, run(3, 1), 2);
    let found = bench.fetch(&object, run(2, 3));
    assert_eq!(found, [(2, 1), (3, 2), (4, 1)].map(|(number, version)| Some(page(number, version))));
    bench.pipes.0.borrow_mut().is_stuck = false;
    bench.settle();
    assert_eq!(bench.fetch(&object, run(3, 1)), [Some(page(3, 2))]);
}

#[test]
fn return_requests_are_answered_as_fast_as_the_server_takes_pages() {
    let mut bench = Bench::attached(2, 16, 5);
    let object = bench.object(8);
    bench.pipes.0.borrow_mut().is_stuck = true;
    let mut asked_for = 0;
    for start in (0..2048).step_by(256) {
        bench.harness.return_request(&object, run(start, 256));
        for answer in bench.harness.answers(&object) {
            let Answer::AsData(part) = answer else { panic!("{answer:?}") };
            asked_for += part.pages();
            bench.give(&object, part, 1);
        }
    }
    assert!((256..2048).contains(&asked_for), "{asked_for} pages were taken by a server that takes none");
    bench.pipes.0.borrow_mut().is_stuck = false;
    for _ in 0..5000 {
        bench.pass_ms(1);
        for answer in bench.harness.answers(&object) {
            let Answer::AsData(part) = answer else { panic!("{answer:?}") };
            asked_for += part.pages();
            bench.give(&object, part, 1);
        }
    }
    assert_eq!(asked_for, 2048);
    bench.settle();
    for start in (0..2048).step_by(256) {
        let expected: Vec<_> = (start..start + 256).map(|number| Some(page(number, 1))).collect();
        assert_eq!(bench.fetch(&object, run(start, 256)), expected);
    }
}

#[test]
fn a_full_server_keeps_nothing_from_being_right() {
    let mut bench = Bench::attached(2, 8, 6);
    let object = bench.object(4);
    bench.pipes.0.borrow().store.borrow_mut().write_error = Some(NbdError::NoSpace);
    bench.give(&object, run(0, 8), 1);
    bench.pass_ms(50);
    bench.harness.return_request(&object, run(8, 8));
    assert_eq!(bench.harness.answers(&object), [Answer::Refused(run(8, 8), Code::NO_SPACE)]);
    let expected: Vec<_> = (0..8).map(|number| Some(page(number, 1))).collect();
    assert_eq!(bench.fetch(&object, run(0, 8)), expected);
    bench.pipes.0.borrow().store.borrow_mut().write_error = None;
    bench.settle();
    assert_eq!(bench.fetch(&object, run(0, 8)), expected);
    bench.harness.return_request(&object, run(8, 8));
    assert_eq!(bench.harness.answers(&object), [Answer::AsData(run(8, 8))]);
}

#[test]
fn a_read_that_fails_is_an_error_for_its_pages() {
    let mut bench = Bench::attached(2, 8, 7);
    let object = bench.object(4);
    bench.give(&object, run(0, 4), 1);
    bench.settle();
    bench.pipes.0.borrow().store.borrow_mut().read_error = Some(NbdError::Io);
    assert_eq!(bench.fetch(&object, run(0, 6)), [None, None, None, None, Some(page(4, 0)), Some(page(5, 0))]);
    bench.pipes.0.borrow().store.borrow_mut().read_error = None;
    assert_eq!(bench.fetch(&object, run(1, 1)), [Some(page(1, 1))]);
}

#[test]
fn a_server_that_goes_and_comes_back_costs_time_only() {
    let mut bench = Bench::attached(2, 8, 8);
    let object = bench.object(4);
    bench.give(&object, run(0, 100), 1);
    bench.settle();
    bench.give(&object, run(0, 50), 2);
    bench.harness.request(&object, run(50, 50));
    bench.pipes.0.borrow_mut().is_up = false;
    bench.pipes.0.borrow_mut().cut();
    let connects = bench.pipes.0.borrow().connects;
    bench.pass_ms(20_000);
    let tried = bench.pipes.0.borrow().connects - connects;
    assert!((5..60).contains(&tried), "{tried} attempts in 20 seconds");
    bench.pipes.0.borrow_mut().is_up = true;
    bench.settle();
    let supplied: Vec<_> = bench.harness.answers(&object).iter().flat_map(crate::bench::contents).collect();
    assert!(supplied.iter().all(|(number, content)| (50..100).contains(number) && *content == Some(page(*number, 1))));
    let expected: Vec<_> = (0..50).map(|number| Some(page(number, 2))).collect();
    assert_eq!(bench.fetch(&object, run(0, 50)), expected);
}

#[test]
fn an_emptied_server_is_an_error_and_never_zeroes() {
    let mut bench = Bench::attached(2, 8, 9);
    let object = bench.object(4);
    bench.give(&object, run(0, 10), 1);
    bench.settle();
    bench.pipes.0.borrow_mut().is_stuck = true;
    bench.give(&object, run(20, 2), 1);
    bench.harness.request(&object, run(0, 2));
    bench.pipes.0.borrow_mut().empty();
    bench.pipes.0.borrow_mut().is_stuck = false;
    bench.pass_ms(6000);
    let answers = bench.harness.answers(&object);
    assert!(answers == [Answer::Error(run(0, 2), Code::MEMORY_ERROR)], "pages that are lost came");
    let found = bench.fetch(&object, run(8, 4));
    assert_eq!(found, [None, None, Some(page(10, 0)), Some(page(11, 0))]);
    // What was still here is not lost; what is written from now on is as good as ever.
    bench.settle();
    assert_eq!(bench.fetch(&object, run(20, 2)), [Some(page(20, 1)), Some(page(21, 1))]);
    bench.give(&object, run(0, 2), 3);
    bench.settle();
    assert_eq!(bench.fetch(&object, run(0, 3)), [Some(page(0, 3)), Some(page(1, 3)), None]);
    assert!(bench.harness.kernel.console().contains("lost its memory"));
}

#[test]
fn an_export_of_another_boot_is_refused_unless_it_may_be_taken() {
    let store = Store::new(8 * MIB);
    drop(Bench::new(Pipes::new(1, &store, 1)).attach());
    for (takes_foreign, expected) in [(false, false), (true, true)] {
        let pipes = Pipes::new(1, &store, 2);
        let settings = net_pager::Settings { boot_id: [8; 16], takes_foreign, ..settings() };
        let mut bench = Bench::with(pipes, &settings);
        bench.pass_ms(100);
        let pager = bench.harness.server.pager();
        assert_eq!((pager.is_attached(), pager.refusal().is_some()), (expected, !expected));
    }
}

#[test]
fn a_server_of_few_abilities_is_enough() {
    let store = Store::new(8 * MIB);
    store.borrow_mut().flags = TransmissionFlags::HAS_FLAGS;
    let mut bench = Bench::new(Pipes::new(3, &store, 10)).attach();
    let object = bench.object(4);
    bench.give(&object, run(0, 64), 1);
    bench.give(&object, run(0, 32), 0);
    bench.settle();
    assert_eq!(bench.pipes.0.borrow().connects, 1, "it can't share what it keeps between connections");
    assert_eq!(bench.fetch(&object, run(31, 2)), [Some(page(31, 0)), Some(page(32, 1))]);
}

#[test]
fn objects_that_are_gone_give_their_room_back() {
    let mut bench = Bench::attached(2, 5, 11);
    for round in 1..20 {
        let object = bench.object(4);
        assert_eq!(bench.harness.create(MIB as u64).unwrap_err(), Code::NO_SPACE);
        bench.give(&object, run(1000, 24), round);
        bench.harness.request(&object, run(1000, 24));
        bench.harness.terminate(&object);
        assert!(bench.harness.kernel.tell_no_senders(object.port));
        bench.turn();
        bench.settle();
        let next = bench.object(4);
        assert_eq!(bench.fetch(&next, run(1000, 2)), [Some(page(1000, 0)), Some(page(1001, 0))]);
        bench.harness.terminate(&next);
        assert!(bench.harness.kernel.tell_no_senders(next.port));
        bench.settle();
    }
}

#[test]
fn an_object_may_lie_anywhere() {
    // Of five extents for objects the second is free, and the last.
    let mut bench = Bench::attached(2, 6, 13);
    let others = [1, 1, 2].map(|mib| bench.object(mib));
    bench.harness.terminate(&others[1]);
    assert!(bench.harness.kernel.tell_no_senders(others[1].port));
    bench.turn();
    bench.settle();
    let object = bench.object(2);
    for (other, version) in [(&others[0], 1), (&others[2], 2)] {
        bench.give(other, run(0, 256), version);
    }
    bench.give(&object, run(200, 112), 3);
    bench.settle();
    let expected: Vec<_> = (250..270).map(|number| Some(page(number, 3))).collect();
    assert!(bench.fetch(&object, run(250, 20)) == expected, "pages on both sides of an extent's end");
    for (other, version) in [(&others[0], 1), (&others[2], 2)] {
        let expected: Vec<_> = (0..256).map(|number| Some(page(number, version))).collect();
        assert!(bench.fetch(other, run(0, 256)) == expected, "another object's pages");
    }
}

#[test]
fn a_superblock_isn_t_written_anew_while_another_connection_works() {
    let mut bench = Bench::attached(2, 8, 14);
    bench.pass_ms(100);
    assert_eq!(bench.pipes.0.borrow().connects, 2);
    bench.pipes.0.borrow().store.borrow_mut().bytes.fill(0);
    bench.pipes.0.borrow_mut().cut_one(1);
    bench.pass_ms(2000);
    let is_claimed = |bench: &Bench| bench.pipes.0.borrow().store.borrow().bytes[..8] == *b"NETPAGER";
    assert!(bench.pipes.0.borrow().connects > 2 && !is_claimed(&bench));
    bench.pipes.0.borrow_mut().cut();
    bench.until(|bench| is_claimed(bench));
}

#[test]
fn requests_that_make_no_sense_are_errors() {
    let mut bench = Bench::attached(1, 8, 12);
    let object = bench.object(1);
    bench.harness.request(&object, run(255, 3));
    let answers = bench.harness.answers(&object);
    assert_eq!(answers, [Answer::Unavailable(run(255, 1)), Answer::Error(run(256, 2), Code::INVALID_ARGUMENT)]);
    bench.give(&object, run(255, 3), 1);
    bench.settle();
    assert_eq!(bench.fetch(&object, run(255, 1)), [Some(page(255, 1))]);
    let service = bench.harness.map_service();
    bench.harness.request(&service, run(0, 1));
    assert!(bench.harness.answers(&service).contains(&Answer::Error(run(0, 1), Code::INVALID_ARGUMENT)));
}

#[test]
fn a_page_that_one_connection_doesn_t_bring_comes_over_the_other() {
    let mut bench = Bench::attached(2, 8, 15);
    let object = bench.object(2);
    bench.give(&object, run(0, 8), 1);
    bench.settle();
    bench.pipes.0.borrow_mut().stalls = Some(0);
    bench.harness.request(&object, run(0, 8));
    bench.pass_ms(150);
    assert_eq!(bench.harness.answers(&object), [], "that may be the server's slowness");
    bench.pass_ms(150);
    let bytes = (0..8).flat_map(|number| page(number, 1)).collect();
    assert_eq!(bench.harness.answers(&object), [Answer::Supply { offset: 0, bytes }]);
    let counters = bench.harness.server.pager().counters();
    assert_eq!((counters.asked_twice, counters.reconnects, counters.pages_in), (1, 0, 8));
    // The first answer comes at last, and is nobody's.
    bench.pipes.0.borrow_mut().stalls = None;
    bench.give(&object, run(0, 8), 2);
    bench.settle();
    assert_eq!(bench.fetch(&object, run(7, 1)), [Some(page(7, 2))]);
    assert_eq!(bench.harness.server.pager().counters().reconnects, 0);
}
