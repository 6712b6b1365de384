//! A call of the store on its way to the server.

use std::ops::Range;
use std::sync::Arc;

/// What the server is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Read,
    Write(Arc<[u8]>),
    Zeroes { reserve: bool },
    Trim,
    Flush,
    Status,
}

/// One request that fits the server's limits, before it has a cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) work: Work,
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Call {
    pub(super) const fn new(work: Work, offset: u64, length: u64) -> Self {
        Self { work, offset, length }
    }

    pub(super) fn write(offset: u64, data: &[u8]) -> Self {
        Self::new(Work::Write(data.into()), offset, data.len() as u64)
    }

    pub(super) const fn changes_data(&self) -> bool {
        matches!(self.work, Work::Write(_) | Work::Zeroes { .. } | Work::Trim)
    }

    /// The bytes it touches; a flush touches none.
    pub(super) const fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.length
    }

    /// What keeping it in memory costs.
    pub(super) fn weight(&self) -> usize {
        const FIXED: usize = 96;
        match &self.work {
            Work::Write(data) => FIXED + data.len(),
            _ => FIXED,
        }
    }
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was done.
    Done,
    /// The bytes of a read.
    Bytes(Vec<u8>),
    /// Extents from the start of the range: bytes, and whether they are a hole.
    Extents(Vec<(u64, bool)>),
}
