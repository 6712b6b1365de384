//! Page-out and page-in of anonymous memory.

use super::world::{World, at, range};
use crate::{Access, Counter, Home, Outcome, PagerPolicy};
use abi::Code;
use abi::vm::Protection;

/// A world with so many pages that were written and then sent home.
fn paged_out(pages: u64) -> World {
    let mut world = World::new(2);
    world.allocate(0, 0, pages);
    (0..pages).for_each(|page| world.write(0, page, page + 1));
    world.page_out_all();
    assert_eq!(world.core.pool().in_use(), 0, "everything went home");
    world.check();
    world
}

#[test]
fn pages_go_home_in_runs_and_come_back_in_growing_ones() {
    let mut world = paged_out(128);
    assert_eq!(world.core.counter(Counter::Returns), 1, "neighbouring leaves are one run");
    let mut runs = std::vec![];
    for page in 0..64 {
        if let Err(Outcome::Ask(ask)) = world.try_access(0, page, None) {
            runs.push(ask.pages);
            world.settle();
        }
        assert_eq!(world.read(0, page), page + 1);
    }
    assert_eq!(runs, [8, 16, 32, 8], "until the leaf ends");
    assert_eq!(world.core.counter(Counter::BytesCopiedIn), 0);
    assert_eq!(world.core.counter(Counter::BytesCopiedOut), 0);
    world.check();
    world.end();
}

#[test]
fn shared_pages_go_home_once_and_serve_all_copies() {
    let mut world = World::new(2);
    world.allocate(0, 0, 20);
    (0..20).for_each(|page| world.write(0, page, page + 1));
    world.vm.fork(&world.maps[0], &world.maps[1]).unwrap();
    world.write(1, 0, 100);
    world.page_out_all();
    assert_eq!(world.core.pool().in_use(), 0);
    assert_eq!(world.stores[&crate::PagerId::DEFAULT].len(), 21);
    world.check();
    assert_eq!((world.read(0, 0), world.read(1, 0)), (1, 100));
    assert!((1..20).all(|page| world.read(0, page) == page + 1 && world.read(1, page) == page + 1));
    assert_eq!(world.core.pool().in_use(), 21);
    world.empty(0);
    world.write(1, 1, 50);
    world.check();
    world.end();
}

#[test]
fn a_clean_page_is_dropped_without_being_written_again() {
    let mut world = paged_out(4);
    assert_eq!(world.read(0, 2), 3);
    let returned = world.core.counter(Counter::PagesReturned);
    world.page_out_all();
    assert_eq!((world.core.pool().in_use(), world.core.counter(Counter::PagesReturned)), (0, returned));
    assert_eq!(world.read(0, 2), 3);
    world.end();
}

#[test]
fn a_page_that_is_written_while_its_pager_decides_stays() {
    let mut world = World::new(1);
    world.allocate(0, 0, 2);
    world.write(0, 0, 1);
    world.write(0, 1, 2);
    world.page_out(6);
    assert_eq!((world.requests.len(), world.core.returning()), (1, 2));
    world.write(0, 0, 9);
    assert_eq!(world.core.returning(), 1);
    world.check();
    world.begin_return(0);
    assert_eq!(world.writes.iter().map(|transfer| (transfer.first % 64, transfer.frames.len())).collect::<std::vec::Vec<_>>(), [(1, 1)]);
    world.check();
    world.settle();
    assert_eq!((world.read(0, 0), world.read(0, 1)), (9, 2));
    world.end();
}

#[test]
fn a_page_is_not_offered_twice_before_it_is_answered() {
    let mut world = World::new(1);
    world.allocate(0, 0, 1);
    world.write(0, 0, 1);
    world.page_out(6);
    world.write(0, 0, 2);
    world.page_out(20);
    assert_eq!(world.requests.len(), 1);
    world.settle();
    world.page_out(20);
    assert_eq!(world.requests.len(), 1);
    world.settle();
    assert_eq!(world.stores[&crate::PagerId::DEFAULT].values().copied().collect::<std::vec::Vec<_>>(), [2]);
    world.end();
}

