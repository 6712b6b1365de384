//! Threads on maps that share, copy and lose objects, while others page out and answer: nothing may hang, and at the end nothing may be lost.
//!
//! Each thread has pages that only it writes, in memory that all share, so it knows what it must read whatever the others do. Bytes go through the
//! engine (`write_bytes`, `copy_in`), not the fake CPU, which can't be stopped as a real one is.

use core::sync::atomic::{AtomicBool, Ordering};
use std::boxed::Box;
use std::time::{Duration, Instant};
use std::vec::Vec;

use abi::vm::{Inherit, PAGE_SIZE, USER_END};
use frames::{Pool, Reserves};
use spin::Mutex;

use super::world::{at, range};
use crate::check::Roots;
use crate::{Access, Action, Ask, Copy, Core, Counter, FakePmap, Home, Map, Outcome, PageRange, PagerPolicy, Placement, Transfer, Vm};

const THREADS: usize = 4;
const PAGES: u64 = 40;
const ROUNDS: u32 = 2000;

struct Shared {
    vm: Vm<FakePmap>,
    maps: Vec<Map<FakePmap>>,
    store: Mutex<std::collections::BTreeMap<u64, u64>>,
    asks: Mutex<Vec<Ask>>,
    deadline: Instant,
}

impl Shared {
    /// Does what an outcome asks for. True: try again.
    fn obey(&self, outcome: Outcome) -> bool {
        assert!(Instant::now() < self.deadline, "something hangs");
        match outcome {
            Outcome::Done => return false,
            Outcome::Ask(ask) => self.asks.lock().push(ask),
            Outcome::Refuse(code) => panic!("{code:?}"),
            Outcome::Again | Outcome::Wait(_) | Outcome::Shortage => std::thread::yield_now(),
        }
        true
    }

    fn write(&self, map: usize, page: u64, value: u64) {
        while self.obey(self.vm.write_bytes(&self.maps[map], at(page), &value.to_le_bytes())) {}
    }

    fn read(&self, copy: &Copy, number: u64) -> u64 {
        let mut bytes = [0; 8];
        loop {
            let is_again = self.obey(self.vm.resolve_copy(copy, number));
            if !is_again && self.vm.read_copy(copy, number, 0, &mut bytes) {
                return u64::from_le_bytes(bytes);
            }
        }
    }

    /// One thread: writes its own pages of the shared memory, and checks them in copies; forks a child and writes there too.
    fn task(&self, number: usize) {
        let mut random = 0x9E37_79B9_7F4A_7C15 ^ number as u64;
        let mine = |page: u64| page % THREADS as u64 == number as u64;
        let mut values = [0; PAGES as usize];
        for round in 0..ROUNDS {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let page = random % PAGES;
            let value = u64::from(round) + 1;
            if mine(page) {
                self.write(number, page, value);
                values[page as usize] = value;
            } else {
                while self.obey(self.vm.fault(&self.maps[number], at(page), Access::Read)) {}
            }
            match round % 8 {
                3 => {
                    let copy = self.vm.copy_in(&self.maps[number], range(0, PAGES)).unwrap();
                    self.write(number, number as u64, value);
                    let before = core::mem::replace(&mut values[number], value);
                    assert_eq!(self.read(&copy, number as u64), before, "a copy doesn't see later writes");
                    (0..PAGES).filter(|page| mine(*page) && *page != number as u64).for_each(|page| {
                        assert_eq!(self.read(&copy, page), values[page as usize], "page {page}");
                    });
                }
                6 => {
                    let child = THREADS + number;
                    let everything = PageRange::containing(0, USER_END).unwrap();
                    self.vm.deallocate(&self.maps[child], everything);
                    let copy = self.vm.copy_in(&self.maps[number], range(0, PAGES)).unwrap();
                    let start = self.vm.copy_out(&self.maps[child], copy).map_err(|(code, _)| code).unwrap();
                    assert_eq!(start, at(0));
                    self.write(child, page, 999_999);
                    let moved = self.vm.move_in(&self.maps[child], range(page, 1)).unwrap();
                    assert_eq!(self.read(&moved, 0), 999_999);
                }
                _ => (),
            }
        }
        let copy = self.vm.copy_in(&self.maps[number], range(0, PAGES)).unwrap();
        (0..PAGES).filter(|page| mine(*page)).for_each(|page| assert_eq!(self.read(&copy, page), values[page as usize]));
    }

