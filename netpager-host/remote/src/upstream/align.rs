//! Ranges that are not multiples of a server's block size.

use std::ops::Range;

/// A range and the blocks it touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    range: Range<u64>,
    /// All blocks that have a byte in common with the range.
    pub(super) outer: Range<u64>,
    /// All blocks that lie within it.
    pub(super) inner: Range<u64>,
}

impl Cut {
    pub(super) const fn new(offset: u64, length: u64, block: u32) -> Self {
        let block = block as u64;
        let end = offset + length;
        let outer = offset / block * block..end.div_ceil(block) * block;
        let start = offset.div_ceil(block) * block;
        let inner_end = end / block * block;
        let inner = if start < inner_end { start..inner_end } else { start..start };
        Self { range: offset..end, outer, inner }
    }

    pub(super) fn is_aligned(&self) -> bool {
        self.outer == self.range
    }

    /// What of the range lies outside of [`Cut::inner`].
    pub(super) fn edges(&self) -> impl Iterator<Item = Range<u64>> {
        let Self { range, inner, .. } = self;
        let edges = if inner.is_empty() { [range.clone(), range.end..range.end] } else { [range.start..inner.start, inner.end..range.end] };
        edges.into_iter().filter(|edge| !edge.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_and_inner_blocks_make_up_the_range() {
        for offset in 0..20 {
            for length in 0..30 {
                let cut = Cut::new(offset, length, 8);
                let mut parts: Vec<u64> = cut.inner.clone().chain(cut.edges().flatten()).collect();
                parts.sort_unstable();
                assert_eq!(parts, (offset..offset + length).collect::<Vec<_>>());
                assert!([&cut.inner, &cut.outer].iter().all(|part| part.start.is_multiple_of(8) && part.end.is_multiple_of(8)));
                assert!(cut.outer.start <= offset && offset + length <= cut.outer.end);
                assert_eq!(cut.is_aligned(), offset % 8 == 0 && length % 8 == 0);
                assert!(cut.edges().all(|edge| edge.end - edge.start < 16));
            }
        }
    }
}
