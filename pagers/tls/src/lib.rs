//! TLS 1.3 for pagers: a client's half without I/O, without std, without a heap of more than it needs.
//!
//! It is rustls' state machine on RustCrypto's primitives, wired by hand in [`provider`] so that a program of a few hundred kilobytes is
//! enough: X25519; ECDSA with P-256 and Ed25519 for certificates; ChaCha20-Poly1305, then AES-128-GCM. TLS 1.2, RSA and pre-shared keys aren't there.
//! Its user is the network pager (`pagers/net`), which moves the bytes; the other end is any server with X.509 certificates.
//!
//! | module | what |
//! |---|---|
//! | [`provider`] | the primitives, as rustls wants them |
//! | [`random`] | the generator that keys come from, seeded once by the program |
//! | [`credentials`] | whom we trust and who we are, from the files that nbdkit and qemu use too |
//! | [`session`] | one connection: bytes in, bytes out |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod credentials;
pub mod provider;
pub mod random;
pub mod session;

pub use credentials::{BadCredentials, Credentials, Files};
pub use session::{Session, TlsError};
