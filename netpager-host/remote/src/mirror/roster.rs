//! Which members of a mirror have what. No I/O and no clock: the mirror says what happened.
//!
//! A member is **live** (has everything, serves reads), **syncing** (gets new writes, and old ones copied) or **down**. It
//! is **complete** if it missed no write that was acknowledged: a complete member may become live again by itself, and if
//! no other member is live it must. The rules:
//!
//! 1. A write is acknowledged when every live member has it or is not live any more, and at least one has it.
//! 2. Whoever is not live when a write is acknowledged is no longer complete. That is recorded durably before the
//!    acknowledgement (by the mirror, see [`super::stale_log`]).
//! 3. A write that nobody took makes no one incomplete, but members may differ there: the range becomes dirty in all of
//!    them, and whoever is live first decides.
//! 4. What a member had not flushed when it went down becomes dirty too: copying that again, and flushing, makes it durable
//!    there, whatever the member's own flush left undone.

use std::ops::Range;

use super::regions::Regions;

/// What a member is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// Has everything and serves reads.
    Live,
    /// Gets what is written now; what it missed is being copied.
    Syncing,
    /// Is not used.
    Down,
}

/// One member.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) state: MemberState,
    /// Whether it has every acknowledged write.
    pub(super) is_complete: bool,
    /// Where it may differ from the live members.
    pub(super) dirty: Regions,
    /// Where it was written since the last flush that succeeded.
    unflushed: Regions,
    /// The same before the flush that is under way began.
    flushing: Regions,
}

/// All members.
#[derive(Clone, Debug)]
pub(super) struct Roster {
    pub(super) members: Vec<Entry>,
}

/// How a member did in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    /// The call was at fault, or there was no space: every member would have failed.
    Refused,
    /// The member failed, or did not answer in time.
    Failed,
}

impl Roster {
    /// Everybody is down until probed. Those in `stale` missed writes; if the mirror was not closed properly, the complete
    /// members may differ anywhere.
    pub(super) fn new(stale: &[bool], was_closed: bool, size: u64) -> Self {
        let entry = |&is_stale: &bool| {
            let mut dirty = Regions::none(size);
            if is_stale || !was_closed {
                dirty.add_all();
            }
            Entry { state: MemberState::Down, is_complete: !is_stale, dirty, unflushed: Regions::none(size), flushing: Regions::none(size) }
        };
        Self { members: stale.iter().map(entry).collect() }
    }

