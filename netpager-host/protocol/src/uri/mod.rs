//! NBD addresses as people write them: `nbd://host:port/export`, and all else that doc/uri.md of the protocol allows.
//!
//! The same text works in the guest's boot configuration, on the service's command line, and with libnbd's and qemu's tools. What
//! cannot be understood is refused with a sentence: an address that is half understood leads to the wrong memory, or to no TLS.
//!
//! | written | means |
//! |---|---|
//! | `nbd://HOST[:PORT]/EXPORT` | TCP, no TLS; the port is 10809 unless said otherwise, the host localhost |
//! | `nbds://[USER@]HOST[:PORT]/EXPORT` | TCP, TLS or nothing |
//! | `nbd+unix:///EXPORT?socket=PATH`, `nbds+unix://…` | the same over a Unix socket; `%00` in front of an abstract name |
//! | `tls-certificates=DIR`, `tls-psk-file=FILE`, `tls-username=USER`, `tls-hostname=NAME`, `tls-verify-peer=0\|1`, `tls-type=x509\|psk\|anon` | with `nbds` only |
//!
//! Everything may be percent-encoded; what is after the first `/` is the export's name, slashes and all.

mod error;
mod parse;
mod percent;
mod print;

use alloc::string::String;

pub use error::UriError;

/// The port the protocol has been assigned.
pub const DEFAULT_PORT: u16 = 10809;

/// An address: `FromStr` reads it, `Display` writes it in a form that reads back as the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NbdUri {
    /// How to get there.
    pub transport: Transport,
    /// Whether the connection must be secured by TLS, or not be made at all.
    pub is_secure: bool,
    /// The export; empty for the server's default.
    pub export: String,
    /// What to do about TLS; nothing unless `is_secure`.
    pub tls: TlsParameters,
}

/// How bytes travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// A name or an address; IPv6 without its brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix {
        /// Its path; an abstract name begins with a NUL.
        socket: String,
    },
}

/// The details of TLS. What is not said is the client's own choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsParameters {
    /// Which way to authenticate.
    pub kind: Option<TlsKind>,
    /// The name to verify the server's certificate against, if it is not the host.
    pub hostname: Option<String>,
    /// Whether to verify it at all; yes unless said otherwise.
    pub verify_peer: Option<bool>,
    /// The directory of the certificates: `ca-cert.pem`, `client-cert.pem`, `client-key.pem`.
    pub certificates: Option<String>,
    /// The file of the pre-shared keys.
    pub psk_file: Option<String>,
    /// Whose key that is.
    pub username: Option<String>,
}

/// How the sides of a TLS connection prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsKind {
    /// By certificates.
    X509,
    /// By a secret that both know.
    Psk,
    /// Not at all.
    Anonymous,
}

impl TlsKind {
    const NAMES: [(&'static str, Self); 3] = [("x509", Self::X509), ("psk", Self::Psk), ("anon", Self::Anonymous)];

    fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|entry| entry.0 == name).map(|entry| entry.1)
    }

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|entry| entry.1 == self).map_or("", |entry| entry.0)
    }
}

impl NbdUri {
    /// An export of a server reached over TCP, without TLS.
    #[must_use]
    pub fn tcp(host: &str, port: u16, export: &str) -> Self {
        Self::plain(Transport::Tcp { host: host.into(), port }, export)
    }

    /// An export of a server reached over a Unix socket, without TLS.
    #[must_use]
    pub fn unix(socket: &str, export: &str) -> Self {
        Self::plain(Transport::Unix { socket: socket.into() }, export)
    }

    fn plain(transport: Transport, export: &str) -> Self {
        Self { transport, is_secure: false, export: export.into(), tls: TlsParameters::default() }
    }
}
