//! The counting end of a connection.

use std::sync::Arc;
use std::time::Duration;

use super::cells::Cells;
use super::registry::Shelf;
use super::{Command, Outcome};

/// Counts the requests of one connection. There is one for each, it cannot be cloned and counting takes `&mut`: its numbers
/// have exactly one writer. Dropping it takes the connection off the list; what it did stays in the sums.
///
/// Reading the clock costs more than counting: requests answered in one batch may share two readings.
#[derive(Debug)]
pub struct Recorder {
    id: u64,
    cells: Arc<Cells>,
    shelf: Arc<Shelf>,
}

impl Recorder {
    pub(super) fn new(id: u64, cells: Arc<Cells>, shelf: Arc<Shelf>) -> Self {
        Self { id, cells, shelf }
    }

    /// The connection's number, as [`crate::Operated::disconnect`] gets it.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// A request was accepted; [`Recorder::finish`] must follow.
    #[inline]
    pub fn begin(&mut self) {
        self.cells.begin();
    }

    /// A request was answered. `bytes` is what it read, wrote, trimmed or zeroed: nothing if it failed.
    #[inline]
    pub fn finish(&mut self, command: Command, outcome: Outcome, bytes: u64, latency: Duration) {
        self.cells.finish(command, outcome, bytes, u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shelf.retire(self.id);
    }
}
