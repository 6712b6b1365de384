//! What an operator chooses about a store in a cluster.

use std::time::Duration;

/// Which cluster, and what of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValkeyConfig {
    /// `redis-cluster://[[USER]:PASSWORD@]HOST:PORT[?node=HOST:PORT&…]`: one node that answers is enough.
    pub url: String,
    /// The name under which the pages are kept.
    pub export: String,
    /// How many bytes.
    pub size: u64,
    /// How many bytes one key holds: 16, 32 or 64 KiB. Cannot be changed later.
    pub extent: u64,
    /// The most bytes to be stored, in whole extents; `None` for as many as the size says.
    pub quota: Option<u64>,
    /// How long a call may take, reconnecting included.
    pub deadline: Duration,
    /// How many replicas of each primary must have confirmed everything for a flush to succeed; 0 asks none.
    pub replicas: u32,
}

impl ValkeyConfig {
    /// Sensible values for everything but place, name and size.
    #[must_use]
    pub const fn new(url: String, export: String, size: u64) -> Self {
        Self { url, export, size, extent: 32 << 10, quota: None, deadline: Duration::from_secs(10), replicas: 0 }
    }
}
