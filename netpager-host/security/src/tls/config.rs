//! `[tls]` as the configuration file has it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientCertificates {
    /// The handshake fails without one.
    #[default]
    Required,
    /// Clients without one are what they would be without TLS: somebody on this machine, a Unix user, anyone.
    Optional,
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MinimumVersion {
    /// TLS 1.3; every NBD client of Debian 12 and later speaks it.
    #[default]
    #[serde(rename = "1.3")]
    Tls13,
    /// TLS 1.2, with forward secrecy and authenticated encryption only.
    #[serde(rename = "1.2")]
    Tls12,
}

/// One `[tls]` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TlsConfig {
    /// The directory with `ca-cert.pem`, `server-cert.pem`, `server-key.pem` and, if there is one, `ca-crl.pem`.
    pub certificates: PathBuf,
    /// Whether clients must show a certificate.
    #[serde(default)]
    pub client_certificates: ClientCertificates,
    /// The authorities of clients, instead of the directory's `ca-cert.pem`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The list of revoked certificates, instead of the directory's `ca-crl.pem`; must exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl: Option<PathBuf>,
    /// The oldest version of TLS that is spoken.
    #[serde(default)]
    pub minimum_version: MinimumVersion,
    /// Whether a certificate's common name is an identity too, after its alternative names.
    #[serde(default)]
    pub common_name: bool,
}

impl TlsConfig {
    /// What holds if only the directory is given.
    pub fn new(certificates: impl Into<PathBuf>) -> Self {
        Self {
            certificates: certificates.into(),
            client_certificates: ClientCertificates::default(),
            ca: None,
            crl: None,
            minimum_version: MinimumVersion::default(),
            common_name: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_may_say_little_or_everything() {
        let little: TlsConfig = toml::from_str("certificates = \"/etc/x\"").unwrap();
        assert_eq!(little, TlsConfig::new("/etc/x"));
        let much: TlsConfig = toml::from_str(
            "certificates = \"a\"\nclient-certificates = \"optional\"\nca = \"b\"\ncrl = \"c\"\nminimum-version = \"1.2\"\ncommon-name = true",
        )
        .unwrap();
        assert_eq!((much.client_certificates, much.minimum_version), (ClientCertificates::Optional, MinimumVersion::Tls12));
        assert!(much.common_name && much.ca.is_some() && much.crl.is_some());
        for bad in ["", "certificates = \"a\"\nkey = \"b\"", "certificates = \"a\"\nminimum-version = \"1.1\""] {
            assert!(toml::from_str::<TlsConfig>(bad).is_err(), "{bad}");
        }
    }
}
