//! A machine that knows the rules: tables as memory, TLBs and walk caches of two CPUs, and for each entry what became of its break.
//!
//! It is stricter than hardware. Any call may be preceded by a speculative walk on any CPU that fills a TLB (and sets the accessed flag);
//! a TLBI takes effect at the next DSB ISH; and it panics when
//! * a valid entry becomes another valid one in more than its rights and accessed flag,
//! * an entry is made whose break was not followed by DSB ISHST, a TLBI that covers it, and DSB ISH,
//! * a TLBI is issued before the DSB ISHST that orders the entries written before it,
//! * a table is linked before its zeroes are visible, or freed while linked or while a CPU may still walk it.

use frames::FrameNumber;
use pmap::{ENTRIES, Hardware, Pte};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

pub(crate) const CPUS: usize = 2;
const PAGE: u64 = 4096;

/// Entry of a table.
type Slot = (FrameNumber, usize);

/// What a TLB holds: the last-level entry and the slots that were read on the way, from the root on.
#[derive(Clone, Debug)]
pub(crate) struct Cached {
    pub(crate) pte: Pte,
    path: Vec<Slot>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// No TLBI that covers it yet.
    Held,
    /// A TLBI was issued.
    Issued,
}

#[derive(Clone, Copy, Debug)]
enum Tlbi {
    Page { asid: u16, address: u64, pages: u64, all_levels: bool },
    Asid(u16),
    Local(usize),
}

#[derive(Default)]
struct State {
    tables: BTreeMap<FrameNumber, Table>,
    next_table: u32,
    tlb: [BTreeMap<(u16, u64), Cached>; CPUS],
    broken: BTreeMap<Slot, Broken>,
    pending: Vec<Tlbi>,
    /// Entries were written since the last DSB ISHST.
    unordered: bool,
    /// The ASID and root of each CPU.
    running: [Option<(u16, FrameNumber)>; CPUS],
    /// Addresses worth speculating about.
    interesting: Vec<u64>,
    random: u64,
    tables_left: usize,
    synced: BTreeSet<FrameNumber>,
    invalidations: usize,
    /// The CPU that the test acts as.
    current: usize,
}

struct Table {
    entries: Vec<u64>,
    /// Level and first address of what it translates, known when it is linked; a root's from the start.
    place: Option<(u32, u64)>,
    /// Its zeroes were ordered by a DSB ISHST.
    visible: bool,
}

/// The machine.
pub(crate) struct Ghost {
    state: Mutex<State>,
    ranges: bool,
}

impl Ghost {
    pub(crate) fn new(tables_left: usize, ranges: bool, seed: u64) -> Self {
        let state = State { next_table: 0x8_0000, tables_left, random: seed | 1, ..State::default() };
        Self { state: Mutex::new(state), ranges }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Every public call begins here.
    fn speculative(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.speculate();
        state
    }

    pub(crate) fn run(&self, cpu: usize, asid: u16, root: FrameNumber) {
        let mut state = self.state();
        state.running[cpu] = Some((asid, root));
        state.tables.get_mut(&root).unwrap().place = Some((0, 0));
    }

    /// From now on calls come from this CPU.
    pub(crate) fn on(&self, cpu: usize) -> &Self {
        self.state().current = cpu;
        self
    }

    pub(crate) fn stop(&self) {
        self.state().running = [None; CPUS];
    }

    pub(crate) fn interesting(&self, addresses: &[u64]) {
        self.state().interesting = addresses.to_vec();
    }

    /// An access by EL0: what the TLB or a walk finds.
    pub(crate) fn access(&self, cpu: usize, address: u64) -> Option<Pte> {
        self.state().walk(cpu, address)
    }

    /// Everything that any TLB holds.
    pub(crate) fn held(&self) -> Vec<(u64, Pte)> {
        let state = self.state();
        state.tlb.iter().flatten().map(|(&(_, address), cached)| (address, cached.pte)).collect()
    }

    pub(crate) fn tables(&self) -> usize {
        self.state().tables.len()
    }

    pub(crate) fn invalidations(&self) -> usize {
        self.state().invalidations
    }

    pub(crate) fn was_synced(&self, frame: FrameNumber) -> bool {
        self.state().synced.contains(&frame)
    }

    pub(crate) fn set_tables_left(&self, tables: usize) {
        self.state().tables_left = tables;
    }

    /// At rest nothing is broken without having been flushed.
    pub(crate) fn check(&self) {
        let state = self.state();
        assert_eq!(state.broken, BTreeMap::new(), "entries were broken and not flushed");
    }
}

impl State {
    fn below(&mut self, end: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % end as u64) as usize
    }

