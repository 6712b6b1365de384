//! A machine for tests: maps with a fake CPU, a default pager, pagers of objects, and everything that is in transit between them.
//!
//! Nothing is answered by itself: requests, returns and transfers lie in queues until a test answers them, in any order, or [`World::settle`] does. A page
//! is stood for by the number in its first and last word.

use std::boxed::Box;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::vec::Vec;

use abi::Code;
use abi::vm::PAGE_SIZE;
use frames::{Frame, FrameNumber, Pool, Reserves};

use crate::check::Roots;
use crate::fake::FakePmap;
use crate::{
    Access, Action, Ask, Copy, Core, Home, Map, Object, Outcome, PageRange, PagerId, PagerPolicy, Placement, Showing, Transfer, Vm,
};

/// Where maps in tests begin.
pub(super) const BASE: u64 = abi::vm::USER_START;

pub(super) const fn at(page: u64) -> u64 {
    BASE + page * PAGE_SIZE
}

pub(super) fn range(page: u64, pages: u64) -> PageRange {
    PageRange::containing(at(page), pages * PAGE_SIZE).unwrap()
}

/// Frames that a world has.
pub(super) const FRAMES: usize = 384;

std::thread_local! {
    /// Pools live for ever: the tests of one thread share one, as long as they leave nothing in it.
    static POOL: Cell<Option<&'static Pool>> = const { Cell::new(None) };
}

fn pool() -> &'static Pool {
    let pool = POOL.get().filter(|pool| pool.in_use() == 0).unwrap_or_else(|| {
        let pool = Box::leak(Box::new(Pool::for_tests(FRAMES)));
        pool.set_reserves(Reserves::NONE).unwrap();
        pool
    });
    POOL.set(Some(pool));
    pool
}

pub(super) struct World {
    pub(super) core: &'static Core,
    pub(super) vm: Vm<FakePmap>,
    pub(super) maps: Vec<Map<FakePmap>>,
    pub(super) objects: Vec<Arc<Object>>,
    /// What each pager has.
    pub(super) stores: BTreeMap<PagerId, BTreeMap<u64, u64>>,
    pub(super) asks: Vec<Ask>,
    pub(super) requests: Vec<(PagerId, u64, u32)>,
    pub(super) data: Vec<(PagerId, u64, Copy)>,
    pub(super) reads: Vec<Transfer>,
    pub(super) writes: Vec<Transfer>,
    pub(super) woken: BTreeSet<u64>,
    /// The pager that reads what it was sent: it answers nothing meanwhile.
    taking: Option<PagerId>,
    /// Nothing can be sent to pagers.
    pub(super) no_memory: bool,
}

impl World {
    pub(super) fn new(maps: usize) -> Self {
        let core: &'static Core = Box::leak(Box::new(Core::new(pool())));
        core.set_default_policy(Some(PagerPolicy { run_pages: 32, return_requests: true }));
        let maps = (0..maps).map(|_| Map::new(FakePmap::new())).collect();
        let vm = Vm::new(core).unwrap();
        let stores = BTreeMap::from([(PagerId::DEFAULT, BTreeMap::new())]);
        Self {
            core,
            vm,
            maps,
            objects: Vec::new(),
            stores,
            asks: Vec::new(),
            requests: Vec::new(),
            data: Vec::new(),
            reads: Vec::new(),
            writes: Vec::new(),
            woken: BTreeSet::new(),
            taking: None,
            no_memory: false,
        }
    }

    /// An object of a pager that is ready; what its pages hold follows from their numbers.
    pub(super) fn add_pager(&mut self, policy: PagerPolicy) -> usize {
        let id = PagerId(self.objects.len() as u64 + 1);
        let object = Object::with_pager(self.core, id);
        object.set_ready();
        object.set_policy(policy);
        self.objects.push(object);
        self.stores.insert(id, BTreeMap::new());
        self.objects.len() - 1
    }

    pub(super) fn home(&self, pager: PagerId) -> Home {
        match pager {
            PagerId::DEFAULT => Home::Swap,
            PagerId(number) => Home::Object(Arc::clone(&self.objects[number as usize - 1])),
        }
    }

