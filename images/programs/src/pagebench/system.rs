//! What pagebench needs of the world: memory word by word, a clock, the kernel's counters, and somebody who listens.

use core::fmt::Arguments;
use core::ops::Sub;

use abi::Code;
use abi::call::pvmach_control::host_vm_counters;
use abi::info::VmCounter;
use runtime::{Mapping, SendRight, println, time};

/// Memory that is tried. Each access is one load or store.
pub trait Region {
    fn load(&self, offset: u64) -> u64;
    fn store(&self, offset: u64, value: u64);
}

impl Region for Mapping {
    fn load(&self, offset: u64) -> u64 {
        self.load_u64(offset)
    }

    fn store(&self, offset: u64, value: u64) {
        self.store_u64(offset, value);
    }
}

/// Clock, counters, console.
pub trait System {
    fn now_ns(&self) -> u64;
    fn counters(&self) -> Result<Counters, Code>;
    /// A line for people.
    fn say(&self, words: Arguments<'_>);
}

/// Values of the kernel's counters, or what was added to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters([u64; VmCounter::COUNT]);

impl Counters {
    /// From the words of the reply; counters that this program doesn't know are left out.
    #[must_use]
    pub fn from_words(words: &[u32]) -> Option<Self> {
        let mut counters = Self::default();
        let mut pairs = words.chunks_exact(2).map(|pair| u64::from(pair[0]) | u64::from(pair[1]) << 32);
        for counter in &mut counters.0 {
            *counter = pairs.next()?;
        }
        Some(counters)
    }

    #[must_use]
    pub const fn get(&self, counter: VmCounter) -> u64 {
        self.0[counter as usize]
    }

    /// The same with one value changed.
    #[must_use]
    pub const fn with(mut self, counter: VmCounter, value: u64) -> Self {
        self.0[counter as usize] = value;
        self
    }
}

impl Sub for Counters {
    type Output = Self;

    /// What was added since `earlier`.
    fn sub(self, earlier: Self) -> Self {
        Self(core::array::from_fn(|index| self.0[index].wrapping_sub(earlier.0[index])))
    }
}

/// The kernel under this task.
#[derive(Debug)]
pub struct Host(SendRight);

impl Host {
    #[must_use]
    pub fn new() -> Self {
        Self(SendRight::host_self())
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl System for Host {
    fn now_ns(&self) -> u64 {
        time::now_ns()
    }

    fn counters(&self) -> Result<Counters, Code> {
        let reply = self.0.call(&host_vm_counters::Request {})?;
        Counters::from_words(&reply.counters.0).ok_or(Code::MIG_TYPE_ERROR)
    }

    fn say(&self, words: Arguments<'_>) {
        println!("{words}");
    }
}

#[cfg(test)]
mod tests {
    use super::{Counters, VmCounter};

    #[test]
    fn words_are_pairs_low_first() {
        let mut words = vec![0; VmCounter::COUNT * 2];
        words[VmCounter::Requests as usize * 2] = 7;
        words[VmCounter::Requests as usize * 2 + 1] = 1;
        let counters = Counters::from_words(&words).unwrap();
        assert_eq!(counters.get(VmCounter::Requests), 1 << 32 | 7);
        assert_eq!((counters - Counters::default().with(VmCounter::Requests, 5)).get(VmCounter::Requests), 1 << 32 | 2);
        words.pop();
        assert_eq!(Counters::from_words(&words), None);
    }
}
