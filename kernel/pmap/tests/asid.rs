//! ASIDs: few of them, many spaces, several CPUs, any schedule.
//!
//! A CPU between `activate` and its write of TTBR0 still walks with what it had; each CPU speculates all the time, so that its TLB holds
//! entries of whatever it has in TTBR0. No CPU may ever find another space's entries under its ASID.

use frames::FrameNumber;
use pmap::{Asids, Context, Hardware};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const CPUS: usize = 2;
const SPACES: usize = 7;

/// TLBs as sets of (ASID, space), and nothing else.
#[derive(Default)]
struct Tlbs {
    held: Mutex<[BTreeSet<(u16, usize)>; CPUS]>,
    current: AtomicUsize,
    flushes: AtomicUsize,
}

impl Tlbs {
    fn fill(&self, cpu: usize, asid: u16, space: usize) {
        let held = &mut self.held.lock().unwrap()[cpu];
        held.insert((asid, space));
        assert!(held.iter().all(|&(of, who)| of != asid || who == space), "CPU {cpu} uses {held:?} as {asid} of {space}");
    }
}

impl Hardware for Tlbs {
    fn allocate_table(&self) -> Option<FrameNumber> {
        None
    }
    fn free_table(&self, _: FrameNumber) {
        unreachable!("no tables here")
    }
    fn load(&self, _: FrameNumber, _: usize) -> u64 {
        unreachable!("no tables here")
    }
    fn store(&self, _: FrameNumber, _: usize, _: u64) {
        unreachable!("no tables here")
    }
    fn exchange(&self, _: FrameNumber, _: usize, _: u64) -> u64 {
        unreachable!("no tables here")
    }
    fn compare_exchange(&self, _: FrameNumber, _: usize, _: u64, _: u64) -> Result<(), u64> {
        unreachable!("no tables here")
    }
    fn dsb_ishst(&self) {}
    fn dsb_ish(&self) {}
    fn isb(&self) {}
    fn tlbi_page(&self, _: u16, _: u64) {
        unreachable!("no tables here")
    }
    fn tlbi_walk(&self, _: u16, _: u64) {
        unreachable!("no tables here")
    }
    fn tlbi_asid(&self, _: u16) {
        unreachable!("no tables here")
    }
    fn tlbi_local(&self) {
        self.flushes.fetch_add(1, Relaxed);
        self.held.lock().unwrap()[self.current.load(Relaxed)].clear();
    }
    fn sync_icache(&self, _: FrameNumber) {}
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Asks for the space's ASID.
    Activate { cpu: usize, space: usize },
    /// Writes TTBR0 with the last answer.
    Install(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![(0..CPUS, 0..SPACES).prop_map(|(cpu, space)| Step::Activate { cpu, space }), (0..CPUS).prop_map(Step::Install),]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn no_space_finds_anothers_entries(steps in proptest::collection::vec(step(), 1..200), count in CPUS + 2..6) {
        let asids = Asids::new(count, CPUS);
        let spaces: Vec<Context> = (0..SPACES).map(|_| Context::new()).collect();
        let tlbs = Tlbs::default();
        let mut asked: [Option<(u16, usize)>; CPUS] = [None; CPUS];
        let mut running = asked;
        for step in steps {
            match step {
                // A CPU that asked has to install first.
                Step::Activate { cpu, space } if asked[cpu].is_none() => {
                    tlbs.current.store(cpu, Relaxed);
                    let asid = asids.activate(cpu, &spaces[space], &tlbs);
                    prop_assert!(asid != 0 && usize::from(asid) < count);
                    asked[cpu] = Some((asid, space));
                }
                Step::Install(cpu) if asked[cpu].is_some() => running[cpu] = asked[cpu].take(),
                _ => {}
            }
            for (cpu, (asid, space)) in running.iter().enumerate().filter_map(|(cpu, run)| Some((cpu, (*run)?))) {
                tlbs.fill(cpu, asid, space);
                // What its translations are invalidated with while it runs.
                prop_assert!(asked[cpu].is_some() || spaces[space].asid() == Some(asid));
            }
        }
    }
}

#[test]
fn a_space_keeps_its_asid_while_the_generation_lasts() {
    let (asids, tlbs) = (Asids::new(256, 1), Tlbs::default());
    let spaces: Vec<Context> = (0..300).map(|_| Context::new()).collect();
    let first: BTreeSet<u16> = spaces[..255].iter().map(|space| asids.activate(0, space, &tlbs)).collect();
    assert_eq!(first, (1..256).collect());
    let again: BTreeSet<u16> = spaces[..255].iter().map(|space| asids.activate(0, space, &tlbs)).collect();
    assert_eq!((again, tlbs.flushes.load(Relaxed)), (first, 0));
    assert_eq!(spaces[299].asid(), None);
    spaces[255..].iter().for_each(|space| _ = asids.activate(0, space, &tlbs));
    assert_eq!(tlbs.flushes.load(Relaxed), 1, "one more space than ASIDs begins one generation");
}

#[test]
#[should_panic(expected = "not enough")]
fn too_few_asids_are_refused() {
    Asids::new(3, 2);
}

/// Real threads: whatever two CPUs run at once under one ASID is one space.
#[test]
fn concurrent_cpus_never_share_an_asid() {
    let asids = Asids::new(5, CPUS);
    let spaces: Vec<Context> = (0..SPACES).map(|_| Context::new()).collect();
    // The space of an ASID that a CPU has in TTBR0, as (ASID + 1) * 16 + space; 0 between two.
    let running: [AtomicUsize; CPUS] = Default::default();
    std::thread::scope(|scope| {
        for cpu in 0..CPUS {
            let (asids, spaces, running) = (&asids, &spaces, &running);
            scope.spawn(move || {
                let tlbs = Tlbs::default();
                for round in 0..50_000 {
                    let space = round * (cpu + 3) % SPACES;
                    running[cpu].store(0, std::sync::atomic::Ordering::SeqCst);
                    let asid = asids.activate(cpu, &spaces[space], &tlbs);
                    running[cpu].store((usize::from(asid) + 1) * 16 + space, std::sync::atomic::Ordering::SeqCst);
                    let other = running[1 - cpu].load(std::sync::atomic::Ordering::SeqCst);
                    assert!(other / 16 != usize::from(asid) + 1 || other % 16 == space, "two spaces run as {asid}");
                }
            });
        }
    });
}