    pub(super) fn with_state(&self, state: MemberState) -> impl Iterator<Item = usize> + '_ {
        self.members.iter().enumerate().filter(move |(_, member)| member.state == state).map(|(index, _)| index)
    }

    pub(super) fn live(&self) -> impl Iterator<Item = usize> + '_ {
        self.with_state(MemberState::Live)
    }

    /// Whether nothing is in doubt that the log does not say: whoever has everything is live.
    pub(super) fn is_settled(&self) -> bool {
        self.members.iter().all(|member| member.state == MemberState::Live || !member.is_complete)
    }

    pub(super) fn stale(&self) -> Vec<bool> {
        self.members.iter().map(|member| !member.is_complete).collect()
    }

    /// To whom a write of `range` goes. Where a syncing member is dirty it will get a copy later.
    pub(super) fn targets(&self, range: &Range<u64>) -> Vec<usize> {
        let wants = |member: &Entry| match member.state {
            MemberState::Live => true,
            MemberState::Syncing => !member.dirty.contains(range),
            MemberState::Down => false,
        };
        self.members.iter().enumerate().filter(|(_, member)| wants(member)).map(|(index, _)| index).collect()
    }

    /// A write is over. True if it may be acknowledged.
    pub(super) fn wrote(&mut self, range: &Range<u64>, verdicts: &[(usize, Verdict)]) -> bool {
        let of = |index: usize| verdicts.iter().find(|(who, _)| *who == index).map(|(_, verdict)| *verdict);
        let is_acknowledged = self.live().any(|index| of(index) == Some(Verdict::Done));
        let survivor = self.survivor(verdicts);
        for (index, member) in self.members.iter_mut().enumerate() {
            let verdict = of(index);
            if verdict.is_some() {
                // Also after a failure: some of it may be there.
                member.unflushed.add(range);
            }
            let has_it = is_acknowledged && verdict == Some(Verdict::Done);
            if has_it && member.state != MemberState::Down || Some(index) == survivor {
                continue;
            }
            if verdict.is_some() || member.state == MemberState::Live {
                member.go_down();
            }
            member.dirty.add(range);
            member.is_complete &= !is_acknowledged;
        }
        is_acknowledged
    }

    /// When nobody did it: the first live member that only refused stays, so that a full mirror does not go down.
    fn survivor(&self, verdicts: &[(usize, Verdict)]) -> Option<usize> {
        let mut live = verdicts.iter().filter(|(index, _)| self.members[*index].state == MemberState::Live);
        if live.clone().any(|(_, verdict)| *verdict == Verdict::Done) {
            return None;
        }
        live.find(|(_, verdict)| *verdict == Verdict::Refused).map(|(index, _)| *index)
    }

    /// A flush begins.
    pub(super) fn flush_begins(&mut self) {
        for member in &mut self.members {
            member.flushing.merge(&member.unflushed);
            member.unflushed.clear();
        }
    }

    /// A flush is over. True if it may be acknowledged.
    pub(super) fn flushed(&mut self, verdicts: &[(usize, Verdict)]) -> bool {
        let is_acknowledged =
            verdicts.iter().any(|(index, verdict)| self.members[*index].state == MemberState::Live && *verdict == Verdict::Done);
        for &(index, verdict) in verdicts {
            let member = &mut self.members[index];
            match verdict {
                Verdict::Done => member.flushing.clear(),
                _ if is_acknowledged => {
                    member.go_down();
                    // If there was nothing to flush, there is nothing to miss.
                    member.is_complete &= member.dirty.is_empty();
                }
                Verdict::Failed => member.go_down(),
                Verdict::Refused => {}
            }
        }
        is_acknowledged
    }

    /// A member failed to read. The last live one stays, since nobody could do better.
    pub(super) fn read_failed(&mut self, index: usize, range: &Range<u64>) {
        if self.live().any(|other| other != index) && self.members[index].state == MemberState::Live {
            self.members[index].go_down();
            // Writing it again may mend it.
            self.members[index].dirty.add(range);
        }
    }

    /// A member was found to have lost everything.
    pub(super) fn lost_contents(&mut self, index: usize) {
        let member = &mut self.members[index];
        member.go_down();
        member.is_complete = false;
        member.dirty.add_all();
    }

    /// A member that was down answers. Returns its new state.
    pub(super) fn answers(&mut self, index: usize) -> MemberState {
        if self.members[index].state != MemberState::Down {
            return self.members[index].state;
        }
        let is_first = self.live().next().is_none();
        if is_first && self.members[index].is_complete {
            let mut doubtful = self.members[index].dirty.clone();
            self.members[index].dirty.clear();
            self.members[index].state = MemberState::Live;
            for (other, member) in self.members.iter_mut().enumerate() {
                if other != index {
                    member.dirty.merge(&doubtful);
                }
            }
            doubtful.clear();
        } else if !is_first {
            self.members[index].state = MemberState::Syncing;
        }
        self.members[index].state
    }

    /// A region was copied to a syncing member. False if the member is no longer syncing.
    pub(super) fn copied(&mut self, index: usize, region: &Range<u64>) -> bool {
        let member = &mut self.members[index];
        if member.state == MemberState::Syncing {
            member.dirty.remove(region);
            member.unflushed.add(region);
        }
        member.state == MemberState::Syncing
    }

    /// Copying is over and was flushed. True if the member is live now.
    pub(super) fn synced(&mut self, index: usize) -> bool {
        let has_source = self.live().next().is_some();
        let member = &mut self.members[index];
        if has_source && member.state == MemberState::Syncing && member.dirty.is_empty() {
            member.state = MemberState::Live;
            member.is_complete = true;
        }
        member.state == MemberState::Live
    }

    /// A syncing member failed.
    pub(super) fn sync_failed(&mut self, index: usize) {
        if self.members[index].state == MemberState::Syncing {
            self.members[index].go_down();
        }
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        for member in &self.members {
            assert!(member.state != MemberState::Live || (member.is_complete && member.dirty.is_empty()), "{member:?}");
            assert!(member.is_complete || member.state != MemberState::Down || !member.dirty.is_empty(), "what did it miss? {member:?}");
        }
        assert!(self.members.iter().any(|member| member.is_complete), "nobody has everything");
    }
}

impl Entry {
    fn go_down(&mut self) {
        self.state = MemberState::Down;
        self.dirty.merge(&self.unflushed);
        self.dirty.merge(&self.flushing);
    }
}
