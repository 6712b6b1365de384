//! From a port's id to its name in one space: an open-addressed hash table whose growth can fail without harm.
//!
//! Keys are ids from the kernel's own counter and never zero, so a multiplicative hash spreads them well. Deletion shifts back,
//! so lookups never wade through tombstones.

use abi::Code;
use alloc::vec::Vec;

const EMPTY: u64 = 0;
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Default)]
pub(crate) struct Index {
    slots: Vec<(u64, u32)>,
    used: usize,
}

impl Index {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), used: 0 }
    }

    #[cfg(test)]
    pub(crate) const fn len(&self) -> usize {
        self.used
    }

    fn home(&self, id: u64) -> usize {
        (id.wrapping_mul(SPREAD) >> 32) as usize & (self.slots.len() - 1)
    }

    fn find(&self, id: u64) -> Option<usize> {
        if self.used == 0 {
            return None;
        }
        let mut at = self.home(id);
        loop {
            match self.slots[at].0 {
                EMPTY => return None,
                found if found == id => return Some(at),
                _ => at = (at + 1) & (self.slots.len() - 1),
            }
        }
    }

    pub(crate) fn get(&self, id: u64) -> Option<u32> {
        self.find(id).map(|at| self.slots[at].1)
    }

    /// Makes room for one more.
    pub(crate) fn reserve(&mut self) -> Result<(), Code> {
        if (self.used + 1) * 4 <= self.slots.len() * 3 {
            return Ok(());
        }
        let size = (self.slots.len() * 2).max(8);
        let mut slots = Vec::new();
        slots.try_reserve_exact(size).map_err(|_| Code::RESOURCE_SHORTAGE)?;
        slots.resize(size, (EMPTY, 0));
        let old = core::mem::replace(&mut self.slots, slots);
        self.used = 0;
        for (id, name) in old {
            if id != EMPTY {
                self.set(id, name);
            }
        }
        Ok(())
    }

    /// Sets the name of a port. The caller has reserved, if the port is new.
    pub(crate) fn set(&mut self, id: u64, name: u32) {
        let mut at = self.home(id);
        while self.slots[at].0 != EMPTY && self.slots[at].0 != id {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.used += usize::from(self.slots[at].0 == EMPTY);
        self.slots[at] = (id, name);
    }

    pub(crate) fn remove(&mut self, id: u64) {
        let Some(mut hole) = self.find(id) else { return };
        let mask = self.slots.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let (other, _) = self.slots[at];
            if other == EMPTY {
                break;
            }
            // An item may move back into the hole unless its home lies after the hole.
            if (at.wrapping_sub(self.home(other)) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.slots[hole] = self.slots[at];
                hole = at;
            }
        }
        self.slots[hole] = (EMPTY, 0);
        self.used -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::Index;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((any::<bool>(), 1u64..60, any::<u32>()), 0..300)) {
            let (mut index, mut model) = (Index::new(), HashMap::new());
            for (insert, id, name) in steps {
                if insert {
                    index.reserve().unwrap();
                    index.set(id, name);
                    model.insert(id, name);
                } else {
                    index.remove(id);
                    model.remove(&id);
                }
                prop_assert_eq!(index.len(), model.len());
                for id in 1..60 {
                    prop_assert_eq!(index.get(id), model.get(&id).copied());
                }
            }
        }
    }
}
