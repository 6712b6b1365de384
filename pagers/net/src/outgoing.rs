//! What a connection has to send: headers, and behind those of writes the bytes.

use alloc::boxed::Box;
use alloc::rc::Rc;

use nbd::client::EncodedRequest;
use nbd::superblock::SuperblockPage;
use runtime::Pages;

use crate::stream::Streams;

/// What follows a header.
#[derive(Debug)]
pub(crate) enum Payload {
    Nothing,
    Data { pages: Rc<Pages>, from: usize, length: usize },
    Superblock(Box<SuperblockPage>),
}

impl Payload {
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
