//! The golden table (MACH.md, A20) of the calls that are made on maps: one code for each defect, and nothing changed by an error.

use std::vec::Vec;

use super::world::{World, at, range};
use crate::{Access, Outcome, PageRange, Placement, Showing};
use abi::Code;
use abi::vm::{Inherit, PAGE_SIZE, Protection, USER_END, USER_START};

/// A call on a range of a map.
type Call<'a> = &'a dyn Fn(PageRange) -> Result<(), Code>;

/// Mapped pages 0..4 and 6..8, of which 3 is not readable.
fn world() -> World {
    let world = World::new(2);
    world.allocate(0, 0, 4);
    world.allocate(0, 6, 2);
    world.maps[0].protect(range(3, 1), false, Protection::NONE).unwrap();
    world
}

fn dump(world: &World) -> Vec<(u64, u64, Protection, Protection, Inherit)> {
    let mut at = 0;
    core::iter::from_fn(|| {
        let region = world.maps[0].region(at)?;
        at = region.end;
        Some((region.start, region.end, region.protection, region.max_protection, region.inherit))
    })
    .collect()
}

#[test]
fn numbers_become_ranges_in_one_place() {
    assert_eq!(PageRange::containing(123, 0).map(PageRange::is_empty), Ok(true));
    assert_eq!(PageRange::containing(0x1fff, 2).map(|range| (range.start(), range.end())), Ok((0x1000, 0x3000)));
    assert_eq!(PageRange::containing(u64::MAX, 2), Err(Code::INVALID_ARGUMENT));
    assert_eq!(PageRange::containing(u64::MAX - 4096, 4095), Err(Code::INVALID_ARGUMENT));
    assert_eq!(PageRange::containing(USER_END - 1, 2), Err(Code::INVALID_ADDRESS));
    assert_eq!(PageRange::size_of(u64::MAX), Err(Code::INVALID_ARGUMENT));
    assert_eq!(PageRange::size_of(USER_END + 1), Err(Code::NO_SPACE));
}

#[test]
fn allocate_and_map() {
    let world = world();
    let before = dump(&world);
    let enter = |placement, size| world.maps[0].enter(placement, size, Showing::ZERO);
    assert_eq!(enter(Placement::At(at(10)), 0), Err(Code::INVALID_ARGUMENT));
    assert_eq!(enter(Placement::At(at(10)), u64::MAX - at(10)), Err(Code::INVALID_ARGUMENT));
    assert_eq!(enter(Placement::At(at(10)), USER_END), Err(Code::INVALID_ADDRESS));
    assert_eq!(enter(Placement::At(0), PAGE_SIZE), Err(Code::INVALID_ADDRESS));
    assert_eq!(enter(Placement::At(at(5)), 2 * PAGE_SIZE), Err(Code::NO_SPACE));
    assert_eq!(enter(Placement::Anywhere { mask: 0 }, u64::MAX), Err(Code::INVALID_ARGUMENT));
    assert_eq!(enter(Placement::Anywhere { mask: 0 }, USER_END), Err(Code::NO_SPACE));
    assert_eq!(enter(Placement::Anywhere { mask: u64::MAX }, PAGE_SIZE), Err(Code::NO_SPACE));
    assert_eq!(enter(Placement::Anywhere { mask: u64::MAX >> 1 }, PAGE_SIZE), Err(Code::NO_SPACE));
    let showing = Showing { offset: 1, ..Showing::ZERO };
    assert_eq!(world.maps[0].enter(Placement::At(at(10)), PAGE_SIZE, showing), Err(Code::INVALID_ARGUMENT));
    let showing = Showing { max_protection: Protection::READ, ..Showing::ZERO };
    assert_eq!(world.maps[0].enter(Placement::At(at(10)), PAGE_SIZE, showing), Err(Code::INVALID_ARGUMENT));
    let showing = Showing { offset: u64::MAX - PAGE_SIZE + 1, ..Showing::ZERO };
    assert_eq!(world.maps[0].enter(Placement::At(at(10)), 2 * PAGE_SIZE, showing), Err(Code::INVALID_ARGUMENT));
    assert_eq!(dump(&world), before, "an error changes nothing");
    world.end();
}

