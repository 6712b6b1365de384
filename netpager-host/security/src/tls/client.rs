//! The client's half: stores upstream, the load generator, and whoever else speaks to an NBD server over TLS.
//!
//! The server is always verified, against the directory's authority and the name it was addressed by: there is no switch to
//! do without.

use std::fmt;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::config::MinimumVersion;
use super::error::TlsError;
use super::files;
use super::{provider, versions};

/// A blocking stream over TLS.
pub type TlsStream<S> = StreamOwned<ClientConnection, S>;

/// The client's half of TLS. Cheap to clone.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
}

impl TlsClient {
    /// Reads a certificate directory: `ca-cert.pem`; `client-cert.pem` and `client-key.pem`, both or neither; `ca-crl.pem`
    /// if it is there.
    ///
    /// TLS 1.2 is spoken too: it is the server that decides how old a version it allows.
    ///
    /// # Errors
    /// A file is missing, wrong, or a key that others can read.
    pub fn load(directory: &Path) -> Result<Self, TlsError> {
        let ca = directory.join(files::CA_CERT);
        let mut verifier = WebPkiServerVerifier::builder_with_provider(files::authorities(&ca)?, provider());
        if let Some(path) = files::if_there(directory.join(files::CA_CRL)) {
            verifier = verifier.with_crls(files::revocation_lists(&path)?).only_check_end_entity_revocation();
        }
        let verifier = verifier.build().map_err(|error| TlsError::Content { path: ca, problem: error.to_string() })?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(MinimumVersion::Tls12))
            .map_err(|error| TlsError::Handshake(error.to_string()))?
            .with_webpki_verifier(verifier);
        let (certificate, key) = (directory.join(files::CLIENT_CERT), directory.join(files::CLIENT_KEY));
        let mut config = match certificate.exists() || key.exists() {
            false => builder.with_no_client_auth(),
            true => {
                let pair = |error: rustls::Error| TlsError::Pair { directory: directory.into(), problem: error.to_string() };
                builder.with_client_auth_cert(files::certificates(&certificate)?, files::key(&key)?).map_err(pair)?
            }
        };
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config) })
    }

    /// Shakes hands over a blocking stream with the server called `host`: a name or an address. The stream's own timeouts
    /// bound the handshake.
    ///
    /// A server may refuse our certificate after this has succeeded (TLS 1.3); the first read then fails.
    ///
    /// # Errors
    /// The server is not the one that was meant, or does not speak TLS.
    pub fn connect<S: Read + Write>(&self, mut stream: S, host: &str) -> Result<TlsStream<S>, TlsError> {
        let refused = |error: rustls::Error| TlsError::Handshake(super::error::explain(&error));
        let mut connection = ClientConnection::new(self.config.clone(), server_name(host)?).map_err(refused)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).map_err(TlsError::from_handshake)?;
        }
        Ok(StreamOwned::new(connection, stream))
    }

    /// Shakes hands over a tokio stream with the server called `host`.
    ///
    /// # Errors
    /// As for [`Self::connect`].
    pub async fn connect_async<S>(&self, stream: S, host: &str) -> Result<tokio_rustls::client::TlsStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let connector = TlsConnector::from(self.config.clone());
        connector.connect(server_name(host)?, stream).await.map_err(TlsError::from_handshake)
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsClient")
    }
}

/// IPv6 addresses may be in brackets, as in a URI.
fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.to_owned()).map_err(|_| TlsError::ServerName(host.into()))
}
