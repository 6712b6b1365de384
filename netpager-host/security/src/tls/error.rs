//! What went wrong with TLS, in words that tell the operator what to do.
//!
//! rustls's errors name protocol states; people ask "is it the certificate, and whose?". No error holds key material: the
//! files are named, never quoted.

use std::io;
use std::path::PathBuf;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible, PeerMisbehaved};
use thiserror::Error as ThisError;

/// What went wrong with TLS.
#[derive(Debug, ThisError)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {problem}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Others could read a key.
    #[error("{}: {problem}; the key may be known to others: make a new one, and keep it with mode 0600", path.display())]
    KeyIsExposed {
        /// Which.
        path: PathBuf,
        /// Who could.
        problem: String,
    },
    /// The certificate and the key do not belong together, or cannot be used.
    #[error("certificate and key in {}: {problem}", directory.display())]
    Pair {
        /// Where.
        directory: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The other side is not whom we want, or does not want us.
    #[error("TLS handshake: {0}")]
    Handshake(String),
    /// The connection broke, or its time was up.
    #[error("TLS handshake: {0}")]
    Io(io::Error),
    /// The certificate was good once.
    #[error("the client's certificate is no longer good: {0}")]
    NoLongerTrusted(String),
    /// The name to verify is none.
    #[error("`{0}` is no host name or address that a certificate could be checked against")]
    ServerName(String),
}

impl TlsError {
    /// Takes a failed handshake apart: what rustls said, or what the socket did.
    pub(super) fn from_handshake(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(inner) => Self::Handshake(explain(inner)),
            None => Self::Io(error),
        }
    }
}

/// What rustls says, as an operator would.
pub(super) fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(problem) => explain_certificate(problem),
        Error::NoCertificatesPresented => "the client showed no certificate".into(),
        Error::AlertReceived(alert) => match alert {
            AlertDescription::UnknownCA => "the other side does not know the authority of our certificate".into(),
            AlertDescription::CertificateRequired => "the other side wants a client certificate".into(),
            AlertDescription::CertificateExpired => "the other side says that our certificate has expired".into(),
            AlertDescription::CertificateRevoked => "the other side says that our certificate was revoked".into(),
            AlertDescription::BadCertificate => "the other side does not accept our certificate".into(),
            other => format!("the other side refused: {other:?}"),
        },
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => "the other side does not speak TLS".into(),
        Error::PeerIncompatible(PeerIncompatible::Tls12NotOfferedOrEnabled | PeerIncompatible::SupportedVersionsExtensionRequired) => {
            "the other side speaks no version of TLS that is allowed here".into()
        }
        Error::PeerMisbehaved(PeerMisbehaved::BadCertChainExtensions) => "the other side's certificate chain is malformed".into(),
        other => other.to_string(),
    }
}

fn explain_certificate(problem: &CertificateError) -> String {
    use CertificateError as C;
    let words = match problem {
        C::Expired | C::ExpiredContext { .. } => "the certificate shown has expired",
        C::NotValidYet | C::NotValidYetContext { .. } => "the certificate shown is not valid yet; are both clocks right?",
        C::Revoked => "the certificate shown was revoked",
        // The second if the authorities only have the same name.
        C::UnknownIssuer | C::BadSignature => "the certificate shown is not signed by an authority that is trusted here",
        C::UnknownRevocationStatus => "the revocation list does not speak for the authority that issued the certificate shown",
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => "the certificate shown is not for this side of a connection",
        C::NotValidForNameContext { expected, presented } => {
            return format!("the certificate shown is for {}, not for `{}`", presented.join(", "), expected.to_str());
        }
        other => return format!("the certificate shown is not acceptable: {other}"),
    };
    words.into()
}
