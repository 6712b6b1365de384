//! The handshake of one client, until it has chosen an export or gone away.

use std::io;
use std::time::Duration;

use nbd::server::{Handshake, Negotiated, Outcome, ServerError};
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::catalogue::Catalogue;
use crate::socket::Socket;

/// Why a client did not get as far as its first request.
#[derive(Debug, Error)]
pub(crate) enum HandshakeError {
    #[error("it took too long to choose an export")]
    Timeout,
    #[error("{0}")]
    Protocol(#[from] ServerError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A client that has chosen an export.
pub(crate) struct Ready {
    pub(crate) negotiated: Negotiated,
    /// The beginning of its first requests, if it did not wait.
    pub(crate) early: Vec<u8>,
}

/// Does the handshake; `None` if the client left politely.
pub(crate) async fn handshake(socket: &mut Socket, catalogue: &Catalogue, limit: Duration) -> Result<Option<Ready>, HandshakeError> {
    match timeout(limit, talk(socket, catalogue)).await {
        Ok(result) => result,
        Err(_) => Err(HandshakeError::Timeout),
    }
}

async fn talk(socket: &mut Socket, catalogue: &Catalogue) -> Result<Option<Ready>, HandshakeError> {
    let mut out = Vec::new();
    let mut handshake = Box::new(Handshake::new(&mut out));
    let mut input = [0; 4096];
    loop {
        socket.stream().write_all(&out).await?;
        out.clear();
        let count = socket.stream().read(&mut input).await?;
        if count == 0 {
            return Ok(None);
        }
        let received = handshake.receive(&input[..count], catalogue, &mut out);
        // What was said before a failure is part of the protocol too.
        let outcome = match received {
            Ok((_, None)) => continue,
            Ok((used, Some(outcome))) => Ok((used, outcome)),
            Err(error) => Err(error),
        };
        socket.stream().write_all(&out).await?;
        return match outcome? {
            (_, Outcome::Aborted) => Ok(None),
            (used, Outcome::Transmission(negotiated)) => Ok(Some(Ready { negotiated, early: input[used..count].to_vec() })),
        };
    }
}
