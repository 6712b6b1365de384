//! Zero-filled memory and what maps do to it.

use super::world::{World, at, range};
use crate::{Access, Copy, Counter, Outcome, Placement};
use abi::Code;
use abi::vm::{Inherit, PAGE_SIZE, Protection};

#[test]
fn memory_is_zero_until_it_is_written() {
    let mut world = World::new(1);
    world.allocate(0, 0, 4);
    assert_eq!(world.core.pool().in_use(), 0, "nothing is resident before it is touched");
    assert_eq!(world.read(0, 2), 0);
    world.write(0, 2, 7);
    assert_eq!((world.read(0, 2), world.read(0, 3)), (7, 0));
    assert_eq!(world.core.counter(Counter::ZeroFills), 2);
    world.check();
    world.end();
}

#[test]
fn faults_outside_of_memory_and_rights_are_refused() {
    let mut world = World::new(1);
    world.allocate(0, 0, 1);
    assert_eq!(world.access(0, 1, None), Err(Code::INVALID_ADDRESS));
    world.maps[0].protect(range(0, 1), false, Protection::READ).unwrap();
    assert_eq!(world.access(0, 0, Some(1)), Err(Code::PROTECTION_FAILURE));
    assert_eq!(world.access(0, 0, None), Ok(0));
    world.end();
}

#[test]
fn a_page_is_writable_or_executable_but_never_both() {
    let mut world = World::new(1);
    world.allocate(0, 0, 1);
    world.maps[0].protect(range(0, 1), false, Protection::ALL).unwrap();
    world.write(0, 0, 1);
    let rights = |world: &World| world.maps[0].pmap().translations()[&at(0)].protection;
    assert_eq!(rights(&world), Protection::READ.union(Protection::WRITE));
    assert_eq!(world.vm.fault(&world.maps[0], at(0), Access::Execute), Outcome::Done);
    assert_eq!(rights(&world), Protection::READ.union(Protection::EXECUTE));
    world.write(0, 0, 2);
    world.check();
    world.end();
}

#[test]
fn lost_rights_are_gone_at_once_and_gained_ones_come_by_faults() {
    let mut world = World::new(1);
    world.allocate(0, 0, 2);
    world.write(0, 0, 1);
    world.maps[0].protect(range(0, 1), false, Protection::READ).unwrap();
    assert!(world.maps[0].pmap().access(at(0), Access::Write).is_none());
    assert_eq!(world.maps[0].entry_count(), 2);
    world.maps[0].protect(range(0, 1), false, Protection::DEFAULT).unwrap();
    assert_eq!(world.maps[0].entry_count(), 1, "alike neighbours are one entry again");
    world.write(0, 0, 2);
    world.check();
    world.end();
}

#[test]
fn deallocating_a_part_frees_its_pages_and_no_others() {
    let mut world = World::new(1);
    world.allocate(0, 0, 150);
    (0..150).for_each(|page| world.write(0, page, page + 1));
    world.vm.deallocate(&world.maps[0], range(10, 100));
    assert_eq!(world.core.pool().in_use(), 50);
    world.check();
    assert_eq!((world.read(0, 9), world.read(0, 110)), (10, 111));
    assert_eq!(world.access(0, 10, None), Err(Code::INVALID_ADDRESS));
    world.end();
}

#[test]
fn pages_that_the_map_shows_elsewhere_are_not_freed() {
    let mut world = World::new(1);
    world.allocate(0, 0, 4);
    (0..4).for_each(|page| world.write(0, page, page + 1));
    let region = world.maps[0].region(at(0)).unwrap();
    let showing = crate::Showing { object: region.object, ..crate::Showing::ZERO };
    world.maps[0].enter(Placement::At(at(100)), 4 * PAGE_SIZE, showing).unwrap();
    world.vm.deallocate(&world.maps[0], range(1, 2));
    assert_eq!((101..104).map(|page| world.read(0, page)).collect::<std::vec::Vec<_>>(), [2, 3, 4]);
    world.vm.deallocate(&world.maps[0], range(101, 2));
    assert_eq!(world.core.pool().in_use(), 2);
    world.check();
    world.end();
}

