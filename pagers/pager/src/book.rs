//! The book of one object: which of the pages that the kernel asked about have no answer yet.
//!
//! Every page of a request is to be answered once. The book doesn't stand in the way of a pager that does it wrong (the kernel has to
//! bear that anyway): it counts. It allocates nothing after it was made, since the default pager keeps one while memory is short.

use alloc::vec::Vec;

use crate::Run;

/// Pages of one entry; longer requests take several.
const ENTRY_PAGES: u64 = 256;
/// Requests open at once that are booked; more than this are only counted.
const ENTRIES: usize = 64;

/// What an answer met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Matched {
    /// Pages that waited for it.
    pub answered: u64,
    /// Pages of open requests that had their answer.
    pub again: u64,
    /// Pages of no open request.
    pub unasked: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    run: Run,
    since_ns: u64,
    /// A bit for each page that has its answer.
    answered: [u64; (ENTRY_PAGES / 64) as usize],
}

impl Entry {
    fn is_answered(&self, page: u64) -> bool {
        self.answered[(page / 64) as usize] & 1 << (page % 64) != 0
    }

    fn set(&mut self, page: u64) {
        self.answered[(page / 64) as usize] |= 1 << (page % 64);
    }

    fn clear(&mut self, page: u64) {
        self.answered[(page / 64) as usize] &= !(1 << (page % 64));
    }

    fn open_pages(&self) -> u64 {
        let answered: u32 = self.answered.iter().map(|word| word.count_ones()).sum();
        self.run.pages() - u64::from(answered)
    }
}

/// The open requests.
#[derive(Debug)]
pub struct Book {
    entries: Vec<Entry>,
    unbooked: u64,
}

impl Default for Book {
    fn default() -> Self {
        Self::new()
    }
}

impl Book {
    /// An empty book, with room.
    #[must_use]
    pub fn new() -> Self {
        let mut entries = Vec::new();
        // Without the room there is less to see, and nothing that fails.
        let _ = entries.try_reserve_exact(ENTRIES);
        Self { entries, unbooked: 0 }
    }

    /// The kernel asked for pages.
    pub fn ask(&mut self, run: Run, now_ns: u64) {
        for run in run.chunks(ENTRY_PAGES) {
            if self.entries.len() < self.entries.capacity() {
                self.entries.push(Entry { run, since_ns: now_ns, answered: [0; 4] });
            } else {
                self.unbooked += run.pages();
            }
        }
    }

    /// The pager answered for pages.
    pub fn answer(&mut self, run: Run) -> Matched {
        let mut matched = Matched::default();
        let mut met = 0;
        for entry in &mut self.entries {
            let Some(both) = entry.run.overlap(run) else { continue };
            met += both.pages();
            let first = both.first_page() - entry.run.first_page();
            for page in first..first + both.pages() {
                if entry.is_answered(page) {
                    matched.again += 1
                } else {
                    matched.answered += 1
                }
                entry.set(page);
            }
        }
        self.entries.retain(|entry| entry.open_pages() != 0);
        let unknown = run.pages().saturating_sub(met);
        let unbooked = unknown.min(self.unbooked);
        self.unbooked -= unbooked;
        matched.answered += unbooked;
        matched.unasked = unknown - unbooked;
        matched
    }

    /// An answer came to nothing (a device failed): the pages wait again.
    pub fn reopen(&mut self, run: Run, now_ns: u64) {
        let mut open = false;
        for entry in &mut self.entries {
            if let Some(both) = entry.run.overlap(run) {
                let first = both.first_page() - entry.run.first_page();
                (first..first + both.pages()).for_each(|page| entry.clear(page));
                open |= both == run;
            }
        }
        if !open {
            self.ask(run, now_ns);
        }
    }

    /// Whether a page waits.
    #[must_use]
    pub fn waits(&self, page: u64) -> bool {
        let Some(run) = Run::of_pages(page, 1) else { return false };
        self.entries.iter().any(|entry| entry.run.overlap(run).is_some() && !entry.is_answered(page - entry.run.first_page()))
    }

