//! The authority: a directory with a key, and what it signed.
//!
//! | file | what it holds |
//! |---|---|
//! | `ca-cert.pem`, `ca-key.pem` | the authority |
//! | `ca-crl.pem` | what was revoked; the only record of it |
//! | `issued/NUMBER.pem` | every certificate that was issued; the only record of them |

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, RevokedCertParams, SerialNumber,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::pki_types::CertificateRevocationListDer;
use time::{Duration, OffsetDateTime};
use x509_parser::parse_x509_crl;
use zeroize::Zeroizing;

use crate::certificate::{CertificateFacts, hex};
use crate::tls::files;

use super::PkiError;
use super::request::{BACKDATED, Request, Role, check_name, common_name};
use super::write::{Batch, PUBLIC, SECRET, directory, replace};

const ISSUED: &str = "issued";

/// An authority whose key we hold. While it lives, no other process uses the directory.
pub struct Authority {
    directory: PathBuf,
    facts: CertificateFacts,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
    _lock: File,
}

/// Whether a certificate is still good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    Good,
    /// Its time is up.
    Expired,
    /// It was taken back.
    Revoked,
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// What it says.
    pub facts: CertificateFacts,
    /// Whether it is still good.
    pub standing: Standing,
}

/// What a revocation did.
#[derive(Debug)]
pub struct Revocation {
    /// What was taken back.
    pub revoked: Vec<CertificateFacts>,
    /// Which files hold the new list.
    pub written: Vec<PathBuf>,
    /// Which copies still hold the old one, and why.
    pub failed: Vec<PkiError>,
}

impl Authority {
    /// Makes an authority in `path`, which is made too.
    ///
    /// # Errors
    /// There is one already, or it cannot be written.
    pub fn create(path: &Path, name: &str, now: OffsetDateTime, lifetime: Duration) -> Result<Self, PkiError> {
        if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
            return Err(PkiError::Request("an authority's name has 1 to 64 characters".into()));
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.serial_number = Some(random_serial()?.to_vec().into());
        params.not_before = now - BACKDATED;
        params.not_after = now + lifetime;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        directory(path)?;
        directory(&path.join(ISSUED))?;
        let list = revocation_list(&Issuer::from_params(&params, &key), now, params.not_after, 1, Vec::new())?;
        let mut batch = Batch::new();
        batch.add(path.join(files::CA_KEY), Zeroizing::new(key.serialize_pem()).as_bytes(), SECRET)?;
        batch.add(path.join(files::CA_CERT), certificate.pem().as_bytes(), PUBLIC)?;
        batch.add(path.join(files::CA_CRL), list.as_bytes(), PUBLIC)?;
        batch.commit()?;
        Self::open(path)
    }

