//! Copies and forks: who sees whose writes, and what a copy costs.

use std::vec::Vec;

use super::world::{World, at, range};
use crate::{Access, Counter, Map, PagerPolicy, Placement, Showing};
use abi::vm::{Inherit, PAGE_SIZE};

#[test]
fn neither_side_of_a_copy_sees_the_others_writes() {
    let mut world = World::new(2);
    world.allocate(0, 0, 3);
    (0..3).for_each(|page| world.write(0, page, page + 1));
    world.vm.fork(&world.maps[0], &world.maps[1]).unwrap();
    assert_eq!(world.core.pool().in_use(), 3, "a fork copies nothing");
    world.check();
    world.write(0, 0, 10);
    world.write(1, 1, 20);
    world.check();
    assert_eq!((0..3).map(|page| world.read(0, page)).collect::<Vec<_>>(), [10, 2, 3]);
    assert_eq!((0..3).map(|page| world.read(1, page)).collect::<Vec<_>>(), [1, 20, 3]);
    assert_eq!(world.core.counter(Counter::CopyFaults), 2);
    world.empty(0);
    world.write(1, 2, 30);
    assert_eq!(world.core.counter(Counter::CopyFaults), 2, "the last holder of a page keeps it");
    world.check();
    world.end();
}

#[test]
fn a_reader_of_a_shared_leaf_cannot_write() {
    let mut world = World::new(2);
    world.allocate(0, 0, 2);
    world.write(0, 0, 1);
    world.vm.fork(&world.maps[0], &world.maps[1]).unwrap();
    assert_eq!((world.read(0, 0), world.read(1, 0)), (1, 1));
    for map in &world.maps {
        assert!(map.pmap().access(at(0), Access::Write).is_none());
    }
    world.check();
    world.end();
}

#[test]
fn a_page_that_a_shared_leaf_has_alone_is_not_writable_either() {
    let mut world = World::new(3);
    world.allocate(0, 0, 2);
    world.write(0, 0, 1);
    world.vm.fork(&world.maps[0], &world.maps[1]).unwrap();
    world.write(0, 1, 2);
    world.empty(1);
    world.vm.fork(&world.maps[0], &world.maps[2]).unwrap();
    world.vm.remove_translations(&world.maps[0], range(0, 1));
    assert_eq!((world.read(0, 0), world.read(2, 0)), (1, 1));
    world.check();
    world.write(0, 0, 3);
    assert_eq!(world.read(2, 0), 1);
    world.end();
}

#[test]
fn shared_inheritance_is_shared_both_ways() {
    let mut world = World::new(2);
    world.allocate(0, 0, 3);
    world.maps[0].inherit(range(0, 1), Inherit::Share).unwrap();
    world.maps[0].inherit(range(1, 1), Inherit::None).unwrap();
    world.vm.fork(&world.maps[0], &world.maps[1]).unwrap();
    world.write(1, 0, 5);
    assert_eq!(world.read(0, 0), 5);
    assert!(world.access(1, 1, None).is_err());
    world.check();
    world.end();
}

#[test]
fn a_line_of_two_hundred_forks_costs_no_more_at_its_end() {
    let mut world = World::new(201);
    world.allocate(0, 0, 2);
    world.write(0, 0, 1);
    world.write(0, 1, 2);
    for child in 1..=200 {
        world.vm.fork(&world.maps[child - 1], &world.maps[child]).unwrap();
        world.write(child, 0, child as u64 + 1);
    }
    world.check();
    assert_eq!(world.core.pool().in_use(), 202, "a page each, and one for all");
    for task in 0..=200 {
        assert_eq!((world.read(task, 0), world.read(task, 1)), (task as u64 + 1, 2));
    }
    // The look-up of the untouched page is one step in the oldest and in the youngest.
    let region = world.maps[200].region(at(0)).unwrap();
    let leaf = region.object.unwrap().arc().existing_leaf(0).unwrap();
    assert_eq!(leaf.lock().shared_at(1).unwrap().arc().holders(), 201);
    drop(leaf);
    (0..200).for_each(|task| world.empty(task));
    assert_eq!(world.core.pool().in_use(), 2, "what only the dead needed is free");
    world.check();
    world.end();
}

#[test]
fn a_copy_of_a_pagers_object_is_a_snapshot() {
    let mut world = World::new(2);
    let object = world.add_pager(PagerPolicy { run_pages: 1, return_requests: true });
    world.map_object(0, 0, 8, object, 0);
    let original = |page| World::original(crate::PagerId(1), page);
    world.write(0, 0, 5);
    let copy = world.vm.copy_in(&world.maps[0], range(0, 8)).unwrap();
    world.check_with(&[&copy]);
    world.write(0, 0, 6);
    world.write(0, 1, 7);
    world.check_with(&[&copy]);
    assert_eq!((0..3).map(|page| world.read_copy(&copy, page)).collect::<Vec<_>>(), [5, original(1), original(2)]);
    // A copy of the copy looks in the same place, one step away.
    let copy_again = world.vm.copy_in(&world.maps[0], range(0, 8)).unwrap();
    let start = world.vm.copy_out(&world.maps[1], copy_again).map_err(|(code, _)| code).unwrap();
    let page = (start - at(0)) / PAGE_SIZE;
    world.write(1, page + 3, 9);
    let again = world.vm.copy_in(&world.maps[1], range(page, 8)).unwrap();
    world.write(0, 4, 8);
    assert_eq!((world.read_copy(&again, 3), world.read_copy(&again, 4)), (9, original(4)));
    assert_eq!((world.read_copy(&copy, 3), world.read(0, 3)), (original(3), original(3)));
    world.check_with(&[&copy, &again]);
    drop((copy, again));
    world.end();
}

