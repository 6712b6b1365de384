//! What a certificate is to say, checked before a key is made.

use std::net::IpAddr;
use std::str::FromStr;

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};
use rustls::pki_types::DnsName;
use time::{Duration, OffsetDateTime};

use super::PkiError;

/// An X.509 common name holds no more (RFC 5280, ub-common-name).
const NAME_MAX: usize = 64;
/// Clocks differ, a guest's above all.
pub(super) const BACKDATED: Duration = Duration::hours(1);

/// Which side of a connection a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It proves to clients that this is the server.
    Server,
    /// It proves to servers who the client is.
    Client,
}

/// What a certificate is to say.
#[derive(Clone, Debug)]
pub struct Request {
    /// The common name and, as a DNS name or an address, the first alternative name.
    pub name: String,
    /// Which side it is for.
    pub role: Role,
    /// More alternative names.
    pub alternatives: Vec<Alternative>,
    /// When it begins; certificates are backdated by an hour because clocks differ.
    pub now: OffsetDateTime,
    /// How long it lasts. It never outlasts the authority.
    pub lifetime: Duration,
}

/// A subject alternative name: `dns:NAME`, `uri:URI`, `ip:ADDRESS`, or one of these without the word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alternative {
    /// A host's or a guest's name.
    Dns(String),
    /// For instance a SPIFFE ID.
    Uri(String),
    /// A host's address.
    Ip(IpAddr),
}

impl FromStr for Alternative {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let dns = |name: &str| match DnsName::try_from(name) {
            Ok(_) => Ok(Self::Dns(name.to_ascii_lowercase())),
            Err(_) => Err(format!("`{name}` is no DNS name")),
        };
        let uri = |uri: &str| match uri.contains(':') && uri.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*') {
            true => Ok(Self::Uri(uri.into())),
            false => Err(format!("`{uri}` is no URI")),
        };
        let ip = |address: &str| address.parse().map(Self::Ip).map_err(|_| format!("`{address}` is no address"));
        match text.split_once(':') {
            Some(("dns", name)) => dns(name),
            Some(("uri", name)) => uri(name),
            Some(("ip", address)) => ip(address),
            _ if text.parse::<IpAddr>().is_ok() => ip(text),
            Some(_) => uri(text),
            None => dns(text),
        }
    }
}

impl Request {
    /// The certificate to sign, and the alternative names it will have.
    pub(super) fn params(&self, serial: [u8; 16], not_after: OffsetDateTime) -> Result<CertificateParams, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(&self.name);
        params.subject_alt_names = self.all_alternatives()?.iter().map(san).collect::<Result<_, _>>()?;
        params.serial_number = Some(serial.to_vec().into());
        params.not_before = self.now - BACKDATED;
        params.not_after = not_after;
        params.is_ca = IsCa::ExplicitNoCa;
        // Elliptic curve keys never encipher keys, but qemu refuses certificates that do not say they may.
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![match self.role {
            Role::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Role::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }

    /// Refuses names that cannot be names of directories or of certificates.
    pub(super) fn check(&self) -> Result<(), PkiError> {
        check_name(&self.name)?;
        if self.lifetime < Duration::seconds(1) {
            return Err(PkiError::Request("a certificate must last longer than that".into()));
        }
        self.all_alternatives().map(drop)
    }

    fn all_alternatives(&self) -> Result<Vec<Alternative>, PkiError> {
        let first: Alternative = self.name.parse().map_err(PkiError::Request)?;
        let mut all = vec![first];
        if self.role == Role::Server && self.name == "localhost" {
            all.extend(["127.0.0.1", "::1"].map(|address| Alternative::Ip(address.parse().expect("an address"))));
        }
        for other in &self.alternatives {
            if !all.contains(other) {
                all.push(other.clone());
            }
        }
        Ok(all)
    }
}

pub(super) fn check_name(name: &str) -> Result<(), PkiError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
    let begins_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b':');
    match begins_well && name.len() <= NAME_MAX && name.bytes().all(allowed) {
        true => Ok(()),
        false => Err(PkiError::Request(format!(
            "`{}` cannot be a name: letters, digits, dots and hyphens, at most {NAME_MAX}; other names can be added with --san",
            name.escape_debug()
        ))),
    }
}

pub(super) fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn san(alternative: &Alternative) -> Result<SanType, rcgen::Error> {
    Ok(match alternative {
        Alternative::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
        Alternative::Uri(uri) => SanType::URI(uri.as_str().try_into()?),
        Alternative::Ip(address) => SanType::IpAddress(*address),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_may_be_said_with_or_without_their_kind() {
        for (text, expected) in [
            ("dns:Host.example", Alternative::Dns("host.example".into())),
            ("host", Alternative::Dns("host".into())),
            ("10.0.0.1", Alternative::Ip("10.0.0.1".parse().unwrap())),
            ("::1", Alternative::Ip("::1".parse().unwrap())),
            ("ip:::1", Alternative::Ip("::1".parse().unwrap())),
            ("spiffe://a/b", Alternative::Uri("spiffe://a/b".into())),
            ("uri:urn:guest:a", Alternative::Uri("urn:guest:a".into())),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for bad in ["", "dns:", "two words", "ip:host", "uri:noscheme", "dns:*.example", "urn:a\nb", "uri:urn:*"] {
            assert!(bad.parse::<Alternative>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_that_would_escape_the_directory_are_refused() {
        for bad in ["", ".", "..", "../x", "a/b", ".hidden", "-x", "a b", "é", &"a".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        for good in ["guest-a", "host.example", "10.0.0.1", "::1"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
    }
}
