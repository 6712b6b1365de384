//! One call to several members at once, with a deadline, and what their answers say about them.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use store::StoreError;

use super::roster::{Roster, Verdict};
use super::{Peer, Seat, Shared};

/// What came of a call, by member.
pub(super) type Outcomes<T> = Vec<(usize, Result<T, StoreError>)>;

impl Seat {
    /// Remembers why a call failed.
    pub(super) fn failed(&self, error: &StoreError) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let text = error.to_string();
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != text {
            tracing::warn!(member = self.name, "{text}");
            *last = text;
        }
    }
}

impl Shared {
    /// Calls `work` with each of `targets` and waits for all of them, but not past `deadline`. Whoever is late goes on by
    /// itself and its outcome is [`StoreError::Unavailable`].
    pub(super) fn call<T, W>(&self, targets: &[usize], deadline: Instant, work: W) -> Outcomes<T>
    where
        T: Send + 'static,
        W: Fn(&Peer) -> Result<T, StoreError> + Clone + Send + 'static,
    {
        let (sender, receiver) = channel();
        // Members that never wait are called on this thread, so the others are started first.
        let (immediate, waiting): (Vec<usize>, Vec<usize>) = targets.iter().partition(|&&index| self.seats[index].store.is_immediate());
        for &index in waiting.iter().chain(&immediate) {
            self.seats[index].lane.call(&self.seats[index].store, index, &sender, work.clone());
        }
        drop(sender);
        let mut outcomes = Outcomes::new();
        while outcomes.len() < targets.len() {
            let Ok(done) = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) else { break };
            outcomes.push((done.index, done.result));
        }
        for &index in targets {
            if !outcomes.iter().any(|(who, _)| *who == index) {
                outcomes.push((index, Err(late())));
            }
        }
        outcomes
    }

    /// Lets `decide` change the roster by how the members did, and tells whoever waits for that.
    pub(super) fn judge<T>(&self, outcomes: &Outcomes<T>, decide: impl FnOnce(&mut Roster, &[(usize, Verdict)]) -> bool) -> bool {
        let verdicts: Vec<(usize, Verdict)> = outcomes.iter().map(|(index, result)| (*index, verdict(result))).collect();
        for (index, result) in outcomes {
            if let Err(error) = result {
                self.seats[*index].failed(error);
            }
        }
        let mut roster = self.roster();
        let is_acknowledged = decide(&mut roster, &verdicts);
        drop(roster);
        if verdicts.iter().any(|(_, verdict)| *verdict != Verdict::Done) {
            self.changed.notify_all();
        }
        is_acknowledged
    }

    /// Notes how long a member took to read.
    pub(super) fn timed(&self, index: usize, took: Duration) {
        let (seat, sample) = (&self.seats[index], took.as_nanos().min(u128::from(u64::MAX)) as u64);
        let old = seat.read_ns.load(Ordering::Relaxed);
        // An eighth of what is new: Jacobson's gain for round-trip times. Lost updates do not matter.
        let new = if old == 0 { sample } else { old - old / 8 + sample / 8 };
        seat.read_ns.store(new.max(1), Ordering::Relaxed);
    }
}

pub(super) fn late() -> StoreError {
    StoreError::Unavailable("no answer within the deadline".into())
}

fn verdict<T>(result: &Result<T, StoreError>) -> Verdict {
    match result {
        Ok(_) => Verdict::Done,
        Err(error) if error.is_out_of_space() || matches!(error, StoreError::OutOfRange { .. } | StoreError::ReadOnly) => Verdict::Refused,
        Err(_) => Verdict::Failed,
    }
}

/// The error to show when nobody succeeded: one that says what to do is better than one that says who was late.
pub(super) fn first_error<T>(outcomes: Outcomes<T>) -> StoreError {
    let mut errors: Vec<StoreError> = outcomes.into_iter().filter_map(|(_, result)| result.err()).collect();
    let best = errors.iter().position(StoreError::is_out_of_space).unwrap_or(0);
    if errors.is_empty() { StoreError::Unavailable("no member of the mirror is live".into()) } else { errors.swap_remove(best) }
}
