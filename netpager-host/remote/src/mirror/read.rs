//! Reading from the member that is usually fastest, and from a second one when the first is late.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use store::StoreError;

use super::calls::late;
use super::{Peer, Replica, Shared};

/// One read in so many goes to another than the fastest, or nobody would notice that it has become faster.
const EXPLORE: u64 = 64;

/// Fills `buffer` from some live member.
pub(super) fn read_at(shared: &Shared, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
    let length = buffer.len();
    // A member that never waits can fill the buffer itself.
    if let Some((_, store)) = immediate(shared)
        && store.read_at(offset, buffer).is_ok()
    {
        return Ok(());
    }
    let bytes = fetch(shared, offset..offset + length as u64, move |store| {
        let mut bytes = Vec::new();
        store.append_to(offset, length, &mut bytes).map(|()| bytes)
    })?;
    buffer.copy_from_slice(&bytes);
    Ok(())
}

/// What some live member says.
pub(super) fn ask<T, W>(shared: &Shared, work: W) -> Result<T, StoreError>
where
    T: Send + 'static,
    W: Fn(&Peer) -> Result<T, StoreError> + Clone + Send + 'static,
{
    fetch(shared, 0..0, work)
}

fn immediate(shared: &Shared) -> Option<(usize, Arc<dyn Replica>)> {
    let roster = shared.roster();
    let index = roster.live().find(|&index| shared.seats[index].store.is_immediate())?;
    Some((index, shared.seats[index].store.clone()))
}

/// The live members, the one to ask first in front.
fn candidates(shared: &Shared) -> Vec<usize> {
    let mut live: Vec<usize> = shared.roster().live().collect();
    live.sort_by_key(|&index| shared.seats[index].read_ns.load(Ordering::Relaxed));
    let turn = shared.reads.fetch_add(1, Ordering::Relaxed);
    if turn % EXPLORE == EXPLORE - 1 {
        let by = (turn / EXPLORE) as usize % live.len().max(1);
        live.rotate_left(by);
    }
    live
}

fn fetch<T, W>(shared: &Shared, range: std::ops::Range<u64>, work: W) -> Result<T, StoreError>
where
    T: Send + 'static,
    W: Fn(&Peer) -> Result<T, StoreError> + Clone + Send + 'static,
{
    shared.wait_for_live(Instant::now() + shared.config.deadline)?;
    let candidates = candidates(shared);
    let (sender, receiver) = channel();
    let began = Instant::now();
    let deadline = began + shared.config.deadline;
    // Asked and not answered yet.
    let mut asked: Vec<usize> = Vec::new();
    let mut next = candidates.iter().copied();
    let mut error = None;
    loop {
        // Everybody who was asked has failed: ask the next one at once. Otherwise it was only late.
        if let Some(index) = next.next() {
            asked.push(index);
            shared.seats[index].lane.call(&shared.seats[index].store, index, &sender, work.clone());
        } else if asked.is_empty() {
            return Err(error.unwrap_or_else(late));
        }
        let patience = if next.len() > 0 { Instant::now() + hedge(shared, asked.last().copied()) } else { deadline };
        match receiver.recv_timeout(patience.min(deadline).saturating_duration_since(Instant::now())) {
            Ok(done) => {
                asked.retain(|&index| index != done.index);
                match done.result {
                    Ok(value) => {
                        shared.timed(done.index, done.took);
                        // Whoever was asked before and is not done is slower than that.
                        asked.iter().for_each(|&index| shared.timed(index, began.elapsed()));
                        return Ok(value);
                    }
                    Err(failure) => {
                        shared.seats[done.index].failed(&failure);
                        shared.roster().read_failed(done.index, &range);
                        shared.changed.notify_all();
                        error = error.or(Some(failure));
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
            Err(_) => {
                for &index in &asked {
                    shared.seats[index].failed(&late());
                    shared.roster().read_failed(index, &range);
                }
                shared.changed.notify_all();
                return Err(error.unwrap_or_else(late));
            }
        }
    }
}

/// How long to wait for a member before another one is asked too.
fn hedge(shared: &Shared, asked: Option<usize>) -> Duration {
    let usual = asked.map_or(0, |index| shared.seats[index].read_ns.load(Ordering::Relaxed));
    shared.config.hedge.max(Duration::from_nanos(usual.saturating_mul(4)))
}
