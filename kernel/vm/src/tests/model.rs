//! Random operations against a model that knows only which number each page of each task must hold.
//!
//! Whatever is copied, shared, moved, paged out, refused or answered in whatever order: a task reads what it wrote. `check()` runs after each step.

use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use abi::Code;
use abi::vm::{Inherit, PAGE_SIZE, Protection};
use proptest::prelude::{ProptestConfig, prop, proptest};

use super::steps::{Answer, Op, Step, TASKS, step};
use super::world::{World, at, range};
use crate::{Ask, Map, Outcome, PagerPolicy, Placement, Showing};

/// A page of a task: the cell that its number is in, and what a fork does with it.
#[derive(Clone, Copy)]
struct Shown {
    cell: usize,
    writable: bool,
    inherit: Inherit,
}

struct Model {
    world: World,
    tasks: Vec<BTreeMap<u64, Shown>>,
    cells: Vec<u64>,
    /// The cells of pagers' pages, which all who map them share.
    objects: BTreeMap<(usize, u64), usize>,
}

impl Model {
    fn new() -> Self {
        let mut world = World::new(TASKS);
        world.add_pager(PagerPolicy { run_pages: 8, return_requests: true });
        world.add_pager(PagerPolicy { run_pages: 4, return_requests: false });
        Self { world, tasks: vec![BTreeMap::new(); TASKS], cells: Vec::new(), objects: BTreeMap::new() }
    }

    fn cell(&mut self, value: u64) -> usize {
        self.cells.push(value);
        self.cells.len() - 1
    }

    fn copied(&mut self, shown: Shown) -> Shown {
        Shown { cell: self.cell(self.cells[shown.cell]), ..shown }
    }

    fn object_cell(&mut self, object: usize, page: u64) -> usize {
        if let Some(cell) = self.objects.get(&(object, page)) {
            return *cell;
        }
        let cell = self.cell(World::original(crate::PagerId(object as u64 + 1), page));
        self.objects.insert((object, page), cell);
        cell
    }

    fn is_free(&self, task: usize, page: u64, pages: u64) -> bool {
        self.tasks[task].range(page..page + pages).next().is_none()
    }

    fn is_covered(&self, task: usize, page: u64, pages: u64) -> bool {
        self.tasks[task].range(page..page + pages).count() as u64 == pages
    }

    fn fresh(cell: usize) -> Shown {
        Shown { cell, writable: true, inherit: Inherit::Copy }
    }

    /// What an access must give, given what it gave.
    fn accessed(&mut self, task: usize, page: u64, write: Option<u64>, result: Result<u64, Outcome>) {
        let shown = self.tasks[task].get(&page).copied();
        match (result, shown, write) {
            (Ok(value), Some(shown), None) => assert_eq!(value, self.cells[shown.cell], "task {task} page {page}"),
            (Ok(_), Some(shown), Some(value)) => {
                assert!(shown.writable);
                self.cells[shown.cell] = value;
            }
            (Err(Outcome::Refuse(Code::INVALID_ADDRESS)), None, _) => (),
            (Err(Outcome::Refuse(Code::PROTECTION_FAILURE)), Some(shown), Some(_)) => assert!(!shown.writable),
            (Err(Outcome::Refuse(Code::MEMORY_ERROR)), Some(_), _) => (),
            (Err(Outcome::Shortage), Some(_), _) => self.world.page_out(4),
            (Err(Outcome::Ask(_) | Outcome::Wait(_)), Some(_), _) => (),
            (result, shown, _) => panic!("{result:?} of task {task} page {page}, which has a page: {}", shown.is_some()),
        }
    }

    fn run(&mut self, step: &Step) {
        let Step { task, page, pages, ref op } = *step;
        match *op {
            Op::Read => {
                let result = self.world.try_access(task, page, None);
                self.accessed(task, page, None, result);
            }
            Op::Write(value) => {
                let result = self.world.try_access(task, page, Some(value));
                self.accessed(task, page, Some(value), result);
            }
            Op::WriteBytes(value) => self.write_bytes(task, page, value),
            Op::Allocate | Op::MapObject(_) | Op::CopyObject(_) | Op::Alias(_) => self.map(task, page, pages, op),
            Op::Deallocate | Op::Protect(_) | Op::Inherit(_) | Op::Wire | Op::Unwire => self.change(task, page, pages, op),
            Op::Fork(child) if child != task => self.fork(task, child),
            Op::Fork(_) => (),
            Op::Kill => {
                self.world.empty(task);
                self.tasks[task].clear();
            }
            Op::CopyTo(to) | Op::MoveTo(to) => self.send(task, page, pages, to, matches!(op, Op::MoveTo(_))),
            Op::Overwrite(to, to_page) => self.overwrite(task, page, pages, to, to_page),
            _ => self.page(op),
        }
    }