    /// Opens the authority in `path`; waits for others who use it.
    ///
    /// # Errors
    /// There is none, or its files cannot be used.
    pub fn open(path: &Path) -> Result<Self, PkiError> {
        let (certificate, key) = (path.join(files::CA_CERT), path.join(files::CA_KEY));
        if !key.exists() {
            return Err(PkiError::NoAuthority(path.into()));
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| PkiError::File { path, error }
        };
        let lock = File::open(&key).and_then(|file| file.lock().map(|()| file)).map_err(failed(&key))?;
        let damaged = |path: &Path, problem: String| PkiError::Damaged { path: path.into(), problem };
        let pem = files::key_pem(&key)?;
        let text = std::str::from_utf8(&pem).map_err(|_| damaged(&key, "is no text".into()))?;
        let pair = KeyPair::from_pem(text).map_err(|_| damaged(&key, "holds no key that can be used".into()))?;
        let certificate_pem = fs::read_to_string(&certificate).map_err(failed(&certificate))?;
        let facts = facts_of(&certificate)?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, pair).map_err(|error| damaged(&certificate, error.to_string()))?;
        Ok(Self { directory: path.into(), facts, certificate_pem, issuer, _lock: lock })
    }

    /// What the authority's own certificate says.
    pub fn facts(&self) -> &CertificateFacts {
        &self.facts
    }

    /// Issues a certificate and puts it with its key and the authority's certificate into `bundle`, under the names that
    /// nbdkit, qemu and libnbd look for; a server also gets the revocation list. The directory is made if need be.
    ///
    /// # Errors
    /// A file is there already, and then nothing was changed; or it cannot be written.
    pub fn issue(&self, request: &Request, bundle: &Path) -> Result<CertificateFacts, PkiError> {
        request.check()?;
        let not_after = (request.now + request.lifetime).min(self.facts.not_after);
        if not_after <= request.now {
            return Err(PkiError::Request(format!("the authority itself ended on {}", self.facts.not_after.date())));
        }
        let serial = random_serial()?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = request.params(serial, not_after)?.signed_by(&key, &self.issuer)?;
        let pem = certificate.pem();
        directory(bundle)?;
        let (certificate_name, key_name) = match request.role {
            Role::Server => (files::SERVER_CERT, files::SERVER_KEY),
            Role::Client => (files::CLIENT_CERT, files::CLIENT_KEY),
        };
        let mut batch = Batch::new();
        // The record comes first: a certificate nobody knows of could not be revoked.
        batch.add(self.directory.join(ISSUED).join(format!("{}.pem", hex(&serial))), pem.as_bytes(), PUBLIC)?;
        batch.add(bundle.join(key_name), Zeroizing::new(key.serialize_pem()).as_bytes(), SECRET)?;
        batch.add(bundle.join(certificate_name), pem.as_bytes(), PUBLIC)?;
        self.add_unless_the_same(&mut batch, bundle.join(files::CA_CERT), self.certificate_pem.as_bytes())?;
        if request.role == Role::Server && !bundle.join(files::CA_CRL).exists() {
            let list = self.directory.join(files::CA_CRL);
            let list = fs::read(&list).map_err(|error| PkiError::File { path: list, error })?;
            batch.add(bundle.join(files::CA_CRL), &list, PUBLIC)?;
        }
        batch.commit()?;
        let unreadable = || PkiError::Request("the certificate just made cannot be read".into());
        CertificateFacts::parse(certificate.der()).ok_or_else(unreadable)
    }

    /// Everything that was issued, the oldest first.
    ///
    /// # Errors
    /// A record cannot be read.
    pub fn list(&self, now: OffsetDateTime) -> Result<Vec<Issued>, PkiError> {
        let revoked = self.read_list()?.1;
        let directory = self.directory.join(ISSUED);
        let failed = |error| PkiError::File { path: directory.clone(), error };
        let mut all = Vec::new();
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_none_or(|extension| extension != "pem") {
                continue;
            }
            let facts = facts_of(&path)?;
            let is_revoked = revoked.iter().any(|(serial, _)| *serial == facts.serial);
            let standing = match (is_revoked, facts.not_after < now) {
                (true, _) => Standing::Revoked,
                (false, true) => Standing::Expired,
                (false, false) => Standing::Good,
            };
            all.push(Issued { facts, standing });
        }
        all.sort_by(|a, b| (a.facts.not_before, &a.facts.serial).cmp(&(b.facts.not_before, &b.facts.serial)));
        Ok(all)
    }

    /// Takes back what was issued under a name, or under a number, and is still good. The new list also goes into the bundles
    /// below the authority's directory.
    ///
    /// # Errors
    /// There are none, or the list cannot be written, and then nothing was revoked.
    pub fn revoke(&self, name_or_serial: &str, now: OffsetDateTime) -> Result<Revocation, PkiError> {
        let meant = |issued: &Issued| {
            let named = issued.facts.common_name.as_deref() == Some(name_or_serial);
            issued.standing == Standing::Good && (named || issued.facts.serial == name_or_serial.to_ascii_lowercase())
        };
        let revoked: Vec<CertificateFacts> = self.list(now)?.into_iter().filter(meant).map(|issued| issued.facts).collect();
        if revoked.is_empty() {
            return Err(PkiError::Unknown(name_or_serial.into()));
        }
        let (number, mut entries) = self.read_list()?;
        entries.extend(revoked.iter().map(|facts| (facts.serial.clone(), now)));
        let list = revocation_list(&self.issuer, now, self.facts.not_after, number + 1, entries)?;
        let copies = self.bundles()?.into_iter().map(|bundle| bundle.join(files::CA_CRL)).filter(|path| path.exists());
        let own = self.directory.join(files::CA_CRL);
        replace(&own, list.as_bytes(), PUBLIC)?;
        let mut revocation = Revocation { revoked, written: vec![own], failed: Vec::new() };
        for path in copies {
            match replace(&path, list.as_bytes(), PUBLIC) {
                Ok(()) => revocation.written.push(path),
                Err(error) => revocation.failed.push(error),
            }
        }
        Ok(revocation)
    }

    /// The directories directly below ours that hold our certificate.
    fn bundles(&self) -> Result<Vec<PathBuf>, PkiError> {
        let failed = |error| PkiError::File { path: self.directory.clone(), error };
        let entries = fs::read_dir(&self.directory).map_err(failed)?.map(|entry| entry.map(|entry| entry.path()));
        let mut bundles = entries.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        bundles.retain(|path| fs::read(path.join(files::CA_CERT)).is_ok_and(|pem| pem == self.certificate_pem.as_bytes()));
        bundles.sort();
        Ok(bundles)
    }

    /// The revocation list's number, and what it holds.
    fn read_list(&self) -> Result<(u64, Vec<(String, OffsetDateTime)>), PkiError> {
        let path = self.directory.join(files::CA_CRL);
        let lists = files::revocation_lists(&path)?;
        let damaged = || PkiError::Damaged { path: path.clone(), problem: "holds a revocation list that cannot be read".into() };
        read_revoked(&lists[0]).ok_or_else(damaged)
    }

    fn add_unless_the_same(&self, batch: &mut Batch, path: PathBuf, content: &[u8]) -> Result<(), PkiError> {
        match fs::read(&path) {
            Ok(there) if there == content => Ok(()),
            _ => batch.add(path, content, PUBLIC),
        }
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.directory.display())
    }
}

