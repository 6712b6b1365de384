//! The driver's own record of every descriptor: free, or the head of a chain in flight.
//!
//! The device can write to ring memory, so nothing there is ever read back to decide what is free, how a chain
//! continues or whom it belongs to. This is the shadow that decides, and a completion is believed only as far as the
//! shadow agrees.

use crate::OutOfMemory;
use alloc::{boxed::Box, vec::Vec};

/// A chain the device holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight {
    /// Whose it is.
    pub(crate) token: u64,
    /// How much the device may say it wrote.
    pub(crate) writable_bytes: u64,
    /// How many ring descriptors it occupies.
    descriptors: u16,
    /// The last of them, to put the chain back in one step.
    tail: u16,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The next free descriptor, or the next one of the chain.
    next: u16,
    /// Set on the head of a chain in flight and on nothing else.
    head: Option<InFlight>,
}

/// All descriptors of one ring.
#[derive(Debug)]
pub(crate) struct Slots {
    entries: Box<[Entry]>,
    first_free: u16,
    free: u16,
    in_flight: u16,
}

impl Slots {
    pub(crate) fn new(size: u16) -> Result<Self, OutOfMemory> {
        let mut entries = Vec::new();
        let bytes = usize::from(size) * size_of::<Entry>();
        entries.try_reserve_exact(usize::from(size)).map_err(|_| OutOfMemory { bytes })?;
        entries.extend((0..size).map(|index| Entry { next: index.wrapping_add(1), head: None }));
        Ok(Self { entries: entries.into_boxed_slice(), first_free: 0, free: size, in_flight: 0 })
    }

    pub(crate) fn in_flight(&self) -> u16 {
        self.in_flight
    }

    /// The descriptor the next chain will start at.
    pub(crate) fn next_head(&self) -> Option<u16> {
        (self.free > 0).then_some(self.first_free)
    }

    /// The descriptor after `index` in its chain.
    pub(crate) fn next(&self, index: u16) -> u16 {
        self.entries[usize::from(index)].next
    }

    /// Takes `descriptors` (at least one) off the free list as one chain and returns its head.
    pub(crate) fn take(&mut self, descriptors: u16, token: u64, writable_bytes: u64) -> Option<u16> {
        if descriptors == 0 || descriptors > self.free {
            return None;
        }
        let head = self.first_free;
        let tail = (1..descriptors).fold(head, |index, _| self.next(index));
        self.first_free = self.next(tail);
        self.free -= descriptors;
        self.in_flight += 1;
        self.entries[usize::from(head)].head = Some(InFlight { token, writable_bytes, descriptors, tail });
        Some(head)
    }

    /// The chain in flight that starts at `head`, if there is one.
    pub(crate) fn get(&self, head: u16) -> Option<InFlight> {
        self.entries.get(usize::from(head)).and_then(|entry| entry.head)
    }

    /// Puts the chain at `head` back on the free list.
    pub(crate) fn release(&mut self, head: u16) -> Option<InFlight> {
        let chain = self.entries.get_mut(usize::from(head))?.head.take()?;
        self.entries[usize::from(chain.tail)].next = self.first_free;
        self.first_free = head;
        self.free += chain.descriptors;
        self.in_flight -= 1;
        Some(chain)
    }

    /// Any chain still in flight, looked for from `from` upwards.
    pub(crate) fn first_in_flight(&self, from: u16) -> Option<u16> {
        (from..self.entries.len() as u16).find(|&index| self.entries[usize::from(index)].head.is_some())
    }

    /// Every descriptor is on the free list once or in one chain once, and the counters say so.
    #[cfg(any(test, feature = "model"))]
    pub(crate) fn check(&self) {
        let mut seen = alloc::vec![false; self.entries.len()];
        let mut walk = |mut index: u16, count: u16| {
            for _ in 0..count {
                assert!(!core::mem::replace(&mut seen[usize::from(index)], true), "descriptor {index} seen twice");
                index = self.entries[usize::from(index)].next;
            }
        };
        walk(self.first_free, self.free);
        let mut heads = 0;
        for (index, entry) in self.entries.iter().enumerate() {
            if let Some(chain) = entry.head {
                walk(index as u16, chain.descriptors);
                heads += 1;
            }
        }
        assert_eq!(heads, self.in_flight);
        assert!(seen.iter().all(|&one| one), "a descriptor is neither free nor in flight");
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;

    #[test]
    fn chains_come_back_whole() {
        let mut slots = Slots::new(8).unwrap();
        let first = slots.take(3, 1, 0).unwrap();
        let second = slots.take(5, 2, 0).unwrap();
        slots.check();
        assert_eq!(slots.next_head(), None);
        assert!(slots.take(1, 3, 0).is_none());
        assert_eq!(slots.release(first).unwrap().token, 1);
        slots.check();
        assert_eq!(slots.free, 3);
        assert!(slots.release(first).is_none(), "only once");
        assert_eq!(slots.release(second).unwrap().token, 2);
        slots.check();
        assert_eq!((slots.free, slots.in_flight), (8, 0));
    }

    #[test]
    fn the_middle_of_a_chain_is_not_a_head() {
        let mut slots = Slots::new(4).unwrap();
        let head = slots.take(3, 9, 0).unwrap();
        assert!(slots.get(slots.next(head)).is_none());
        assert!(slots.release(slots.next(head)).is_none());
        assert!(slots.get(100).is_none());
    }
}
