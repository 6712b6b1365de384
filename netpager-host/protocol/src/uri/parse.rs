//! Addresses, read.

use alloc::string::{String, ToString};
use core::net::Ipv6Addr;
use core::str::FromStr;

use super::error::UriError;
use super::percent::decode;
use super::{DEFAULT_PORT, NbdUri, TlsKind, TlsParameters, Transport};
use crate::limits::STRING_MAX;

/// An address cut into its parts, none of them decoded.
struct Parts<'t> {
    is_unix: bool,
    is_secure: bool,
    authority: &'t str,
    path: &'t str,
    query: &'t str,
}

impl FromStr for NbdUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let parts = Parts::of(text)?;
        let mut query = Query::read(parts.query)?;
        let (user, host) = match parts.authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, parts.authority),
        };
        if let Some(user) = user {
            query.set_user(user)?;
        }
        let transport = parts.transport(host, query.socket.take())?;
        if !parts.is_secure
            && let Some(parameter) = query.first_tls
        {
            return Err(UriError::TlsWithoutTls(parameter));
        }
        Ok(Self { transport, is_secure: parts.is_secure, export: export(parts.path)?, tls: query.tls })
    }
}

impl<'t> Parts<'t> {
    fn of(text: &'t str) -> Result<Self, UriError> {
        let (scheme, rest) = text.split_once("://").ok_or(UriError::NoScheme)?;
        let (is_unix, is_secure) = match scheme.to_ascii_lowercase().as_str() {
            "nbd" => (false, false),
            "nbds" => (false, true),
            "nbd+unix" => (true, false),
            "nbds+unix" => (true, true),
            "nbd+vsock" | "nbds+vsock" => return Err(UriError::Vsock(scheme.into())),
            _ => return Err(UriError::Scheme(scheme.into())),
        };
        if let Some(bad) = rest.chars().find(|c| c.is_control() || c.is_whitespace() || "\"<>\\^`{|}".contains(*c)) {
            return Err(UriError::Character(bad));
        }
        if rest.contains('#') {
            return Err(UriError::Fragment);
        }
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = before.split_once('/').unwrap_or((before, ""));
        Ok(Self { is_unix, is_secure, authority, path, query })
    }

    fn transport(&self, host: &str, socket: Option<String>) -> Result<Transport, UriError> {
        match (self.is_unix, socket) {
            (false, None) => tcp(host),
            (false, Some(_)) => Err(UriError::SocketOfTcp),
            (true, _) if !host.is_empty() => Err(UriError::HostOfSocket),
            (true, None) => Err(UriError::NoSocket),
            (true, Some(socket)) => {
                // The one NUL that can be is the mark of an abstract name.
                let name = socket.strip_prefix('\0').unwrap_or(&socket);
                match (name.is_empty(), name.contains('\0')) {
                    (true, _) => Err(UriError::NoSocket),
                    (_, true) => Err(UriError::Nul("a socket's path")),
                    _ => Ok(Transport::Unix { socket }),
                }
            }
        }
    }
}

fn tcp(authority: &str) -> Result<Transport, UriError> {
    let bad_host = || UriError::Host(authority.to_string());
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(bad_host)?;
            if !(port.is_empty() || port.starts_with(':')) {
                return Err(bad_host());
            }
            (address, port.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err(bad_host()),
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let host = decode(host)?;
    // What is in brackets is an IPv6 address, and nothing else is one.
    if host.contains('\0') || is_ipv6(&host) != authority.starts_with('[') || (host.contains(':') && !is_ipv6(&host)) {
        return Err(bad_host());
    }
    let host = if host.is_empty() { "localhost".into() } else { host };
    Ok(Transport::Tcp { host, port: port.map_or(Ok(DEFAULT_PORT), port_number)? })
}

/// Whether this is an IPv6 address, perhaps with a zone (RFC 6874).
fn is_ipv6(host: &str) -> bool {
    let (address, zone) = host.split_once('%').map_or((host, None), |(address, zone)| (address, Some(zone)));
    address.parse::<Ipv6Addr>().is_ok() && zone.is_none_or(|zone| !zone.is_empty())
}

/// RFC 3986 allows a colon without a port, and means the default.
fn port_number(text: &str) -> Result<u16, UriError> {
    match text {
        "" => Ok(DEFAULT_PORT),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().map_err(|_| UriError::Port(text.into())),
        _ => Err(UriError::Port(text.into())),
    }
}

fn export(path: &str) -> Result<String, UriError> {
    let name = decode(path)?;
    match (name.len() > STRING_MAX, name.contains('\0')) {
        (true, _) => Err(UriError::ExportTooLong),
        (_, true) => Err(UriError::Nul("an export's name")),
        _ => Ok(name),
    }
}

/// What the parameters said.
#[derive(Default)]
struct Query {
    socket: Option<String>,
    tls: TlsParameters,
    /// The first thing that was said about TLS.
    first_tls: Option<String>,
}

impl Query {
    fn read(text: &str) -> Result<Self, UriError> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            query.apply(&decode(name)?, decode(value)?)?;
        }
        Ok(query)
    }

    fn apply(&mut self, name: &str, value: String) -> Result<(), UriError> {
        if value.contains('\0') && name != "socket" {
            return Err(UriError::Nul("a parameter's value"));
        }
        if name.starts_with("tls-") {
            self.first_tls.get_or_insert_with(|| name.into());
        }
        let tls = &mut self.tls;
        match name {
            "socket" => set(&mut self.socket, name, value),
            "tls-hostname" => set(&mut tls.hostname, name, value),
            "tls-certificates" => set(&mut tls.certificates, name, value),
            "tls-psk-file" => set(&mut tls.psk_file, name, value),
            "tls-username" => set(&mut tls.username, name, value),
            "tls-type" => {
                let expected = ("tls-type", "x509, psk or anon");
                let kind = TlsKind::from_name(&value).ok_or_else(|| bad_value(expected, &value))?;
                set(&mut tls.kind, name, kind)
            }
            "tls-verify-peer" => {
                let verify = match value.as_str() {
                    "0" => false,
                    "1" => true,
                    other => return Err(bad_value(("tls-verify-peer", "0 or 1"), other)),
                };
                set(&mut tls.verify_peer, name, verify)
            }
            _ => Err(UriError::Parameter(name.into())),
        }
    }

    /// The user in front of the host, which is another way to say tls-username.
    fn set_user(&mut self, text: &str) -> Result<(), UriError> {
        if text.contains(':') {
            return Err(UriError::Password);
        }
        if text.is_empty() {
            return Ok(());
        }
        self.apply("tls-username", decode(text)?)
    }
}

fn bad_value((parameter, expected): (&'static str, &'static str), value: &str) -> UriError {
    UriError::Value { parameter, value: value.into(), expected }
}

fn set<T>(place: &mut Option<T>, name: &str, value: T) -> Result<(), UriError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(UriError::Twice(name.into())),
    }
}