#[test]
fn the_best_hole_is_found_below_a_ceiling_and_aligned() {
    let world = world();
    let enter = |mask, pages| world.maps[0].enter(Placement::Anywhere { mask }, pages * PAGE_SIZE, Showing::ZERO);
    assert_eq!(enter(0, 2), Ok(at(4)), "the smallest hole that fits");
    assert_eq!(enter(0xffff, 1), Ok(0x1_0000));
    let ceiling = !0xf_ffff;
    assert_eq!(enter(ceiling | 0xffff, 1), Ok(0x2_0000));
    assert_eq!(enter(ceiling, 300), Err(Code::NO_SPACE));
    assert_eq!(enter(0, 300).map(|start| start >= USER_START), Ok(true));
    world.end();
}

#[test]
fn calls_on_ranges() {
    let world = world();
    let before = dump(&world);
    let (map, vm) = (&world.maps[0], &world.vm);
    let empty = PageRange::containing(at(5) + 1, 0).unwrap();
    let hole_at_start = range(4, 3);
    let hole_inside = range(2, 5);
    let outside = range(100, 1);
    let calls: [(&str, Call<'_>); 7] = [
        ("protect", &|range| map.protect(range, false, Protection::READ)),
        ("inherit", &|range| map.inherit(range, Inherit::Share)),
        ("read", &|range| vm.copy_in(map, range).map(drop)),
        ("move", &|range| vm.move_in(map, range).map(drop)),
        ("overwrite", &|range| vm.overwrite(map, range, crate::Copy::default())),
        ("wire", &|range| vm.wire(map, range, Protection::READ)),
        ("unwire", &|range| vm.unwire(map, range)),
    ];
    for (name, call) in calls {
        assert_eq!(call(empty), Ok(()), "{name} of nothing");
        for range in [hole_at_start, hole_inside, outside] {
            assert_eq!(call(range), Err(Code::INVALID_ADDRESS), "{name} of {range:?}");
        }
        assert_eq!(dump(&world), before, "{name} changed something");
    }
    for (name, call) in calls.iter().filter(|(name, _)| ["read", "move", "wire"].contains(name)) {
        assert_eq!(call(range(2, 2)), Err(Code::PROTECTION_FAILURE), "{name} without the right");
    }
    assert_eq!(vm.overwrite(map, range(2, 2), crate::Copy::default()), Err(Code::PROTECTION_FAILURE));
    assert_eq!(vm.overwrite(map, range(0, 1), crate::Copy::default()), Err(Code::INVALID_ARGUMENT));
    map.protect(range(0, 1), true, Protection::READ).unwrap();
    assert_eq!(map.protect(range(0, 2), false, Protection::DEFAULT), Err(Code::PROTECTION_FAILURE));
    assert_eq!(vm.fault(map, at(0), Access::Write), Outcome::Refuse(Code::PROTECTION_FAILURE));
    vm.deallocate(map, PageRange::containing(0, USER_END).unwrap());
    vm.deallocate(map, hole_inside);
    assert_eq!(dump(&world), []);
    world.end();
}

#[test]
fn entries_split_and_join_again() {
    let world = world();
    let map = &world.maps[0];
    let before = dump(&world);
    map.inherit(range(1, 1), Inherit::None).unwrap();
    assert_eq!(map.entry_count(), before.len() + 2);
    map.inherit(range(1, 1), Inherit::Copy).unwrap();
    assert_eq!(dump(&world), before);
    world.allocate(0, 4, 2);
    map.protect(range(3, 1), false, Protection::DEFAULT).unwrap();
    assert_eq!(map.entry_count(), 1, "neighbours of zeroes are one entry");
    world.end();
}
