//! The requests in flight: what was asked, under which cookie, and how far the answer has come.
//!
//! [`RequestTable`] is a fixed array. A cookie is the slot's index plus a generation that changes each time the slot is
//! used, so finding a request takes no search and a late or forged reply meets a cookie that is not outstanding.

use super::coverage::Coverage;
use super::error::Violation;
use crate::context::ContextSet;
use crate::error::NbdError;
use crate::flags::CommandFlags;
use crate::limits::ERROR_CHUNKS_MAX;
use crate::request::{Command, Request};

/// A request that was sent and not yet answered in full.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    request: Request,
    covered: Coverage,
    content_chunks: u32,
    statuses: ContextSet,
    error: Option<NbdError>,
    errors: u8,
    done: bool,
}

impl Pending {
    /// A request nothing has been received for.
    #[must_use]
    pub fn new(request: Request) -> Self {
        let (covered, statuses) = (Coverage::default(), ContextSet::EMPTY);
        Self { request, covered, content_chunks: 0, statuses, error: None, errors: 0, done: false }
    }

    /// What was asked.
    #[must_use]
    pub const fn request(&self) -> Request {
        self.request
    }

    /// Whether the whole answer has arrived.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// Accepts `length` bytes of content at `offset` of the export.
    pub(super) fn content(&mut self, offset: u64, length: u32) -> Result<(), Violation> {
        if self.request.command != Command::Read {
            return Err(Violation::DataWithoutRead);
        }
        let start = offset.checked_sub(self.request.offset).ok_or(Violation::OutOfRange)?;
        let end = start.checked_add(u64::from(length)).ok_or(Violation::OutOfRange)?;
        if end > self.request.length {
            return Err(Violation::OutOfRange);
        }
        if self.content_chunks > 0 && self.request.flags.contains(CommandFlags::DF) {
            return Err(Violation::Fragmented);
        }
        self.content_chunks += 1;
        let end = u32::try_from(end).map_err(|_| Violation::OutOfRange)?;
        self.covered.add(start as u32, end)
    }

    /// Accepts that extents in the context with this index, whose number is `id`, begin; `granted` are the session's contexts.
    pub(super) fn status(&mut self, index: usize, id: u32, granted: ContextSet) -> Result<(), Violation> {
        if !self.expected_statuses(granted).contains(index) || self.statuses.contains(index) {
            return Err(Violation::UnknownContext(id));
        }
        self.statuses = self.statuses.with(index);
        Ok(())
    }

    const fn expected_statuses(&self, granted: ContextSet) -> ContextSet {
        match self.request.command {
            Command::BlockStatus if self.request.contexts.is_empty() => granted,
            Command::BlockStatus => self.request.contexts,
            _ => ContextSet::EMPTY,
        }
    }

    /// Accepts an error; the first one is the request's result.
    pub(super) fn fail(&mut self, error: NbdError) -> Result<(), Violation> {
        self.errors += 1;
        if self.errors > ERROR_CHUNKS_MAX {
            return Err(Violation::TooManyErrors);
        }
        self.error.get_or_insert(error);
        Ok(())
    }

    /// The answer is over: what came of it? `granted` are the session's contexts.
    pub(super) fn finish(&mut self, granted: ContextSet) -> Result<Result<(), NbdError>, Violation> {
        self.done = true;
        if let Some(error) = self.error {
            return Ok(Err(error));
        }
        let is_complete = match self.request.command {
            Command::Read => u32::try_from(self.request.length).is_ok_and(|length| self.covered.is_complete(length)),
            Command::BlockStatus => !self.statuses.is_empty() && self.statuses.contains_all(self.expected_statuses(granted)),
            _ => true,
        };
        if is_complete { Ok(Ok(())) } else { Err(Violation::Incomplete) }
    }
}

/// Where [`super::Client`] finds the request a reply belongs to.
pub trait Outstanding {
    /// The request with this cookie, or `None` if none is outstanding.
    fn pending(&mut self, cookie: u64) -> Option<&mut Pending>;
}

