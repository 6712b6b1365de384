//! Which export of which server: what a user names by an NBD URI.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use nbd::uri::{NbdUri, TlsKind, TlsParameters, Transport};
use security::{TlsClient, TlsStream};

use crate::error::BenchError;
use crate::stream::Stream;

/// An export of a server, and how to get there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(NbdUri);

impl Target {
    /// An export of a server on a loopback port, without TLS.
    #[must_use]
    pub fn loopback(port: u16, export: &str) -> Self {
        let transport = Transport::Tcp { host: "127.0.0.1".into(), port };
        Self(NbdUri { transport, is_secure: false, export: export.into(), tls: TlsParameters::default() })
    }

    /// Another export of the same server.
    #[must_use]
    pub fn with_export(&self, export: &str) -> Self {
        Self(NbdUri { export: export.into(), ..self.0.clone() })
    }

    /// The same over TLS, with the certificates of a directory.
    ///
    /// # Errors
    /// The path is no text.
    pub fn with_tls(&self, certificates: &Path) -> Result<Self, BenchError> {
        let path = certificates.to_str().ok_or_else(|| BenchError::Usage(format!("{} is no text", certificates.display())))?;
        let tls = TlsParameters { certificates: Some(path.into()), ..TlsParameters::default() };
        Ok(Self(NbdUri { is_secure: true, tls, ..self.0.clone() }))
    }

    /// The export; empty is the server's default.
    #[must_use]
    pub fn export(&self) -> &str {
        &self.0.export
    }

    /// Where the server listens.
    #[must_use]
    pub const fn transport(&self) -> &Transport {
        &self.0.transport
    }

    /// Whether TLS is required.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.0.is_secure
    }

    /// Starts TLS on a stream that has just been told to.
    pub(crate) fn secure(&self, stream: Stream) -> Result<TlsStream<Stream>, BenchError> {
        let usage = |text: &str| Err(BenchError::Usage(text.into()));
        let TlsParameters { kind, hostname, verify_peer, certificates, psk_file, .. } = &self.0.tls;
        if psk_file.is_some() || !matches!(kind, None | Some(TlsKind::X509)) {
            return usage("only certificates are supported for TLS, no pre-shared keys");
        }
        if *verify_peer == Some(false) {
            return usage("a server that is not verified is not used: tls-verify-peer=0 is not supported");
        }
        let Some(directory) = certificates else { return usage("say where the certificates are: tls-certificates=DIRECTORY in the URI") };
        let host = match (&self.0.transport, hostname) {
            (_, Some(name)) => name,
            (Transport::Tcp { host, .. }, None) => host,
            (Transport::Unix { .. }, None) => "localhost",
        };
        let tls = |error: security::TlsError| BenchError::Tls(error.to_string());
        TlsClient::load(Path::new(directory)).map_err(tls)?.connect(stream, host).map_err(tls)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: nbd::uri::UriError| error.to_string())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_read() {
        let target = Target::loopback(1234, "a b");
        assert_eq!(target.to_string().parse(), Ok(target.clone()));
        let secure = target.with_export("c").with_tls(Path::new("/certificates")).unwrap();
        assert_eq!(secure.to_string().parse(), Ok(secure.clone()));
        assert!(secure.is_secure() && secure.export() == "c");
        assert!("http://x".parse::<Target>().is_err());
    }
}
