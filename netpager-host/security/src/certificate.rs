//! What one X.509 certificate says, as far as this crate asks.
//!
//! Used for the names of a client that rustls has verified already, for start-up lines, and for `pki list`. Parsing proves
//! nothing: whoever wants to rely on a certificate verifies it first.

use std::net::IpAddr;

use rustls::pki_types::CertificateRevocationListDer;
use time::OffsetDateTime;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::x509::X509Name;
use x509_parser::{parse_x509_certificate, parse_x509_crl};

use crate::identity::Name;

/// Longer names are nobody's.
const NAME_MAX: usize = 1024;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The number its authority gave it, in hexadecimal.
    pub serial: String,
    /// Subject alternative names that are DNS names or URIs, in their order.
    pub names: Vec<Name>,
    /// Subject alternative names that are addresses.
    pub addresses: Vec<IpAddr>,
    /// The subject's common name.
    pub common_name: Option<String>,
    /// The issuer's common name.
    pub issuer: Option<String>,
    /// When it begins to be valid.
    pub not_before: OffsetDateTime,
    /// When it ends.
    pub not_after: OffsetDateTime,
    /// Whether it may issue certificates.
    pub is_authority: bool,
    /// Whether a server may use it.
    pub for_server: bool,
    /// Whether a client may use it.
    pub for_client: bool,
}

impl CertificateFacts {
    /// Reads a DER certificate; `None` if it is none.
    ///
    /// Names that cannot be printed, are empty or hold a wildcard are left out: they name nobody.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (rest, certificate) = parse_x509_certificate(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let validity = certificate.validity();
        let usage = certificate.extended_key_usage().ok()?.map(|usage| usage.value);
        let mut facts = Self {
            serial: hex(certificate.raw_serial()),
            names: Vec::new(),
            addresses: Vec::new(),
            common_name: common_name(certificate.subject()),
            issuer: common_name(certificate.issuer()),
            not_before: validity.not_before.to_datetime(),
            not_after: validity.not_after.to_datetime(),
            is_authority: certificate.is_ca(),
            for_server: usage.is_none_or(|usage| usage.any || usage.server_auth),
            for_client: usage.is_none_or(|usage| usage.any || usage.client_auth),
        };
        let alternatives = certificate.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        });
        alternatives.flatten().for_each(|name| facts.add(name));
        Some(facts)
    }

    /// Everything it may be called by, for people.
    pub fn describe_names(&self) -> String {
        let names = self.names.iter().map(ToString::to_string);
        names.chain(self.addresses.iter().map(|address| format!("ip:{address}"))).collect::<Vec<_>>().join(" ")
    }

    fn add(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(name) if names_somebody(name) => self.names.push(Name::Dns(name.to_ascii_lowercase())),
            GeneralName::URI(uri) if names_somebody(uri) => self.names.push(Name::Uri((*uri).into())),
            GeneralName::IPAddress(bytes) => self.addresses.extend(address(bytes)),
            _ => {}
        }
    }
}

/// Whether a name can be somebody's: what cannot be printed would forge lines of the log, and a wildcard is many.
fn names_somebody(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*')
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    let text = name.iter_common_name().next()?.as_str().ok()?;
    let printable = !text.is_empty() && text.len() <= NAME_MAX && !text.chars().any(|c| c.is_control() || c == '*');
    printable.then(|| text.into())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// What revocation lists hold, in words; `None` if one cannot be read.
pub(crate) fn describe_lists(lists: &[CertificateRevocationListDer<'_>]) -> Option<String> {
    let described = lists.iter().map(|list| {
        let (_, list) = parse_x509_crl(list).ok()?;
        let count = list.iter_revoked_certificates().count();
        Some(format!("{count} revoked in the list of {}", list.last_update().to_datetime().date()))
    });
    Some(described.collect::<Option<Vec<_>>>()?.join(", "))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    // A leading zero only says that the number is positive.
    let bytes = if let [0, rest @ ..] = bytes
        && !rest.is_empty()
    {
        rest
    } else {
        bytes
    };
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType};

    fn facts(change: impl FnOnce(&mut CertificateParams)) -> CertificateFacts {
        let mut params = CertificateParams::default();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        CertificateFacts::parse(params.self_signed(&key).unwrap().der()).unwrap()
    }

    #[test]
    fn names_are_read_in_order() {
        let facts = facts(|params| {
            params.distinguished_name.push(DnType::CommonName, "guest a");
            params.subject_alt_names = vec![
                SanType::URI("urn:guest:a".try_into().unwrap()),
                SanType::DnsName("Guest-A.example".try_into().unwrap()),
                SanType::IpAddress("10.0.0.1".parse().unwrap()),
                SanType::IpAddress("::1".parse().unwrap()),
            ];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        });
        assert_eq!(facts.names, [Name::Uri("urn:guest:a".into()), Name::Dns("guest-a.example".into())]);
        assert_eq!(facts.describe_names(), "uri:urn:guest:a dns:guest-a.example ip:10.0.0.1 ip:::1");
        assert!(facts.for_client && !facts.for_server && !facts.is_authority);
    }

    #[test]
    fn names_that_are_nobodys_are_left_out() {
        let facts = facts(|params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, "a\nforged line");
            let names = ["*.example", "a\nforged", "two words", "ok"];
            params.subject_alt_names = names.map(|name| SanType::DnsName(name.try_into().unwrap())).into();
        });
        assert_eq!((facts.names, facts.common_name), (vec![Name::Dns("ok".into())], None));
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        assert_eq!(CertificateFacts::parse(&[]), None);
        let key = KeyPair::generate().unwrap();
        let mut der = CertificateParams::default().self_signed(&key).unwrap().der().to_vec();
        der.push(0);
        assert_eq!(CertificateFacts::parse(&der), None, "nothing may follow");
        for length in 0..der.len() - 1 {
            assert_eq!(CertificateFacts::parse(&der[..length]), None);
        }
    }

    proptest! {
        #[test]
        fn damage_never_makes_it_panic(damage in proptest::collection::vec((0..4096_usize, any::<u8>()), 1..6)) {
            let mut params = CertificateParams::new(["guest-a".into(), "10.0.0.1".into()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, "guest a");
            let mut der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
            for (place, byte) in damage {
                let place = place % der.len();
                der[place] = byte;
            }
            let facts = CertificateFacts::parse(&der);
            // Whatever is still read can be printed on one line.
            prop_assert!(facts.is_none_or(|facts| facts.describe_names().bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())));
        }
    }
}
