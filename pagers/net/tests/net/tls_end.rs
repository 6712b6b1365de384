//! The server's end of TLS, and certificates for both: rustls with ring, so that nothing of it is shared with the pager's end.

use std::io::{Read, Write};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use tls::{Credentials, Files};

/// The end of one connection.
pub(crate) struct TlsEnd(ServerConnection);

impl TlsEnd {
    pub(crate) fn new(config: &Arc<ServerConfig>) -> Self {
        let mut connection = ServerConnection::new(Arc::clone(config)).expect("a good configuration");
        connection.set_buffer_limit(None);
        Self(connection)
    }

    /// Plaintext of what came; what is wrong with it is answered with an alert.
    pub(crate) fn open(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        while !bytes.is_empty() && self.0.read_tls(&mut bytes).is_ok() && self.0.process_new_packets().is_ok() {
            // "Would block" is the end of what there is.
            let _ = self.0.reader().read_to_end(&mut plain);
        }
        plain
    }

    /// Records for plaintext, and for what TLS itself has to say.
    pub(crate) fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        self.0.writer().write_all(plain).expect("a buffer without a limit");
        let mut records = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut records).expect("a vector takes all");
        }
        records
    }
}

/// An authority, and who it knows.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// A server of this name that takes this authority's clients.
    pub(crate) fn server(&self, name: &str) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.0.pem().as_bytes()).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
        let (chain, key) = self.issue(name);
        let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        builder.with_client_cert_verifier(verifier).with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
    }

    /// What a guest of this authority has.
    pub(crate) fn guest(&self, server: &str) -> Credentials {
        let (chain, key) = self.issue("guest");
        let ca = self.0.pem();
        let files = Files { ca: ca.as_bytes(), crl: None, client: Some((chain.as_bytes(), key.as_bytes())) };
        // The certificates are good for centuries.
        Credentials::new(&files, server, || 1_795_000_000).unwrap()
    }
}
