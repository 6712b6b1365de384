//! The mirror's own thread: tries members that are down again, and copies to them what they missed.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use store::{Content, Space, StoreError};

use super::roster::MemberState;
use super::{Shared, calls, read, witness};

/// How much of the device is asked for its first bytes to see whether it answers.
const PROBE_BYTES: usize = 512;

pub(super) fn start(shared: &Arc<Shared>) -> Result<JoinHandle<()>, StoreError> {
    let shared = shared.clone();
    Ok(Builder::new().name("mirror-keeper".into()).spawn(move || keep(&shared))?)
}

fn keep(shared: &Shared) {
    // When each member may be tried again.
    let mut due = vec![Instant::now(); shared.seats.len()];
    let mut recognised = vec![shared.witnesses.is_empty(); shared.seats.len()];
    while !shared.is_closing.load(Ordering::Acquire) {
        let now = Instant::now();
        let down: Vec<usize> = shared.roster().with_state(MemberState::Down).collect();
        let ready: Vec<usize> = down.iter().copied().filter(|&index| due[index] <= now).collect();
        for &index in &down {
            // A member that has just gone down is left alone for a while; one that was never up is tried at once.
            if due[index] <= now {
                due[index] = now + shared.config.retry;
            }
        }
        for index in probe(shared, &ready) {
            if !recognised[index] {
                if !recognise(shared, index) {
                    continue;
                }
                recognised[index] = true;
            }
            if shared.roster().answers(index) == MemberState::Live {
                tracing::info!(member = shared.seats[index].name, "live");
                shared.changed.notify_all();
            } else if let Err(error) = sync(shared, index) {
                shared.seats[index].failed(&error);
                shared.roster().sync_failed(index);
            }
        }
        rest(shared, &due);
    }
}

/// Looks for the witnesses in a member that answers for the first time. False if it must be asked again.
fn recognise(shared: &Shared, index: usize) -> bool {
    let (seat, witnesses) = (&shared.seats[index], shared.witnesses.clone());
    let outcomes =
        shared.call(&[index], Instant::now() + shared.config.flush_deadline, move |store| Ok(witness::are_in(&witnesses, store)));
    match outcomes.into_iter().next() {
        Some((_, Ok(Some(true)))) => true,
        Some((_, Ok(Some(false)))) => {
            tracing::error!(member = seat.name, "does not have what it had when the mirror was closed; all of it will be copied");
            *seat.last_error.lock().unwrap_or_else(PoisonError::into_inner) = "it was emptied while the mirror was closed".into();
            shared.roster().lost_contents(index);
            shared.save_roster().is_ok()
        }
        _ => false,
    }
}

/// Sleeps until somebody is due, or the roster changes.
fn rest(shared: &Shared, due: &[Instant]) {
    let roster = shared.roster();
    if shared.is_closing.load(Ordering::Acquire) {
        return;
    }
    let next = roster.with_state(MemberState::Down).map(|index| due[index]).min();
    let wait = next.map_or(Duration::from_secs(3600), |at| at.saturating_duration_since(Instant::now()));
    drop(shared.changed.wait_timeout(roster, wait.max(Duration::from_millis(1))).unwrap_or_else(PoisonError::into_inner));
}

/// Which of these members answer. Whoever still owes an answer to an older call is not asked: that call might be a write
/// that happens yet, after the copy of a newer one.
fn probe(shared: &Shared, members: &[usize]) -> Vec<usize> {
    let idle: Vec<usize> = members.iter().copied().filter(|&index| shared.seats[index].lane.is_idle()).collect();
    if idle.is_empty() {
        return idle;
    }
    for &index in &idle {
        let seat = &shared.seats[index];
        let incarnation = seat.store.incarnation();
        if seat.incarnation.swap(incarnation, Ordering::AcqRel) != incarnation {
            tracing::warn!(member = seat.name, "has lost its contents; all of it will be copied");
            shared.roster().lost_contents(index);
            if let Err(error) = shared.save_roster() {
                seat.failed(&error);
                return Vec::new();
            }
        }
        // That contents are lost is all right only if they are somewhere else.
        let is_replaceable = {
            let roster = shared.roster();
            !roster.members[index].is_complete && roster.live().next().is_some()
        };
        if is_replaceable {
            seat.store.accept_loss();
        }
    }
    let length = PROBE_BYTES.min(shared.size as usize);
    let outcomes = shared.call(&idle, Instant::now() + shared.config.deadline, move |store| store.read_at(0, &mut vec![0; length]));
    let mut answering = Vec::new();
    for (index, result) in outcomes {
        match result {
            Ok(()) => answering.push(index),
            Err(error) => shared.seats[index].failed(&error),
        }
    }
    // In the order of the configuration: the first that has everything becomes live.
    answering.sort_unstable();
    answering
}

/// Copies everything that a syncing member missed, and makes it live.
fn sync(shared: &Shared, index: usize) -> Result<(), StoreError> {
    let seat = &shared.seats[index];
    let (is_syncing, total) = {
        let roster = shared.roster();
        let member = &roster.members[index];
        (member.state == MemberState::Syncing, member.dirty.len())
    };
    if !is_syncing {
        return Ok(());
    }
    let progress = &shared.progress[index];
    progress.done.store(0, Ordering::Relaxed);
    progress.total.store(total, Ordering::Relaxed);
    if total > 0 {
        tracing::info!(member = seat.name, regions = total, "copying what it missed");
    }
    let mut at = 0;
    loop {
        if shared.is_closing.load(Ordering::Acquire) {
            return Err(StoreError::Unavailable("the mirror is being closed".into()));
        }
        let next = {
            let dirty = &shared.roster().members[index].dirty;
            dirty.next(at).or_else(|| dirty.next(0))
        };
        let Some(region) = next else { break };
        at = region.end;
        if !copy(shared, index, region)? {
            return Ok(());
        }
        progress.done.fetch_add(1, Ordering::Relaxed);
    }
    let flushed = shared.call(&[index], Instant::now() + shared.config.flush_deadline, |store| store.flush());
    if flushed.iter().any(|(_, result)| result.is_err()) {
        return Err(calls::first_error(flushed));
    }
    let is_live = shared.roster().synced(index);
    shared.save_roster()?;
    if is_live {
        tracing::info!(member = seat.name, regions = total, "live again");
        shared.changed.notify_all();
    }
    Ok(())
}

/// Copies one region while nobody writes to it. False if the member is no longer syncing.
fn copy(shared: &Shared, index: usize, region: Range<u64>) -> Result<bool, StoreError> {
    let deadline = Instant::now() + shared.config.deadline * 2;
    let Some(_guard) = shared.ranges.lock(region.clone(), deadline) else { return Ok(true) };
    let mut at = region.start;
    while at < region.end {
        let left = region.end - at;
        let extent = shared.some_live()?.extent_at(at, left).map_or((left, Content::Data), |extent| (extent.length, extent.content));
        let (length, content) = (extent.0.min(left), extent.1);
        let mut bytes = Vec::new();
        if content == Content::Data {
            bytes.resize(length as usize, 0);
            read::read_at(shared, at, &mut bytes)?;
        }
        let offset = at;
        let put = shared.call(&[index], Instant::now() + shared.config.deadline, move |store| match bytes.is_empty() {
            true => store.write_zeroes(offset, length, Space::Release),
            false => store.write_at(offset, &bytes),
        });
        if put.iter().any(|(_, result)| result.is_err()) {
            return Err(calls::first_error(put));
        }
        at += length;
    }
    Ok(shared.roster().copied(index, &region))
}
