//! Metadata contexts: what BLOCK_STATUS can be asked about, and sets of them.
//!
//! On the wire a connection's contexts have numbers of the server's choice. Here they are indices into a list both the code that
//! lists them and the code that answers for them have, so that no number of the peer's is used as one of ours.

/// Which ranges are holes, and which read as zeroes: [`crate::AllocationFlags`]. The one context the protocol itself defines.
pub const ALLOCATION: &str = "base:allocation";

/// How the server keeps a range: [`crate::StateFlags`].
pub const STATE: &str = "x-netpager:state";

/// The server ends an export's older connections before it acknowledges GO, so that none of their writes can land later. Listed by
/// LIST_META_CONTEXT to those who look for it; it cannot be chosen.
pub const CAPABILITY_FENCE: &str = "x-netpager:cap-fence";

/// Some of at most [`ContextSet::CAPACITY`] contexts, by their index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContextSet(u32);

impl ContextSet {
    /// No context.
    pub const EMPTY: Self = Self(0);
    /// How many contexts there can be.
    pub const CAPACITY: usize = u32::BITS as usize;

    /// The set of one context; empty if there can be no such index.
    #[must_use]
    pub const fn one(index: usize) -> Self {
        if index < Self::CAPACITY { Self(1 << index) } else { Self::EMPTY }
    }

    /// This set and another context.
    #[must_use]
    pub const fn with(self, index: usize) -> Self {
        Self(self.0 | Self::one(index).0)
    }

    /// What is in this set and not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the context is in the set.
    #[must_use]
    pub const fn contains(self, index: usize) -> bool {
        self.0 & Self::one(index).0 != 0
    }

    /// Whether no context is.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many are.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether every context of `other` is in this set.
    #[must_use]
    pub const fn contains_all(self, other: Self) -> bool {
        other.without(self).is_empty()
    }

    /// The indices, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..Self::CAPACITY).filter(move |&index| self.contains(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set = ContextSet::EMPTY.with(0).with(31).with(5);
        assert!(set.iter().eq([0, 5, 31]) && set.len() == 3);
        assert!(set.contains(5) && !set.contains(4) && !set.contains(32));
        assert!(set.contains_all(ContextSet::one(31)) && !ContextSet::one(31).contains_all(set));
        assert_eq!(set.without(ContextSet::one(5)), ContextSet::one(0).with(31));
    }

    #[test]
    fn an_index_that_cannot_be_is_in_no_set() {
        assert!(ContextSet::one(32).is_empty() && ContextSet::one(usize::MAX).is_empty());
    }
}
