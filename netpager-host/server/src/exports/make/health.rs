//! How the stores do that an export depends on, for the status page and metrics.

use admin::observed::{MemberHealth, MemberState};
use remote::{MemberState as State, MemberStatus, UpstreamStatus};

use super::Made;

impl Made {
    /// The members of its mirrors, and other servers that are in none.
    pub(crate) fn members(&self) -> Vec<MemberState> {
        let mirrored = self.parts.mirrors.iter().flat_map(|mirror| mirror.status().members);
        let mut members: Vec<MemberState> = mirrored.map(of_mirror).collect();
        let is_told = |uri: &str, members: &[MemberState]| members.iter().any(|member| member.name.ends_with(uri));
        for (uri, store) in &self.parts.upstreams {
            if !is_told(uri, &members) {
                members.push(of_upstream(uri, store.status()));
            }
        }
        members
    }
}

fn of_mirror(status: MemberStatus) -> MemberState {
    let health = match status.state {
        State::Live => MemberHealth::Healthy,
        State::Syncing => MemberHealth::Resyncing,
        State::Down if status.is_complete => MemberHealth::Unreachable,
        State::Down => MemberHealth::Stale,
    };
    let left = status.sync_regions.saturating_sub(status.synced_regions);
    let region = status.dirty_bytes.checked_div(left).unwrap_or(0);
    MemberState {
        name: status.name,
        health,
        behind_bytes: status.dirty_bytes,
        behind_at_start_bytes: region.saturating_mul(status.sync_regions).max(status.dirty_bytes),
        latency_us: (!status.read_time.is_zero()).then_some(status.read_time.as_micros() as u64),
        trouble: (!status.last_error.is_empty() && health != MemberHealth::Healthy).then_some(status.last_error),
    }
}

fn of_upstream(uri: &str, status: UpstreamStatus) -> MemberState {
    let is_up = status.connections > 0;
    MemberState {
        name: uri.into(),
        health: if is_up { MemberHealth::Healthy } else { MemberHealth::Unreachable },
        behind_bytes: 0,
        behind_at_start_bytes: 0,
        latency_us: None,
        trouble: (!is_up && !status.trouble.is_empty()).then_some(status.trouble),
    }
}
