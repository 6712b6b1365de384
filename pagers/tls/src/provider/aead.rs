//! The cipher suites: ChaCha20-Poly1305 and AES-128-GCM, both with SHA-256.

use alloc::boxed::Box;

use aes_gcm::Aes128Gcm;
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit, KeySizeUser, Nonce, Tag, TagPosition};
use rustls::crypto::CipherSuiteCommon;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter, NONCE_LEN, OutboundOpaqueMessage,
    OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm, UnsupportedOperationError, make_tls13_aad,
};
use rustls::crypto::tls13::HkdfUsingHmac;
use rustls::{CipherSuite, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion, SupportedCipherSuite, Tls13CipherSuite};

use super::hash::{Sha, ShaHmac};

const TAG: usize = 16;

pub(super) const CHACHA20_POLY1305: SupportedCipherSuite = SupportedCipherSuite::Tls13(&Tls13CipherSuite {
    common: CipherSuiteCommon {
        suite: CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        hash_provider: &Sha,
        // No number of records weakens it (draft-irtf-cfrg-aead-limits, 5.2.1).
        confidentiality_limit: u64::MAX,
    },
    hkdf_provider: &HkdfUsingHmac(&ShaHmac),
    aead_alg: &ChaCha,
    quic: None,
});

pub(super) const AES_128_GCM: SupportedCipherSuite = SupportedCipherSuite::Tls13(&Tls13CipherSuite {
    common: CipherSuiteCommon {
        suite: CipherSuite::TLS13_AES_128_GCM_SHA256,
        hash_provider: &Sha,
        // Then rustls changes the key (RFC 8446, 5.5).
        confidentiality_limit: 1 << 24,
    },
    hkdf_provider: &HkdfUsingHmac(&ShaHmac),
    aead_alg: &Aes,
    quic: None,
});

struct ChaCha;
struct Aes;

impl Tls13AeadAlgorithm for ChaCha {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Record::<ChaCha20Poly1305>::boxed(&key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Record::<ChaCha20Poly1305>::boxed(&key, iv)
    }

    fn key_len(&self) -> usize {
        ChaCha20Poly1305::key_size()
    }

    fn extract_keys(&self, key: AeadKey, iv: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Ok(ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv })
    }
}

impl Tls13AeadAlgorithm for Aes {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Record::<Aes128Gcm>::boxed(&key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Record::<Aes128Gcm>::boxed(&key, iv)
    }

    fn key_len(&self) -> usize {
        Aes128Gcm::key_size()
    }

    fn extract_keys(&self, key: AeadKey, iv: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Ok(ConnectionTrafficSecrets::Aes128Gcm { key, iv })
    }
}

/// One direction of a connection.
struct Record<A> {
    cipher: A,
    iv: Iv,
}

impl<A: KeyInit> Record<A> {
    fn boxed(key: &AeadKey, iv: Iv) -> Box<Self> {
        // rustls makes keys of `key_len` bytes.
        let cipher = A::new_from_slice(key.as_ref()).unwrap_or_else(|_| unreachable!("a key of the length that was asked for"));
        Box::new(Self { cipher, iv })
    }
}

impl<A: AeadInOut> Record<A> {
    fn nonce(&self, sequence: u64) -> Nonce<A> {
        let bytes: [u8; NONCE_LEN] = rustls::crypto::cipher::Nonce::new(&self.iv, sequence).0;
        Nonce::<A>::try_from(&bytes[..]).unwrap_or_default()
    }
}

impl<A: AeadInOut + Send + Sync> MessageEncrypter for Record<A> {
    fn encrypt(&mut self, message: OutboundPlainMessage<'_>, sequence: u64) -> Result<OutboundOpaqueMessage, Error> {
        const { assert!(matches!(A::TAG_POSITION, TagPosition::Postfix)) }
        let length = self.encrypted_payload_len(message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(length);
        payload.extend_from_chunks(&message.payload);
        payload.extend_from_slice(&[message.typ.into()]);
        let (nonce, header) = (self.nonce(sequence), make_tls13_aad(length));
        let tag = self.cipher.encrypt_inout_detached(&nonce, &header, payload.as_mut().into()).map_err(|_| Error::EncryptError)?;
        payload.extend_from_slice(&tag);
        // Every record of TLS 1.3 claims to be of TLS 1.2 (RFC 8446, 5.1).
        Ok(OutboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, payload))
    }

    fn encrypted_payload_len(&self, length: usize) -> usize {
        length + 1 + TAG
    }
}

impl<A: AeadInOut + Send + Sync> MessageDecrypter for Record<A> {
    fn decrypt<'a>(&mut self, mut message: InboundOpaqueMessage<'a>, sequence: u64) -> Result<InboundPlainMessage<'a>, Error> {
        let header = make_tls13_aad(message.payload.len());
        let length = message.payload.len().checked_sub(TAG).ok_or(Error::DecryptError)?;
        let (sealed, tag) = message.payload.split_at_mut(length);
        let tag = Tag::<A>::try_from(&*tag).map_err(|_| Error::DecryptError)?;
        let nonce = self.nonce(sequence);
        self.cipher.decrypt_inout_detached(&nonce, &header, sealed.into(), &tag).map_err(|_| Error::DecryptError)?;
        message.payload.truncate(length);
        message.into_tls13_unpadded_message()
    }
}