#[test]
fn a_page_that_is_being_written_can_be_read_and_its_writer_waits() {
    let mut world = World::new(1);
    world.allocate(0, 0, 1);
    world.write(0, 0, 1);
    world.page_out(6);
    world.begin_return(0);
    assert_eq!(world.try_access(0, 0, None), Ok(1));
    let Err(Outcome::Wait(key)) = world.try_access(0, 0, Some(2)) else { panic!("it must wait") };
    world.check();
    world.end_return(0, Ok(()));
    assert!(world.woken.contains(&key));
    world.check();
    world.write(0, 0, 2);
    assert_eq!(world.core.counter(Counter::Requests), 0, "it was read meanwhile, so it stayed");
    world.end();
}

#[test]
fn the_engine_itself_waits_for_a_page_that_is_being_written() {
    let mut world = World::new(2);
    world.allocate(0, 0, 1);
    world.write(0, 0, 1);
    let copy = world.vm.copy_in(&world.maps[0], range(0, 1)).unwrap();
    world.page_out(6);
    world.begin_return(0);
    assert!(matches!(world.vm.resolve_copy(&copy, 0), Outcome::Wait(_)), "the transfer has its bytes");
    assert!(!world.vm.read_copy(&copy, 0, 0, &mut [0]));
    assert!(matches!(world.vm.write_bytes(&world.maps[0], at(0), &[1]), Outcome::Wait(_)));
    world.end_return(0, Ok(()));
    assert_eq!(world.read_copy(&copy, 0), 1);
    drop(copy);
    world.end();
}

#[test]
fn a_failed_write_and_a_refusal_lose_nothing() {
    let mut world = World::new(1);
    world.allocate(0, 0, 3);
    (0..3).for_each(|page| world.write(0, page, page + 1));
    world.page_out(6);
    world.begin_return(0);
    world.end_return(0, Err(Code::MEMORY_ERROR));
    world.check();
    assert_eq!(world.core.pool().in_use(), 3);
    world.page_out(20);
    let (_, first, pages) = world.requests.remove(0);
    world.vm.return_refused(&Home::Swap, first, u64::from(pages));
    assert!(world.core.is_swap_full());
    world.page_out(20);
    assert!(world.requests.is_empty(), "a full pager isn't asked again");
    assert!((0..3).all(|page| world.read(0, page) == page + 1));
    world.check();
    world.end();
}

#[test]
fn pages_wanted_as_data_leave_their_readers() {
    let mut world = World::new(1);
    world.allocate(0, 0, 2);
    world.write(0, 0, 1);
    world.write(0, 1, 2);
    world.page_out(6);
    let (pager, first, pages) = world.requests.remove(0);
    assert_eq!(world.try_access(0, 0, None), Ok(1));
    let mut actions = std::vec::Vec::new();
    world.vm.return_as_data(&world.home(pager), first, u64::from(pages), &mut actions);
    world.take(actions);
    world.check();
    assert_eq!(world.core.returning(), 0);
    assert_eq!(world.maps[0].pmap().translations().len(), 0);
    assert_eq!((world.read(0, 0), world.read(0, 1)), (1, 2));
    world.end();
}

#[test]
fn a_failed_read_is_told_once_and_can_be_tried_again() {
    let mut world = paged_out(2);
    assert!(matches!(world.try_access(0, 1, None), Err(Outcome::Ask(_))));
    world.begin_supply(0);
    world.end_supply(0, Err(Code::MEMORY_ERROR));
    world.check();
    assert_eq!(world.access(0, 1, None), Err(Code::MEMORY_ERROR));
    assert_eq!(world.access(0, 1, None), Ok(2));
    world.end();
}

#[test]
fn a_late_read_does_not_fill_another_page() {
    let mut world = paged_out(1);
    let Err(Outcome::Ask(ask)) = world.try_access(0, 0, None) else { panic!("it is at its pager") };
    world.begin_supply(0);
    world.empty(0);
    assert_eq!(world.core.take_dead_extent(), None, "a transfer uses the extent");
    world.check();
    world.end_supply(0, Ok(()));
    assert!(world.woken.contains(&ask.key), "whoever waited for the page that is gone wakes");
    let extent = world.core.take_dead_extent().unwrap();
    world.discard(extent);
    world.check();
    world.end();
}