    fn write_bytes(&mut self, task: usize, page: u64, value: u64) {
        // Both ends of the page, so that it stays whole; if only one could be written, the other is written later.
        for _ in 0..200 {
            let ends = [at(page), at(page) + PAGE_SIZE - 8];
            let outcomes = ends.map(|end| self.world.vm.write_bytes(&self.world.maps[task], end, &value.to_le_bytes()));
            let Some(outcome) = outcomes.into_iter().find(|outcome| *outcome != Outcome::Done) else {
                return self.accessed(task, page, Some(value), Ok(value));
            };
            self.world.asks.extend(outcomes.iter().filter_map(|outcome| if let Outcome::Ask(ask) = outcome { Some(*ask) } else { None }));
            match outcome {
                Outcome::Refuse(Code::MEMORY_ERROR) => (),
                Outcome::Refuse(_) => return self.accessed(task, page, Some(value), Err(outcome)),
                Outcome::Shortage => {
                    self.world.page_out(4);
                    self.world.settle();
                }
                _ => self.world.settle(),
            }
        }
        panic!("bytes can't be written");
    }

    fn map(&mut self, task: usize, page: u64, pages: u64, op: &Op) {
        let is_free = self.is_free(task, page, pages);
        let map = &self.world.maps[task];
        let showing = match *op {
            Op::MapObject(object) => Showing { object: Some(crate::Object::used(&self.world.objects[object])), ..Showing::ZERO },
            Op::CopyObject(object) => {
                let object = crate::Object::used(&self.world.objects[object]);
                Showing { object: Some(self.world.vm.copy_object(&object, page, page + pages).unwrap()), ..Showing::ZERO }
            }
            Op::Alias(of) => match map.region(at(of)).filter(|region| region.object.is_some()) {
                None => return,
                Some(region) => Showing { object: region.object, offset: region.offset, ..Showing::ZERO },
            },
            _ => Showing::ZERO,
        };
        // The alias shows the region from its beginning, and no more than it has.
        let region = if let Op::Alias(of) = op { map.region(at(*of)) } else { None };
        let pages = region.as_ref().map_or(pages, |region| pages.min((region.end - region.start) / PAGE_SIZE));
        let offset = if matches!(op, Op::Alias(_)) { showing.offset } else { page * PAGE_SIZE };
        let result = map.enter(Placement::At(at(page)), pages * PAGE_SIZE, Showing { offset, ..showing });
        if result == Err(Code::NO_SPACE) {
            return assert!(!is_free);
        }
        result.unwrap();
        for number in 0..pages {
            let cell = match *op {
                Op::MapObject(object) => self.object_cell(object, page + number),
                Op::CopyObject(object) => {
                    let of = self.object_cell(object, page + number);
                    self.cell(self.cells[of])
                }
                Op::Alias(_) => {
                    let first = (region.as_ref().unwrap().start - at(0)) / PAGE_SIZE;
                    self.tasks[task][&(first + number)].cell
                }
                _ => self.cell(0),
            };
            self.tasks[task].insert(page + number, Self::fresh(cell));
        }
    }

    fn change(&mut self, task: usize, page: u64, pages: u64, op: &Op) {
        let (map, range) = (&self.world.maps[task], range(page, pages));
        let is_covered = self.is_covered(task, page, pages);
        let result = match *op {
            Op::Deallocate => {
                self.world.vm.deallocate(map, range);
                self.tasks[task].retain(|at, _| !(page..page + pages).contains(at));
                return;
            }
            Op::Protect(writable) => map.protect(range, false, if writable { Protection::DEFAULT } else { Protection::READ }),
            Op::Inherit(inherit) => map.inherit(range, inherit),
            Op::Unwire => self.world.vm.unwire(map, range),
            _ => self.world.vm.wire(map, range, Protection::READ),
        };
        assert_eq!(result, if is_covered { Ok(()) } else { Err(Code::INVALID_ADDRESS) });
        if !is_covered {
            return;
        }
        for (_, shown) in self.tasks[task].range_mut(page..page + pages) {
            match *op {
                Op::Protect(writable) => shown.writable = writable,
                Op::Inherit(inherit) => shown.inherit = inherit,
                _ => (),
            }
        }
        if matches!(op, Op::Wire)
            && let Err((_, Outcome::Ask(ask))) = self.world.vm.wire_pages(&self.world.maps[task], range, 0)
        {
            self.world.asks.push(ask);
        }
    }

    fn fork(&mut self, parent: usize, child: usize) {
        self.world.empty(child);
        self.world.maps[child] = Map::new(crate::FakePmap::new());
        self.world.vm.fork(&self.world.maps[parent], &self.world.maps[child]).unwrap();
        let pages: Vec<_> = self.tasks[parent].iter().map(|(page, shown)| (*page, *shown)).collect();
        self.tasks[child].clear();
        for (page, shown) in pages {
            let shown = match shown.inherit {
                Inherit::None => continue,
                Inherit::Share => shown,
                Inherit::Copy => self.copied(shown),
            };
            self.tasks[child].insert(page, shown);
        }
    }