    /// Pages that wait.
    #[must_use]
    pub fn unanswered(&self) -> u64 {
        self.unbooked + self.entries.iter().map(Entry::open_pages).sum::<u64>()
    }

    /// When the request that waits longest came.
    #[must_use]
    pub fn oldest_ns(&self) -> Option<u64> {
        self.entries.iter().map(|entry| entry.since_ns).min()
    }

    /// The object is no more: nobody waits.
    pub fn forget(&mut self) {
        self.entries.clear();
        self.unbooked = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{Book, ENTRIES, Matched};
    use crate::Run;

    fn run(page: u64, pages: u64) -> Run {
        Run::of_pages(page, pages).unwrap()
    }

    #[test]
    fn a_request_is_answered_in_parts() {
        let mut book = Book::new();
        book.ask(run(10, 300), 5);
        assert_eq!((book.unanswered(), book.oldest_ns()), (300, Some(5)));
        assert_eq!(book.answer(run(10, 100)), Matched { answered: 100, ..Matched::default() });
        assert_eq!(book.answer(run(100, 20)), Matched { answered: 10, again: 10, unasked: 0 });
        assert!(book.waits(120) && !book.waits(119));
        assert_eq!(book.answer(run(120, 200)), Matched { answered: 190, again: 0, unasked: 10 });
        assert_eq!((book.unanswered(), book.oldest_ns()), (0, None));
        assert_eq!(book.answer(run(10, 1)), Matched { unasked: 1, ..Matched::default() });
    }

    #[test]
    fn pages_that_failed_wait_again() {
        let mut book = Book::new();
        book.ask(run(0, 4), 1);
        book.answer(run(0, 4));
        book.reopen(run(1, 2), 2);
        assert_eq!(book.unanswered(), 2);
        book.ask(run(8, 4), 3);
        book.answer(run(8, 3));
        book.reopen(run(9, 1), 4);
        assert!(book.waits(9) && book.waits(11) && !book.waits(8));
        assert_eq!(book.answer(run(9, 1)).answered, 1);
    }

    #[test]
    fn a_full_book_still_counts() {
        let mut book = Book::new();
        let all = ENTRIES as u64 + 10;
        (0..all).for_each(|page| book.ask(run(page * 2, 1), 0));
        assert_eq!(book.unanswered(), all);
        (0..all).for_each(|page| assert_eq!(book.answer(run(page * 2, 1)).answered, 1));
        assert_eq!(book.unanswered(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// Against a map from page to "has its answer", with requests that don't overlap open ones, as the kernel makes them.
        #[test]
        fn the_book_agrees_with_a_map(steps in proptest::collection::vec((any::<bool>(), 0..400_u64, 1..300_u64), 1..24)) {
            let mut book = Book::new();
            let mut open: BTreeMap<u64, usize> = BTreeMap::new();
            let mut groups: Vec<Vec<(u64, bool)>> = Vec::new();
            for (asks, page, pages) in steps {
                let range = page..page + pages;
                if asks && range.clone().all(|page| !open.contains_key(&page)) {
                    book.ask(run(page, pages), 0);
                    for chunk in run(page, pages).chunks(256) {
                        let group: Vec<_> = (chunk.first_page()..chunk.first_page() + chunk.pages()).map(|page| (page, false)).collect();
                        group.iter().for_each(|(page, _)| { open.insert(*page, groups.len()); });
                        groups.push(group);
                    }
                } else if !asks {
                    let mut expected = Matched::default();
                    for page in range {
                        match open.get(&page) {
                            None => expected.unasked += 1,
                            Some(group) => {
                                let state = groups[*group].iter_mut().find(|(of, _)| *of == page).unwrap();
                                if state.1 { expected.again += 1 } else { expected.answered += 1 }
                                state.1 = true;
                            }
                        }
                    }
                    prop_assert_eq!(book.answer(run(page, pages)), expected);
                    open.retain(|_, group| groups[*group].iter().any(|(_, answered)| !answered));
                }
                let waiting = open.iter().filter(|(page, group)| groups[**group].iter().any(|(of, done)| of == *page && !done)).count();
                prop_assert_eq!(book.unanswered(), waiting as u64);
            }
        }
    }
}
