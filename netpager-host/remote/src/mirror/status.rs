//! How a mirror's members are doing, for the status page and for logs.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::regions::REGION_BYTES;
use super::{MemberState, Shared};

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its name.
    pub name: String,
    /// What it is good for.
    pub state: MemberState,
    /// Whether it has every write that was acknowledged.
    pub is_complete: bool,
    /// Bytes that may differ from the live members, in whole regions.
    pub dirty_bytes: u64,
    /// Of the copy under way, or the last one: regions done.
    pub synced_regions: u64,
    /// Of the copy under way, or the last one: regions in all.
    pub sync_regions: u64,
    /// How long a read usually takes; zero if that is not known.
    pub read_time: Duration,
    /// Calls that failed or were late.
    pub errors: u64,
    /// What went wrong last; empty if nothing did.
    pub last_error: String,
}

/// All members, in the order of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorStatus {
    /// One after the other.
    pub members: Vec<MemberStatus>,
}

impl MirrorStatus {
    /// Whether every member is live.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.members.iter().all(|member| member.state == MemberState::Live)
    }
}

pub(super) fn of(shared: &Shared) -> MirrorStatus {
    let roster = shared.roster().clone();
    let members = roster.members.iter().zip(&shared.seats).zip(&shared.progress).map(|((entry, seat), progress)| MemberStatus {
        name: seat.name.clone(),
        state: entry.state,
        is_complete: entry.is_complete,
        dirty_bytes: (entry.dirty.len() * REGION_BYTES).min(shared.size),
        synced_regions: progress.done.load(Ordering::Relaxed),
        sync_regions: progress.total.load(Ordering::Relaxed),
        read_time: Duration::from_nanos(seat.read_ns.load(Ordering::Relaxed)),
        errors: seat.errors.load(Ordering::Relaxed),
        last_error: seat.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
    });
    MirrorStatus { members: members.collect() }
}