    fn send(&mut self, task: usize, page: u64, pages: u64, to: usize, moves: bool) {
        let (map, range) = (&self.world.maps[task], range(page, pages));
        let copy = if moves { self.world.vm.move_in(map, range) } else { self.world.vm.copy_in(map, range) };
        let Ok(copy) = copy else { return assert!(!self.is_covered(task, page, pages)) };
        self.world.check_with(&[&copy]);
        let sent: Vec<_> = self.tasks[task].range(page..page + pages).map(|(_, shown)| *shown).collect();
        if moves {
            self.tasks[task].retain(|at, _| !(page..page + pages).contains(at));
        }
        let start = self.world.vm.copy_out(&self.world.maps[to], copy).map_err(|(code, _)| code).unwrap();
        for (number, shown) in ((start - at(0)) / PAGE_SIZE..).zip(sent) {
            let copied = self.copied(shown);
            self.tasks[to].insert(number, Self::fresh(copied.cell));
        }
    }

    fn overwrite(&mut self, task: usize, page: u64, pages: u64, to: usize, to_page: u64) {
        let Ok(copy) = self.world.vm.copy_in(&self.world.maps[task], range(page, pages)) else { return };
        let sent: Vec<_> = self.tasks[task].range(page..page + pages).map(|(_, shown)| *shown).collect();
        if self.world.vm.overwrite(&self.world.maps[to], range(to_page, pages), copy).is_ok() {
            for (number, shown) in (to_page..).zip(sent) {
                let cell = self.copied(shown).cell;
                let target = self.tasks[to].get_mut(&number).expect("overwritten memory exists");
                assert!(target.writable);
                target.cell = cell;
            }
        }
    }

    /// What pagers, devices and page-out do. None of it changes what a page holds.
    fn page(&mut self, op: &Op) {
        let world = &mut self.world;
        match *op {
            Op::PageOut(steps) => world.page_out(steps),
            Op::Clean(object) => {
                let mut actions = Vec::new();
                world.vm.clean(&world.objects[object], 0, u64::MAX, &mut actions);
                world.take(actions);
            }
            Op::Flush(object) => match world.vm.flush(&world.objects[object], 0, u64::MAX, false) {
                Err(Outcome::Ask(ask)) => world.asks.push(ask),
                Err(Outcome::Refuse(code)) => panic!("{code:?}"),
                _ => (),
            },
            Op::Return(index, answer) if index < world.requests.len() => match answer {
                Answer::Device => world.begin_return(index),
                Answer::Data | Answer::Refuse => {
                    let (pager, first, pages) = world.requests.remove(index);
                    let home = world.home(pager);
                    let mut actions = Vec::new();
                    match answer {
                        Answer::Data => world.vm.return_as_data(&home, first, u64::from(pages), &mut actions),
                        _ => world.vm.return_refused(&home, first, u64::from(pages)),
                    }
                    world.take(actions);
                }
            },
            Op::Supply(index, answer) if index < world.asks.len() => match answer {
                Answer::Device => world.begin_supply(index),
                Answer::Data => world.supply_data(index),
                Answer::Refuse => {
                    let Ask { pager, first, pages, .. } = world.asks.remove(index);
                    world.vm.failed(&world.home(pager), first, u64::from(pages), Code::MEMORY_ERROR, &mut |_| ());
                }
            },
            Op::EndReturn(index, ok) if index < world.writes.len() => {
                world.end_return(index, if ok { Ok(()) } else { Err(Code::MEMORY_ERROR) })
            }
            Op::EndSupply(index, ok) if index < world.reads.len() => {
                world.end_supply(index, if ok { Ok(()) } else { Err(Code::MEMORY_ERROR) })
            }
            Op::NoMemory(now) => world.no_memory = now,
            Op::TakeData(index) if index < world.data.len() => world.take_data(index),
            Op::Unasked(pager) => {
                let home = world.home(crate::PagerId(pager as u64));
                let pages = if pager == 0 { 0 } else { u64::MAX };
                assert_eq!(world.vm.begin_return(&home, 1 << 60, 70).len(), 0);
                world.vm.return_refused(&home, 1 << 60, pages);
                world.vm.failed(&home, 1 << 60, pages, Code::FAILURE, &mut |_| ());
                world.core.extent_discarded(77);
            }
            Op::Discard => {
                if let Some(extent) = world.core.take_dead_extent() {
                    world.discard(extent);
                }
            }
            _ => (),
        }
    }

    /// Each task reads all its pages; then nothing is left.
    fn end(mut self) {
        self.world.settle();
        for task in 0..TASKS {
            for (page, shown) in self.tasks[task].clone() {
                let mut tries = 0;
                let value = loop {
                    match self.world.access(task, page, None) {
                        // An injected failure is told once.
                        Err(Code::MEMORY_ERROR) if tries < 20 => tries += 1,
                        other => break other,
                    }
                };
                assert_eq!(value, Ok(self.cells[shown.cell]), "task {task} page {page} at the end");
            }
        }
        self.world.check();
        self.world.end();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 3000, ..ProptestConfig::default() })]

    #[test]
    fn every_task_reads_what_it_wrote(steps in prop::collection::vec(step(), 1..200)) {
        let mut model = Model::new();
        for step in &steps {
            model.run(step);
            model.world.check();
        }
        model.end();
    }
}
