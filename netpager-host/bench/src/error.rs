//! What goes wrong between a load generator and a server.

use std::io;

use nbd::client::ClientError;
use thiserror::Error;

/// Why a connection is of no more use.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The socket failed, or the server closed it.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server refused us, or broke the protocol.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// The server announced an export that does not take what we want to send.
    #[error("the export does not take this request: {0}")]
    Refused(#[from] nbd::Refusal),
    /// The server sent nothing for too long although it owes an answer.
    #[error("the server did not answer for {0} seconds")]
    Silent(u64),
    /// TLS did not come about.
    #[error("TLS: {0}")]
    Tls(String),
    /// What was asked makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Data that was read is not what was written.
    #[error("{0}")]
    Wrong(String),
}

impl BenchError {
    /// Whether the server went away, as opposed to misbehaving.
    #[must_use]
    pub fn is_disconnect(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof};
        let Self::Io(error) = self else { return false };
        matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionRefused | ConnectionReset | NotFound | UnexpectedEof)
    }
}
