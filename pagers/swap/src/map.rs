//! Which slot holds which page: a hash table in which a slot's own entry is the chain link, so that it is never too small.
//!
//! The kernel keeps all anonymous memory in one object with a huge, sparse offset space, so a table by offset would be as sparse. Here
//! each slot has one entry, made before the first page comes: a page can have a slot exactly when there is a free one, in any pattern.
//! An entry is six bytes: of the page's key it holds only what its bucket doesn't say already (a bijection spreads the keys over the
//! buckets), and the last of a chain points back to the bucket, so that the key of a slot can be found too. With a bucket for four to
//! eight slots that makes about seven bytes a page. Neighbouring pages have neighbouring buckets, since they come in runs.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use crate::slots::SLOTS_MAX;

/// A page of one of the pager's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Which object: below [`Key::SPACES`].
    pub space: u16,
    pub page: u32,
}

/// What the map knows of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub slot: u32,
    /// The page was sent to the slot, and nothing has shown yet that it arrived.
    pub in_doubt: bool,
}

const SPACE_BITS: u32 = 10;
const KEY_BITS: u32 = SPACE_BITS + 32;
/// Pages of a group have buckets side by side.
const GROUP_BITS: u32 = 3;
const GROUP_MASK: u64 = (1 << GROUP_BITS) - 1;
const MIXED_BITS: u32 = KEY_BITS - GROUP_BITS;
const MIXED_MASK: u64 = (1 << MIXED_BITS) - 1;
/// Odd, and near the golden ratio's share of 2^39, so that near groups go far apart.
const SPREAD: u64 = 0x4f_1bbc_dcbf;
const GATHER: u64 = inverse(SPREAD);
const NONE: u32 = u32::MAX;

/// The number that undoes a multiplication modulo 2^39 by an odd one: Newton's iteration, which doubles the good bits each time.
const fn inverse(odd: u64) -> u64 {
    let mut result = 1_u64;
    let mut round = 0;
    while round < 6 {
        result = result.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(result)));
        round += 1;
    }
    result & MIXED_MASK
}

const _: () = assert!(SPREAD.wrapping_mul(GATHER) & MIXED_MASK == 1);

impl Key {
    /// How many objects there can be.
    pub const SPACES: u16 = 1 << SPACE_BITS;

    const fn bits(self) -> u64 {
        (self.space as u64) << 32 | self.page as u64
    }
}

/// The entry of a slot, unpacked.
#[derive(Clone, Copy)]
struct Entry {
    in_use: bool,
    in_doubt: bool,
    /// The slot after it in the chain, or its bucket if it is the last.
    next: u32,
    is_last: bool,
    rest: u64,
}

/// The map.
#[derive(Debug)]
pub struct PageMap {
    entries: Vec<[u16; 3]>,
    buckets: Vec<u32>,
    bucket_bits: u32,
    /// Bits of `next`.
    index_bits: u32,
    used: u32,
}

impl PageMap {
    /// A map for so many slots.
    pub fn new(slots: u32) -> Result<Self, TryReserveError> {
        let slots = slots.clamp(1, SLOTS_MAX);
        let index_bits = u32::BITS - (slots - 1).max(1).leading_zeros();
        let bucket_bits = index_bits.saturating_sub(3).max(GROUP_BITS);
        let mut entries = Vec::new();
        entries.try_reserve_exact(slots as usize)?;
        entries.resize(slots as usize, [0; 3]);
        let mut buckets = Vec::new();
        buckets.try_reserve_exact(1 << bucket_bits)?;
        buckets.resize(1 << bucket_bits, NONE);
        Ok(Self { entries, buckets, bucket_bits, index_bits: index_bits.max(bucket_bits), used: 0 })
    }

    /// Pages in the map.
    #[must_use]
    pub const fn used(&self) -> u32 {
        self.used
    }

