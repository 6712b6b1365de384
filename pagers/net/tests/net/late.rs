//! Writes that come late: what a dead connection had asked is done after something newer was written.

use nbd::TransmissionFlags;
use pager::testing::Mapped;

use crate::bench::{Bench, MIB, page, run};
use crate::pipes::Pipes;

/// A page of version 1 is under way when all connections die; it is written again on the next one, and then version 2 comes home.
fn cut_off(fences: bool) -> (Bench, Mapped) {
    let pipes = Pipes::with_store(2, 8 * MIB, 41);
    if fences {
        pipes.fence();
    }
    let mut bench = Bench::new(pipes).attach();
    let object = bench.object(2);
    bench.pipes.0.borrow_mut().is_stuck = true;
    bench.give(&object, run(7, 1), 1);
    bench.turn();
    bench.pipes.0.borrow_mut().cut_and_keep();
    bench.pipes.0.borrow_mut().is_stuck = false;
    bench.settle();
    bench.give(&object, run(7, 1), 2);
    (bench, object)
}

fn kept(bench: &Bench) -> Vec<u8> {
    bench.pipes.0.borrow().store.borrow().bytes[MIB + 7 * 4096..][..4096].to_vec()
}

#[test]
fn nothing_else_is_written_to_the_place_of_a_late_write() {
    let (mut bench, object) = cut_off(false);
    bench.pass_ms(40_000);
    assert!(kept(&bench) == page(7, 1), "the place is in quarantine");
    assert_eq!(bench.fetch(&object, run(7, 1)), [Some(page(7, 2))], "and the page is served from here");
    bench.give(&object, run(7, 1), 3);
    assert_eq!(bench.harness.server.pager().open_jobs(), 1, "version 2 need not be written any more");
    bench.pass_ms(21_000);
    assert!(kept(&bench) == page(7, 3) && bench.harness.server.pager().open_jobs() == 0);
    assert_eq!(bench.pipes.0.borrow().late(), 0, "what was late has come, and did no harm");
    assert_eq!(bench.fetch(&object, run(7, 1)), [Some(page(7, 3))]);
}

#[test]
fn a_server_that_fences_need_not_be_waited_for() {
    let (mut bench, object) = cut_off(true);
    bench.pass_ms(100);
    assert!(kept(&bench) == page(7, 2));
    bench.pass_ms(61_000);
    assert_eq!(bench.fetch(&object, run(7, 1)), [Some(page(7, 2))]);
}

#[test]
fn page_outs_go_on_while_places_are_in_quarantine() {
    let (mut bench, object) = cut_off(false);
    bench.give(&object, run(100, 64), 4);
    bench.pass_ms(500);
    assert_eq!(bench.harness.server.pager().open_jobs(), 1);
    assert_eq!(bench.fetch(&object, run(163, 1)), [Some(page(163, 4))]);
    assert!(bench.pipes.0.borrow().store.borrow().flags.contains(TransmissionFlags::CAN_MULTI_CONN));
}
