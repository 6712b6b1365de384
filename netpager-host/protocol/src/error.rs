//! The error numbers of NBD, which look like errno on Linux but are the protocol's own.

use thiserror::Error;

/// Why a server failed a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NbdError {
    /// `EPERM`.
    #[error("operation not permitted (EPERM)")]
    NotPermitted,
    /// `EIO`.
    #[error("input/output error (EIO)")]
    Io,
    /// `ENOMEM`.
    #[error("the server has no memory for the request (ENOMEM)")]
    NoMemory,
    /// `EINVAL`.
    #[error("invalid request (EINVAL)")]
    Invalid,
    /// `ENOSPC`.
    #[error("no space left in the export (ENOSPC)")]
    NoSpace,
    /// `EOVERFLOW`.
    #[error("value too large (EOVERFLOW)")]
    Overflow,
    /// `ENOTSUP`.
    #[error("not supported (ENOTSUP)")]
    NotSupported,
    /// `ESHUTDOWN`.
    #[error("the server is shutting down (ESHUTDOWN)")]
    Shutdown,
    /// A number the protocol does not define; treated as a failure all the same.
    #[error("unknown error {0}")]
    Other(u32),
}

impl NbdError {
    /// The number on the wire. Never zero, which would mean success.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::NotPermitted => 1,
            Self::Io => 5,
            Self::NoMemory => 12,
            Self::Invalid | Self::Other(0) => 22,
            Self::NoSpace => 28,
            Self::Overflow => 75,
            Self::NotSupported => 95,
            Self::Shutdown => 108,
            Self::Other(code) => code,
        }
    }

    /// What a number on the wire means; `None` is success.
    #[must_use]
    pub const fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => return None,
            1 => Self::NotPermitted,
            5 => Self::Io,
            12 => Self::NoMemory,
            22 => Self::Invalid,
            28 => Self::NoSpace,
            75 => Self::Overflow,
            95 => Self::NotSupported,
            108 => Self::Shutdown,
            other => Self::Other(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_wire() {
        for code in 1..2000 {
            assert_eq!(NbdError::from_code(code).map(NbdError::code), Some(code));
        }
        assert_eq!(NbdError::from_code(0), None);
        assert_ne!(NbdError::Other(0).code(), 0);
    }
}
