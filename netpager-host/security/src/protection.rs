//! Which addresses need TLS.
//!
//! Nothing is served without authentication where other machines can reach it, unless the operator says so in so many words.
//! The service asks once for each address it is to listen on, before it binds it.

use thiserror::Error;

use crate::identity::Origin;
use crate::tls::ClientCertificates;

/// What an address demands of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// There is no TLS.
    Off,
    /// STARTTLS is accepted; plain clients are served too.
    Offered,
    /// Until STARTTLS, every option but it and ABORT is refused (the NBD protocol's FORCEDTLS).
    Required,
}

/// An address that may not be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unprotected {
    /// No TLS.
    #[error(
        "other machines can reach it, and there is neither encryption nor access control; set up TLS (netpager-host pki init), \
         use a loopback address or a Unix socket, or say --insecure-any-address"
    )]
    NoTls,
    /// TLS, but for everybody.
    #[error(
        "other machines can reach it, and client certificates are not required; \
         set client-certificates = \"required\", or say --insecure-any-address"
    )]
    NoClientCertificates,
}

/// Decides for an address whose clients come from `origin` (for a wildcard address, [`Origin::Network`]). `tls` is what is
/// configured, `insecure` the operator's word that everybody may come.
///
/// # Errors
/// The address may not be served.
pub fn protection(origin: Origin, tls: Option<ClientCertificates>, insecure: bool) -> Result<TlsMode, Unprotected> {
    match (origin, tls) {
        (Origin::Unix { .. } | Origin::Loopback, None) => Ok(TlsMode::Off),
        (Origin::Unix { .. } | Origin::Loopback, Some(_)) => Ok(TlsMode::Offered),
        (Origin::Network, Some(ClientCertificates::Required)) => Ok(TlsMode::Required),
        // Whoever opens the door to everybody still gives those who want it an encrypted wire.
        (Origin::Network, Some(ClientCertificates::Optional)) if insecure => Ok(TlsMode::Offered),
        (Origin::Network, None) if insecure => Ok(TlsMode::Off),
        (Origin::Network, Some(ClientCertificates::Optional)) => Err(Unprotected::NoClientCertificates),
        (Origin::Network, None) => Err(Unprotected::NoTls),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_operators_word_opens_an_address_to_everybody() {
        use ClientCertificates::{Optional, Required};
        let unix = Origin::Unix { uid: 0, gid: 0 };
        for (origin, tls, insecure, expected) in [
            (unix, None, false, Ok(TlsMode::Off)),
            (unix, Some(Required), false, Ok(TlsMode::Offered)),
            (Origin::Loopback, None, false, Ok(TlsMode::Off)),
            (Origin::Loopback, Some(Optional), false, Ok(TlsMode::Offered)),
            (Origin::Network, None, false, Err(Unprotected::NoTls)),
            (Origin::Network, None, true, Ok(TlsMode::Off)),
            (Origin::Network, Some(Optional), false, Err(Unprotected::NoClientCertificates)),
            (Origin::Network, Some(Optional), true, Ok(TlsMode::Offered)),
            (Origin::Network, Some(Required), false, Ok(TlsMode::Required)),
            (Origin::Network, Some(Required), true, Ok(TlsMode::Required)),
        ] {
            assert_eq!(protection(origin, tls, insecure), expected, "{origin:?} {tls:?} {insecure}");
        }
    }
}