    /// What a pager's page holds at first.
    pub(super) const fn original(pager: PagerId, page: u64) -> u64 {
        pager.0 * 1_000_000 + page
    }

    /// What a pager has for a page.
    pub(super) fn stored(&self, pager: PagerId, page: u64) -> Option<u64> {
        let known = self.stores[&pager].get(&page).copied();
        known.or_else(|| (pager != PagerId::DEFAULT).then(|| Self::original(pager, page)))
    }

    pub(super) fn allocate(&self, map: usize, page: u64, pages: u64) {
        self.vm.allocate(&self.maps[map], Placement::At(at(page)), pages * PAGE_SIZE).unwrap();
    }

    pub(super) fn map_object(&self, map: usize, page: u64, pages: u64, object: usize, first: u64) {
        let showing = Showing { object: Some(Object::used(&self.objects[object])), offset: first * PAGE_SIZE, ..Showing::ZERO };
        self.maps[map].enter(Placement::At(at(page)), pages * PAGE_SIZE, showing).unwrap();
    }

    /// One try of a CPU: the bytes, if the translation is there.
    fn touch(&self, map: usize, page: u64, write: Option<u64>) -> Option<u64> {
        let access = if write.is_some() { Access::Write } else { Access::Read };
        let frame = self.maps[map].pmap().access(at(page), access)?;
        let mut value = 0;
        let in_place = self.vm.with_bytes(frame, |pool, frame| {
            if let Some(value) = write {
                put(pool, frame, value);
            }
            value = get(pool, frame);
        });
        if !in_place {
            assert!(write.is_none(), "a page that is being written out is writable");
            value = self.in_transfer(frame).expect("a page that is mapped is in RAM");
        }
        Some(value)
    }

    fn in_transfer(&self, frame: FrameNumber) -> Option<u64> {
        let all = self.writes.iter().flat_map(|transfer| &transfer.frames);
        all.into_iter().find(|of| of.number() == frame).map(|frame| get(self.core.pool(), frame))
    }

    /// An access until it can't go on without an answer.
    pub(super) fn try_access(&mut self, map: usize, page: u64, write: Option<u64>) -> Result<u64, Outcome> {
        for _ in 0..100 {
            if let Some(value) = self.touch(map, page, write) {
                return Ok(value);
            }
            let access = if write.is_some() { Access::Write } else { Access::Read };
            match self.vm.fault(&self.maps[map], at(page), access) {
                Outcome::Done | Outcome::Again => (),
                Outcome::Ask(ask) => {
                    self.asks.push(ask);
                    return Err(Outcome::Ask(ask));
                }
                other => return Err(other),
            }
        }
        panic!("an access makes no progress");
    }

    /// An access with all answers that it needs.
    pub(super) fn access(&mut self, map: usize, page: u64, write: Option<u64>) -> Result<u64, Code> {
        for _ in 0..200 {
            match self.try_access(map, page, write) {
                Ok(value) => return Ok(value),
                Err(Outcome::Refuse(code)) => return Err(code),
                Err(Outcome::Shortage) => {
                    self.page_out(6);
                    self.settle();
                }
                Err(_) => {
                    // What page-out does by itself in a kernel.
                    if self.core.pool().available() < 64 {
                        self.page_out(6);
                    }
                    self.settle();
                }
            }
        }
        panic!("an access never ends");
    }

    pub(super) fn read(&mut self, map: usize, page: u64) -> u64 {
        self.access(map, page, None).unwrap()
    }

    pub(super) fn write(&mut self, map: usize, page: u64, value: u64) {
        assert_eq!(self.access(map, page, Some(value)), Ok(value));
    }

    /// The hand goes round; what it decided lies in the queues.
    pub(super) fn page_out(&mut self, steps: usize) {
        let mut actions = Vec::new();
        for _ in 0..steps {
            self.vm.page_out(&mut actions);
        }
        self.take(actions);
    }

