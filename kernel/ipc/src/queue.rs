//! A port's messages, in order. A message is its own place in the queue, so queueing one never needs memory: what the kernel tells a pager
//! when memory is short gets there.
//!
//! Two stacks make a queue: messages arrive on one, and when the other is empty the first is turned over. Each message is moved twice.

use crate::Host;
use crate::message::Message;

/// The queue.
pub(crate) struct Queue<H: Host> {
    /// The newest first.
    arrived: Option<Message<H>>,
    /// The oldest first; all are older than those that arrived.
    leaving: Option<Message<H>>,
    length: usize,
}

impl<H: Host> Queue<H> {
    pub(crate) const fn new() -> Self {
        Self { arrived: None, leaving: None, length: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.length
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(crate) fn push(&mut self, mut message: Message<H>) {
        message.next = self.arrived.take();
        self.arrived = Some(message);
        self.length += 1;
    }

    /// The oldest.
    pub(crate) fn front(&mut self) -> Option<&Message<H>> {
        self.turn_over();
        self.leaving.as_ref()
    }

    pub(crate) fn pop(&mut self) -> Option<Message<H>> {
        self.turn_over();
        let mut message = self.leaving.take()?;
        self.leaving = message.next.take();
        self.length -= 1;
        Some(message)
    }

    fn turn_over(&mut self) {
        if self.leaving.is_some() {
            return;
        }
        while let Some(mut message) = self.arrived.take() {
            self.arrived = message.next.take();
            message.next = self.leaving.take();
            self.leaving = Some(message);
        }
    }

    /// All, in no particular order.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Message<H>> {
        [&self.arrived, &self.leaving].into_iter().flat_map(|first| core::iter::successors(first.as_ref(), |message| message.next.as_ref()))
    }
}

impl<H: Host> Drop for Queue<H> {
    /// One by one: a chain that dropped itself would need a stack as deep as it is long.
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}