    /// Bytes of its tables.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.entries.len() * size_of::<[u16; 3]>() + self.buckets.len() * size_of::<u32>()
    }

    const fn rest_bits(&self) -> u32 {
        KEY_BITS - self.bucket_bits
    }

    /// The bucket of a key, and what else there is to the key.
    const fn place(&self, key: Key) -> (u32, u64) {
        let bits = key.bits();
        let mixed = (bits >> GROUP_BITS).wrapping_mul(SPREAD) & MIXED_MASK;
        let rest = mixed & ((1 << self.rest_bits()) - 1);
        let bucket = (mixed >> self.rest_bits()) << GROUP_BITS | (bits & GROUP_MASK) ^ self.shuffle(rest);
        (bucket as u32, rest)
    }

    /// Which of a group's buckets is its first: else all groups with one page in use would use the same.
    const fn shuffle(&self, rest: u64) -> u64 {
        rest >> (self.rest_bits() - GROUP_BITS)
    }

    /// The key of a bucket and a rest.
    const fn key(&self, bucket: u32, rest: u64) -> Key {
        let mixed = (bucket as u64 >> GROUP_BITS) << self.rest_bits() | rest;
        let group = mixed.wrapping_mul(GATHER) & MIXED_MASK;
        let bits = group << GROUP_BITS | (bucket as u64 & GROUP_MASK) ^ self.shuffle(rest);
        Key { space: (bits >> 32) as u16, page: bits as u32 }
    }

    fn entry(&self, slot: u32) -> Entry {
        let [low, middle, high] = self.entries[slot as usize];
        let bits = u64::from(low) | u64::from(middle) << 16 | u64::from(high) << 32;
        let next = (bits >> 3) as u32 & (((1_u64 << self.index_bits) - 1) as u32);
        Entry { in_use: bits & 1 != 0, in_doubt: bits & 2 != 0, is_last: bits & 4 != 0, next, rest: bits >> (3 + self.index_bits) }
    }

    fn set_entry(&mut self, slot: u32, entry: Entry) {
        let flags = u64::from(entry.in_use) | u64::from(entry.in_doubt) << 1 | u64::from(entry.is_last) << 2;
        let bits = flags | u64::from(entry.next) << 3 | entry.rest << (3 + self.index_bits);
        debug_assert!(bits < 1 << 48);
        self.entries[slot as usize] = [bits as u16, (bits >> 16) as u16, (bits >> 32) as u16];
    }

    /// The slots of a bucket's chain.
    fn chain(&self, bucket: u32) -> impl Iterator<Item = (u32, Entry)> {
        let mut next = Some(self.buckets[bucket as usize]).filter(|slot| *slot != NONE);
        core::iter::from_fn(move || {
            let slot = next?;
            let entry = self.entry(slot);
            next = (!entry.is_last).then_some(entry.next);
            Some((slot, entry))
        })
    }

    /// Where a page is.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<Found> {
        let (bucket, rest) = self.place(key);
        let (slot, entry) = self.chain(bucket).find(|(_, entry)| entry.rest == rest)?;
        Some(Found { slot, in_doubt: entry.in_doubt })
    }

    /// Which page a slot holds.
    #[must_use]
    pub fn key_of(&self, slot: u32) -> Option<Key> {
        let first = self.entry(slot);
        if !first.in_use {
            return None;
        }
        let mut last = first;
        while !last.is_last {
            last = self.entry(last.next);
        }
        Some(self.key(last.next, first.rest))
    }

    /// Says where a page is now, and gives the slot where it was.
    ///
    /// # Panics
    /// If the slot holds a page already: who says so has lost one.
    pub fn insert(&mut self, key: Key, slot: u32, in_doubt: bool) -> Option<u32> {
        assert!(!self.entry(slot).in_use, "slot {slot} holds a page already");
        let before = self.remove(key);
        let (bucket, rest) = self.place(key);
        let head = self.buckets[bucket as usize];
        let (next, is_last) = if head == NONE { (bucket, true) } else { (head, false) };
        self.set_entry(slot, Entry { in_use: true, in_doubt, next, is_last, rest });
        self.buckets[bucket as usize] = slot;
        self.used += 1;
        before
    }

    /// Forgets a page, and gives its slot.
    pub fn remove(&mut self, key: Key) -> Option<u32> {
        let (bucket, rest) = self.place(key);
        let mut before = None;
        let found = self.chain(bucket).find(|(slot, entry)| {
            let is_it = entry.rest == rest;
            if !is_it {
                before = Some(*slot);
            }
            is_it
        });
        let (slot, entry) = found?;
        match before {
            None => self.buckets[bucket as usize] = if entry.is_last { NONE } else { entry.next },
            Some(before) => {
                let link = Entry { next: entry.next, is_last: entry.is_last, ..self.entry(before) };
                self.set_entry(before, link);
            }
        }
        self.entries[slot as usize] = [0; 3];
        self.used -= 1;
        Some(slot)
    }

    /// Says whether a page's arrival is in doubt.
    pub fn set_in_doubt(&mut self, slot: u32, in_doubt: bool) {
        let entry = self.entry(slot);
        if entry.in_use {
            self.set_entry(slot, Entry { in_doubt, ..entry });
        }
    }

    /// Every entry is on the chain of its bucket, once; no key is there twice.
    #[cfg(any(test, debug_assertions))]
    pub fn check(&self) {
        let mut seen = alloc::collections::BTreeSet::new();
        for bucket in 0..self.buckets.len() as u32 {
            for (slot, entry) in self.chain(bucket) {
                assert!(entry.in_use, "slot {slot} is on a chain and not in use");
                assert!(!entry.is_last || entry.next == bucket, "the chain of bucket {bucket} ends in another");
                assert!(seen.insert(self.key(bucket, entry.rest)), "a key is there twice");
            }
        }
        let in_use = (0..self.entries.len() as u32).filter(|slot| self.entry(*slot).in_use).count();
        assert_eq!((seen.len(), in_use), (self.used as usize, self.used as usize));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{Found, Key, PageMap};

    #[test]
    fn a_page_costs_less_than_eight_bytes() {
        for slots in [1 << 12, 1 << 18, (1 << 18) + 1, 1 << 22] {
            let map = PageMap::new(slots).unwrap();
            // The bitmap of free slots adds an eighth of a byte.
            assert!(map.bytes() as f64 / f64::from(slots) + 0.125 <= 8.0, "{} bytes for {slots} slots", map.bytes());
        }
    }

    #[test]
    fn a_full_map_of_any_pattern_finds_every_page() {
        for (name, stride) in [("dense", 1_u32), ("one page of an extent", 64), ("far apart", 999_983)] {
            let slots = 4096;
            let mut map = PageMap::new(slots).unwrap();
            let key = |slot: u32| Key { space: (slot % 3) as u16, page: slot.wrapping_mul(stride) };
            (0..slots).for_each(|slot| assert_eq!(map.insert(key(slot), slot, false), None));
            map.check();
            let longest = (0..map.buckets.len() as u32).map(|bucket| map.chain(bucket).count()).max();
            assert!(longest < Some(32), "{name}: a chain of {longest:?}");
            for slot in 0..slots {
                assert_eq!(map.get(key(slot)), Some(Found { slot, in_doubt: false }), "{name}");
                assert_eq!(map.key_of(slot), Some(key(slot)), "{name}");
            }
        }
    }

    #[test]
    fn the_ends_of_the_key_space_are_keys() {
        let mut map = PageMap::new(8).unwrap();
        let ends = [(0, 0), (0, u32::MAX), (Key::SPACES - 1, 0), (Key::SPACES - 1, u32::MAX)];
        for (slot, (space, page)) in ends.into_iter().enumerate() {
            map.insert(Key { space, page }, slot as u32, true);
        }
        for (slot, (space, page)) in ends.into_iter().enumerate() {
            assert_eq!(map.key_of(slot as u32), Some(Key { space, page }));
        }
        assert_eq!(PageMap::new(1).unwrap().key_of(0), None);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(Key, u32, bool),
        Remove(Key),
        Doubt(Key, bool),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let key = (0..4_u16, prop_oneof![0..40_u32, Just(u32::MAX)]).prop_map(|(space, page)| Key { space, page });
        let step = prop_oneof![
            3 => (key.clone(), 0..20_u32, any::<bool>()).prop_map(|(key, slot, doubt)| Step::Insert(key, slot, doubt)),
            1 => key.clone().prop_map(Step::Remove),
            1 => (key, any::<bool>()).prop_map(|(key, doubt)| Step::Doubt(key, doubt)),
        ];
        proptest::collection::vec(step, 1..80)
    }

    proptest! {
        #[test]
        fn the_map_agrees_with_a_btree(steps in steps()) {
            let mut map = PageMap::new(20).unwrap();
            let mut model: BTreeMap<Key, Found> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Insert(key, slot, in_doubt) => {
                        if model.values().all(|found| found.slot != slot) {
                            let before = model.insert(key, Found { slot, in_doubt });
                            prop_assert_eq!(map.insert(key, slot, in_doubt), before.map(|found| found.slot));
                        }
                    }
                    Step::Remove(key) => prop_assert_eq!(map.remove(key), model.remove(&key).map(|found| found.slot)),
                    Step::Doubt(key, in_doubt) => {
                        if let Some(found) = model.get_mut(&key) {
                            found.in_doubt = in_doubt;
                            map.set_in_doubt(found.slot, in_doubt);
                        }
                    }
                }
                map.check();
                prop_assert_eq!(map.used() as usize, model.len());
                for (key, found) in &model {
                    prop_assert_eq!(map.get(*key), Some(*found));
                    prop_assert_eq!(map.key_of(found.slot), Some(*key));
                }
            }
        }
    }
}
