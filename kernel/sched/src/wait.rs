//! Waiting for an event by key, without a lock from the check to the sleep.
//!
//! Buckets are event counts. A waiter draws a ticket, checks its condition, and parks with the ticket; parking fails if anybody
//! woke the bucket in between, and the waiter checks again. A waker makes the condition true first and then wakes. So no wake-up
//! is lost, and a wake-up that nobody waits for costs one addition, one fence and one load.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

use spin::Mutex;

use crate::NoMemory;

/// How often a bucket had been woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// A parked thread: what [`WaitTable::remove`] needs. Never valid twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkToken {
    key: u64,
    serial: u64,
}

/// Why a thread wasn't parked; it comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum Unparked<T> {
    /// A wake-up came since the ticket was drawn: check again.
    Raced(T),
    /// No memory to note it.
    NoMemory(T),
}

/// All threads that wait for one key, in order.
struct Line<T> {
    key: u64,
    parked: Vec<(u64, T)>,
}

struct Bucket<T> {
    wakes: AtomicU64,
    /// Threads that are parked, or about to be.
    parked: AtomicUsize,
    lines: Mutex<Vec<Line<T>>>,
}

/// Threads that wait, by key.
pub struct WaitTable<T> {
    buckets: Vec<Bucket<T>>,
    serial: AtomicU64,
}

impl<T> WaitTable<T> {
    /// A table of at least so many buckets.
    pub fn new(buckets: usize) -> Result<Self, NoMemory> {
        let count = buckets.clamp(1, 1 << 16).next_power_of_two();
        let mut all = Vec::new();
        all.try_reserve_exact(count).map_err(|_| NoMemory)?;
        all.extend((0..count).map(|_| Bucket { wakes: AtomicU64::new(0), parked: AtomicUsize::new(0), lines: Mutex::new(Vec::new()) }));
        Ok(Self { buckets: all, serial: AtomicU64::new(0) })
    }

    fn bucket(&self, key: u64) -> &Bucket<T> {
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        &self.buckets[hash as usize & (self.buckets.len() - 1)]
    }

    /// Before the check of the condition.
    #[must_use]
    pub fn ticket(&self, key: u64) -> Ticket {
        let wakes = self.bucket(key).wakes.load(Ordering::Acquire);
        fence(Ordering::SeqCst);
        Ticket(wakes)
    }

    /// After the check: the thread waits until the key is woken or it is removed.
    pub fn park(&self, key: u64, ticket: Ticket, thread: T) -> Result<ParkToken, Unparked<T>> {
        let bucket = self.bucket(key);
        let mut lines = bucket.lines.lock();
        bucket.parked.fetch_add(1, Ordering::Relaxed);
        // Against the waker's addition and look at `parked`: one of the two sees the other.
        fence(Ordering::SeqCst);
        let result = if bucket.wakes.load(Ordering::Relaxed) == ticket.0 {
            let serial = self.serial.fetch_add(1, Ordering::Relaxed);
            add(&mut lines, key, serial, thread).map(|()| ParkToken { key, serial }).map_err(Unparked::NoMemory)
        } else {
            Err(Unparked::Raced(thread))
        };
        if result.is_err() {
            bucket.parked.fetch_sub(1, Ordering::Relaxed);
        }
        result
    }

    /// After the condition was made true: gives all threads that wait for the key, in the order they came.
    pub fn wake_all(&self, key: u64) -> impl Iterator<Item = T> + use<T> {
        let bucket = self.bucket(key);
        // Release pairs with `ticket`: who draws the new count sees the condition.
        bucket.wakes.fetch_add(1, Ordering::Release);
        fence(Ordering::SeqCst);
        let woken = if bucket.parked.load(Ordering::Relaxed) == 0 { Vec::new() } else { bucket.take(key) };
        woken.into_iter().map(|(_, thread)| thread)
    }

    /// Takes one thread back (a timeout, an abort). None if it was woken: exactly one of the two gets it.
    pub fn remove(&self, token: ParkToken) -> Option<T> {
        let bucket = self.bucket(token.key);
        let mut lines = bucket.lines.lock();
        let at = lines.iter().position(|line| line.key == token.key)?;
        let line = lines.get_mut(at)?;
        let place = line.parked.iter().position(|(serial, _)| *serial == token.serial)?;
        let (_, thread) = line.parked.remove(place);
        if line.parked.is_empty() {
            lines.swap_remove(at);
        }
        bucket.parked.fetch_sub(1, Ordering::Relaxed);
        Some(thread)
    }
}

