//! The certificate directory, and reading keys and certificates.
//!
//! The names are those of nbdkit, qemu and libnbd, so that one directory serves all of them. A private key that others can
//! read is refused, by PostgreSQL's rule: it belongs to us and only to us, or to root, who may let a group read it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::error::TlsError;

/// The authority's certificate; several are allowed.
pub const CA_CERT: &str = "ca-cert.pem";
/// What the authority revoked.
pub const CA_CRL: &str = "ca-crl.pem";
/// The authority's key; only where certificates are made.
pub const CA_KEY: &str = "ca-key.pem";
/// The server's certificate, followed by those between it and the authority.
pub const SERVER_CERT: &str = "server-cert.pem";
/// The server's key.
pub const SERVER_KEY: &str = "server-key.pem";
/// The client's certificate, followed by those between it and the authority.
pub const CLIENT_CERT: &str = "client-cert.pem";
/// The client's key.
pub const CLIENT_KEY: &str = "client-key.pem";

/// Larger files are something else.
const FILE_MAX: u64 = 16 << 20;

/// Reads all certificates of a file; there is at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    some(path, "certificate", objects(path, &read(path, open(path)?)?)?)
}

/// Reads all revocation lists of a file; there is at least one.
pub(crate) fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    some(path, "certificate revocation list", objects(path, &read(path, open(path)?)?)?)
}

/// Reads the authorities that are trusted.
pub(crate) fn authorities(path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        let refused = |error| TlsError::Content { path: path.into(), problem: format!("cannot be an authority: {error}") };
        store.add(certificate).map_err(refused)?;
    }
    Ok(Arc::new(store))
}

/// Reads a private key that nobody else can read.
pub(crate) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = key_pem(path)?;
    match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(TlsError::Content { path: path.into(), problem: "holds no private key".into() }),
        // The error's text could quote the file.
        Err(_) => Err(TlsError::Content { path: path.into(), problem: "holds no readable PEM".into() }),
    }
}

/// The text of a key file that nobody else can read; forgotten when dropped.
pub(crate) fn key_pem(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let file = open(path)?;
    // The opened file is asked, not the name: it cannot be exchanged in between.
    let metadata = file.metadata().map_err(|error| TlsError::File { path: path.into(), error })?;
    let us = rustix::process::geteuid().as_raw();
    match exposure(metadata.uid(), metadata.mode(), us) {
        None => read(path, file),
        Some(problem) => Err(TlsError::KeyIsExposed { path: path.into(), problem }),
    }
}

/// Who besides us could know a key.
fn exposure(owner: u32, mode: u32, us: u32) -> Option<String> {
    let allowed = match owner {
        0 => 0o640,
        owner if owner == us => 0o600,
        other => return Some(format!("it belongs to user {other}, and we are user {us}")),
    };
    let permissions = mode & 0o777;
    // Executable by its owner is odd but tells nobody anything.
    (permissions & !allowed & 0o077 != 0).then(|| format!("its mode is {permissions:04o}, and at most {allowed:04o} is safe"))
}

fn open(path: &Path) -> Result<File, TlsError> {
    File::open(path).map_err(|error| TlsError::File { path: path.into(), error })
}

/// Reads it into memory that is wiped, whatever it holds: certificates and keys may share a file.
fn read(path: &Path, file: File) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let failed = |error| TlsError::File { path: path.into(), error };
    let length = file.metadata().map_err(failed)?.len();
    if length > FILE_MAX {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "too large")));
    }
    // Never grown, so that no copy of a part stays behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length as usize + 1));
    file.take(length).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn objects<T: PemObject>(path: &Path, pem: &[u8]) -> Result<Vec<T>, TlsError> {
    let unreadable = |_| TlsError::Content { path: path.into(), problem: "holds no readable PEM".into() };
    T::pem_slice_iter(pem).collect::<Result<_, pem::Error>>().map_err(unreadable)
}

fn some<T>(path: &Path, what: &str, found: Vec<T>) -> Result<Vec<T>, TlsError> {
    match found.is_empty() {
        true => Err(TlsError::Content { path: path.into(), problem: format!("holds no {what}") }),
        false => Ok(found),
    }
}

/// `path`, if there is such a file.
pub(crate) fn if_there(path: PathBuf) -> Option<PathBuf> {
    path.exists().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_ours_alone_or_roots() {
        for (owner, mode, us, safe) in [
            (1000, 0o600, 1000, true),
            (1000, 0o400, 1000, true),
            (1000, 0o700, 1000, true),
            (1000, 0o640, 1000, false),
            (1000, 0o604, 1000, false),
            (1000, 0o620, 1000, false),
            (0, 0o640, 1000, true),
            (0, 0o644, 1000, false),
            (0, 0o660, 1000, false),
            (0, 0o600, 0, true),
            (1001, 0o600, 1000, false),
            (1001, 0o600, 0, false),
        ] {
            assert_eq!(exposure(owner, mode, us).is_none(), safe, "{owner} {mode:o} {us}");
        }
    }

    #[test]
    fn a_key_file_that_others_can_read_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(SERVER_KEY);
        fs::write(&path, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(key(&path), Err(TlsError::KeyIsExposed { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(key(&path).is_ok());
    }

    #[test]
    fn files_that_hold_something_else_are_named_and_not_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.pem");
        for content in ["", "secret words", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0IHdvcmRz!!\n-----END PRIVATE KEY-----\n"] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            for error in [key(&path).err().unwrap(), certificates(&path).err().unwrap(), revocation_lists(&path).err().unwrap()] {
                let text = format!("{error} {error:?}");
                assert!(text.contains("x.pem") && !text.contains("secret") && !text.contains("c2Vj"), "{text}");
            }
        }
        assert!(matches!(key(&directory.path().join("none")), Err(TlsError::File { .. })));
    }
}
