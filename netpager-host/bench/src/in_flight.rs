//! The requests of one connection that were sent and not yet answered, as many as the user asks for.
//!
//! [`nbd::client::RequestTable`] is an array of a size fixed when it is compiled, searched for a free slot; a load generator
//! is told its depth at run time and must not slow down with it. Cookies work the same way: slot and generation.

use nbd::Request;
use nbd::client::{Outstanding, Pending};

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    entry: Option<(Pending, T)>,
}

/// A table that grows to the most requests that were ever in flight.
#[derive(Debug)]
pub(crate) struct InFlight<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> InFlight<T> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// Adds a request and chooses its cookie.
    pub(crate) fn insert(&mut self, request: Request, tag: T) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, entry: None });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.entry = Some((Pending::new(request), tag));
        u64::from(slot.generation) << 32 | u64::from(index)
    }

    pub(crate) fn get_mut(&mut self, cookie: u64) -> Option<&mut (Pending, T)> {
        let slot = self.slots.get_mut(cookie as u32 as usize)?;
        if u64::from(slot.generation) != cookie >> 32 {
            return None;
        }
        slot.entry.as_mut()
    }

    pub(crate) fn remove(&mut self, cookie: u64) -> Option<(Request, T)> {
        self.get_mut(cookie)?;
        self.free.push(cookie as u32);
        self.slots[cookie as u32 as usize].entry.take().map(|(pending, tag)| (pending.request(), tag))
    }

    /// Takes everything out, when the connection is lost.
    pub(crate) fn drain(&mut self) -> Vec<(Request, T)> {
        self.free = (0..self.slots.len() as u32).collect();
        self.slots.iter_mut().filter_map(|slot| slot.entry.take()).map(|(pending, tag)| (pending.request(), tag)).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

impl<T> Outstanding for InFlight<T> {
    fn pending(&mut self, cookie: u64) -> Option<&mut Pending> {
        self.get_mut(cookie).map(|entry| &mut entry.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_again_and_cookies_are_not() {
        let mut table = InFlight::new();
        let first = table.insert(Request::read(0, 512), 'a');
        let second = table.insert(Request::flush(), 'b');
        assert_eq!(table.remove(first), Some((Request::read(0, 512), 'a')));
        let third = table.insert(Request::flush(), 'c');
        assert!(third != first && third as u32 == first as u32);
        assert!(table.remove(first).is_none() && table.pending(first).is_none() && table.pending(u64::MAX).is_none());
        assert_eq!((table.len(), table.get_mut(second).unwrap().1), (2, 'b'));
        assert_eq!(table.drain().len(), 2);
        assert_eq!(table.len(), 0);
        assert!(table.pending(second).is_none());
    }
}