    fn speculate(&mut self) {
        if self.interesting.is_empty() || self.below(3) == 0 {
            return;
        }
        let (cpu, which) = (self.below(CPUS), self.below(self.interesting.len()));
        let address = self.interesting[which];
        self.walk(cpu, address);
    }

    /// What a CPU finds for an address; fills its TLB and sets the accessed flag.
    fn walk(&mut self, cpu: usize, address: u64) -> Option<Pte> {
        let (asid, root) = self.running[cpu]?;
        if let Some(cached) = self.tlb[cpu].get(&(asid, address)) {
            return Some(cached.pte);
        }
        let mut table = root;
        let mut path = Vec::new();
        for level in 0..4 {
            let index = (address >> (39 - 9 * level)) as usize % ENTRIES;
            path.push((table, index));
            let entry = &mut self.tables.get_mut(&table).expect("a walk reached a freed table").entries[index];
            if !Pte(*entry).is_valid() {
                return None;
            }
            if level == 3 {
                *entry = Pte(*entry).with_accessed(true).0;
                let pte = Pte(*entry);
                self.tlb[cpu].insert((asid, address), Cached { pte, path });
                return Some(pte);
            }
            table = Pte(*entry).frame();
        }
        None
    }

    fn write(&mut self, slot: Slot, new: u64) {
        let entry = &mut self.tables.get_mut(&slot.0).expect("a write to a freed table").entries[slot.1];
        let old = Pte(std::mem::replace(entry, new));
        let new = Pte(new);
        match (old.is_valid(), new.is_valid()) {
            (true, true) => assert!(old.may_become(new), "{slot:?}: {old:x?} became {new:x?} without a break"),
            (true, false) => _ = self.broken.insert(slot, Broken::Held),
            (false, true) => self.made(slot, new),
            (false, false) => {}
        }
        self.unordered = true;
    }

    fn made(&mut self, slot: Slot, new: Pte) {
        assert!(!self.broken.contains_key(&slot), "{slot:?} was made before its break was complete");
        let stale = self.tlb.iter().flat_map(|tlb| tlb.values()).find(|cached| cached.path.contains(&slot));
        assert!(stale.is_none(), "{slot:?} was made while a TLB has {stale:?}");
        let (level, start) = self.tables[&slot.0].place.expect("a write to a table that is not linked");
        if level < 3 {
            let start = start + ((slot.1 as u64) << (39 - 9 * level));
            let table = self.tables.get_mut(&new.frame()).expect("linked what is not a table");
            assert!(table.visible, "linked before its zeroes were ordered");
            table.place = Some((level + 1, start));
        }
    }

    /// The addresses a slot translates, and its level.
    fn covers(&self, slot: Slot) -> (u32, u64, u64) {
        let (level, start) = self.tables[&slot.0].place.expect("linked");
        let span = 1 << (39 - 9 * level);
        (level, start + slot.1 as u64 * span, span)
    }

    fn tlbi(&mut self, tlbi: Tlbi) {
        assert!(!self.unordered, "TLBI before DSB ISHST");
        self.invalidations += 1;
        self.pending.push(tlbi);
        let slots: Vec<Slot> = self.broken.keys().copied().collect();
        for slot in slots {
            let (level, start, span) = self.covers(slot);
            let covered = match tlbi {
                Tlbi::Page { address, pages, all_levels, .. } => {
                    (level == 3 || all_levels) && address < start + span && start < address + pages * PAGE
                }
                Tlbi::Asid(_) => true,
                Tlbi::Local(_) => false,
            };
            if covered {
                self.broken.insert(slot, Broken::Issued);
            }
        }
    }

