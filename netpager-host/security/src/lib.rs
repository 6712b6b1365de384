//! Who may do what with the memory that this host lends.
//!
//! Everything the service decides before it lets a client near an export is decided here: who is speaking (a certificate, a
//! Unix user, somebody on this machine), which rule speaks for them, and how the wire is protected. Nothing here knows NBD or
//! stores; the service asks, the upstream stores and the load generator use the client half.
//!
//! | module | what it holds |
//! |---|---|
//! | `identity` | [`Origin`] and [`Identity`]: who is at the other end |
//! | `certificate` | [`CertificateFacts`]: what one X.509 certificate says |
//! | `glob` | [`Glob`]: patterns of names |
//! | `acl` | [`Acl`]: rules in order, the first that matches decides; [`Grant`], [`Denial`], [`Refusal`] |
//! | `bucket` | [`TokenBucket`]: rates kept |
//! | `amount` | [`Bytes`], [`Span`]: `8GiB` and `30s` in a configuration |
//! | `protection` | [`protection`]: which addresses need TLS |
//! | `tls` | [`TlsServer`], [`TlsClient`], the certificate directory |
//! | `pki` | `netpager-host pki`: makes the certificates |
//!
//! # What is not here
//! Pre-shared keys (`tls-psk-file` of NBD addresses): rustls has no external PSK, so both halves speak X.509 only. OCSP and
//! revocation lists fetched from the network: a list is a file, and reading it again is a reload.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod acl;
mod amount;
mod bucket;
mod certificate;
mod glob;
mod identity;
pub mod pki;
mod protection;
mod tls;

pub use acl::{Access, Acl, AclError, ClassConfig, Denial, Grant, Limits, Refusal, RuleConfig, Strings, no_such_export};
pub use amount::{Bytes, Span};
pub use bucket::{Rate, TokenBucket};
pub use certificate::CertificateFacts;
pub use glob::{Glob, GlobError};
pub use identity::{Identity, Name, Origin, PeerCertificate};
pub use protection::{TlsMode, Unprotected, protection};
pub use tls::{ClientCertificates, MinimumVersion, TlsClient, TlsConfig, TlsError, TlsServer, TlsStream, accept_tls, files};
