//! Filters around a real pager, behind the real serve loop.

use std::time::Duration;

use abi::Code;
use abi::vm::Protection;
use filters::{Delay, Every, Fault, Faults, Log, Stats};
use pager::testing::{Answer, Harness, Mapped};
use pager::{Control, Pager, Returned, Run};
use runtime::Pages;

/// Says that there is nothing.
struct Nothing;

impl Pager for Nothing {
    fn data_request(&mut self, object: &Control, run: Run, _: Protection) {
        object.unavailable(run);
    }
    fn data_return(&mut self, _: &Control, _: Run, _: Pages, _: Returned) {}
}

fn run(page: u64) -> Run {
    Run::of_pages(page, 2).unwrap()
}

fn started<P: Pager>(pager: P) -> (Harness<P>, Mapped) {
    let mut harness = Harness::new(|_| pager);
    let object = harness.map_service();
    harness.answers(&object);
    (harness, object)
}

/// What comes of three requests when the second has the fault.
fn with_fault(fault: Fault) -> (Vec<Answer>, Harness<Faults<Nothing>>) {
    let (mut harness, object) = started(Faults::new(Nothing, fault, Every { nth: 2, after: 0 }));
    [0, 10, 20].into_iter().for_each(|page| harness.request(&object, run(page)));
    (harness.answers(&object), harness)
}

#[test]
fn an_error_is_one_and_the_book_is_balanced() {
    let (answers, harness) = with_fault(Fault::Error(Code::MEMORY_ERROR));
    let expected = [Answer::Unavailable(run(0)), Answer::Error(run(10), Code::MEMORY_ERROR), Answer::Unavailable(run(20))];
    assert_eq!((answers.as_slice(), harness.server.unanswered().len()), (expected.as_slice(), 0));
}

#[test]
fn silence_stays_in_the_book() {
    let (answers, harness) = with_fault(Fault::Silence);
    assert_eq!(answers, [Answer::Unavailable(run(0)), Answer::Unavailable(run(20))]);
    assert_eq!(harness.server.unanswered()[0].1, 2);
}

#[test]
fn twice_and_astray_are_seen() {
    let (answers, harness) = with_fault(Fault::Twice);
    assert_eq!((answers.len(), harness.server.tally().unasked), (4, 2));
    drop(harness);
    let (answers, harness) = with_fault(Fault::Astray);
    assert_eq!((&answers[1], harness.server.tally().unasked), (&Answer::Unavailable(run(12)), 2));
    assert_eq!(harness.server.unanswered()[0].1, 2);
}

#[test]
fn destruction_leaves_requests_open() {
    let (answers, _) = with_fault(Fault::Destroy(Code::MEMORY_FAILURE));
    assert_eq!(answers[1], Answer::Other(2092));
}

#[test]
#[should_panic(expected = "the task ended")]
fn death_ends_the_task() {
    with_fault(Fault::Death);
}

#[test]
fn a_delayed_request_is_answered_when_its_time_has_come() {
    let (mut harness, object) = started(Delay::new(Nothing, Duration::from_millis(20)));
    harness.request(&object, run(0));
    harness.kernel.advance_ms(5);
    harness.request(&object, run(10));
    assert_eq!(harness.answers(&object), []);
    assert_eq!(harness.server.step(None), Ok(false));
    assert_eq!((runtime::time::now_ns(), harness.answers(&object)), (20_000_000, vec![Answer::Unavailable(run(0))]));
    assert_eq!(harness.server.step(None), Ok(false));
    assert_eq!((runtime::time::now_ns(), harness.answers(&object)), (25_000_000, vec![Answer::Unavailable(run(10))]));
}

#[test]
fn a_request_of_an_object_that_ended_is_forgotten() {
    let (mut harness, object) = started(Delay::new(Nothing, Duration::from_millis(20)));
    harness.request(&object, run(0));
    harness.terminate(&object);
    harness.kernel.advance_ms(30);
    harness.pump();
    assert_eq!(harness.answers(&object), []);
}

#[test]
fn the_log_names_object_and_pages_and_the_stats_count_them() {
    let (mut harness, object) = started(Log::new(Stats::new(Nothing), "test"));
    harness.request(&object, run(16));
    harness.data_return(&object, 0, vec![0; 4096]);
    harness.discard(&object, run(0));
    let console = harness.kernel.console();
    assert!(console.contains("test: object 0: asked for 2 pages at 0x10000\n"), "{console}");
    let counts = harness.server.pager().inner().counts();
    assert_eq!((counts.requests, counts.pages_in, counts.returns, counts.pages_out, counts.discards), (1, 2, 1, 1, 1));
}