    fn pool(&self) -> &'static Pool {
        self.vm.core().pool()
    }

    /// Page-out and the default pager, until told to stop; then until nothing is under way.
    fn pager(&self, stop: &AtomicBool) {
        let (mut actions, mut wake) = (Vec::new(), |_: u64| ());
        loop {
            let is_last = stop.load(Ordering::Acquire);
            // Only when memory is low: a page that came in must live long enough to be used.
            if self.pool().is_low() {
                self.vm.page_out(&mut actions);
            } else {
                std::thread::yield_now();
            }
            for action in actions.drain(..) {
                let Action::Request { first, pages, .. } = action else { panic!("the default pager answers requests") };
                for transfer in self.vm.begin_return(&Home::Swap, first, u64::from(pages)) {
                    std::thread::yield_now();
                    self.keep(&transfer);
                    self.vm.end_return(transfer, Ok(()), &mut wake);
                }
            }
            let asks = core::mem::take(&mut *self.asks.lock());
            for ask in asks {
                for transfer in self.vm.begin_supply(&Home::Swap, ask.first, u64::from(ask.pages), &mut wake) {
                    for (page, frame) in (transfer.first..).zip(&transfer.frames) {
                        self.pool().write(frame, 0, &self.store.lock()[&page].to_le_bytes());
                    }
                    std::thread::yield_now();
                    self.vm.end_supply(transfer, Ok(()), &mut wake);
                }
            }
            while let Some(extent) = self.vm.core().take_dead_extent() {
                let first = u64::from(extent) * crate::EXTENT_PAGES;
                self.store.lock().retain(|page, _| !(first..first + crate::EXTENT_PAGES).contains(page));
                self.vm.core().extent_discarded(extent);
            }
            if is_last && self.asks.lock().is_empty() {
                return;
            }
        }
    }

    fn keep(&self, transfer: &Transfer) {
        let values: Vec<_> = transfer
            .frames
            .iter()
            .map(|frame| {
                let mut bytes = [0; 8];
                self.pool().read(frame, 0, &mut bytes);
                u64::from_le_bytes(bytes)
            })
            .collect();
        self.store.lock().extend((transfer.first..).zip(values));
    }
}

#[test]
fn threads_that_share_copy_and_page_neither_hang_nor_lose_anything() {
    let pool: &'static Pool = Box::leak(Box::new(Pool::for_tests(80)));
    pool.set_reserves(Reserves { pager: 0, user: 8, low: 40, high: 50 }).unwrap();
    let core: &'static Core = Box::leak(Box::new(Core::new(pool)));
    core.set_default_policy(Some(PagerPolicy { run_pages: 8, return_requests: true }));
    let maps: Vec<_> = (0..2 * THREADS).map(|_| Map::new(FakePmap::new())).collect();
    let deadline = Instant::now() + Duration::from_secs(120);
    let shared = Shared { vm: Vm::new(core).unwrap(), maps, store: Mutex::default(), asks: Mutex::default(), deadline };
    shared.vm.allocate(&shared.maps[0], Placement::At(at(0)), PAGES * PAGE_SIZE).unwrap();
    shared.maps[0].inherit(range(0, PAGES), Inherit::Share).unwrap();
    (1..THREADS).for_each(|map| shared.vm.fork(&shared.maps[0], &shared.maps[map]).unwrap());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| shared.pager(&stop));
        let tasks: Vec<_> = (0..THREADS)
            .map(|number| {
                scope.spawn({
                    let shared = &shared;
                    move || shared.task(number)
                })
            })
            .collect();
        let results: Vec<_> = tasks.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        stop.store(true, Ordering::Release);
        results.into_iter().for_each(|result| result.unwrap());
    });
    assert!(core.counter(Counter::PagesReturned) > 0 && core.counter(Counter::PagesSupplied) > 0, "nothing was paged");
    shared.vm.check(&Roots { maps: shared.maps.iter().collect(), ..Roots::default() });
    let everything = PageRange::containing(0, USER_END).unwrap();
    shared.maps.iter().for_each(|map| shared.vm.deallocate(map, everything));
    shared.pager(&stop);
    assert_eq!((pool.in_use(), shared.vm.extents_in_use(), core.returning()), (0, 0, 0));
}
