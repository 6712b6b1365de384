//! TLS, both halves.
//!
//! rustls with ring, X.509 only, no session resumption: every connection shows its certificate, so that one that was revoked
//! a second ago does not come back on an old ticket.
//!
//! | file | what it holds |
//! |---|---|
//! | `files` | the certificate directory, and reading keys and certificates |
//! | `config` | `[tls]` of the configuration file |
//! | `server` | [`TlsServer`]: accepts, reloads, checks again |
//! | `client` | [`TlsClient`]: connects, blocking or not |
//! | `error` | [`TlsError`], in words |

mod client;
mod config;
mod error;
pub mod files;
mod server;

pub use client::{TlsClient, TlsStream};
pub use config::{ClientCertificates, MinimumVersion, TlsConfig};
pub use error::TlsError;
pub use server::{TlsServer, accept_tls};

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;

/// Never the process's default provider: another crate could have installed a different one.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn versions(minimum: MinimumVersion) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
    match minimum {
        MinimumVersion::Tls13 => &BOTH[..1],
        MinimumVersion::Tls12 => &BOTH,
    }
}
