//! A server in memory: rustls with ring, and an authority that issues what the tests need.

use std::io::{Read, Write};
use std::sync::{Arc, Once};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::UnixTime;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{CipherSuite, RootCertStore, ServerConfig, ServerConnection};
use tls::Session;

/// Some day in 2026, for both ends.
pub(crate) const NOW: u64 = 1_795_000_000;

/// The generator, once for all tests.
pub(crate) fn seed() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tls::random::seed(&[3; 32]));
}

fn day(offset: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(NOW as i64 + offset * 86_400).unwrap()
}

/// A certificate authority.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    is_ed25519: bool,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new(is_ed25519: bool) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "a test's authority");
        let issuer = CertifiedIssuer::self_signed(params, key(is_ed25519)).unwrap();
        let pem = issuer.pem();
        Self { issuer, is_ed25519, pem }
    }

    /// A certificate and its key.
    pub(crate) fn issue(&self, name: &str, is_server: bool) -> (String, String) {
        self.issue_for(name, is_server, -1000, 1000, 1)
    }

    pub(crate) fn issue_for(&self, name: &str, is_server: bool, from_day: i64, to_day: i64, serial: u64) -> (String, String) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (day(from_day), day(to_day));
        params.serial_number = Some(SerialNumber::from(serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        let usage = if is_server { rcgen::ExtendedKeyUsagePurpose::ServerAuth } else { rcgen::ExtendedKeyUsagePurpose::ClientAuth };
        params.extended_key_usages = vec![usage];
        let key = key(self.is_ed25519);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// The list of those that are cast out.
    pub(crate) fn revoke(&self, serial: u64) -> String {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: day(-1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: day(-1),
            next_update: day(1000),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

fn key(is_ed25519: bool) -> KeyPair {
    KeyPair::generate_for(if is_ed25519 { &rcgen::PKCS_ED25519 } else { &rcgen::PKCS_ECDSA_P256_SHA256 }).unwrap()
}

/// What kind of server.
#[derive(Clone)]
pub(crate) struct Options<'a> {
    pub(crate) authority: &'a Authority,
    pub(crate) name: &'a str,
    /// Whose clients it takes.
    pub(crate) trusts: String,
    pub(crate) suite: Option<CipherSuite>,
    pub(crate) asks_client: bool,
    pub(crate) from_day: i64,
    pub(crate) to_day: i64,
    pub(crate) serial: u64,
}

impl<'a> Options<'a> {
    pub(crate) fn of(authority: &'a Authority, name: &'a str) -> Self {
        let trusts = authority.pem.clone();
        Self { authority, name, trusts, suite: None, asks_client: true, from_day: -1000, to_day: 1000, serial: 1 }
    }

    fn config(&self) -> ServerConfig {
        let mut provider = rustls::crypto::ring::default_provider();
        provider.cipher_suites.retain(|suite| self.suite.is_none_or(|wanted| suite.suite() == wanted));
        let provider = Arc::new(provider);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.trusts.as_bytes()).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
        let verifier = if self.asks_client { verifier } else { WebPkiClientVerifier::no_client_auth() };
        let (chain, key) = self.authority.issue_for(self.name, true, self.from_day, self.to_day, self.serial);
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
        ServerConfig::builder_with_details(provider, Arc::new(Clock))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
            .unwrap()
    }
}

#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(NOW)))
    }
}

/// The other end.
pub(crate) struct Server {
    connection: ServerConnection,
    /// What the client said.
    pub(crate) plain: Vec<u8>,
}

impl Server {
    pub(crate) fn new(options: &Options<'_>) -> Self {
        let mut connection = ServerConnection::new(Arc::new(options.config())).unwrap();
        connection.set_buffer_limit(None);
        Self { connection, plain: Vec::new() }
    }

    pub(crate) fn suite(&self) -> Option<CipherSuite> {
        self.connection.negotiated_cipher_suite().map(|suite| suite.suite())
    }

    /// Whether the client showed a certificate.
    pub(crate) fn has_client_certificate(&self) -> bool {
        self.connection.peer_certificates().is_some_and(|chain| !chain.is_empty())
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.connection.writer().write_all(bytes).unwrap();
    }

    pub(crate) fn close(&mut self) {
        self.connection.send_close_notify();
    }

    pub(crate) fn change_key(&mut self) {
        self.connection.refresh_traffic_keys().unwrap();
    }

    pub(crate) fn take_outgoing(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    pub(crate) fn receive(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            self.connection.read_tls(&mut bytes).map_err(|error| error.to_string())?;
            self.connection.process_new_packets().map_err(|error| error.to_string())?;
            // "Would block" is the end of what there is.
            let _ = self.connection.reader().read_to_end(&mut self.plain);
        }
        Ok(())
    }
}

/// Moves what there is both ways until nothing moves; what the client read stays with it, up to its limit.
pub(crate) fn pump(session: &mut Session, server: &mut Server) -> Result<(), String> {
    let mut coming = Vec::new();
    loop {
        session.flush().map_err(|error| error.to_string())?;
        let advanced = session.advance();
        let going = session.outgoing().to_vec();
        session.sent(going.len());
        let heard = server.receive(&going);
        coming.extend(server.take_outgoing());
        let count = session.receive(&coming);
        coming.drain(..count);
        advanced.map_err(|error| error.to_string())?;
        session.advance().map_err(|error| error.to_string())?;
        heard?;
        if going.is_empty() && count == 0 && session.outgoing().is_empty() {
            return Ok(());
        }
    }
}

/// Shakes hands.
pub(crate) fn ready(session: &mut Session, server: &mut Server) -> Result<(), String> {
    pump(session, server)?;
    if session.is_open() { Ok(()) } else { Err("it never became ready".into()) }
}
