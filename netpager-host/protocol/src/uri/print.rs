//! Addresses, written. Nothing that has its default value is, except the path's slash.

use core::fmt;

use super::percent::{Encoded, Place};
use super::{DEFAULT_PORT, NbdUri, Transport};

impl fmt::Display for NbdUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_secure { "nbds" } else { "nbd" })?;
        match &self.transport {
            Transport::Tcp { host, port } => {
                f.write_str("://")?;
                write_host(f, host)?;
                if *port != DEFAULT_PORT {
                    write!(f, ":{port}")?;
                }
            }
            Transport::Unix { .. } => f.write_str("+unix://")?,
        }
        write!(f, "/{}", Encoded(&self.export, Place::Path))?;
        self.write_query(f)
    }
}

impl NbdUri {
    fn write_query(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = match &self.transport {
            Transport::Unix { socket } => Some(socket.as_str()),
            Transport::Tcp { .. } => None,
        };
        let tls = &self.tls;
        let parameters = [
            ("socket", socket),
            ("tls-type", tls.kind.map(super::TlsKind::name)),
            ("tls-certificates", tls.certificates.as_deref()),
            ("tls-psk-file", tls.psk_file.as_deref()),
            ("tls-username", tls.username.as_deref()),
            ("tls-hostname", tls.hostname.as_deref()),
            ("tls-verify-peer", tls.verify_peer.map(|verify| if verify { "1" } else { "0" })),
        ];
        let mut separator = '?';
        for (name, value) in parameters {
            if let Some(value) = value {
                write!(f, "{separator}{name}={}", Encoded(value, Place::Query))?;
                separator = '&';
            }
        }
        Ok(())
    }
}

fn write_host(f: &mut fmt::Formatter<'_>, host: &str) -> fmt::Result {
    match host.contains(':') {
        // An IPv6 address; its zone, if it has one, is encoded.
        true => write!(f, "[{}]", Encoded(host, Place::Address)),
        false => write!(f, "{}", Encoded(host, Place::Host)),
    }
}
