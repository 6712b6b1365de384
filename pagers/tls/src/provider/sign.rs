//! Our own signature: how the server knows that it is us.
//!
//! Neither kind needs randomness to sign: Ed25519 never does, and ECDSA derives its nonce from key and message (RFC 6979).

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::DecodePrivateKey;
use rustls::crypto::KeyProvider;
use rustls::sign::{Signer, SigningKey, public_key_to_spki};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer, alg_id};

#[derive(Debug)]
pub(super) struct Keys;

impl KeyProvider for Keys {
    fn load_private_key(&self, der: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        let p256 = |key: p256::SecretKey| Key::P256(key.into());
        let key = match &der {
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                let ed25519 = || ed25519_dalek::SigningKey::from_pkcs8_der(der).ok().map(Key::Ed25519);
                p256::SecretKey::from_pkcs8_der(der).ok().map(p256).or_else(ed25519)
            }
            PrivateKeyDer::Sec1(der) => p256::SecretKey::from_sec1_der(der.secret_sec1_der()).ok().map(p256),
            _ => None,
        };
        let unknown = || Error::General(String::from("the private key is neither P-256 nor Ed25519"));
        key.map(|key| Arc::new(Shared(Arc::new(key))) as Arc<dyn SigningKey>).ok_or_else(unknown)
    }
}

/// A private key; both kinds are erased when they are dropped.
enum Key {
    P256(p256::ecdsa::SigningKey),
    Ed25519(ed25519_dalek::SigningKey),
}

#[derive(Clone)]
struct Shared(Arc<Key>);

// A key is never printed.
impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", SigningKey::algorithm(self))
    }
}

impl SigningKey for Shared {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.scheme()).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(match &*self.0 {
            Key::P256(key) => public_key_to_spki(&alg_id::ECDSA_P256, key.verifying_key().to_sec1_point(false).as_bytes()),
            Key::Ed25519(key) => public_key_to_spki(&alg_id::ED25519, key.verifying_key().as_bytes()),
        })
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match &*self.0 {
            Key::P256(_) => SignatureAlgorithm::ECDSA,
            Key::Ed25519(_) => SignatureAlgorithm::ED25519,
        }
    }
}

impl Signer for Shared {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(match &*self.0 {
            Key::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_der().as_bytes().to_vec()
            }
            Key::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
        })
    }

    fn scheme(&self) -> SignatureScheme {
        match &*self.0 {
            Key::P256(_) => SignatureScheme::ECDSA_NISTP256_SHA256,
            Key::Ed25519(_) => SignatureScheme::ED25519,
        }
    }
}
