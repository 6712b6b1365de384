//! One CPU's queued threads: a queue per priority and a bitmap of those that aren't empty.

use alloc::vec::Vec;

use crate::NoMemory;
use crate::run::PRIORITIES;

const NONE: u32 = u32::MAX;

struct Node<T> {
    /// None: free.
    item: Option<T>,
    after: u32,
}

/// All queues share one pool of nodes, so room for every thread is one reservation and queueing never allocates.
pub(crate) struct Queue<T> {
    nodes: Vec<Node<T>>,
    free: u32,
    /// Bit p: queue p isn't empty.
    used: u64,
    first: [u32; PRIORITIES],
    last: [u32; PRIORITIES],
}

impl<T> Queue<T> {
    pub(crate) const fn new() -> Self {
        Self { nodes: Vec::new(), free: NONE, used: 0, first: [NONE; PRIORITIES], last: [NONE; PRIORITIES] }
    }

    pub(crate) fn reserve(&mut self, count: usize) -> Result<(), NoMemory> {
        self.nodes.try_reserve(count.saturating_sub(self.nodes.len())).map_err(|_| NoMemory)
    }

    /// The best priority that is queued.
    pub(crate) const fn best(&self) -> Option<u8> {
        if self.used == 0 { None } else { Some(self.used.trailing_zeros() as u8) }
    }

    pub(crate) fn push(&mut self, item: T, priority: u8) {
        let node = Node { item: Some(item), after: NONE };
        let slot = if self.free == NONE {
            self.nodes.push(node);
            self.nodes.len() as u32 - 1
        } else {
            let slot = self.free;
            self.free = self.nodes[slot as usize].after;
            self.nodes[slot as usize] = node;
            slot
        };
        let priority = priority as usize;
        match self.last[priority] {
            NONE => self.first[priority] = slot,
            last => self.nodes[last as usize].after = slot,
        }
        self.last[priority] = slot;
        self.used |= 1 << priority;
    }

    /// The first of the best priority.
    pub(crate) fn pop(&mut self) -> Option<(T, u8)> {
        let best = self.best()?;
        let priority = best as usize;
        let slot = self.first[priority];
        let node = self.nodes.get_mut(slot as usize)?;
        let item = node.item.take()?;
        self.first[priority] = core::mem::replace(&mut node.after, self.free);
        self.free = slot;
        if self.first[priority] == NONE {
            self.last[priority] = NONE;
            self.used &= !(1 << priority);
        }
        Some((item, best))
    }
}

#[cfg(test)]
mod tests {
    use super::Queue;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn best_priority_first_and_in_turn(steps in prop::collection::vec(prop::option::of(0u8..64), 0..200)) {
            let (mut queue, mut model) = (Queue::new(), Vec::<(u8, usize)>::new());
            for (item, step) in steps.into_iter().enumerate() {
                match step {
                    Some(priority) => {
                        queue.push(item, priority);
                        model.push((priority, item));
                    }
                    None => {
                        let expected = model.iter().copied().min();
                        model.retain(|entry| Some(*entry) != expected);
                        prop_assert_eq!(queue.pop(), expected.map(|(priority, item)| (item, priority)));
                    }
                }
                prop_assert_eq!(queue.best(), model.iter().map(|entry| entry.0).min());
            }
        }
    }
}