    /// The hand goes round until it finds nothing more.
    pub(super) fn page_out_all(&mut self) {
        for _ in 0..20 {
            self.page_out(20);
            self.settle();
        }
    }

    pub(super) fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Request { home, first, pages } if self.no_memory => self.vm.return_unsent(&home, first, u64::from(pages)),
                Action::Data { home, first, data } if self.no_memory => {
                    let woken = &mut self.woken;
                    self.vm.data_unsent(&home, first, &data, &mut |key| woken.extend([key]));
                }
                Action::Request { home, first, pages } => self.requests.push((home.pager(), first, pages)),
                Action::Data { home, first, data } => {
                    let woken = &mut self.woken;
                    self.vm.data_leaves(&home, &data);
                    self.vm.data_sent(&home, first, data.bytes() / PAGE_SIZE, &mut |key| woken.extend([key]));
                    self.data.push((home.pager(), first, data));
                }
            }
        }
    }

    /// Answers everything, well.
    pub(super) fn settle(&mut self) {
        while !self.data.is_empty() {
            self.take_data(0);
        }
        while !self.requests.is_empty() {
            self.begin_return(0);
        }
        while !self.writes.is_empty() {
            self.end_return(0, Ok(()));
        }
        while !self.asks.is_empty() {
            self.begin_supply(0);
        }
        while !self.reads.is_empty() {
            self.end_supply(0, Ok(()));
        }
        while let Some(extent) = self.core.take_dead_extent() {
            self.discard(extent);
        }
    }

    pub(super) fn discard(&mut self, extent: u32) {
        let first = u64::from(extent) * crate::EXTENT_PAGES;
        self.stores.get_mut(&PagerId::DEFAULT).unwrap().retain(|page, _| !(first..first + crate::EXTENT_PAGES).contains(page));
        self.core.extent_discarded(extent);
    }

    pub(super) fn take_data(&mut self, index: usize) {
        let (pager, first, data) = self.data.remove(index);
        let before = self.taking.replace(pager);
        for number in 0..data.bytes() / PAGE_SIZE {
            let value = self.read_copy(&data, number);
            self.stores.get_mut(&pager).unwrap().insert(first + number, value);
        }
        self.taking = before;
    }

    /// The number in a page of a copy.
    pub(super) fn read_copy(&mut self, copy: &Copy, number: u64) -> u64 {
        for _ in 0..200 {
            match self.vm.resolve_copy(copy, number) {
                Outcome::Ask(ask) => self.asks.push(ask),
                Outcome::Refuse(code) => panic!("{code:?}"),
                Outcome::Shortage => self.page_out(4),
                _ => (),
            }
            let mut bytes = [0; 8];
            if self.vm.read_copy(copy, number, 0, &mut bytes) {
                return u64::from_le_bytes(bytes);
            }
            while let Some(index) = self.asks.iter().position(|ask| Some(ask.pager) != self.taking) {
                self.begin_supply(index);
            }
            while !self.reads.is_empty() {
                self.end_supply(0, Ok(()));
            }
            while !self.writes.is_empty() {
                self.end_return(0, Ok(()));
            }
        }
        panic!("a copy can't be read");
    }

    pub(super) fn begin_return(&mut self, index: usize) {
        let (pager, first, pages) = self.requests.remove(index);
        let home = self.home(pager);
        self.writes.extend(self.vm.begin_return(&home, first, u64::from(pages)));
    }

    pub(super) fn end_return(&mut self, index: usize, result: Result<(), Code>) {
        let transfer = self.writes.remove(index);
        if result.is_ok() {
            let store = self.stores.get_mut(&transfer.home.pager()).unwrap();
            store.extend((transfer.first..).zip(transfer.frames.iter().map(|frame| get(self.core.pool(), frame))));
        }
        let woken = &mut self.woken;
        self.vm.end_return(transfer, result, &mut |key| woken.extend([key]));
    }

    pub(super) fn begin_supply(&mut self, index: usize) {
        let ask = self.asks.remove(index);
        // What was sent before the question arrives before it.
        while let Some(index) = self.data.iter().position(|(pager, ..)| *pager == ask.pager) {
            self.take_data(index);
        }
        let home = self.home(ask.pager);
        let woken = &mut self.woken;
        let transfers = self.vm.begin_supply(&home, ask.first, u64::from(ask.pages), &mut |key| woken.extend([key]));
        for transfer in &transfers {
            for (page, frame) in (transfer.first..).zip(&transfer.frames) {
                let value = self.stored(ask.pager, page).expect("the default pager is asked for what it has");
                put(self.core.pool(), frame, value);
            }
        }
        self.reads.extend(transfers);
    }

    pub(super) fn end_supply(&mut self, index: usize, result: Result<(), Code>) {
        let transfer = self.reads.remove(index);
        let woken = &mut self.woken;
        self.vm.end_supply(transfer, result, &mut |key| woken.extend([key]));
    }

    /// Answers with pages instead of a place.
    pub(super) fn supply_data(&mut self, index: usize) {
        let ask = self.asks.remove(index);
        while let Some(index) = self.data.iter().position(|(pager, ..)| *pager == ask.pager) {
            self.take_data(index);
        }
        let pages = ask.first..ask.first + u64::from(ask.pages);
        let values: Vec<_> = pages.map(|page| self.stored(ask.pager, page).unwrap_or(0)).collect();
        if self.core.pool().available() < values.len() {
            return self.asks.push(ask);
        }
        let data = self.data_of(&values);
        let home = self.home(ask.pager);
        let _ = self.vm.supply(&home, ask.first, &data, 0, false, &mut |_| ());
    }

    /// Pages with these numbers, as a pager sends them.
    pub(super) fn data_of(&self, values: &[u64]) -> Copy {
        let frames = values.iter().map(|value| {
            let frame = self.core.pool().allocate(frames::Purpose::Kernel).unwrap();
            put(self.core.pool(), &frame, *value);
            frame
        });
        let copy = Copy::of_frames(self.core, frames.collect()).unwrap();
        self.vm.adopt_copy(&copy);
        copy
    }

    pub(super) fn check(&self) {
        self.check_with(&[]);
    }

    pub(super) fn check_with(&self, copies: &[&Copy]) {
        self.vm.check(&Roots {
            maps: self.maps.iter().collect(),
            copies: self.data.iter().map(|(_, _, copy)| copy).chain(copies.iter().copied()).collect(),
            objects: self.objects.iter().collect(),
            transfers: self.reads.iter().chain(&self.writes).collect(),
            other_frames: 0,
        });
    }

    pub(super) fn empty(&self, map: usize) {
        self.vm.deallocate(&self.maps[map], PageRange::containing(0, abi::vm::USER_END).unwrap());
    }

    /// Everything goes; nothing may be left.
    pub(super) fn end(mut self) {
        (0..self.maps.len()).for_each(|map| self.empty(map));
        self.objects.clear();
        self.asks.retain(|ask| ask.pager == PagerId::DEFAULT);
        self.requests.retain(|(pager, ..)| *pager == PagerId::DEFAULT);
        self.data.clear();
        self.settle();
        assert_eq!(self.core.pool().in_use(), 0, "frames are lost");
        assert_eq!(self.vm.extents_in_use(), 0, "swap space is lost");
        self.check();
    }
}

/// Writes a page's number.
pub(super) fn put(pool: &Pool, frame: &Frame, value: u64) {
    pool.write(frame, 0, &value.to_le_bytes());
    pool.write(frame, PAGE_SIZE as usize - 8, &value.to_le_bytes());
}

/// Reads it, and sees that the page is whole.
pub(super) fn get(pool: &Pool, frame: &Frame) -> u64 {
    let mut words = [[0; 8]; 2];
    pool.read(frame, 0, &mut words[0]);
    pool.read(frame, PAGE_SIZE as usize - 8, &mut words[1]);
    assert_eq!(words[0], words[1], "half a page");
    u64::from_le_bytes(words[0])
}