/// Where the bundle of `name` is put if nobody says otherwise.
pub(super) fn default_bundle(directory: &Path, name: &str) -> Result<PathBuf, PkiError> {
    check_name(name)?;
    match name == ISSUED {
        true => Err(PkiError::Request(format!("`{ISSUED}` is taken; say where to with --out"))),
        false => Ok(directory.join(name)),
    }
}

fn facts_of(path: &Path) -> Result<CertificateFacts, PkiError> {
    let damaged = || PkiError::Damaged { path: path.into(), problem: "holds a certificate that cannot be read".into() };
    CertificateFacts::parse(&files::certificates(path)?[0]).ok_or_else(damaged)
}

fn random_serial() -> Result<[u8; 16], PkiError> {
    let mut serial = [0; 16];
    SystemRandom::new().fill(&mut serial).map_err(|_| PkiError::Request("the system has no random numbers for us".into()))?;
    // Positive, and of a length that does not vary (RFC 5280 §4.1.2.2).
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(serial)
}

/// A list that is valid as long as its authority. A shorter life would have GnuTLS refuse every certificate once nobody
/// renewed it; revoking makes a new list anyway.
fn revocation_list<S: rcgen::SigningKey>(
    issuer: &Issuer<'_, S>,
    now: OffsetDateTime,
    next: OffsetDateTime,
    number: u64,
    revoked: Vec<(String, OffsetDateTime)>,
) -> Result<String, PkiError> {
    let revoked = revoked.iter().map(|(serial, time)| RevokedCertParams {
        serial_number: SerialNumber::from(unhex(serial)),
        revocation_time: *time,
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: now - BACKDATED,
        next_update: next,
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(params.signed_by(issuer)?.pem()?)
}

fn read_revoked(list: &CertificateRevocationListDer<'_>) -> Option<(u64, Vec<(String, OffsetDateTime)>)> {
    let (_, list) = parse_x509_crl(list).ok()?;
    let number = list.crl_number().and_then(|number| number.try_into().ok()).unwrap_or(0);
    let entry =
        |entry: &x509_parser::revocation_list::RevokedCertificate<'_>| (hex(entry.raw_serial()), entry.revocation_date.to_datetime());
    Some((number, list.iter_revoked_certificates().map(entry).collect()))
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or_default());
    pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}
