//! Writes that the server acknowledged and has not flushed since.
//!
//! A server that dies may forget them, and is allowed to. We are not: a flush that follows must cover them. So they are
//! kept until a flush that began after their acknowledgement has succeeded, and sent again, in order, to a server that was
//! gone. Sending again what was not lost changes nothing.

use std::collections::VecDeque;

use super::super::call::Call;

/// The calls, oldest first, numbered without gaps.
#[derive(Debug, Default)]
pub(crate) struct Unflushed {
    calls: VecDeque<Call>,
    /// The number of the first of `calls`.
    first: u64,
    bytes: usize,
}

impl Unflushed {
    pub(super) fn push(&mut self, call: Call) {
        self.bytes += call.weight();
        self.calls.push_back(call);
    }

    /// What a flush sent now will cover.
    pub(super) fn mark(&self) -> u64 {
        self.first + self.calls.len() as u64
    }

    /// Forgets what lies before `mark`, and hands it out.
    pub(super) fn release(&mut self, mark: u64) -> impl Iterator<Item = Call> + '_ {
        std::iter::from_fn(move || {
            if self.first >= mark {
                return None;
            }
            self.pop()
        })
    }

    /// What covers the older half.
    pub(super) fn middle(&self) -> u64 {
        self.first + self.calls.len().div_ceil(2) as u64
    }

    /// Forgets the oldest call.
    fn pop(&mut self) -> Option<Call> {
        let call = self.calls.pop_front()?;
        self.first += 1;
        self.bytes -= call.weight();
        Some(call)
    }

    /// What all of it costs in memory.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn calls(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter()
    }

    pub(super) fn clear(&mut self) {
        self.first = self.mark();
        self.calls.clear();
        self.bytes = 0;
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        assert_eq!(self.bytes, self.calls.iter().map(Call::weight).sum::<usize>());
        assert!(self.calls.iter().all(|call| call.changes_data()));
    }
}