#[test]
fn an_answer_to_a_return_that_nobody_needs_frees_the_extent() {
    let mut world = World::new(1);
    world.allocate(0, 0, 1);
    world.write(0, 0, 1);
    world.page_out(6);
    world.empty(0);
    assert_eq!((world.core.take_dead_extent(), world.core.returning()), (None, 0));
    world.begin_return(0);
    assert!(world.writes.is_empty());
    assert!(world.core.take_dead_extent().is_some());
    world.end();
}

#[test]
fn wired_pages_never_leave() {
    let mut world = World::new(1);
    world.allocate(0, 0, 6);
    (0..6).for_each(|page| world.write(0, page, page + 1));
    world.vm.wire(&world.maps[0], range(1, 3), Protection::READ).unwrap();
    assert_eq!(world.vm.wire_pages(&world.maps[0], range(1, 3), 0), Ok(()));
    world.page_out_all();
    assert_eq!(world.core.pool().in_use(), 3);
    for page in 1..4 {
        assert!(world.maps[0].pmap().access(at(page), Access::Write).is_some());
    }
    world.check();
    world.vm.unwire(&world.maps[0], range(1, 3)).unwrap();
    world.page_out_all();
    assert_eq!(world.core.pool().in_use(), 0);
    assert!((0..6).all(|page| world.read(0, page) == page + 1));
    world.end();
}

#[test]
fn wiring_brings_pages_in_and_steps_over_what_nobody_may_touch() {
    let mut world = paged_out(3);
    world.vm.allocate(&world.maps[0], crate::Placement::At(at(3)), 1 << 46).unwrap();
    world.maps[0].protect(crate::PageRange::containing(at(3), 1 << 46).unwrap(), false, Protection::NONE).unwrap();
    let all = crate::PageRange::containing(at(0), (1 << 46) + 3 * 4096).unwrap();
    world.vm.wire(&world.maps[0], all, Protection::NONE).unwrap();
    let mut result = world.vm.wire_pages(&world.maps[0], all, 0);
    while let Err((from, Outcome::Ask(ask))) = result {
        world.asks.push(ask);
        world.settle();
        result = world.vm.wire_pages(&world.maps[0], all, from);
    }
    assert_eq!(result, Ok(()));
    assert_eq!(world.core.pool().in_use(), 3);
    world.end();
}

#[test]
fn used_pages_stay_and_idle_ones_go() {
    let mut world = World::new(1);
    world.allocate(0, 0, 8);
    (0..8).for_each(|page| world.write(0, page, page + 1));
    for _ in 0..6 {
        for page in 0..4 {
            world.maps[0].pmap().access(at(page), Access::Read).unwrap();
        }
        world.page_out(1);
    }
    world.settle();
    assert_eq!(world.core.pool().in_use(), 4);
    assert!((0..4).all(|page| world.maps[0].pmap().access(at(page), Access::Read).is_some()));
    world.end();
}

#[test]
fn without_a_default_pager_dirty_pages_stay() {
    let mut world = World::new(1);
    world.core.set_default_policy(None);
    world.allocate(0, 0, 2);
    world.write(0, 0, 1);
    assert_eq!(world.read(0, 1), 0);
    world.page_out_all();
    assert_eq!(world.core.pool().in_use(), 1, "a page of zeroes is nowhere needed");
    world.core.set_default_policy(Some(PagerPolicy { run_pages: 0, return_requests: true }));
    world.page_out_all();
    assert_eq!(world.core.pool().in_use(), 0);
    assert_eq!((world.read(0, 0), world.read(0, 1)), (1, 0));
    world.end();
}

#[test]
fn more_memory_than_there_is() {
    let mut world = World::new(1);
    world.allocate(0, 0, 2000);
    (0..2000).for_each(|page| world.write(0, page, page + 1));
    assert!((0..2000).all(|page| world.read(0, page) == page + 1));
    world.check();
    world.end();
}
