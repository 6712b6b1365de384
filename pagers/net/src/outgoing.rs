//! What a connection has to send: headers, and behind those of writes the bytes.

use alloc::boxed::Box;
use alloc::rc::Rc;

use abi::vm::PAGE_SIZE;
use nbd::client::EncodedRequest;
use nbd::superblock::SuperblockPage;
use runtime::Pages;

use crate::jobs::{Job, Work};
use crate::stream::Streams;

/// Memory that reads may come into at a time, of all connections.
const READ_BYTES_MAX: u64 = 2 << 20;

/// What follows a header.
#[derive(Debug)]
pub(crate) enum Payload {
    Nothing,
    Data { pages: Rc<Pages>, from: usize, length: usize },
    Superblock(Box<SuperblockPage>),
}

impl Payload {
    /// What is sent with a job's request; a read gets its memory. None if there is no memory now.
    pub(crate) fn of(job: &mut Job, read_bytes: &mut u64) -> Option<Self> {
        let length = u64::from(job.length);
        match &mut job.work {
            Work::Read { pages: pages @ None, .. } => {
                if *read_bytes + length > READ_BYTES_MAX.max(length) {
                    return None;
                }
                debug_assert!(length.is_multiple_of(PAGE_SIZE));
                *pages = Some(Pages::allocate(length).ok()?);
                *read_bytes += length;
                Some(Self::Nothing)
            }
            Work::Write { data, from, .. } => Some(Self::Data { pages: data.clone(), from: *from, length: job.length as usize }),
            Work::Read { .. } | Work::Zeroes | Work::Release { .. } => Some(Self::Nothing),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Nothing => &[],
            Self::Data { pages, from, length } => pages.get(*from..from + length).unwrap_or_default(),
            Self::Superblock(page) => &page[..],
        }
    }
}

/// A request that isn't wholly sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    header: EncodedRequest,
    payload: Payload,
    sent: usize,
}

impl Outgoing {
    pub(crate) const fn new(header: EncodedRequest, payload: Payload) -> Self {
        Self { header, payload, sent: 0 }
    }

    /// Sends what there is room for. True if all was sent.
    pub(crate) fn send(&mut self, streams: &mut impl Streams, index: usize) -> bool {
        let payload = self.payload.bytes();
        let all = self.header.len() + payload.len();
        while self.sent < all {
            let rest = match self.sent.checked_sub(self.header.len()) {
                Some(from) => &payload[from..],
                None => &self.header[self.sent..],
            };
            match streams.send(index, rest) {
                0 => return false,
                count => self.sent += count,
            }
        }
        true
    }
}
