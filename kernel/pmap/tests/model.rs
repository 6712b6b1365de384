//! Address spaces against a model, on a machine that knows the rules (`ghost`).

mod ghost;

use abi::vm::Protection;
use frames::FrameNumber;
use ghost::{CPUS, Ghost};
use pmap::{Asids, MemoryType, Pte, Tables};
use proptest::prelude::*;
use std::collections::BTreeMap;

const PAGE: u64 = 4096;
const RIGHTS: [Protection; 4] = [Protection::READ, Protection::DEFAULT, Protection::READ.union(Protection::EXECUTE), Protection::NONE];

/// Pages in few tables, at tables' edges, far apart, and the last of all.
fn address(which: usize) -> u64 {
    const BASES: [u64; 6] = [0x1000, 0x1F_D000, 0x4000_0000 - 3 * PAGE, 0x80_0000_0000 - 2 * PAGE, 0x1234_5678_9000, (1 << 47) - 8 * PAGE];
    BASES[which % BASES.len()] + (which / BASES.len() % 8) as u64 * PAGE
}

#[derive(Clone, Debug)]
enum Step {
    Enter { page: usize, frame: u32, rights: usize, device: bool },
    Fill { page: usize, count: u64 },
    Remove { from: usize, to: usize },
    Restrict { from: usize, to: usize, rights: usize },
    TakeAccessed(usize),
    SetAccessed(usize),
    Access { cpu: usize, page: usize },
    NewAsid,
}

fn step() -> impl Strategy<Value = Step> {
    let page = 0usize..48;
    prop_oneof![
        8 => (page.clone(), 0u32..30, 0usize..4, prop::bool::weighted(0.1))
            .prop_map(|(page, frame, rights, device)| Step::Enter { page, frame, rights, device }),
        1 => (page.clone(), 1u64..200).prop_map(|(page, count)| Step::Fill { page, count }),
        3 => (page.clone(), page.clone()).prop_map(|(from, to)| Step::Remove { from, to }),
        3 => (page.clone(), page.clone(), 0usize..4).prop_map(|(from, to, rights)| Step::Restrict { from, to, rights }),
        2 => page.clone().prop_map(Step::TakeAccessed),
        2 => page.clone().prop_map(Step::SetAccessed),
        5 => (0..CPUS, page).prop_map(|(cpu, page)| Step::Access { cpu, page }),
        1 => Just(Step::NewAsid),
    ]
}

/// A space and what it should contain.
struct Space<'a> {
    ghost: &'a Ghost,
    tables: Tables<&'a Ghost>,
    asids: Asids,
    other: pmap::Context,
    pages: BTreeMap<u64, Pte>,
}

impl<'a> Space<'a> {
    fn new(ghost: &'a Ghost) -> Self {
        let tables = Tables::new(ghost).unwrap();
        let addresses: Vec<u64> = (0..48).map(address).collect();
        ghost.interesting(&addresses);
        let space = Self { ghost, tables, asids: Asids::new(4, CPUS), other: pmap::Context::new(), pages: BTreeMap::new() };
        space.run();
        space
    }

    fn run(&self) {
        for cpu in 0..CPUS {
            let asid = self.asids.activate(cpu, self.tables.context(), &self.ghost.on(cpu));
            self.ghost.run(cpu, asid, self.tables.root());
        }
    }

    fn enter(&mut self, at: u64, frame: FrameNumber, rights: Protection, memory: MemoryType) {
        if self.tables.enter(at, frame, rights, memory).is_err() {
            return;
        }
        self.pages.remove(&at);
        if rights != Protection::NONE {
            let pte = Pte::page(frame, rights, memory);
            assert!(!pte.protection().contains(Protection::EXECUTE) || self.ghost.was_synced(frame));
            self.pages.insert(at, pte);
        }
    }