#[test]
fn a_dirty_page_that_a_copy_lacks_is_entered_to_be_read_only() {
    let mut world = World::new(1);
    let object = world.add_pager(PagerPolicy::default());
    world.map_object(0, 0, 1, object, 0);
    world.write(0, 0, 5);
    let copy = world.vm.copy_in(&world.maps[0], range(0, 1)).unwrap();
    world.vm.remove_translations(&world.maps[0], range(0, 1));
    assert_eq!(world.read(0, 0), 5);
    world.check_with(&[&copy]);
    world.write(0, 0, 6);
    assert_eq!(world.read_copy(&copy, 0), 5);
    drop(copy);
    world.end();
}

#[test]
fn a_pagers_object_is_needed_as_long_as_its_copies_are() {
    let mut world = World::new(2);
    let object = world.add_pager(PagerPolicy::default());
    world.map_object(0, 0, 2, object, 0);
    let copy = world.vm.copy_in(&world.maps[0], range(0, 2)).unwrap();
    world.empty(0);
    assert!(world.objects[object].is_used());
    assert_eq!(world.read_copy(&copy, 1), World::original(crate::PagerId(1), 1));
    assert_eq!(world.core.take_unused(), None);
    drop(copy);
    assert!(!world.objects[object].is_used());
    assert_eq!(world.core.take_unused(), Some(crate::PagerId(1)));
    world.end();
}

#[test]
fn copies_that_come_and_go_leave_no_trace_in_their_source() {
    let mut world = World::new(1);
    let object = world.add_pager(PagerPolicy::default());
    world.map_object(0, 0, 2, object, 0);
    for _ in 0..50 {
        drop(world.vm.copy_in(&world.maps[0], range(0, 2)).unwrap());
    }
    assert!(world.objects[object].lock().copies.len() <= 1);
    world.end();
}

#[test]
fn a_fork_leaves_wired_pages_in_place() {
    let mut world = World::new(2);
    world.allocate(0, 0, 2);
    world.write(0, 0, 1);
    world.vm.wire(&world.maps[0], range(0, 1), abi::vm::Protection::READ).unwrap();
    world.vm.wire_pages(&world.maps[0], range(0, 1), 0).unwrap();
    world.vm.fork(&world.maps[0], &world.maps[1]).unwrap();
    world.write(1, 0, 2);
    assert!(world.maps[0].pmap().access(at(0), Access::Read).is_some(), "the child's write leaves the wired page mapped");
    world.check();
    world.page_out_all();
    assert!(world.maps[0].pmap().access(at(0), Access::Read).is_some());
    assert_eq!((world.read(0, 0), world.read(1, 0)), (1, 2));
    world.write(0, 0, 3);
    assert_eq!(world.read(1, 0), 2);
    world.check();
    world.end();
}

#[test]
fn moved_parts_of_an_object_with_a_source_still_find_it() {
    let mut world = World::new(2);
    let object = world.add_pager(PagerPolicy::default());
    let shown = crate::Object::used(&world.objects[object]);
    let copy = world.vm.copy_object(&shown, 0, 10).unwrap();
    drop(shown);
    let showing = Showing { object: Some(copy), ..Showing::ZERO };
    world.maps[0].enter(Placement::At(at(0)), 10 * PAGE_SIZE, showing).unwrap();
    world.write(0, 4, 44);
    let part = world.vm.move_in(&world.maps[0], range(3, 4)).unwrap();
    assert_eq!((0..4).map(|page| world.read_copy(&part, page)).collect::<Vec<_>>(), [1_000_003, 44, 1_000_005, 1_000_006]);
    assert_eq!((world.read(0, 2), world.read(0, 7)), (1_000_002, 1_000_007));
    world.check_with(&[&part]);
    drop(part);
    world.end();
}

#[test]
fn a_dead_map_frees_what_only_it_had() {
    let mut world = World::new(1);
    world.allocate(0, 0, 70);
    (0..70).for_each(|page| world.write(0, page, 1));
    for _ in 0..3 {
        world.maps.push(Map::new(crate::FakePmap::new()));
        let child = world.maps.len() - 1;
        world.vm.fork(&world.maps[0], &world.maps[child]).unwrap();
        world.write(child, 3, 3);
        world.empty(child);
        world.maps.pop();
        assert_eq!(world.core.pool().in_use(), 70);
        world.check();
    }
    world.end();
}
