//! Objects with pagers of their own, well-behaved and not.

use std::vec::Vec;

use super::world::{World, at, range};
use crate::{Counter, Home, Outcome, PagerId, PagerPolicy};
use abi::Code;

const ID: PagerId = PagerId(1);

fn world(run_pages: u32, return_requests: bool) -> World {
    let mut world = World::new(2);
    let object = world.add_pager(PagerPolicy { run_pages, return_requests });
    world.map_object(0, 0, 150, object, 0);
    world
}

fn home(world: &World) -> Home {
    world.home(ID)
}

fn quiet(_: u64) {}

#[test]
fn sequential_readers_get_growing_runs_across_leaves_but_not_past_the_mapping() {
    let mut world = world(256, true);
    let mut runs = Vec::new();
    for page in 0..150 {
        if let Err(Outcome::Ask(ask)) = world.try_access(0, page, None) {
            runs.push((ask.first, ask.pages));
            world.settle();
        }
        assert_eq!(world.read(0, page), World::original(ID, page));
    }
    assert_eq!(runs, [(0, 8), (8, 16), (24, 32), (56, 64), (120, 30)]);
    world.check();
    world.end();
}

#[test]
fn two_who_miss_one_page_ask_once() {
    let mut world = world(1, true);
    world.map_object(1, 0, 1, 0, 0);
    let Err(Outcome::Ask(ask)) = world.try_access(0, 0, None) else { panic!() };
    assert_eq!(world.try_access(1, 0, None), Err(Outcome::Wait(ask.key)));
    world.begin_supply(0);
    assert_eq!(world.try_access(1, 0, None), Err(Outcome::Wait(ask.key)));
    world.end_supply(0, Ok(()));
    assert!(world.woken.contains(&ask.key));
    assert_eq!(world.core.counter(Counter::Requests), 1);
    world.end();
}

#[test]
fn supplied_pages_are_moved_and_not_copied() {
    let mut world = world(4, true);
    assert!(world.try_access(0, 0, None).is_err());
    let data = world.data_of(&[10, 11, 12, 13]);
    let supplied = world.vm.supply(&home(&world), 0, &data, 0, false, &mut quiet).unwrap();
    assert_eq!((supplied.pages, supplied.present), (4, None));
    drop(data);
    assert_eq!(world.core.counter(Counter::BytesCopiedIn), 0);
    assert_eq!(world.core.pool().in_use(), 4);
    world.check();
    assert_eq!((0..4).map(|page| world.read(0, page)).collect::<Vec<_>>(), [10, 11, 12, 13]);
    world.asks.clear();
    world.end();
}

#[test]
fn a_pager_keeps_what_it_supplies_and_still_has() {
    let mut world = world(2, true);
    world.allocate(1, 0, 2);
    world.write(1, 0, 10);
    world.write(1, 1, 11);
    assert!(world.try_access(0, 0, None).is_err());
    let data = world.vm.copy_in(&world.maps[1], range(0, 2)).unwrap();
    world.vm.supply(&home(&world), 0, &data, 0, false, &mut quiet).unwrap();
    drop(data);
    assert_eq!(world.core.counter(Counter::BytesCopiedIn), 2 * 4096);
    world.write(1, 0, 99);
    assert_eq!((world.read(0, 0), world.read(0, 1), world.read(1, 1)), (10, 11, 11));
    world.check();
    world.asks.clear();
    world.end();
}

#[test]
fn data_that_is_used_elsewhere_too_is_not_taken_from_there() {
    let mut world = world(1, true);
    assert!(world.try_access(0, 0, None).is_err());
    let data = world.data_of(&[10]);
    let kept = data.clone();
    world.vm.supply(&home(&world), 0, &data, 0, false, &mut quiet).unwrap();
    assert_eq!((world.read(0, 0), world.read_copy(&kept, 0)), (10, 10));
    drop((data, kept));
    world.asks.clear();
    world.end();
}

