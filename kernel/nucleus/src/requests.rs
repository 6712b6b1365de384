//! Requests that have a deadline, by memory object and page.
//!
//! A page is in at most one: an answer takes its pages out of whatever requests they are in, and so does asking for them again. What is left of a request
//! stays out. Otherwise the deadline of a request that was answered long ago would strike whoever asks for its pages then.

use alloc::collections::BTreeMap;

/// The requests, by object and first page.
pub(crate) struct Requests(BTreeMap<(u64, u64), Request>);

struct Request {
    /// The page after its last.
    end: u64,
    deadline: u64,
}

/// Pages of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Late {
    pub(crate) object: u64,
    pub(crate) first: u64,
    pub(crate) pages: u64,
}

impl Requests {
    pub(crate) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Pages were asked for.
    pub(crate) fn note(&mut self, object: u64, first: u64, pages: u64, deadline: u64) {
        self.forget(object, first, pages);
        if pages > 0 {
            self.0.insert((object, first), Request { end: first.saturating_add(pages), deadline });
        }
    }

    /// Pages were answered for.
    pub(crate) fn forget(&mut self, object: u64, first: u64, pages: u64) {
        let end = first.saturating_add(pages);
        // Requests don't overlap: only the last that begins before these pages can reach into them.
        let before = self.0.range((object, 0)..=(object, first)).next_back().map_or(first, |((_, from), _)| *from);
        while let Some(key) = self.0.range((object, before)..(object, end)).find(|(_, request)| request.end > first).map(|(key, _)| *key) {
            let Some(Request { end: old_end, deadline }) = self.0.remove(&key) else { return };
            if key.1 < first {
                self.0.insert(key, Request { end: first, deadline });
            }
            if end < old_end {
                self.0.insert((object, end), Request { end: old_end, deadline });
            }
        }
    }

    /// The object is gone.
    pub(crate) fn forget_all(&mut self, object: u64) {
        self.forget(object, 0, u64::MAX);
    }

    /// Takes a request whose time is up.
    pub(crate) fn late(&mut self, now: u64) -> Option<Late> {
        let key = self.0.iter().find(|(_, request)| request.deadline <= now).map(|(key, _)| *key)?;
        let request = self.0.remove(&key)?;
        Some(Late { object: key.0, first: key.1, pages: request.end - key.1 })
    }

    /// The first deadline.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.0.values().map(|request| request.deadline).min()
    }
}

#[cfg(test)]
mod tests {
    use super::{Late, Requests};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn one_answer_may_be_for_several_requests() {
        let mut requests = Requests::new();
        requests.note(1, 10, 4, 50);
        requests.note(1, 14, 4, 60);
        requests.note(1, 20, 2, 70);
        requests.forget(1, 8, 13);
        assert_eq!(requests.late(100), Some(Late { object: 1, first: 21, pages: 1 }));
        assert_eq!(requests.late(100), None);
    }

    #[test]
    fn what_is_asked_again_is_late_only_once() {
        let mut requests = Requests::new();
        requests.note(1, 10, 4, 50);
        requests.note(1, 12, 1, 90);
        assert_eq!(requests.late(60), Some(Late { object: 1, first: 10, pages: 2 }));
        assert_eq!(requests.late(60), Some(Late { object: 1, first: 13, pages: 1 }));
        assert_eq!((requests.late(60), requests.next_deadline()), (None, Some(90)));
    }

    proptest! {
        /// Against a record of each page.
        #[test]
        fn each_page_has_the_deadline_of_its_last_request(
            steps in prop::collection::vec((0u8..4, 1u64..3, 0u64..40, 0u64..12, 1u64..100), 0..80),
        ) {
            let (mut requests, mut pages) = (Requests::new(), BTreeMap::new());
            for (what, object, first, count, time) in steps {
                match what {
                    0 | 1 => {
                        requests.note(object, first, count, time);
                        pages.extend((first..first + count).map(|page| ((object, page), time)));
                    }
                    2 => {
                        requests.forget(object, first, count);
                        pages.retain(|(of, page), _| *of != object || !(first..first + count).contains(page));
                    }
                    _ => while let Some(late) = requests.late(time) {
                        for page in late.first..late.first + late.pages {
                            prop_assert!(pages.remove(&(late.object, page)).is_some_and(|deadline| deadline <= time));
                        }
                    },
                }
                if what == 3 {
                    prop_assert!(pages.values().all(|deadline| *deadline > time));
                }
                prop_assert_eq!(requests.next_deadline(), pages.values().copied().min());
            }
        }
    }
}
