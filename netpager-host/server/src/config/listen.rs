//! Where to listen: `nbd://HOST:PORT`, `nbds://HOST:PORT`, `nbd+unix:///?socket=PATH`, and in short HOST:PORT and unix:PATH.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use nbd::uri::{NbdUri, Transport};
use serde::de::{Deserialize, Deserializer, Error};

/// The road clients come by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// A host and a port.
    Tcp(String),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// One `--listen`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ListenSpec {
    pub(crate) place: Place,
    /// Whether TLS is asked for by its address, as in `nbds://`.
    pub(crate) is_secure: bool,
}

impl FromStr for ListenSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return from_uri(text);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("expected unix:PATH".into()),
                path => Ok(Self { place: Place::Unix(path.into()), is_secure: false }),
            };
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self { place: Place::Tcp(text.into()), is_secure: false })
            }
            _ => Err("expected nbd://HOST:PORT, nbds://HOST:PORT, nbd+unix:///?socket=PATH, HOST:PORT or unix:PATH".into()),
        }
    }
}

fn from_uri(text: &str) -> Result<ListenSpec, String> {
    let uri: NbdUri = text.parse().map_err(|error| format!("`{text}`: {error}"))?;
    if !uri.export.is_empty() {
        return Err(format!("`{text}` names an export; all exports are served at every address"));
    }
    let place = match uri.transport {
        Transport::Tcp { host, port } if host.contains(':') => Place::Tcp(format!("[{host}]:{port}")),
        Transport::Tcp { host, port } => Place::Tcp(format!("{host}:{port}")),
        Transport::Unix { socket } => Place::Unix(socket.into()),
    };
    Ok(ListenSpec { place, is_secure: uri.is_secure })
}

impl fmt::Display for ListenSpec {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secure = if self.is_secure { "s" } else { "" };
        match &self.place {
            Place::Tcp(address) => write!(to, "nbd{secure}://{address}"),
            Place::Unix(path) => write!(to, "nbd{secure}+unix:///?socket={}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for ListenSpec {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_many_forms() {
        for (text, printed) in [
            ("127.0.0.1:0", "nbd://127.0.0.1:0"),
            ("nbd://localhost", "nbd://localhost:10809"),
            ("nbds://[::1]:7", "nbds://[::1]:7"),
            ("[::1]:7", "nbd://[::1]:7"),
            ("unix:/run/s", "nbd+unix:///?socket=/run/s"),
            ("nbds+unix:///?socket=/run/s", "nbds+unix:///?socket=/run/s"),
        ] {
            let spec: ListenSpec = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(spec.to_string(), printed);
        }
        for bad in ["", "localhost", ":1", "unix:", "127.0.0.1:70000", "nbd://host/export", "http://host", "nbd+unix:///"] {
            assert!(bad.parse::<ListenSpec>().is_err(), "{bad}");
        }
    }
}
