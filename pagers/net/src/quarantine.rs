//! Places whose last write may still be on its way, although its connection is gone.
//!
//! A server may do what a dead connection asked long after we have asked it again elsewhere. The same bytes twice do no harm; but if something else was
//! written to the place meanwhile, the late one would bring the old page back. So nothing else is written there before the server has said that
//! it ended its older connections (a fence), or so much time has passed that nothing can come any more.

use alloc::vec::Vec;

use crate::jobs::JobId;

/// After this no byte of a dead connection is believed to arrive: TCP gives a segment two minutes at the very most, servers' queues less.
pub(crate) const LATE_NS: u64 = 60_000_000_000;

#[derive(Clone, Copy, Debug)]
struct Place {
    start: u64,
    end: u64,
    until_ns: u64,
    /// The job whose write may come late; it may be done again at once.
    by: JobId,
}

#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    places: Vec<Place>,
}

impl Quarantine {
    /// A job's connection ended while it was open.
    pub(crate) fn add(&mut self, at: u64, length: u32, by: JobId, now_ns: u64) {
        // A job that is cut off again and again is one place.
        self.places.retain(|place| place.by != by);
        self.places.push(Place { start: at, end: at + u64::from(length), until_ns: now_ns + LATE_NS, by });
    }

    /// Until when a job must not change these bytes; none if it may.
    pub(crate) fn until(&self, at: u64, length: u32, id: JobId) -> Option<u64> {
        let end = at + u64::from(length);
        let blocks = |place: &&Place| place.by != id && place.start < end && at < place.end;
        self.places.iter().filter(blocks).map(|place| place.until_ns).max()
    }

    /// Forgets what has been there for long enough.
    pub(crate) fn expire(&mut self, now_ns: u64) {
        self.places.retain(|place| now_ns < place.until_ns);
    }

    /// The server has ended all older connections: nothing comes late.
    pub(crate) fn clear(&mut self) {
        self.places.clear();
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{LATE_NS, Quarantine};

    #[test]
    fn others_wait_and_the_late_one_itself_doesn_t() {
        let mut quarantine = Quarantine::default();
        quarantine.add(100, 50, 7, 1000);
        assert_eq!(quarantine.until(140, 20, 9), Some(1000 + LATE_NS));
        assert_eq!((quarantine.until(140, 20, 7), quarantine.until(150, 20, 9), quarantine.until(50, 50, 9)), (None, None, None));
        quarantine.add(100, 50, 7, 2000);
        quarantine.expire(1000 + LATE_NS);
        assert_eq!(quarantine.until(100, 1, 9), Some(2000 + LATE_NS), "it was cut off again");
        quarantine.expire(2000 + LATE_NS);
        assert!(quarantine.is_empty());
        quarantine.add(0, 1, 1, 0);
        quarantine.clear();
        assert_eq!(quarantine.until(0, 1, 2), None);
    }
}
