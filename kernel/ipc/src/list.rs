//! A queue from whose middle an item can be removed in constant time by the place it was given.
//!
//! Waiting threads, ready members of a set and dead-name requests all need that. A place is never valid twice, so removing with a
//! stale one finds nothing: that is how exactly one of "popped" and "cancelled" wins.

use alloc::vec::Vec;

const NONE: u32 = u32::MAX;

/// Where an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    slot: u32,
    serial: u32,
}

struct Node<T> {
    item: Option<T>,
    serial: u32,
    before: u32,
    after: u32,
}

pub(crate) struct List<T> {
    nodes: Vec<Node<T>>,
    first: u32,
    last: u32,
    free: u32,
    length: usize,
    serial: u32,
}

impl<T> List<T> {
    pub(crate) const fn new() -> Self {
        Self { nodes: Vec::new(), first: NONE, last: NONE, free: NONE, length: 0, serial: 0 }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Makes sure that `count` items fit in all. False if there is no memory.
    pub(crate) fn reserve(&mut self, count: usize) -> bool {
        self.nodes.try_reserve(count.saturating_sub(self.nodes.len())).is_ok()
    }

    /// Appends. Gives the item back if there is no memory; never happens within a reservation.
    pub(crate) fn push(&mut self, item: T) -> Result<Place, T> {
        if self.free == NONE && !self.reserve(self.nodes.len() + 1) {
            return Err(item);
        }
        self.serial = self.serial.wrapping_add(1);
        let node = Node { item: Some(item), serial: self.serial, before: self.last, after: NONE };
        let slot = if self.free == NONE {
            self.nodes.push(node);
            self.nodes.len() as u32 - 1
        } else {
            let slot = self.free;
            self.free = self.nodes[slot as usize].after;
            self.nodes[slot as usize] = node;
            slot
        };
        match self.last {
            NONE => self.first = slot,
            last => self.nodes[last as usize].after = slot,
        }
        self.last = slot;
        self.length += 1;
        Ok(Place { slot, serial: self.serial })
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.first == NONE { None } else { self.unlink(self.first) }
    }

    pub(crate) fn get_mut(&mut self, place: Place) -> Option<&mut T> {
        let node = self.nodes.get_mut(place.slot as usize)?;
        if node.serial == place.serial { node.item.as_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, place: Place) -> Option<T> {
        self.get_mut(place)?;
        self.unlink(place.slot)
    }

    /// All items, in order.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let mut at = self.first;
        core::iter::from_fn(move || {
            let node = self.nodes.get(at as usize)?;
            at = node.after;
            node.item.as_ref()
        })
    }

    fn unlink(&mut self, slot: u32) -> Option<T> {
        let free = self.free;
        let node = self.nodes.get_mut(slot as usize)?;
        let item = node.item.take()?;
        let (before, after) = (node.before, node.after);
        node.after = free;
        self.free = slot;
        match before {
            NONE => self.first = after,
            before => self.nodes[before as usize].after = after,
        }
        match after {
            NONE => self.last = before,
            after => self.nodes[after as usize].before = before,
        }
        self.length -= 1;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::List;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn it_is_a_queue_with_removal(steps in prop::collection::vec((0u8..3, 0usize..8), 0..200)) {
            let (mut list, mut model, mut stale) = (List::new(), Vec::new(), Vec::new());
            for (value, (what, which)) in steps.into_iter().enumerate() {
                match what {
                    0 => model.push((list.push(value).unwrap(), value)),
                    1 => {
                        let expected = if model.is_empty() { None } else { Some(model.remove(0)) };
                        stale.extend(expected.map(|(place, _)| place));
                        prop_assert_eq!(list.pop(), expected.map(|(_, value)| value));
                    }
                    _ if which < model.len() => {
                        let (place, value) = model.remove(which);
                        stale.push(place);
                        prop_assert_eq!(list.remove(place), Some(value));
                    }
                    _ => {}
                }
                for place in &stale {
                    prop_assert_eq!(list.remove(*place), None);
                }
                prop_assert_eq!(list.is_empty(), model.is_empty());
                prop_assert!(list.iter().eq(model.iter().map(|(_, value)| value)));
            }
        }
    }
}
