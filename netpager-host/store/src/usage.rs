//! What a store says of itself: what a range is made of, where it is kept, and what all of it costs.

use bitflags::bitflags;

/// What a range of a store is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Bytes that were written, or space that is reserved for some.
    Data,
    /// Nothing is kept; reads as zeroes.
    Hole,
}

/// The beginning of a range that is all of one content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// How many bytes; never zero.
    pub length: u64,
    /// What they are.
    pub content: Content,
}

bitflags! {
    /// Where a range is kept. Nothing set: nothing is kept, and it reads as zeroes.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct State: u32 {
        /// In this host's RAM as it is.
        const RESIDENT = 1;
        /// In this host's RAM, compressed.
        const COMPRESSED = 1 << 1;
        /// In a file of this host.
        const FILE = 1 << 2;
        /// On other hosts.
        const REMOTE = 1 << 3;
        /// Not yet as durable as a flush makes it.
        const DIRTY = 1 << 4;
        /// Writing to it cannot fail for lack of space.
        const RESERVED = 1 << 5;
    }
}

/// The beginning of a range that is all in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateExtent {
    /// How many bytes; never zero.
    pub length: u64,
    /// Where they are kept.
    pub state: State,
}

/// What a store costs, in bytes. A page is counted in one of the states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Kept in RAM as they are.
    pub resident_bytes: u64,
    /// RAM that compressed pages take.
    pub compressed_stored_bytes: u64,
    /// What those pages are decompressed.
    pub compressed_original_bytes: u64,
    /// Read as zeroes and cost nothing.
    pub zero_bytes: u64,
    /// Space taken in files.
    pub file_bytes: u64,
    /// Reserved by the client; counted among the resident ones or those in files, too.
    pub reserved_bytes: u64,
    /// What the store may cost, if that is limited.
    pub quota_bytes: Option<u64>,
    /// RAM for tables, to find all this.
    pub overhead_bytes: u64,
}
