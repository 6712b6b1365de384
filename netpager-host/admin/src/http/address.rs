//! Where the admin listener is, in words that the service and its clients share.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// An address: `HOST:PORT` with a numeric host, `http://HOST:PORT`, or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl AdminAddress {
    /// Where it is unless somebody says otherwise.
    pub const DEFAULT: &str = "127.0.0.1:10810";

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for AdminAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let explain = || format!("`{text}` is no admin address; expected IP:PORT, localhost:PORT or unix:PATH");
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(explain()) } else { Ok(Self::Unix(path.into())) };
        }
        let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        // Names are looked up by nobody here: an admin port should not move because a name server says so.
        let numeric = match address.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => address.to_owned(),
        };
        numeric.parse().map(Self::Tcp).map_err(|_| explain())
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(out, "http://{address}/"),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for text in [AdminAddress::DEFAULT, "http://127.0.0.1:80/", "[::1]:9", "unix:/run/a.sock", "localhost:10810"] {
            let address: AdminAddress = text.parse().unwrap();
            assert!(address.is_local());
            assert_eq!(address.to_string().parse(), Ok(address));
        }
        assert!(!"192.0.2.1:80".parse::<AdminAddress>().unwrap().is_local());
    }

    #[test]
    fn what_is_no_address_is_named() {
        for text in ["", "unix:", "127.0.0.1", "example.org:80", "https://127.0.0.1:80", ":80"] {
            assert!(text.parse::<AdminAddress>().unwrap_err().contains(&format!("`{text}`")), "{text}");
        }
    }
}
