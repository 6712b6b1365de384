//! The names of a space: small integers from 1 that are reused, and any others that a user asked for by value.
//!
//! Small names index a vector whose free slots are linked both ways, so that one of them can also be asked for. Names beyond the
//! vector are kept in a tree, and move over when the vector grows to reach them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use abi::Code;

use crate::{NAME_DEAD, NAME_NULL};

enum Slot<T> {
    /// Free: the names before and after it in the free list.
    Free {
        before: u32,
        after: u32,
    },
    Used(T),
}

pub(crate) struct Table<T> {
    /// Slot i is name i + 1.
    dense: Vec<Slot<T>>,
    free: u32,
    sparse: BTreeMap<u32, T>,
}

/// Bytes that a node of the tree may take, with room to spare.
const TREE_NODE: usize = 2048;

impl<T> Table<T> {
    pub(crate) const fn new() -> Self {
        Self { dense: Vec::new(), free: NAME_NULL, sparse: BTreeMap::new() }
    }

    pub(crate) fn get(&self, name: u32) -> Option<&T> {
        match self.dense.get((name as usize).wrapping_sub(1)) {
            Some(Slot::Used(item)) => Some(item),
            Some(Slot::Free { .. }) => None,
            None => self.sparse.get(&name),
        }
    }

    pub(crate) fn get_mut(&mut self, name: u32) -> Option<&mut T> {
        match self.dense.get_mut((name as usize).wrapping_sub(1)) {
            Some(Slot::Used(item)) => Some(item),
            Some(Slot::Free { .. }) => None,
            None => self.sparse.get_mut(&name),
        }
    }

    /// Makes sure that the next [`Table::insert`] finds room.
    pub(crate) fn reserve(&mut self) -> Result<(), Code> {
        if self.free != NAME_NULL {
            return Ok(());
        }
        // A name in the tree that the vector reaches moves into it and needs a slot too.
        while let Some(moved) = self.sparse.remove(&self.next_name()) {
            if self.dense.try_reserve(1).is_err() {
                self.sparse.insert(self.next_name(), moved);
                return Err(Code::RESOURCE_SHORTAGE);
            }
            self.dense.push(Slot::Used(moved));
        }
        if self.next_name() == NAME_DEAD {
            return Err(Code::NO_SPACE);
        }
        self.dense.try_reserve(1).map_err(|_| Code::RESOURCE_SHORTAGE)
    }

    const fn next_name(&self) -> u32 {
        self.dense.len() as u32 + 1
    }

    /// Puts an item under a name of the table's choice. The caller has reserved.
    pub(crate) fn insert(&mut self, item: T) -> u32 {
        let name = self.free;
        if name == NAME_NULL {
            self.dense.push(Slot::Used(item));
            return self.dense.len() as u32;
        }
        self.unlink(name);
        self.dense[name as usize - 1] = Slot::Used(item);
        name
    }

    /// Makes sure that this name is free and can be had.
    pub(crate) fn reserve_name(&mut self, name: u32) -> Result<(), Code> {
        if self.get(name).is_some() {
            return Err(Code::NAME_EXISTS);
        }
        match name {
            NAME_NULL | NAME_DEAD => Err(Code::INVALID_VALUE),
            name if name < self.next_name() => Ok(()),
            name if name == self.next_name() => self.dense.try_reserve(1).map_err(|_| Code::RESOURCE_SHORTAGE),
            _ => crate::probe::<[u8; TREE_NODE]>(),
        }
    }

    /// Puts an item under a name that was reserved.
    pub(crate) fn insert_at(&mut self, name: u32, item: T) {
        if name < self.next_name() {
            self.unlink(name);
            self.dense[name as usize - 1] = Slot::Used(item);
        } else if name == self.next_name() {
            self.dense.push(Slot::Used(item));
        } else {
            self.sparse.insert(name, item);
        }
    }

