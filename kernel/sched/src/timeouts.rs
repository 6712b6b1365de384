//! Timeouts: what is due when, with removal of any of them.
//!
//! A binary heap of deadlines whose entries know their place, so that cancelling costs no more than adding; most timeouts are
//! cancelled.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use spin::Mutex;

use crate::NoMemory;

/// One timeout: what [`Timeouts::cancel`] needs. Never valid twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout {
    slot: u32,
    serial: u64,
}

struct Entry<K> {
    key: Option<K>,
    deadline: u64,
    serial: u64,
    /// Where in the heap; if free, the next free slot.
    at: u32,
}

struct Heap<K> {
    entries: Vec<Entry<K>>,
    /// Slots of entries, each due no later than those at 2i + 1 and 2i + 2.
    order: Vec<u32>,
    free: u32,
    serial: u64,
}

const NONE: u32 = u32::MAX;
const NEVER: u64 = u64::MAX;

/// Timeouts in the order of their deadlines. Equal deadlines expire in the order in which they were added.
pub struct Timeouts<K> {
    heap: Mutex<Heap<K>>,
    next: AtomicU64,
}

impl<K> Default for Timeouts<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> Timeouts<K> {
    #[must_use]
    pub const fn new() -> Self {
        Self { heap: Mutex::new(Heap { entries: Vec::new(), order: Vec::new(), free: NONE, serial: 0 }), next: AtomicU64::new(NEVER) }
    }

    /// Makes room for so many at once: while there are no more, [`Timeouts::add`] can't fail.
    pub fn reserve(&self, count: usize) -> Result<(), NoMemory> {
        self.heap.lock().reserve(count)
    }

    /// Adds one. The deadline is a time in whatever unit `expired` is asked in; the largest value never comes.
    pub fn add(&self, deadline: u64, key: K) -> Result<Timeout, NoMemory> {
        let mut heap = self.heap.lock();
        let timeout = heap.add(deadline, key)?;
        self.next.store(heap.next(), Ordering::Relaxed);
        Ok(timeout)
    }

    /// Takes one back. None if it has expired or was cancelled before: exactly one of the two gets the key.
    pub fn cancel(&self, timeout: Timeout) -> Option<K> {
        let mut heap = self.heap.lock();
        let entry = heap.entries.get(timeout.slot as usize).filter(|entry| entry.serial == timeout.serial && entry.key.is_some())?;
        let at = entry.at as usize;
        let key = heap.remove(at);
        self.next.store(heap.next(), Ordering::Relaxed);
        key
    }

    /// Takes the first that is due. Call until there is none.
    pub fn expired(&self, now: u64) -> Option<K> {
        if self.next.load(Ordering::Relaxed) > now {
            return None;
        }
        let mut heap = self.heap.lock();
        if heap.next() > now || heap.order.is_empty() {
            return None;
        }
        let key = heap.remove(0);
        self.next.store(heap.next(), Ordering::Relaxed);
        key
    }

    /// The first deadline.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        Some(self.next.load(Ordering::Relaxed)).filter(|next| *next != NEVER)
    }
}

impl<K> Heap<K> {
    fn reserve(&mut self, count: usize) -> Result<(), NoMemory> {
        self.entries.try_reserve(count.saturating_sub(self.entries.len())).map_err(|_| NoMemory)?;
        self.order.try_reserve(count.saturating_sub(self.order.len())).map_err(|_| NoMemory)
    }

    fn next(&self) -> u64 {
        self.order.first().map_or(NEVER, |slot| self.entries[*slot as usize].deadline)
    }

    fn rank(&self, at: usize) -> (u64, u64) {
        let entry = &self.entries[self.order[at] as usize];
        (entry.deadline, entry.serial)
    }

    fn add(&mut self, deadline: u64, key: K) -> Result<Timeout, NoMemory> {
        self.reserve(self.order.len() + 1)?;
        self.serial += 1;
        let at = self.order.len() as u32;
        let entry = Entry { key: Some(key), deadline, serial: self.serial, at };
        let slot = if self.free == NONE {
            self.entries.push(entry);
            self.entries.len() as u32 - 1
        } else {
            let slot = self.free;
            self.free = self.entries[slot as usize].at;
            self.entries[slot as usize] = entry;
            slot
        };
        self.order.push(slot);
        self.rise(at as usize);
        Ok(Timeout { slot, serial: self.serial })
    }

    fn remove(&mut self, at: usize) -> Option<K> {
        let slot = self.order.swap_remove(at);
        if at < self.order.len() {
            self.place(at);
            self.rise(at);
            self.sink(at);
        }
        let entry = &mut self.entries[slot as usize];
        entry.at = self.free;
        self.free = slot;
        entry.key.take()
    }

    fn place(&mut self, at: usize) {
        let slot = self.order[at];
        self.entries[slot as usize].at = at as u32;
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.order.swap(one, other);
        self.place(one);
        self.place(other);
    }

    fn rise(&mut self, mut at: usize) {
        while at > 0 && self.rank(at) < self.rank((at - 1) / 2) {
            self.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let below = [2 * at + 1, 2 * at + 2].into_iter().filter(|child| *child < self.order.len());
            let Some(least) = below.min_by_key(|child| self.rank(*child)) else { return };
            if self.rank(at) <= self.rank(least) {
                return;
            }
            self.swap(at, least);
            at = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Timeouts;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Add(u64),
        Cancel(usize),
        Expire(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0u64..50).prop_map(Step::Add),
            2 => any::<usize>().prop_map(Step::Cancel),
            2 => (0u64..50).prop_map(Step::Expire),
        ]
    }

    proptest! {
        #[test]
        fn it_is_an_ordered_map(steps in prop::collection::vec(step(), 0..200)) {
            let (timeouts, mut model, mut tokens) = (Timeouts::new(), BTreeMap::new(), Vec::new());
            for (key, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Add(deadline) => {
                        tokens.push((timeouts.add(deadline, key).unwrap(), deadline, key));
                        model.insert((deadline, key), ());
                    }
                    Step::Cancel(which) if !tokens.is_empty() => {
                        let (token, deadline, key) = tokens[which % tokens.len()];
                        let expected = model.remove(&(deadline, key)).map(|()| key);
                        prop_assert_eq!(timeouts.cancel(token), expected);
                    }
                    Step::Cancel(_) => {}
                    Step::Expire(now) => {
                        let due = model.keys().next().copied().filter(|(deadline, _)| *deadline <= now);
                        due.and_then(|due| model.remove(&due));
                        prop_assert_eq!(timeouts.expired(now), due.map(|(_, key)| key));
                    }
                }
                prop_assert_eq!(timeouts.next_deadline(), model.keys().next().map(|(deadline, _)| *deadline));
                let heap = timeouts.heap.lock();
                for (at, slot) in heap.order.iter().enumerate() {
                    prop_assert_eq!(heap.entries[*slot as usize].at as usize, at);
                    prop_assert!(at == 0 || heap.rank((at - 1) / 2) < heap.rank(at));
                }
            }
        }
    }
}
