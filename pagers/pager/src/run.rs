//! A run of pages of a memory object: what the kernel asks for and what pagers answer about.

use abi::vm::PAGE_SIZE;

/// Whole pages, at least one, that don't pass the end of the 64-bit offset space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    offset: u64,
    length: u64,
}

impl Run {
    /// Checks what a message says.
    #[must_use]
    pub const fn new(offset: u64, length: u64) -> Option<Self> {
        let whole = offset.is_multiple_of(PAGE_SIZE) && length.is_multiple_of(PAGE_SIZE);
        if whole && length != 0 && offset.checked_add(length).is_some() { Some(Self { offset, length }) } else { None }
    }

    /// The same, counted in pages.
    #[must_use]
    pub const fn of_pages(page: u64, pages: u64) -> Option<Self> {
        match (page.checked_mul(PAGE_SIZE), pages.checked_mul(PAGE_SIZE)) {
            (Some(offset), Some(length)) => Self::new(offset, length),
            _ => None,
        }
    }

    /// Where it starts, in bytes.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.offset
    }

    /// Bytes.
    #[must_use]
    pub const fn length(self) -> u64 {
        self.length
    }

    /// The offset behind its last byte.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.offset + self.length
    }

    /// Its first page.
    #[must_use]
    pub const fn first_page(self) -> u64 {
        self.offset / PAGE_SIZE
    }

    /// How many pages.
    #[must_use]
    pub const fn pages(self) -> u64 {
        self.length / PAGE_SIZE
    }

    /// Some of its pages, counted from its first; none if there aren't so many.
    #[must_use]
    pub const fn part(self, first: u64, pages: u64) -> Option<Self> {
        match first.checked_add(pages) {
            Some(end) if end <= self.pages() => Self::of_pages(self.first_page() + first, pages),
            _ => None,
        }
    }

    /// What both have.
    #[must_use]
    pub fn overlap(self, other: Self) -> Option<Self> {
        let start = self.offset.max(other.offset);
        Self::new(start, self.end().min(other.end()).checked_sub(start)?)
    }

    /// Cut into runs of at most so many pages.
    pub fn chunks(self, pages: u64) -> impl Iterator<Item = Self> {
        let step = pages.max(1);
        (0..self.pages()).step_by(step as usize).filter_map(move |first| self.part(first, step.min(self.pages() - first)))
    }
}

#[cfg(test)]
mod tests {
    use super::Run;

    #[test]
    fn only_whole_pages_make_a_run() {
        assert!(Run::new(4096, 8192).is_some());
        for (offset, length) in [(1, 4096), (0, 0), (0, 4095), (u64::MAX - 4095, 4096), (4096, u64::MAX - 4095)] {
            assert_eq!(Run::new(offset, length), None, "{offset:#x} {length:#x}");
        }
    }

    #[test]
    fn parts_chunks_and_overlaps() {
        let run = Run::of_pages(10, 7).unwrap();
        assert_eq!(run.part(2, 3), Run::of_pages(12, 3));
        assert_eq!((run.part(5, 3), run.part(u64::MAX, 2)), (None, None));
        let chunks: Vec<_> = run.chunks(3).map(|chunk| (chunk.first_page(), chunk.pages())).collect();
        assert_eq!(chunks, [(10, 3), (13, 3), (16, 1)]);
        assert_eq!(run.overlap(Run::of_pages(15, 9).unwrap()), Run::of_pages(15, 2));
        assert_eq!(run.overlap(Run::of_pages(17, 1).unwrap()), None);
        assert_eq!(run.overlap(Run::of_pages(2, 1).unwrap()), None);
    }
}
