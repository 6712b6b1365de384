//! The server's half: accepts clients, reads its files again while it serves, and checks those already connected.
//!
//! The service calls [`TlsServer::accept`] after it has acknowledged STARTTLS and thrown away what it had buffered.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificate::CertificateFacts;
use crate::identity::{Identity, Name, Origin, PeerCertificate};

use super::config::{ClientCertificates, TlsConfig};
use super::error::{TlsError, explain};
use super::files;
use super::{provider, versions};

/// The server's half of TLS. Shared by all connections.
pub struct TlsServer {
    settings: TlsConfig,
    current: RwLock<Arc<Loaded>>,
}

/// What one reading of the files gave.
struct Loaded {
    config: Arc<ServerConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
    summary: String,
}

impl TlsServer {
    /// Reads the files.
    ///
    /// # Errors
    /// A file is missing, wrong, or a key that others can read.
    pub fn load(settings: &TlsConfig) -> Result<Self, TlsError> {
        let loaded = Loaded::read(settings)?;
        Ok(Self { settings: settings.clone(), current: RwLock::new(Arc::new(loaded)) })
    }

    /// Reads the files again. Connections go on; ask [`Self::recheck`] for each.
    ///
    /// # Errors
    /// Nothing changed.
    pub fn reload(&self) -> Result<(), TlsError> {
        let loaded = Arc::new(Loaded::read(&self.settings)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    /// Whether clients must show a certificate.
    pub fn client_certificates(&self) -> ClientCertificates {
        self.settings.client_certificates
    }

    /// What is served, in a line, for people: whose certificate, until when, how much is revoked.
    pub fn summary(&self) -> String {
        self.current().summary.clone()
    }

    /// Shakes hands with a client that comes from `origin`, and says who it is.
    ///
    /// The stream is dropped when it fails; the client has been told by an alert.
    ///
    /// # Errors
    /// The client has no certificate that is good here, does not speak TLS, or took longer than `deadline`.
    pub async fn accept<S>(&self, stream: S, origin: Origin, deadline: Duration) -> Result<(TlsStream<S>, Identity), TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = TlsAcceptor::from(self.current().config.clone()).accept(stream);
        let timed_out = |_| TlsError::Io(io::Error::new(io::ErrorKind::TimedOut, "the client took too long"));
        let stream = tokio::time::timeout(deadline, handshake).await.map_err(timed_out)?.map_err(TlsError::from_handshake)?;
        let identity = self.identity_of(stream.get_ref().1, origin)?;
        Ok((stream, identity))
    }

    /// Who is at the other end of a connection whose handshake is complete.
    ///
    /// # Errors
    /// Its certificate was verified, but says nothing that can be read.
    pub fn identity_of(&self, connection: &rustls::ServerConnection, origin: Origin) -> Result<Identity, TlsError> {
        let Some(chain) = connection.peer_certificates().filter(|chain| !chain.is_empty()) else {
            return Ok(Identity::of_origin(origin));
        };
        let unreadable = || TlsError::Handshake("the client's certificate cannot be read".into());
        let facts = CertificateFacts::parse(&chain[0]).ok_or_else(unreadable)?;
        let common_name = facts.common_name.filter(|_| self.settings.common_name).map(Name::CommonName);
        let names = facts.names.into_iter().chain(common_name).collect();
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Ok(Identity::of_certificate(origin, PeerCertificate { names, serial: facts.serial, chain }))
    }

    /// Whether a client that is connected would still be let in: after a reload, and now and then because certificates expire.
    ///
    /// # Errors
    /// It would not, and its connection should be closed.
    pub fn recheck(&self, identity: &Identity) -> Result<(), TlsError> {
        let Some(certificate) = identity.certificate() else { return Ok(()) };
        let no_longer = |error: &rustls::Error| TlsError::NoLongerTrusted(explain(error));
        let (end_entity, intermediates) =
            certificate.chain.split_first().ok_or_else(|| no_longer(&rustls::Error::NoCertificatesPresented))?;
        let verified = self.current().verifier.verify_client_cert(end_entity, intermediates, UnixTime::now());
        verified.map(drop).map_err(|error| no_longer(&error))
    }

    fn current(&self) -> Arc<Loaded> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// [`TlsServer::accept`] for those who hold the server in an `Arc` and need a future that owns all it uses.
///
/// # Errors
/// As there.
pub async fn accept_tls<S>(
    server: Arc<TlsServer>,
    stream: S,
    origin: Origin,
    deadline: Duration,
) -> Result<(TlsStream<S>, Identity), TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    server.accept(stream, origin, deadline).await
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsServer({}: {})", self.settings.certificates.display(), self.summary())
    }
}

impl Loaded {
    fn read(settings: &TlsConfig) -> Result<Self, TlsError> {
        let directory = &settings.certificates;
        let chain = files::certificates(&directory.join(files::SERVER_CERT))?;
        let key = files::key(&directory.join(files::SERVER_KEY))?;
        let (verifier, revoked) = verifier(settings)?;
        let facts = own_facts(directory, &chain)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(settings.minimum_version))
            .map_err(|error| TlsError::Handshake(error.to_string()))?;
        let pair = |error: rustls::Error| TlsError::Pair { directory: directory.clone(), problem: error.to_string() };
        let mut config = builder.with_client_cert_verifier(verifier.clone()).with_single_cert(chain, key).map_err(pair)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let summary = format!("certificate of {} until {}, {revoked}", facts.describe_names(), facts.not_after.date());
        Ok(Self { config: Arc::new(config), verifier, summary })
    }
}

/// Reads our own certificate; one that cannot serve anybody is reported now, not by every client.
fn own_facts(directory: &Path, chain: &[CertificateDer<'_>]) -> Result<CertificateFacts, TlsError> {
    let path = directory.join(files::SERVER_CERT);
    let wrong = |problem: &str| TlsError::Content { path: path.clone(), problem: problem.into() };
    let facts = CertificateFacts::parse(&chain[0]).ok_or_else(|| wrong("holds no certificate that can be read"))?;
    if facts.not_after < OffsetDateTime::now_utc() {
        return Err(wrong(&format!("expired on {}", facts.not_after.date())));
    }
    match facts.for_server {
        true => Ok(facts),
        false => Err(wrong("is not for servers (its extended key usage lacks serverAuth)")),
    }
}

/// What decides about clients, and how much is revoked, in words.
fn verifier(settings: &TlsConfig) -> Result<(Arc<dyn ClientCertVerifier>, String), TlsError> {
    let directory = &settings.certificates;
    let ca = settings.ca.clone().unwrap_or_else(|| directory.join(files::CA_CERT));
    let mut builder = WebPkiClientVerifier::builder_with_provider(files::authorities(&ca)?, provider());
    let mut revoked = "no revocation list".into();
    if let Some(path) = settings.crl.clone().or_else(|| files::if_there(directory.join(files::CA_CRL))) {
        let lists = files::revocation_lists(&path)?;
        revoked = crate::certificate::describe_lists(&lists)
            .ok_or_else(|| TlsError::Content { path: path.clone(), problem: "holds a revocation list that cannot be read".into() })?;
        // Of the chain only the client's own certificate is looked up: an authority between would need a list of its own.
        // A list that is older than it promised to be is still used: to shut out every guest because nobody renewed a list
        // would turn a lapse into an outage. The reload log shows its age.
        builder = builder.with_crls(lists).only_check_end_entity_revocation();
    }
    if settings.client_certificates == ClientCertificates::Optional {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder.build().map_err(|error| TlsError::Content { path: ca, problem: error.to_string() })?;
    Ok((verifier, revoked))
}
