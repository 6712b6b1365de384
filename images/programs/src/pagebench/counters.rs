//! The kernel's counters, before and after.

use abi::Code;
use abi::call::pvmach_control::host_vm_counters;
use abi::info::VmCounter;
use runtime::SendRight;

/// All counters at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters([u64; VmCounter::COUNT]);

impl Counters {
    /// Reads them.
    pub fn read() -> Result<Self, Code> {
        let reply = SendRight::host_self().call(&host_vm_counters::Request {})?;
        Self::from_words(&reply.counters.0).ok_or(Code::MIG_TYPE_ERROR)
    }

    /// Two words each, low first.
    fn from_words(words: &[u32]) -> Option<Self> {
        let mut all = [0; VmCounter::COUNT];
        let pairs = words.as_chunks::<2>().0;
        for (value, [low, high]) in all.iter_mut().zip(pairs) {
            *value = u64::from(*low) | u64::from(*high) << 32;
        }
        (pairs.len() >= VmCounter::COUNT).then_some(Self(all))
    }

    /// One of them.
    #[must_use]
    pub const fn get(&self, counter: VmCounter) -> u64 {
        self.0[counter as usize]
    }

    /// How much they grew since.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self(core::array::from_fn(|index| self.0[index].wrapping_sub(before.0[index])))
    }
}

#[cfg(test)]
mod tests {
    use abi::info::VmCounter;

    use super::Counters;

    #[test]
    fn words_become_counters_and_differences() {
        let words = |add: u32| -> Vec<u32> { (0..VmCounter::COUNT as u32).flat_map(|index| [index * 10 + add, 1]).collect() };
        let (before, after) = (Counters::from_words(&words(0)).unwrap(), Counters::from_words(&words(3)).unwrap());
        assert_eq!(before.get(VmCounter::Wired), 20 | 1 << 32);
        assert!(VmCounter::ALL.iter().all(|counter| after.since(&before).get(*counter) == 3));
        assert_eq!(Counters::from_words(&[0; VmCounter::COUNT]), None);
    }
}
