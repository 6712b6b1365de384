//! Who is at the other end of a connection.
//!
//! One connection has one identity: what its client certificate names, or else the Unix user that the kernel vouches for, or
//! else "somebody on this machine", or else anyone at all. Rules match identities, quotas are counted by [`Identity::label`],
//! and the log prints it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

/// Where a connection came from, as the kernel tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A Unix socket; `SO_PEERCRED`. The group is the peer's effective one, not the others it may belong to.
    Unix {
        /// The user's number.
        uid: u32,
        /// The group's number.
        gid: u32,
    },
    /// A TCP connection from this machine.
    Loopback,
    /// A TCP connection from elsewhere.
    Network,
}

impl Origin {
    /// The origin of a TCP connection from `address`.
    pub fn of_address(address: IpAddr) -> Self {
        if address.to_canonical().is_loopback() { Self::Loopback } else { Self::Network }
    }
}

/// A name that a certificate gives to its holder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// A subject alternative name; in lower case.
    Dns(String),
    /// A subject alternative name.
    Uri(String),
    /// The subject's common name; used only if the configuration says so.
    CommonName(String),
}

impl Name {
    /// The name alone.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Dns(name) | Self::Uri(name) | Self::CommonName(name) => name,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Uri(name) => write!(f, "uri:{name}"),
            Self::CommonName(name) => write!(f, "cn:{name}"),
        }
    }
}

/// A client certificate that was verified when the connection began.
#[derive(Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The names it gives, the first of them being the one that is printed and counted by.
    pub names: Vec<Name>,
    /// Its number, in hexadecimal.
    pub serial: String,
    /// What was presented, for [`crate::TlsServer::recheck`].
    pub(crate) chain: Vec<CertificateDer<'static>>,
}

/// Who is at the other end of a connection. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    origin: Origin,
    certificate: Option<Arc<PeerCertificate>>,
}

impl Identity {
    /// Whoever is there without a certificate.
    pub fn of_origin(origin: Origin) -> Self {
        Self { origin, certificate: None }
    }

    /// Whoever holds the key of a verified certificate. Where it came from no longer matters for rules.
    pub fn of_certificate(origin: Origin, certificate: PeerCertificate) -> Self {
        Self { origin, certificate: Some(Arc::new(certificate)) }
    }

    /// Where the connection came from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The certificate, if there is one.
    pub fn certificate(&self) -> Option<&PeerCertificate> {
        self.certificate.as_deref()
    }

    /// Whether nobody vouches for this client: neither a certificate nor the kernel.
    pub fn is_anyone(&self) -> bool {
        self.certificate.is_none() && self.origin == Origin::Network
    }

    /// The identity in a word: in logs, and what quotas are counted by. A renewed certificate has the label of the old one.
    pub fn label(&self) -> String {
        match (&self.certificate, self.origin) {
            (Some(certificate), _) => match certificate.names.first() {
                Some(name) => name.to_string(),
                None => format!("certificate:{}", certificate.serial),
            },
            (None, Origin::Unix { uid, .. }) => format!("uid:{uid}"),
            (None, Origin::Loopback) => "loopback".into(),
            (None, Origin::Network) => "anyone".into(),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} from {:?})", self.label(), self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(names: Vec<Name>) -> Identity {
        Identity::of_certificate(Origin::Loopback, PeerCertificate { names, serial: "0a".into(), chain: Vec::new() })
    }

    #[test]
    fn every_address_of_this_machine_is_loopback() {
        for (address, origin) in [
            ("127.0.0.1", Origin::Loopback),
            ("127.8.9.1", Origin::Loopback),
            ("::1", Origin::Loopback),
            ("::ffff:127.0.0.1", Origin::Loopback),
            ("192.0.2.1", Origin::Network),
            ("::ffff:192.0.2.1", Origin::Network),
            ("0.0.0.0", Origin::Network),
        ] {
            assert_eq!(Origin::of_address(address.parse().unwrap()), origin, "{address}");
        }
    }

    #[test]
    fn a_certificate_counts_for_more_than_where_it_came_from() {
        assert_eq!(holder(vec![Name::Dns("a".into()), Name::Uri("urn:x".into())]).label(), "dns:a");
        assert_eq!(holder(vec![]).label(), "certificate:0a");
        assert_eq!(Identity::of_origin(Origin::Unix { uid: 7, gid: 8 }).label(), "uid:7");
        assert_eq!(Identity::of_origin(Origin::Loopback).label(), "loopback");
        let anyone = Identity::of_origin(Origin::Network);
        assert!(anyone.is_anyone() && anyone.label() == "anyone" && !holder(vec![]).is_anyone());
    }
}