    fn remove(&mut self, start: u64, end: u64) {
        let mut expected: BTreeMap<u64, Pte> = self.pages.range(start..end.max(start)).map(|(&at, &pte)| (at, pte)).collect();
        self.pages.retain(|at, _| !expected.contains_key(at));
        let (tables, ghost) = (&self.tables, self.ghost);
        tables.remove(start, end, &mut |at, frame| {
            assert_eq!(expected.remove(&at).map(Pte::frame), Some(frame), "told of another page");
            assert!(ghost.held().iter().all(|&(held, _)| held != at), "a TLB holds a page that is given back");
            assert_eq!(tables.lookup(at), None); // Would wait forever if the lock were held.
        });
        assert!(expected.is_empty(), "not told of {expected:x?}");
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Enter { page, frame, rights, device } => {
                let memory = if device { MemoryType::Device } else { MemoryType::Normal };
                self.enter(address(page), FrameNumber(frame), RIGHTS[rights], memory);
            }
            Step::Fill { page, count } => {
                let start = address(page) & !0x3F_FFFF;
                (0..count).for_each(|at| self.enter(start + at * PAGE, FrameNumber(at as u32), Protection::READ, MemoryType::Normal));
            }
            Step::Remove { from, to } => self.remove(address(from), address(to) + PAGE),
            Step::Restrict { from, to, rights } => {
                let (start, end) = (address(from), address(to) + PAGE);
                self.tables.restrict(start, end, RIGHTS[rights]);
                let rights = RIGHTS[rights];
                self.pages.retain(|&at, pte| {
                    let inside = (start..end).contains(&at);
                    *pte = if inside { pte.restricted(rights) } else { *pte };
                    !inside || rights.contains(Protection::READ)
                });
            }
            Step::TakeAccessed(page) => {
                let known = self.pages.contains_key(&address(page));
                assert!(!self.tables.take_accessed(address(page)) || known);
            }
            Step::SetAccessed(page) => {
                assert_eq!(self.tables.set_accessed(address(page)), self.pages.contains_key(&address(page)));
                assert_eq!(self.tables.take_accessed(address(page)), self.pages.contains_key(&address(page)));
            }
            Step::Access { cpu, page } => {
                let found = self.ghost.access(cpu, address(page)).map(|pte| pte.with_accessed(true));
                assert_eq!(found, self.pages.get(&address(page)).copied());
            }
            Step::NewAsid => {
                // Another space runs until the ASIDs are used up, and this one comes back.
                self.ghost.stop();
                for _ in 0..5 {
                    (0..CPUS).for_each(|cpu| _ = self.asids.activate(cpu, &self.other, &self.ghost.on(cpu)));
                    self.other = pmap::Context::new();
                }
                self.run();
            }
        }
    }

    fn check(&self) {
        self.ghost.check();
        for (at, held) in self.ghost.held() {
            let expected = self.pages.get(&at);
            assert_eq!(Some(held.with_accessed(true)), expected.copied(), "a TLB has a stale entry for {at:x}");
        }
        for at in (0..48).map(address).chain(self.pages.keys().copied()) {
            let expected = self.pages.get(&at).map(|pte| (pte.frame(), pte.protection()));
            assert_eq!(self.tables.lookup(at), expected, "at {at:x}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn random_use_keeps_the_rules(
        steps in proptest::collection::vec(step(), 1..60),
        tables in prop_oneof![Just(1000usize), 5usize..20],
        ranges: bool,
        seed: u64,
    ) {
        let ghost = Ghost::new(tables, ranges, seed);
        let mut space = Space::new(&ghost);
        for step in steps {
            space.step(step);
            space.check();
        }
        space.remove(0, u64::MAX);
        space.check();
        assert_eq!(ghost.tables(), 1, "empty tables are freed with their last page");
        ghost.stop();
        drop(space);
        assert_eq!(ghost.tables(), 0);
    }
}

#[test]
fn teardown_frees_all_tables_of_a_full_space() {
    let ghost = Ghost::new(1000, true, 7);
    let mut space = Space::new(&ghost);
    (0..48).for_each(|page| space.enter(address(page), FrameNumber(9), Protection::READ, MemoryType::Normal));
    assert!(ghost.tables() > 10);
    ghost.stop();
    drop(space);
    assert_eq!(ghost.tables(), 0);
}

#[test]
fn a_batch_is_one_invalidation() {
    let ghost = Ghost::new(1000, true, 7);
    let mut space = Space::new(&ghost);
    for at in 0..640 {
        space.enter(0x4000_0000 + at * PAGE, FrameNumber(at as u32), Protection::DEFAULT, MemoryType::Normal);
    }
    let before = ghost.invalidations();
    space.tables.restrict(0x4000_0000, 0x4000_0000 + 512 * PAGE, Protection::READ);
    assert_eq!(ghost.invalidations(), before + 1);
    space.pages.clear();
    let mut seen = 0;
    space.tables.remove(0, pmap::USER_END, &mut |_, _| seen += 1);
    assert_eq!(seen, 640);
    // Ten batches of pages, and the tables that became empty.
    assert!(ghost.invalidations() - before <= 1 + 10 + 4, "{}", ghost.invalidations() - before);
    ghost.stop();
}

#[test]
fn without_tables_nothing_changes_and_what_was_made_is_used_later() {
    let ghost = Ghost::new(2, false, 3);
    let mut space = Space::new(&ghost);
    assert!(space.tables.enter(0x5000, FrameNumber(1), Protection::READ, MemoryType::Normal).is_err());
    space.check();
    ghost.set_tables_left(2);
    space.enter(0x5000, FrameNumber(1), Protection::READ, MemoryType::Normal);
    assert_eq!((space.pages.len(), ghost.tables()), (1, 4));
    space.check();
    ghost.stop();
}

#[test]
fn an_access_after_the_flag_was_taken_is_seen() {
    let ghost = Ghost::new(20, false, 3);
    let mut space = Space::new(&ghost);
    ghost.interesting(&[]);
    space.enter(0x5000, FrameNumber(1), Protection::READ, MemoryType::Normal);
    assert!(space.tables.take_accessed(0x5000), "entering counts as access");
    for _ in 0..3 {
        assert!(!space.tables.take_accessed(0x5000));
        ghost.access(0, 0x5000);
        assert!(space.tables.take_accessed(0x5000));
        pmap::Hardware::dsb_ish(&&ghost); // The invalidation is begun, not waited for.
    }
    ghost.stop();
}

#[test]
fn an_unchanged_entry_needs_no_invalidation() {
    let ghost = Ghost::new(20, false, 3);
    let mut space = Space::new(&ghost);
    space.enter(0x5000, FrameNumber(1), Protection::READ, MemoryType::Normal);
    let before = ghost.invalidations();
    space.enter(0x5000, FrameNumber(1), Protection::READ, MemoryType::Normal);
    space.tables.restrict(0, pmap::USER_END, Protection::DEFAULT);
    assert_eq!(ghost.invalidations(), before);
    space.enter(0x5000, FrameNumber(1), Protection::DEFAULT, MemoryType::Normal);
    assert_eq!(ghost.invalidations(), before + 1, "a TLB may hold fewer rights");
    ghost.stop();
}