    fn complete(&mut self) {
        for tlbi in std::mem::take(&mut self.pending) {
            for (cpu, tlb) in self.tlb.iter_mut().enumerate() {
                tlb.retain(|&(of, at), _| match tlbi {
                    Tlbi::Page { asid, address, pages, .. } => of != asid || at < address || at >= address + pages * PAGE,
                    Tlbi::Asid(asid) => of != asid,
                    Tlbi::Local(only) => cpu != only,
                });
            }
        }
        self.broken.retain(|_, broken| *broken == Broken::Held);
        self.unordered = false;
        self.tables.values_mut().for_each(|table| table.visible = true);
    }
}

impl Hardware for &Ghost {
    fn allocate_table(&self) -> Option<FrameNumber> {
        let mut state = self.speculative();
        state.tables_left = state.tables_left.checked_sub(1)?;
        state.next_table += 1;
        let frame = FrameNumber(state.next_table);
        state.tables.insert(frame, Table { entries: vec![0; ENTRIES], place: None, visible: false });
        Some(frame)
    }

    fn free_table(&self, table: FrameNumber) {
        let mut state = self.speculative();
        let reach = state.tlb.iter().flat_map(|tlb| tlb.values()).find(|cached| cached.path.iter().any(|slot| slot.0 == table));
        assert!(reach.is_none(), "a table was freed while a TLB has {reach:?}");
        let broken = state.broken.keys().find(|&&slot| slot.0 == table);
        assert!(broken.is_none(), "a table was freed before the breaks in it were complete");
        let live = state.running.iter().flatten().any(|&(_, root)| state.reaches(root, 0, table));
        assert!(!live, "a table was freed while linked");
        state.tables.remove(&table).expect("a table was freed twice");
        state.tables_left += 1;
    }

    fn load(&self, table: FrameNumber, index: usize) -> u64 {
        self.speculative().tables[&table].entries[index]
    }

    fn store(&self, table: FrameNumber, index: usize, value: u64) {
        let mut state = self.speculative();
        assert!(!Pte(state.tables[&table].entries[index]).is_valid(), "a store may lose an accessed flag");
        state.write((table, index), value);
    }

    fn exchange(&self, table: FrameNumber, index: usize, value: u64) -> u64 {
        let mut state = self.speculative();
        let old = state.tables[&table].entries[index];
        state.write((table, index), value);
        old
    }

    fn compare_exchange(&self, table: FrameNumber, index: usize, old: u64, new: u64) -> Result<(), u64> {
        let mut state = self.speculative();
        let now = state.tables[&table].entries[index];
        if now != old {
            return Err(now);
        }
        state.write((table, index), new);
        Ok(())
    }

    fn dsb_ishst(&self) {
        let mut state = self.speculative();
        state.unordered = false;
        state.tables.values_mut().for_each(|table| table.visible = true);
    }

    fn dsb_ish(&self) {
        self.speculative().complete();
    }

    fn isb(&self) {}

    fn tlbi_page(&self, asid: u16, address: u64) {
        self.speculative().tlbi(Tlbi::Page { asid, address, pages: 1, all_levels: false });
    }

    fn tlbi_walk(&self, asid: u16, address: u64) {
        self.speculative().tlbi(Tlbi::Page { asid, address, pages: 1, all_levels: true });
    }

    fn tlbi_range(&self, asid: u16, address: u64, pages: u64) -> bool {
        if self.ranges {
            self.speculative().tlbi(Tlbi::Page { asid, address, pages, all_levels: false });
        }
        self.ranges
    }

    fn tlbi_asid(&self, asid: u16) {
        self.speculative().tlbi(Tlbi::Asid(asid));
    }

    fn tlbi_local(&self) {
        let mut state = self.speculative();
        let cpu = state.current;
        state.tlbi(Tlbi::Local(cpu));
    }

    fn sync_icache(&self, frame: FrameNumber) {
        self.speculative().synced.insert(frame);
    }
}

impl State {
    fn reaches(&self, table: FrameNumber, level: u32, wanted: FrameNumber) -> bool {
        table == wanted
            || level < 3
                && self.tables.get(&table).is_some_and(|t| {
                    t.entries.iter().filter(|&&e| Pte(e).is_valid()).any(|&e| self.reaches(Pte(e).frame(), level + 1, wanted))
                })
    }
}
