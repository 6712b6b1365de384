//! The default pager ends, and another one comes.

use super::world::World;
use crate::{Outcome, PagerId, PagerPolicy};
use abi::Code;

const CODE: Code = Code::MEMORY_ERROR;

impl World {
    fn default_pager_dies(&mut self) {
        self.core.set_default_policy(None);
        let woken = &mut self.woken;
        self.vm.default_pager_died(CODE, &mut |key| woken.extend([key]));
        self.requests.clear();
        self.asks.clear();
        self.stores.get_mut(&PagerId::DEFAULT).unwrap().clear();
    }

    fn another_default_pager(&mut self) {
        self.core.set_default_policy(Some(PagerPolicy { run_pages: 32, return_requests: true }));
    }
}

/// A world with pages 0 to 3 of a task written.
fn written() -> World {
    let mut world = World::new(1);
    world.allocate(0, 0, 4);
    (0..4).for_each(|page| world.write(0, page, page + 1));
    world
}

#[test]
fn what_only_the_dead_pager_had_is_an_error_for_ever() {
    let mut world = written();
    world.page_out_all();
    let Err(Outcome::Ask(ask)) = world.try_access(0, 1, None) else { panic!() };
    world.default_pager_dies();
    world.check();
    assert!(world.woken.contains(&ask.key), "who waits is told");
    for _ in 0..2 {
        for page in 0..4 {
            assert_eq!(world.try_access(0, page, None), Err(Outcome::Refuse(CODE)));
            assert_eq!(world.try_access(0, page, Some(9)), Err(Outcome::Refuse(CODE)));
        }
        world.another_default_pager();
    }
    world.check();
    world.end();
}

#[test]
fn what_is_in_ram_goes_to_the_next_pager() {
    let mut world = written();
    world.page_out_all();
    // Clean, and at the pager as well.
    assert_eq!(world.read(0, 3), 4);
    world.default_pager_dies();
    world.check();
    world.another_default_pager();
    world.page_out_all();
    assert_eq!(world.core.pool().in_use(), 0);
    assert_eq!(world.read(0, 3), 4);
    assert_eq!(world.try_access(0, 2, None), Err(Outcome::Refuse(CODE)));
    world.check();
    world.end();
}

#[test]
fn what_was_offered_is_offered_again() {
    let mut world = written();
    while world.requests.is_empty() {
        world.page_out(4);
    }
    assert!(world.core.returning() > 0);
    world.default_pager_dies();
    assert_eq!(world.core.returning(), 0);
    world.check();
    world.another_default_pager();
    world.page_out_all();
    assert!((0..4).all(|page| world.read(0, page) == page + 1));
    world.check();
    world.end();
}

/// Transfers that began for the dead pager end in the next one's time: what they wrote is nowhere, what they read is only in RAM.
#[test]
fn transfers_of_another_time_leave_dirty_pages() {
    let mut world = written();
    while world.requests.is_empty() {
        world.page_out(4);
    }
    world.begin_return(0);
    world.default_pager_dies();
    world.another_default_pager();
    world.end_return(0, Ok(()));
    world.stores.get_mut(&PagerId::DEFAULT).unwrap().clear();
    world.check();
    world.page_out_all();
    assert_eq!(world.stores[&PagerId::DEFAULT].len(), 4, "written again");

    assert!(matches!(world.try_access(0, 0, None), Err(Outcome::Ask(_))));
    world.begin_supply(0);
    let pages = world.reads[0].frames.len() as u64;
    world.default_pager_dies();
    world.another_default_pager();
    world.stores.get_mut(&PagerId::DEFAULT).unwrap().extend((0..4).map(|page| (world.reads[0].first + page, page + 1)));
    world.end_supply(0, Ok(()));
    world.stores.get_mut(&PagerId::DEFAULT).unwrap().clear();
    world.check();
    world.page_out_all();
    assert!((0..pages).all(|page| world.read(0, page) == page + 1));
    world.check();
    world.end();
}

/// An extent that nobody uses any more waits for answers; those of a dead pager don't come.
#[test]
fn extents_are_not_kept_for_answers_that_will_not_come() {
    let mut world = written();
    world.page_out_all();
    assert!(matches!(world.try_access(0, 0, None), Err(Outcome::Ask(_))));
    world.empty(0);
    world.default_pager_dies();
    assert!(world.core.take_dead_extent().is_some());
    world.end();
}