#[test]
fn unasked_late_and_repeated_answers_do_no_harm() {
    let mut world = world(1, true);
    world.write(0, 0, 5);
    let data = world.data_of(&[66]);
    let supplied = world.vm.supply(&home(&world), 0, &data, 0, false, &mut quiet).unwrap();
    assert_eq!((supplied.pages, supplied.present), (0, Some(0)));
    let home = home(&world);
    world.vm.failed(&home, 0, u64::MAX, Code::FAILURE, &mut quiet);
    world.vm.unavailable(&home, 0, u64::MAX, &mut quiet);
    world.vm.forget_request(&home, 5, u64::MAX, &mut quiet);
    assert!(world.vm.begin_supply(&home, 0, u64::MAX, &mut quiet).is_empty());
    assert!(world.vm.begin_return(&home, 0, u64::MAX).is_empty());
    world.vm.return_refused(&home, 0, u64::MAX);
    let data_past_the_end = world.data_of(&[1, 2]);
    let _ = world.vm.supply(&home, u64::MAX, &data_past_the_end, 0, false, &mut quiet);
    for first in [0, 1 << 40, u64::MAX] {
        world.vm.unavailable(&Home::Swap, first, u64::MAX, &mut quiet);
        assert!(world.vm.begin_supply(&Home::Swap, first, u64::MAX, &mut quiet).is_empty());
        let _ = world.vm.supply(&Home::Swap, first, &data_past_the_end, 0, false, &mut quiet);
    }
    assert!(world.core.counter(Counter::Unasked) > 0);
    assert_eq!(world.read(0, 0), 5);
    world.check_with(&[&data, &data_past_the_end]);
    drop((data, data_past_the_end, home));
    world.end();
}

#[test]
fn a_second_transfer_for_a_page_is_ignored() {
    let mut world = world(1, true);
    let Err(Outcome::Ask(ask)) = world.try_access(0, 0, None) else { panic!() };
    world.asks.push(ask);
    world.begin_supply(0);
    world.begin_supply(0);
    assert_eq!(world.reads.len(), 1);
    world.settle();
    assert_eq!(world.read(0, 0), World::original(ID, 0));
    world.end();
}

#[test]
fn unavailable_pages_are_zero() {
    let mut world = world(4, true);
    assert!(world.try_access(0, 0, None).is_err());
    world.asks.clear();
    world.vm.unavailable(&home(&world), 0, 4, &mut quiet);
    assert!((0..4).all(|page| world.read(0, page) == 0));
    world.check();
    world.end();
}

