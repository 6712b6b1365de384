//! How an upstream is reached, and how long its callers wait.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use nbd::uri::NbdUri;
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes both ways: a socket, or TLS over one.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A stream whose kind no longer matters.
pub type BoxStream = Box<dyn Stream>;

/// A stream that is being made secure.
pub type Securing = Pin<Box<dyn Future<Output = io::Result<BoxStream>> + Send>>;

/// Puts TLS around a stream once the server has agreed to STARTTLS.
pub trait Secure: Send + Sync {
    /// Shakes hands as a client of the host called `name`.
    fn secure(&self, stream: BoxStream, name: &str) -> Securing;
}

/// Everything about an upstream that its operator may want to choose.
#[derive(Clone)]
pub struct NbdConfig {
    /// Where it is, and which export.
    pub uri: NbdUri,
    /// What makes `nbds://` secure. Without it such an address is refused.
    pub tls: Option<Arc<dyn Secure>>,
    /// How large the export is. If this is given, [`super::NbdStore::open`] does not wait for the server, which may be down
    /// for now (a mirror needs that); a server whose export is smaller is not used.
    pub size: Option<u64>,
    /// How many connections, if the server lets them share its caches (CAN_MULTI_CONN); otherwise one.
    pub connections: usize,
    /// How long a call may take, reconnecting and sending again included.
    pub deadline: Duration,
    /// A connection is given up when it owes answers and nothing has arrived for so long.
    pub stall: Duration,
    /// How long one attempt to connect may take, handshake included.
    pub connect: Duration,
    /// How long a server that does not close an abandoned connection is assumed to be still working on its writes.
    pub quarantine: Duration,
    /// How many bytes of unflushed writes are kept to be sent again to a server that was restarted.
    pub unflushed_bytes: usize,
}

impl NbdConfig {
    /// Sensible values for everything but the address.
    #[must_use]
    pub const fn new(uri: NbdUri) -> Self {
        Self {
            uri,
            tls: None,
            size: None,
            connections: 4,
            deadline: Duration::from_secs(30),
            stall: Duration::from_secs(10),
            connect: Duration::from_secs(5),
            quarantine: Duration::from_secs(60),
            unflushed_bytes: 16 << 20,
        }
    }
}

impl std::fmt::Debug for NbdConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NbdConfig").field("uri", &self.uri).field("connections", &self.connections).finish_non_exhaustive()
    }
}
