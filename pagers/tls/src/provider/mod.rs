//! RustCrypto's primitives as rustls wants them, and no more of them than a client of our servers needs.
//!
//! ChaCha20-Poly1305 comes first: a guest's processor need not have AES instructions, and without them AES is slow and its tables tell secrets.

mod aead;
mod hash;
mod key_exchange;
mod sign;
mod verify;

use rustls::crypto::{CryptoProvider, GetRandomFailed, SecureRandom};

use crate::random;

/// The provider.
#[must_use]
pub fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: alloc::vec![aead::CHACHA20_POLY1305, aead::AES_128_GCM],
        kx_groups: alloc::vec![&key_exchange::X25519],
        signature_verification_algorithms: verify::ALGORITHMS,
        secure_random: &Random,
        key_provider: &sign::Keys,
    }
}

#[derive(Debug)]
struct Random;

impl SecureRandom for Random {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        random::fill(bytes).map_err(|_| GetRandomFailed)
    }
}