impl<T> Bucket<T> {
    fn take(&self, key: u64) -> Vec<(u64, T)> {
        let mut lines = self.lines.lock();
        let Some(at) = lines.iter().position(|line| line.key == key) else { return Vec::new() };
        let line = lines.swap_remove(at);
        self.parked.fetch_sub(line.parked.len(), Ordering::Relaxed);
        line.parked
    }
}

fn add<T>(lines: &mut Vec<Line<T>>, key: u64, serial: u64, thread: T) -> Result<(), T> {
    if let Some(line) = lines.iter_mut().find(|line| line.key == key) {
        if line.parked.try_reserve(1).is_err() {
            return Err(thread);
        }
        line.parked.push((serial, thread));
        return Ok(());
    }
    let mut parked = Vec::new();
    if lines.try_reserve(1).is_err() || parked.try_reserve_exact(1).is_err() {
        return Err(thread);
    }
    parked.push((serial, thread));
    lines.push(Line { key, parked });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Unparked, WaitTable};
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::vec::Vec;

    #[test]
    fn a_wake_between_ticket_and_park_is_noticed() {
        let table = WaitTable::new(1).unwrap();
        let ticket = table.ticket(7);
        assert_eq!(table.wake_all(7).count(), 0);
        assert_eq!(table.park(7, ticket, 'a'), Err(Unparked::Raced('a')));
        assert!(table.park(7, table.ticket(7), 'a').is_ok());
        assert_eq!(table.wake_all(7).collect::<Vec<_>>(), ['a']);
    }

    proptest! {
        #[test]
        fn keys_are_woken_apart_and_in_order(steps in prop::collection::vec((0u8..3, 0u64..6, any::<usize>()), 0..200)) {
            let table = WaitTable::new(2).unwrap();
            let (mut model, mut stale) = (Vec::new(), Vec::new());
            for (thread, (what, key, which)) in steps.into_iter().enumerate() {
                match what {
                    0 => model.push((table.park(key, table.ticket(key), thread).unwrap(), key, thread)),
                    1 => {
                        let (woken, rest): (Vec<_>, Vec<_>) = model.into_iter().partition(|entry| entry.1 == key);
                        model = rest;
                        stale.extend(woken.iter().map(|entry| entry.0));
                        prop_assert_eq!(table.wake_all(key).collect::<Vec<_>>(), woken.iter().map(|entry| entry.2).collect::<Vec<_>>());
                    }
                    _ if !model.is_empty() => {
                        let (token, _, thread) = model.remove(which % model.len());
                        prop_assert_eq!(table.remove(token), Some(thread));
                        stale.push(token);
                    }
                    _ => {}
                }
                prop_assert!(stale.iter().all(|token| table.remove(*token).is_none()));
                let parked: usize = table.buckets.iter().map(|bucket| bucket.parked.load(Ordering::Relaxed)).sum();
                prop_assert_eq!(parked, model.len());
            }
        }
    }

    /// A waiter that is parked is only ever released by the waker; a lost wake-up hangs the test.
    #[test]
    fn no_wakeup_is_lost() {
        const ROUNDS: u64 = 20_000;
        let table = WaitTable::new(1).unwrap();
        let (turn, released) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    while turn.load(Ordering::Relaxed) <= round {
                        let ticket = table.ticket(1);
                        if turn.load(Ordering::Relaxed) > round {
                            break;
                        }
                        if table.park(1, ticket, ()).is_ok() {
                            while !released.swap(false, Ordering::SeqCst) {
                                std::thread::yield_now();
                            }
                        }
                    }
                }
            });
            for round in 0..ROUNDS {
                turn.store(round + 1, Ordering::Relaxed);
                table.wake_all(1).for_each(|()| released.store(true, Ordering::SeqCst));
                if round % 16 == 0 {
                    std::thread::yield_now();
                }
            }
        });
    }
}