#[test]
fn dirty_pages_go_to_their_pager_as_data() {
    let mut world = world(8, false);
    (0..5).for_each(|page| world.write(0, page, page + 1));
    world.page_out_all();
    assert_eq!(world.core.pool().in_use(), 0);
    assert_eq!((0..5).map(|page| world.stores[&ID][&page]).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(world.core.counter(Counter::BytesCopiedOut), 0);
    assert!((0..5).all(|page| world.read(0, page) == page + 1));
    world.check();
    world.end();
}

#[test]
fn what_could_not_be_sent_is_still_there() {
    for return_requests in [false, true] {
        let mut world = world(8, return_requests);
        (0..5).for_each(|page| world.write(0, page, page + 1));
        world.no_memory = true;
        world.page_out(20);
        world.check();
        assert!((0..5).all(|page| world.read(0, page) == page + 1));
        assert!(world.requests.is_empty() && world.data.is_empty() && world.asks.is_empty());
        world.no_memory = false;
        world.page_out_all();
        assert_eq!((0..5).map(|page| world.stores[&ID][&page]).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        world.check();
        world.end();
    }
}

/// A reader is faster than the message that carries the page's new contents: the pager would give it the old ones.
#[test]
fn nobody_asks_for_data_that_was_not_sent_yet() {
    let mut world = world(8, false);
    world.write(0, 0, 7);
    let mut actions = Vec::new();
    while actions.is_empty() {
        world.vm.page_out(&mut actions);
    }
    assert!(matches!(world.try_access(0, 0, None), Err(Outcome::Wait(_))));
    world.take(actions);
    assert!(matches!(world.try_access(0, 0, None), Err(Outcome::Ask(_))));
    world.settle();
    assert_eq!(world.read(0, 0), 7);
    world.check();
    world.end();
}

#[test]
fn cleaning_sends_dirty_pages_in_runs() {
    let mut world = world(8, true);
    for page in [0, 1, 2, 70, 71] {
        world.write(0, page, page + 1);
    }
    let mut actions = Vec::new();
    world.vm.clean(&world.objects[0], 0, u64::MAX, &mut actions);
    world.take(actions);
    assert_eq!(world.requests, [(ID, 0, 3), (ID, 70, 2)]);
    world.settle();
    assert_eq!(world.stores[&ID].len(), 5);
    world.check();
    world.end();
}

#[test]
fn flushing_drops_clean_pages_and_keeps_them_for_copies() {
    let mut world = world(1, true);
    assert_eq!(world.read(0, 0), 1_000_000);
    world.write(0, 1, 5);
    let copy = world.vm.copy_in(&world.maps[0], range(0, 2)).unwrap();
    world.vm.flush(&world.objects[0], 0, u64::MAX, true).unwrap();
    world.stores.get_mut(&ID).unwrap().extend([(0, 70), (1, 71)]);
    assert_eq!((world.read(0, 0), world.read(0, 1)), (70, 71));
    assert_eq!((world.read_copy(&copy, 0), world.read_copy(&copy, 1)), (1_000_000, 5));
    world.vm.flush(&world.objects[0], 0, u64::MAX, false).unwrap();
    world.check_with(&[&copy]);
    drop(copy);
    world.end();
}

#[test]
fn nobody_is_asked_before_the_pager_is_ready() {
    let mut world = World::new(1);
    let object = world.add_pager(PagerPolicy::default());
    let waiting = crate::Object::with_pager(world.core, PagerId(1));
    world.objects[object] = waiting;
    world.map_object(0, 0, 1, object, 0);
    assert_eq!(world.try_access(0, 0, None), Err(Outcome::Wait(world.objects[object].ready_key())));
    world.objects[object].set_ready();
    assert_eq!(world.read(0, 0), World::original(ID, 0));
    world.end();
}

#[test]
fn what_a_dead_pager_left_in_ram_is_adopted_and_the_rest_is_lost() {
    let mut world = world(1, true);
    world.write(0, 0, 5);
    world.write(0, 3, 6);
    world.page_out(6);
    assert_eq!(world.core.returning(), 2);
    assert!(world.try_access(0, 1, None).is_err());
    world.begin_supply(0);
    world.end_supply(0, Ok(()));
    let Err(Outcome::Ask(ask)) = world.try_access(0, 2, None) else { panic!() };
    world.asks.clear();
    let (object, mut woken) = (world.objects[0].clone(), Vec::new());
    world.vm.pager_died(&object, Code::MEMORY_FAILURE, &mut |key| woken.push(key));
    assert!(woken.contains(&ask.key) && woken.contains(&object.ready_key()));
    assert_eq!(world.core.returning(), 0);
    world.asks.clear();
    world.requests.clear();
    world.check();
    world.page_out_all();
    assert_eq!(world.core.pool().in_use(), 0, "nothing of a dead pager's stays in RAM for ever");
    assert_eq!((world.read(0, 0), world.read(0, 1), world.read(0, 3)), (5, 1_000_001, 6));
    assert_eq!(world.access(0, 2, None), Err(Code::MEMORY_FAILURE));
    assert_eq!(world.access(0, 100, Some(1)), Err(Code::MEMORY_FAILURE));
    world.write(0, 0, 8);
    world.page_out_all();
    assert_eq!(world.read(0, 0), 8);
    world.check();
    drop(object);
    world.end();
}

#[test]
fn transfers_of_a_pager_that_dies_end_well() {
    let mut world = world(1, true);
    world.write(0, 0, 5);
    world.page_out(6);
    world.begin_return(0);
    assert!(world.try_access(0, 1, None).is_err());
    world.begin_supply(0);
    let object = world.objects[0].clone();
    world.vm.pager_died(&object, Code::MEMORY_FAILURE, &mut quiet);
    world.check();
    world.end_return(0, Ok(()));
    world.end_supply(0, Ok(()));
    world.check();
    world.page_out_all();
    assert_eq!((world.read(0, 0), world.read(0, 1)), (5, World::original(ID, 1)));
    drop(object);
    world.end();
}

#[test]
fn a_device_is_mapped_and_never_paged() {
    let mut world = World::new(1);
    let first = frames::FrameNumber(7);
    let device = crate::Object::device(world.core, first, 2);
    let showing = crate::Showing { object: Some(crate::Object::used(&device)), ..crate::Showing::ZERO };
    world.maps[0].enter(crate::Placement::At(at(0)), 3 * 4096, showing).unwrap();
    assert_eq!(world.vm.fault(&world.maps[0], at(1), crate::Access::Write), Outcome::Done);
    assert_eq!(world.maps[0].pmap().access(at(1), crate::Access::Write), Some(frames::FrameNumber(8)));
    assert_eq!(world.vm.fault(&world.maps[0], at(2), crate::Access::Read), Outcome::Refuse(Code::MEMORY_ERROR));
    world.page_out_all();
    assert!(world.maps[0].pmap().access(at(1), crate::Access::Write).is_some());
    world.end();
}
