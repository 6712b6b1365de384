//! Cuts a range of bytes into whole pages, which the log keeps, and parts of pages, which are read and changed.

use std::ops::Range;

use super::PAGE;
use crate::PAGE_BYTES;

/// A part of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Some bytes of a page, which are there in the range.
    Piece(u64, Range<usize>, usize),
    /// Whole pages from one to before another, which are there in the range.
    Pages(u64, u64, usize),
}

/// Cuts a range into whole pages, and what is before and after them.
pub(super) fn parts(offset: u64, length: u64) -> impl Iterator<Item = Part> {
    let end = offset + length;
    let (first, last) = (offset.div_ceil(PAGE), end / PAGE);
    let in_page = |at: u64| (at % PAGE) as usize;
    let parts = if length == 0 {
        [None, None, None]
    } else if first > last {
        [Some(Part::Piece(last, in_page(offset)..in_page(end), 0)), None, None]
    } else {
        let before = in_page(offset) > 0;
        let behind = in_page(end) > 0;
        [
            before.then(|| Part::Piece(first - 1, in_page(offset)..PAGE_BYTES, 0)),
            (first < last).then(|| Part::Pages(first, last, (first * PAGE - offset) as usize)),
            behind.then(|| Part::Piece(last, 0..in_page(end), (last * PAGE - offset) as usize)),
        ]
    };
    parts.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_in_one_part() {
        let edges = [0, 1, 100, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 2 * PAGE + 7, 5 * PAGE - 1, 5 * PAGE];
        for (start, end) in edges.iter().flat_map(|&start| edges.iter().map(move |&end| (start, end))).filter(|(start, end)| start <= end) {
            let mut next = start;
            for part in parts(start, end - start) {
                let (from, to, at) = match part {
                    Part::Piece(page, bytes, at) => {
                        assert!(!bytes.is_empty() && bytes.len() < PAGE_BYTES);
                        (page * PAGE + bytes.start as u64, page * PAGE + bytes.end as u64, at)
                    }
                    Part::Pages(first, last, at) => (first * PAGE, last * PAGE, at),
                };
                assert_eq!((from, at as u64), (next, next - start), "{start}..{end}");
                assert!(to > from);
                next = to;
            }
            assert_eq!(next, end, "{start}..{end}");
        }
    }
}
