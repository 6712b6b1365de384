//! The few bytes a handshake has to send, kept until the caller's socket takes them.

use crate::limits::{CLIENT_CONTEXT_NAMES_MAX, CLIENT_CONTEXTS_MAX, CLIENT_NAME_MAX};
use crate::wire::OptionHeader;

/// Client flags, and at most eight options: STARTTLS, EXTENDED_HEADERS, STRUCTURED_REPLY, LIST_META_CONTEXT, SET_META_CONTEXT, GO,
/// EXPORT_NAME and ABORT.
const OPTIONS: usize = 4 + 8 * size_of::<OptionHeader>();
/// The data of LIST_META_CONTEXT or SET_META_CONTEXT.
const QUERIES: usize = 4 + CLIENT_NAME_MAX + 4 + 4 * CLIENT_CONTEXTS_MAX + CLIENT_CONTEXT_NAMES_MAX;
/// The data of all options.
const DATA: usize = 2 * QUERIES + (4 + CLIENT_NAME_MAX + 4) + CLIENT_NAME_MAX;

/// All a handshake can ever send, each option at most once. It fits even if a server answers ahead of the questions and nothing was
/// sent in between.
const CAPACITY: usize = OPTIONS + DATA;

/// Bytes waiting to be sent.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    bytes: [u8; CAPACITY],
    start: usize,
    end: usize,
}

impl Outbox {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; CAPACITY], start: 0, end: 0 }
    }

    /// Adds bytes.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let Some(space) = self.bytes.get_mut(self.end..self.end + bytes.len()) else {
            debug_assert!(false, "the handshake produced more than its outbox holds");
            return;
        };
        space.copy_from_slice(bytes);
        self.end += bytes.len();
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn sent(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
    }
}
