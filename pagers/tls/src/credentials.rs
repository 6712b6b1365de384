//! Whom we trust and who we are: three PEM files with the names that nbdkit and qemu-nbd use too, so that one directory serves all.
//!
//! A client that can't check the time can't check a certificate: [`Credentials::new`] is told what time it is. There is no way around the server's name either.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, client::Resumption};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime};
use thiserror::Error;

use crate::provider::provider;

/// Whom we trust.
pub const CA_FILE: &str = "ca-cert.pem";
/// Who has been cast out; may be missing.
pub const CRL_FILE: &str = "ca-crl.pem";
/// Who we are.
pub const CERTIFICATE_FILE: &str = "client-cert.pem";
/// The key to that.
pub const KEY_FILE: &str = "client-key.pem";

/// What the files hold.
#[derive(Clone, Copy, Default)]
pub struct Files<'a> {
    pub ca: &'a [u8],
    pub crl: Option<&'a [u8]>,
    /// Certificate and key; a server that knows its clients some other way needs neither.
    pub client: Option<(&'a [u8], &'a [u8])>,
}

/// Seconds since 1970.
pub type Clock = fn() -> u64;

/// What all connections to a server share.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) server: ServerName<'static>,
}

/// Why the files are of no use. Says nothing of what is in them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadCredentials {
    #[error("{0}: {1}")]
    Pem(&'static str, String),
    #[error("{0}: there is no certificate in it")]
    Empty(&'static str),
    #[error("{CA_FILE}: {0}")]
    Authority(String),
    #[error("{CERTIFICATE_FILE} and {KEY_FILE}: {0}")]
    Client(String),
    #[error("`{0}` is no server's name")]
    Name(String),
}

impl Credentials {
    /// Reads the files; `server` is the name or address that the server's certificate must be for.
    pub fn new(files: &Files<'_>, server: &str, clock: Clock) -> Result<Self, BadCredentials> {
        let name = ServerName::try_from(server).map_err(|_| BadCredentials::Name(server.into()))?.to_owned();
        let provider = Arc::new(provider());
        let mut roots = RootCertStore::empty();
        for certificate in certificates(CA_FILE, files.ca)? {
            roots.add(certificate).map_err(|error| BadCredentials::Authority(error.to_string()))?;
        }
        let lists = files.crl.map(revoked).transpose()?.unwrap_or_default();
        let mut verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        if !lists.is_empty() {
            // A list is of the server's own certificate: its authority's issuer publishes none here.
            verifier = verifier.with_crls(lists).only_check_end_entity_revocation().allow_unknown_revocation_status();
        }
        let verifier: Arc<dyn ServerCertVerifier> = verifier.build().map_err(|error| BadCredentials::Authority(error.to_string()))?;
        let builder = ClientConfig::builder_with_details(provider, Arc::new(Time(clock)))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| BadCredentials::Authority(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match files.client {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| BadCredentials::Pem(KEY_FILE, error.to_string()))?;
                let chain = certificates(CERTIFICATE_FILE, chain)?;
                builder.with_client_auth_cert(chain, key).map_err(|error| BadCredentials::Client(error.to_string()))?
            }
        };
        // A connection lives for days: there is nothing to be won by tickets.
        config.resumption = Resumption::disabled();
        config.enable_sni = true;
        Ok(Self { config: Arc::new(config), server: name })
    }
}

fn certificates(file: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadCredentials> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| BadCredentials::Pem(file, error.to_string()))?;
    if found.is_empty() { Err(BadCredentials::Empty(file)) } else { Ok(found) }
}

fn revoked(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, BadCredentials> {
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    found.map_err(|error| BadCredentials::Pem(CRL_FILE, error.to_string()))
}

#[derive(Debug)]
struct Time(Clock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(core::time::Duration::from_secs((self.0)())))
    }
}