#[test]
fn moved_memory_keeps_its_frames() {
    let mut world = World::new(2);
    world.allocate(0, 0, 100);
    (0..100).for_each(|page| world.write(0, page, page + 1));
    for (first, pages) in [(0, 100), (3, 50)] {
        let before = world.core.counter(Counter::CopyFaults);
        let copy = world.vm.move_in(&world.maps[0], range(first, pages)).unwrap();
        world.check_with(&[&copy]);
        let start = world.vm.copy_out(&world.maps[1], copy).map_err(|(code, _)| code).unwrap();
        let page = (start - at(0)) / PAGE_SIZE;
        for number in 0..pages {
            assert_eq!(world.read(1, page + number), first + number + 1);
            world.write(1, page + number, 5);
        }
        assert_eq!(world.core.counter(Counter::CopyFaults), before);
        assert_eq!(world.core.pool().in_use(), 100);
        world.check();
        world.empty(1);
        world.empty(0);
        world.allocate(0, 0, 100);
        (0..100).for_each(|page| world.write(0, page, page + 1));
    }
    world.end();
}

#[test]
fn a_move_out_of_shared_memory_leaves_the_others_theirs() {
    let mut world = World::new(2);
    world.allocate(0, 0, 4);
    world.maps[0].inherit(range(0, 4), Inherit::Share).unwrap();
    world.write(0, 1, 1);
    world.vm.fork(&world.maps[0], &world.maps[1]).unwrap();
    let copy = world.vm.move_in(&world.maps[0], range(0, 4)).unwrap();
    world.write(1, 1, 2);
    assert_eq!(world.read_copy(&copy, 1), 1);
    world.check_with(&[&copy]);
    drop(copy);
    world.end();
}

#[test]
fn an_entry_that_was_split_moves_as_a_whole() {
    let mut world = World::new(1);
    world.allocate(0, 0, 9);
    (0..9).for_each(|page| world.write(0, page, page));
    world.maps[0].protect(range(3, 3), false, Protection::READ).unwrap();
    let copy = world.vm.move_in(&world.maps[0], range(0, 9)).unwrap();
    assert_eq!(copy.segments.len(), 3);
    assert!((0..9).all(|page| world.read_copy(&copy, page) == page));
    assert_eq!(world.core.pool().in_use(), 9);
    world.check_with(&[&copy]);
    drop(copy);
    world.end();
}

#[test]
fn overwriting_exchanges_memory_and_keeps_rights() {
    let mut world = World::new(2);
    world.allocate(0, 0, 8);
    world.allocate(1, 0, 4);
    (0..8).for_each(|page| world.write(0, page, page + 1));
    (0..4).for_each(|page| world.write(1, page, page + 100));
    let copy = world.vm.copy_in(&world.maps[1], range(0, 4)).unwrap();
    assert_eq!(world.vm.overwrite(&world.maps[0], range(2, 3), copy.clone()), Err(Code::INVALID_ARGUMENT));
    world.vm.overwrite(&world.maps[0], range(2, 4), copy).unwrap();
    let values: std::vec::Vec<_> = (0..8).map(|page| world.read(0, page)).collect();
    assert_eq!(values, [1, 2, 100, 101, 102, 103, 7, 8]);
    assert_eq!(world.core.pool().in_use(), 8, "what was overwritten is freed");
    world.write(1, 0, 9);
    assert_eq!(world.read(0, 2), 100);
    world.check();
    world.end();
}

#[test]
fn a_shortage_of_tables_or_frames_is_told_and_can_be_retried() {
    let mut world = World::new(1);
    world.allocate(0, 0, 500);
    world.maps[0].pmap().fail(1);
    assert_eq!(world.vm.fault(&world.maps[0], at(0), Access::Write), Outcome::Shortage);
    world.write(0, 0, 1);
    world.core.set_default_policy(None);
    let full = (1..500).find(|page| world.try_access(0, *page, Some(*page)).is_err()).unwrap();
    assert_eq!(world.vm.fault(&world.maps[0], at(full), Access::Write), Outcome::Shortage);
    assert_eq!(world.core.pool().available(), 0);
    world.check();
    assert!((1..full).all(|page| world.read(0, page) == page));
    world.end();
}

#[test]
fn copies_of_nothing_are_nothing() {
    let world = World::new(1);
    let nothing = crate::PageRange::containing(77, 0).unwrap();
    let copy = world.vm.copy_in(&world.maps[0], nothing).unwrap();
    assert_eq!(copy.bytes(), 0);
    assert!(world.vm.copy_out(&world.maps[0], copy).is_ok());
    assert_eq!(world.maps[0].entry_count(), 0);
    assert_eq!(Copy::default().page(u64::MAX).map(|(_, page)| page), None);
    world.end();
}
