//! What can go wrong in a store.

use std::io;

use thiserror::Error;

/// Why a call failed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The caller asked for bytes the store does not have.
    #[error("the range {offset}+{length} ends past the end of the store ({size} bytes)")]
    OutOfRange {
        /// Where the range begins.
        offset: u64,
        /// How long it is.
        length: u64,
        /// How large the store is.
        size: u64,
    },
    /// The export has used its quota.
    #[error("the export has used its {quota} bytes of memory")]
    Quota {
        /// The quota in bytes.
        quota: u64,
    },
    /// The memory shared by all exports is used up.
    #[error("the server's memory is used up")]
    ArenaFull,
    /// Flushing failed once. What was written since the flush before it may be gone, and no later success could bring it
    /// back, so nothing is accepted until the server restarts and its clients look again.
    #[error("an earlier flush failed, so the store takes no more writes until the server is restarted")]
    Poisoned,
    /// What is kept is not what was written, and is not shown to anybody.
    #[error("the bytes at {offset} are damaged: their checksum does not match")]
    Corrupt {
        /// Where in the store.
        offset: u64,
    },
    /// The store, or what is below it, takes no writes.
    #[error("the store is read-only")]
    ReadOnly,
    /// What is below the store does not answer, for the reason given.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    /// The operating system refused.
    #[error("{0}")]
    Io(io::Error),
    /// A filter was asked to fail.
    #[error("an injected error")]
    Injected,
}

impl StoreError {
    /// Whether more space would have helped.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        match self {
            Self::Quota { .. } | Self::ArenaFull => true,
            Self::Io(error) => {
                matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
            }
            _ => false,
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ => Self::Io(error),
        }
    }
}

/// Checks that `offset..offset + length` lies within a store of `size` bytes.
pub(crate) fn check_range(size: u64, offset: u64, length: u64) -> Result<(), StoreError> {
    match offset.checked_add(length) {
        Some(end) if end <= size => Ok(()),
        _ => Err(StoreError::OutOfRange { offset, length, size }),
    }
}
