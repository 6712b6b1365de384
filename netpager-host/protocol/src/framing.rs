//! How requests and replies are framed: agreed upon in the handshake, and then the same for the whole connection.

/// The three framings of the transmission phase, the least able first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Framing {
    /// 32-bit requests; one reply each, the data of a READ right behind it.
    Simple,
    /// 32-bit requests; replies may come in chunks, with holes, words about errors, and extents.
    Structured,
    /// 64-bit requests, and all replies in chunks.
    Extended,
}

impl Framing {
    /// Whether READs are answered in chunks, errors have words, and BLOCK_STATUS can be asked.
    #[must_use]
    pub const fn has_chunks(self) -> bool {
        !matches!(self, Self::Simple)
    }
}
