//! The roster against members that fail at random: whoever is live has every acknowledged write, and all who are live agree.
//!
//! Each member is an array with one number for each region. Writes put numbers that were never used before.

use proptest::prelude::*;

use super::regions::REGION_BYTES;
use super::roster::{MemberState, Roster, Verdict};

const REGIONS: usize = 6;
const SIZE: u64 = REGIONS as u64 * REGION_BYTES;

#[derive(Clone, Debug)]
enum Step {
    /// How each member does; a failure may have changed something or not.
    Write {
        region: usize,
        verdicts: [(Verdict, bool); 3],
    },
    Flush([Verdict; 3]),
    ReadFails {
        member: usize,
        region: usize,
    },
    Answers(usize),
    CopyOne(usize),
    /// What it had not flushed is gone.
    Restarted(usize),
    Emptied(usize),
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![6 => Just(Verdict::Done), 1 => Just(Verdict::Failed), 1 => Just(Verdict::Refused)]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let each = || (verdict(), any::<bool>());
    let step = prop_oneof![
        8 => (0..REGIONS, [each(), each(), each()]).prop_map(|(region, verdicts)| Step::Write { region, verdicts }),
        2 => [verdict(), verdict(), verdict()].prop_map(Step::Flush),
        1 => (0..3usize, 0..REGIONS).prop_map(|(member, region)| Step::ReadFails { member, region }),
        4 => (0..3usize).prop_map(Step::Answers),
        6 => (0..3usize).prop_map(Step::CopyOne),
        1 => (0..3usize).prop_map(Step::Restarted),
        1 => (0..3usize).prop_map(Step::Emptied),
    ];
    prop::collection::vec(step, 1..120)
}

struct World {
    roster: Roster,
    shown: [[u64; REGIONS]; 3],
    durable: [[u64; REGIONS]; 3],
    /// The newest acknowledged write of each region, and the newest write at all.
    acknowledged: [u64; REGIONS],
    stamp: u64,
}

fn range(region: usize) -> std::ops::Range<u64> {
    region as u64 * REGION_BYTES..(region as u64 + 1) * REGION_BYTES
}

impl World {
    fn new() -> Self {
        let mut roster = Roster::new(&[false; 3], true, SIZE);
        (0..3).for_each(|member| {
            roster.answers(member);
        });
        (0..3).for_each(|member| assert!(roster.synced(member)));
        Self { roster, shown: [[0; REGIONS]; 3], durable: [[0; REGIONS]; 3], acknowledged: [0; REGIONS], stamp: 0 }
    }

    fn state(&self, member: usize) -> MemberState {
        self.roster.members[member].state
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Write { region, verdicts } => {
                self.stamp += 1;
                let targets = self.roster.targets(&range(region));
                for &member in &targets {
                    let (verdict, changed) = verdicts[member];
                    if verdict == Verdict::Done || changed {
                        self.shown[member][region] = self.stamp;
                    }
                }
                let verdicts: Vec<_> = targets.iter().map(|&member| (member, verdicts[member].0)).collect();
                if self.roster.wrote(&range(region), &verdicts) {
                    self.acknowledged[region] = self.stamp;
                }
            }
            Step::Flush(verdicts) => {
                let live: Vec<usize> = self.roster.live().collect();
                self.roster.flush_begins();
                for &member in live.iter().filter(|&&member| verdicts[member] == Verdict::Done) {
                    self.durable[member] = self.shown[member];
                }
                self.roster.flushed(&live.iter().map(|&member| (member, verdicts[member])).collect::<Vec<_>>());
            }
            Step::ReadFails { member, region } => self.roster.read_failed(member, &range(region)),
            Step::Answers(member) => {
                self.roster.answers(member);
            }
            Step::CopyOne(member) if self.state(member) == MemberState::Syncing => self.copy(member),
            // A replica that has everything keeps it as long as its incarnation is the same; others may forget.
            Step::Restarted(member) if self.state(member) == MemberState::Down && !self.roster.members[member].is_complete => {
                self.shown[member] = self.durable[member];
            }
            Step::Emptied(member) if !self.is_last_complete(member) && !self.is_only_live(member) => {
                (self.shown[member], self.durable[member]) = ([0; REGIONS], [0; REGIONS]);
                self.roster.lost_contents(member);
            }
            _ => {}
        }
        self.check();
    }

    fn copy(&mut self, member: usize) {
        let Some(source) = self.roster.live().next() else { return self.roster.sync_failed(member) };
        match self.roster.members[member].dirty.next(0) {
            Some(region) => {
                let at = (region.start / REGION_BYTES) as usize;
                self.shown[member][at] = self.shown[source][at];
                assert!(self.roster.copied(member, &region));
            }
            None => {
                self.durable[member] = self.shown[member];
                assert!(self.roster.synced(member));
            }
        }
    }

    fn is_last_complete(&self, member: usize) -> bool {
        (0..3).all(|other| other == member || !self.roster.members[other].is_complete)
    }

    fn is_only_live(&self, member: usize) -> bool {
        self.roster.live().eq([member])
    }

    fn check(&self) {
        self.roster.check();
        let live: Vec<usize> = self.roster.live().collect();
        for &member in &live {
            assert_eq!(self.shown[member], self.shown[live[0]], "members {member} and {} differ", live[0]);
            for region in 0..REGIONS {
                assert!(self.shown[member][region] >= self.acknowledged[region], "member {member} misses a write of region {region}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn whoever_is_live_has_everything(steps in steps()) {
        let mut world = World::new();
        world.check();
        for step in &steps {
            world.step(step);
        }
        // Everybody can be made whole again from whoever has everything.
        for round in 0..3 * REGIONS * 4 {
            world.step(&Step::Answers(round % 3));
            world.step(&Step::CopyOne(round % 3));
        }
        prop_assert_eq!(world.roster.live().count(), 3);
    }
}

#[test]
fn a_mirror_that_was_not_closed_copies_everything_from_the_first_to_answer() {
    let mut roster = Roster::new(&[false, false, true], false, SIZE);
    assert_eq!(roster.answers(2), MemberState::Down, "it missed writes, so it must not be believed");
    assert_eq!(roster.answers(1), MemberState::Live);
    assert_eq!((roster.answers(0), roster.answers(2)), (MemberState::Syncing, MemberState::Syncing));
    assert!([0, 2].iter().all(|&member| roster.members[member].dirty.len() == REGIONS as u64));
    roster.check();
}

#[test]
fn a_full_mirror_keeps_serving_reads() {
    let mut roster = Roster::new(&[false, false], true, SIZE);
    assert_eq!(roster.answers(0), MemberState::Live);
    roster.answers(1);
    assert!(roster.synced(1));
    assert!(!roster.wrote(&range(2), &[(0, Verdict::Refused), (1, Verdict::Refused)]));
    assert_eq!(roster.live().collect::<Vec<_>>(), [0]);
    assert_eq!(roster.members[1].dirty.len(), 1, "it may differ there");
    roster.check();
}