/// Up to `N` requests in flight, each with a `T` of the caller's own.
#[derive(Debug)]
pub struct RequestTable<T, const N: usize> {
    slots: [Slot<T>; N],
    used: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    entry: Option<(Pending, T)>,
}

impl<T, const N: usize> Default for RequestTable<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const N: usize> RequestTable<T, N> {
    const FITS: () = assert!(N > 0 && N <= u32::MAX as usize);

    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        let () = Self::FITS;
        Self { slots: core::array::from_fn(|_| Slot { generation: 0, entry: None }), used: 0 }
    }

    /// Adds a request and chooses its cookie; gives `tag` back when all `N` slots are taken.
    ///
    /// # Errors
    /// `tag`, when the table is full.
    pub fn insert(&mut self, request: Request, tag: T) -> Result<u64, T> {
        let Some(index) = self.slots.iter().position(|slot| slot.entry.is_none()) else {
            return Err(tag);
        };
        let slot = &mut self.slots[index];
        slot.generation = slot.generation.wrapping_add(1);
        slot.entry = Some((Pending::new(request), tag));
        self.used += 1;
        Ok(u64::from(slot.generation) << 32 | index as u64)
    }

    /// What was stored with this cookie.
    pub fn get_mut(&mut self, cookie: u64) -> Option<&mut (Pending, T)> {
        let slot = self.slots.get_mut((cookie & u64::from(u32::MAX)) as usize)?;
        if u64::from(slot.generation) != cookie >> 32 {
            return None;
        }
        slot.entry.as_mut()
    }

    /// Takes a request out: on [`super::Event::Done`], or when it is given up with its connection.
    pub fn remove(&mut self, cookie: u64) -> Option<(Request, T)> {
        self.get_mut(cookie)?;
        let entry = self.slots[(cookie & u64::from(u32::MAX)) as usize].entry.take();
        self.used -= 1;
        entry.map(|(pending, tag)| (pending.request, tag))
    }

    /// Takes some request out, in no particular order; empties the table after a disconnect when called until `None`.
    ///
    /// Cookies of the emptied slots stay invalid, so the table can serve the next connection.
    pub fn pop(&mut self) -> Option<(Request, T)> {
        let entry = self.slots.iter_mut().find_map(|slot| slot.entry.take())?;
        self.used -= 1;
        Some((entry.0.request, entry.1))
    }

    /// All requests, with their cookies.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Pending, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let (pending, tag) = slot.entry.as_ref()?;
            Some((u64::from(slot.generation) << 32 | index as u64, pending, tag))
        })
    }

    /// How many requests are in flight.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.used
    }

    /// Whether none is.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Whether another one fits.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.used == N
    }
}

impl<T, const N: usize> Outstanding for RequestTable<T, N> {
    fn pending(&mut self, cookie: u64) -> Option<&mut Pending> {
        self.get_mut(cookie).map(|entry| &mut entry.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_not_valid_twice() {
        let mut table = RequestTable::<char, 1>::new();
        let first = table.insert(Request::read(0, 512), 'a').unwrap();
        assert_eq!(table.insert(Request::flush(), 'b'), Err('b'));
        assert_eq!(table.remove(first), Some((Request::read(0, 512), 'a')));
        let second = table.insert(Request::flush(), 'c').unwrap();
        assert_ne!(first, second);
        assert!(table.pending(first).is_none() && table.remove(first).is_none());
        assert_eq!((table.len(), table.iter().count()), (1, 1));
        assert_eq!(table.pop(), Some((Request::flush(), 'c')));
        assert!(table.is_empty() && table.pop().is_none());
    }

    #[test]
    fn a_cookie_outside_the_table_is_not_found() {
        let mut table = RequestTable::<(), 2>::new();
        assert!(table.pending(u64::MAX).is_none() && table.pending(2).is_none() && table.pending(0).is_none());
    }
}