    pub(crate) fn remove(&mut self, name: u32) -> Option<T> {
        let Some(slot) = self.dense.get_mut((name as usize).wrapping_sub(1)) else {
            return self.sparse.remove(&name);
        };
        if let Slot::Free { .. } = slot {
            return None;
        }
        let old = core::mem::replace(slot, Slot::Free { before: NAME_NULL, after: self.free });
        if let Some(Slot::Free { before, .. }) = self.dense.get_mut((self.free as usize).wrapping_sub(1)) {
            *before = name;
        }
        self.free = name;
        match old {
            Slot::Used(item) => Some(item),
            Slot::Free { .. } => None,
        }
    }

    /// Whether there are neither names nor slots: so after [`Table::pop`] gave all.
    pub(crate) fn is_bare(&self) -> bool {
        self.dense.is_empty() && self.sparse.is_empty()
    }

    /// Takes any item out, for the end of a space; a bounded step each time.
    pub(crate) fn pop(&mut self) -> Option<(u32, T)> {
        self.free = NAME_NULL;
        while let Some(slot) = self.dense.pop() {
            if let Slot::Used(item) = slot {
                return Some((self.next_name(), item));
            }
        }
        self.sparse.pop_first()
    }

    /// All names and items.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let dense = self.dense.iter().enumerate().filter_map(|(index, slot)| match slot {
            Slot::Used(item) => Some((index as u32 + 1, item)),
            Slot::Free { .. } => None,
        });
        dense.chain(self.sparse.iter().map(|(name, item)| (*name, item)))
    }

    fn unlink(&mut self, name: u32) {
        let Some(Slot::Free { before, after }) = self.dense.get(name as usize - 1) else { return };
        let (was_before, was_after) = (*before, *after);
        match self.dense.get_mut((was_before as usize).wrapping_sub(1)) {
            Some(Slot::Free { after, .. }) => *after = was_after,
            _ => self.free = was_after,
        }
        if let Some(Slot::Free { before, .. }) = self.dense.get_mut((was_after as usize).wrapping_sub(1)) {
            *before = was_before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Table;
    use abi::Code;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    #[test]
    fn names_count_from_one_and_are_reused() {
        let mut table = Table::new();
        let names: Vec<u32> = (0..4).map(|item| table.reserve().map(|()| table.insert(item)).unwrap()).collect();
        assert_eq!(names, [1, 2, 3, 4]);
        assert_eq!(table.remove(2), Some(1));
        table.reserve().unwrap();
        assert_eq!(table.insert(9), 2);
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0u8..3, 0u32..24), 0..200)) {
            let (mut table, mut model) = (Table::new(), BTreeMap::new());
            for (value, (what, name)) in steps.into_iter().enumerate() {
                match what {
                    0 => {
                        table.reserve().unwrap();
                        prop_assert_eq!(model.insert(table.insert(value), value), None);
                    }
                    1 => match table.reserve_name(name) {
                        Ok(()) => {
                            table.insert_at(name, value);
                            prop_assert_eq!(model.insert(name, value), None);
                        }
                        Err(code) if name == 0 => prop_assert_eq!(code, Code::INVALID_VALUE),
                        Err(code) => prop_assert!(code == Code::NAME_EXISTS && model.contains_key(&name)),
                    },
                    _ => prop_assert_eq!(table.remove(name), model.remove(&name)),
                }
                let mut all: Vec<_> = table.iter().map(|(name, value)| (name, *value)).collect();
                all.sort_unstable();
                prop_assert_eq!(all, model.iter().map(|(name, value)| (*name, *value)).collect::<Vec<_>>());
                for name in 0..24 {
                    prop_assert_eq!(table.get(name), model.get(&name));
                }
            }
            while let Some((name, value)) = table.pop() {
                prop_assert_eq!(model.remove(&name), Some(value));
            }
            prop_assert!(model.is_empty());
        }
    }
}
