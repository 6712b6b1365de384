//! What clients may take of the service, each and together.

use std::time::Duration;

use serde::Deserialize;

use super::units::{Size, Span};

/// The section `[limits]` of the file; what is not said there is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct LimitsFile {
    pub(crate) connections: Option<u32>,
    pub(crate) connections_per_identity: Option<u32>,
    pub(crate) requests_per_connection: Option<u32>,
    pub(crate) bytes_per_connection: Option<Size>,
    pub(crate) bytes: Option<Size>,
    pub(crate) handshake: Option<Span>,
    pub(crate) stall: Option<Span>,
    pub(crate) drain: Option<Span>,
    pub(crate) fence: Option<Span>,
}

/// The limits in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Clients connected at a time.
    pub(crate) connections: u32,
    /// The same, of one identity, if that is limited.
    pub(crate) connections_per_identity: Option<u32>,
    /// Requests of one client waiting for a store that is not immediate.
    pub(crate) requests_per_connection: u32,
    /// Bytes these may hold.
    pub(crate) bytes_per_connection: u64,
    /// Bytes that large requests of all clients may hold together.
    pub(crate) bytes: u64,
    /// How long a client may take to choose an export.
    pub(crate) handshake: Duration,
    /// How long a client may take none of what is sent to it.
    pub(crate) stall: Duration,
    /// How long clients may still talk after the service was told to end.
    pub(crate) drain: Duration,
    /// How long a client that takes over an exclusive export waits for the writes of the one before it.
    pub(crate) fence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_identity: None,
            requests_per_connection: 256,
            bytes_per_connection: 50 << 20,
            bytes: 1 << 30,
            handshake: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            drain: Duration::from_secs(2),
            fence: Duration::from_secs(30),
        }
    }
}

impl LimitsFile {
    /// The limits in force: what is said here, and the defaults.
    pub(crate) fn or_default(self) -> Limits {
        let default = Limits::default();
        let size = |said: Option<Size>, default| said.map_or(default, |Size(bytes)| bytes);
        let span = |said: Option<Span>, default| said.map_or(default, |Span(time)| time);
        Limits {
            connections: self.connections.unwrap_or(default.connections),
            connections_per_identity: self.connections_per_identity,
            requests_per_connection: self.requests_per_connection.unwrap_or(default.requests_per_connection),
            bytes_per_connection: size(self.bytes_per_connection, default.bytes_per_connection),
            bytes: size(self.bytes, default.bytes),
            handshake: span(self.handshake, default.handshake),
            stall: span(self.stall, default.stall),
            drain: span(self.drain, default.drain),
            fence: span(self.fence, default.fence),
        }
    }
}

impl Limits {
    /// Whether the service could work at all with these.
    pub(crate) fn check(&self) -> Result<(), String> {
        let largest = u64::from(nbd::limits::PAYLOAD_MAX);
        if self.connections == 0 || self.connections_per_identity == Some(0) || self.requests_per_connection == 0 {
            return Err("a limit of 0 would let nobody do anything".into());
        }
        if self.bytes < 2 * largest || self.bytes_per_connection < largest {
            return Err(
                "bytes must be at least 64MiB and bytes-per-connection at least 32MiB, or the largest request would never be served".into(),
            );
        }
        Ok(())
    }
}
