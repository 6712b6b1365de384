//! Byte streams to the server, as the connections see them: TCP in a guest, pipes in a test, either with TLS on top.

use alloc::string::String;

/// How a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// There is none, or it ended and all that came was taken.
    Closed,
    Connecting,
    Open,
}

/// A fixed number of streams to one server.
pub trait Streams {
    /// How many.
    fn count(&self) -> usize;

    /// How one is.
    fn phase(&self, index: usize) -> Phase;

    /// Begins to connect one that is closed.
    fn connect(&mut self, index: usize);

    /// Closes one at once.
    fn abort(&mut self, index: usize);

    /// Sends what there is room for; says how much that was.
    fn send(&mut self, index: usize, bytes: &[u8]) -> usize;

    /// Shows bytes that came; `take` says how many it used. False if there were none.
    fn receive(&mut self, index: usize, take: &mut dyn FnMut(&[u8]) -> usize) -> bool;

    /// Moves what there is to move, both ways. True if a stream may have changed: bytes came, room is there, it opened or closed.
    fn poll(&mut self, now_ns: u64) -> bool;

    /// When `poll` is due again at the latest, if nothing comes.
    fn next_poll_ns(&mut self, now_ns: u64) -> Option<u64>;

    /// Begins TLS on one that is open. False if these streams know none.
    fn start_tls(&mut self, _index: usize) -> bool {
        false
    }

    /// Why one closed, if more is known than that it did.
    fn trouble(&mut self, _index: usize) -> Option<String> {
        None
    }
}
