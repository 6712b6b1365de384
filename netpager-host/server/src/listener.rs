//! The addresses clients come to.

use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use security::{ClientCertificates, Origin, TlsMode, Unprotected, protection};
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};

use crate::config::{ListenSpec, Place};
use crate::socket::Arrival;

/// An address that cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ListenError {
    #[error("cannot listen on {address}: {error}")]
    Io { address: String, error: io::Error },
    #[error("cannot listen on {address}: {error}")]
    Unprotected { address: String, error: Unprotected },
    #[error("cannot listen on {0}: it is to be secure, and there are no certificates (--tls-certificates, or [tls] in the file)")]
    NoCertificates(String),
    #[error("cannot listen on unix:{0}: something that is no socket is in the way")]
    InTheWay(PathBuf),
    #[error("cannot listen on unix:{0}: another server does")]
    InUse(PathBuf),
    #[error("systemd passed a socket that is neither TCP nor Unix")]
    Strange,
}

/// What protects the addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protection {
    /// TLS, if there are certificates.
    pub(crate) tls: Option<ClientCertificates>,
    /// The operator's word that everybody may come.
    pub(crate) insecure: bool,
}

impl Protection {
    fn mode(self, address: &str, origin: Origin, is_secure: bool) -> Result<TlsMode, ListenError> {
        if is_secure && self.tls.is_none() {
            return Err(ListenError::NoCertificates(address.into()));
        }
        let unprotected = |error| ListenError::Unprotected { address: address.into(), error };
        let mode = protection(origin, self.tls, self.insecure).map_err(unprotected)?;
        Ok(if is_secure { TlsMode::Required } else { mode })
    }
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A bound address.
pub(crate) struct Listener {
    socket: Socket,
    tls: TlsMode,
    is_public: bool,
    /// Present if the socket was made here, and is to go with us.
    _file: Option<SocketFile>,
}

/// The name of a Unix socket, removed when the listener goes.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!("could not remove {}: {error}", self.0.display());
        }
    }
}

impl Listener {
    /// Binds an address.
    pub(crate) async fn bind(spec: &ListenSpec, protection: Protection) -> Result<Self, ListenError> {
        match &spec.place {
            Place::Tcp(address) => bind_tcp(address, spec.is_secure, protection).await,
            Place::Unix(path) => bind_unix(path, spec.is_secure, protection),
        }
    }

    /// The sockets that systemd has bound for us, if it has (sd_listen_fds(3)).
    pub(crate) fn passed(protection: Protection) -> Result<Vec<Self>, ListenError> {
        let mut passed = listenfd::ListenFd::from_env();
        (0..passed.len()).map(|number| adopt(&mut passed, number, protection)).collect()
    }

    /// The address in short, with the port that was chosen.
    pub(crate) fn address(&self) -> String {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string()),
            Socket::Unix(_) => format!("unix:{}", self.path()),
        }
    }

    /// The address as clients may use it for an export.
    pub(crate) fn uri(&self, export: &str) -> String {
        let secure = if self.tls == TlsMode::Required { "s" } else { "" };
        let export = percent(export);
        match &self.socket {
            Socket::Tcp(_) => format!("nbd{secure}://{}/{export}", self.address()),
            Socket::Unix(_) => format!("nbd{secure}+unix:///{export}?socket={}", percent(&self.path())),
        }
    }

    fn path(&self) -> String {
        let Socket::Unix(listener) = &self.socket else { return String::new() };
        let address = listener.local_addr().ok();
        address.and_then(|address| address.as_pathname().map(|path| path.display().to_string())).unwrap_or_default()
    }

    /// How it is protected, in a few words.
    pub(crate) fn protection(&self) -> &'static str {
        match (self.tls, &self.socket, self.is_public) {
            (TlsMode::Required, ..) => "TLS, with client certificates",
            (TlsMode::Offered, ..) => "TLS for those who ask",
            (TlsMode::Off, Socket::Unix(_), _) => "not encrypted; who may open the socket",
            (TlsMode::Off, Socket::Tcp(_), false) => "not encrypted; whoever is on this machine",
            (TlsMode::Off, Socket::Tcp(_), true) => "NOT ENCRYPTED, FOR EVERYBODY",
        }
    }

    /// Waits for a client.
    pub(crate) async fn accept(&self) -> io::Result<Arrival> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Arrival::tcp(stream, peer, self.tls)
            }
            Socket::Unix(listener) => Arrival::unix(listener.accept().await?.0, self.tls),
        }
    }
}

/// Text as a part of a URI (RFC 3986); slashes stay.
fn percent(text: &str) -> String {
    let write = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(write).collect()
}

async fn bind_tcp(address: &str, is_secure: bool, protection: Protection) -> Result<Listener, ListenError> {
    let failed = |error| ListenError::Io { address: address.into(), error };
    let addresses: Vec<SocketAddr> = address.to_socket_addrs().map_err(failed)?.collect();
    let is_public = addresses.iter().any(|address| Origin::of_address(address.ip()) == Origin::Network);
    let tls = protection.mode(address, if is_public { Origin::Network } else { Origin::Loopback }, is_secure)?;
    let socket = TcpListener::bind(&addresses[..]).await.map(Socket::Tcp).map_err(failed)?;
    Ok(Listener { socket, tls, is_public, _file: None })
}

/// Whoever may come to a Unix socket is for the file system to say.
const SOMEBODY: Origin = Origin::Unix { uid: u32::MAX, gid: u32::MAX };

fn bind_unix(path: &Path, is_secure: bool, protection: Protection) -> Result<Listener, ListenError> {
    let address = || format!("unix:{}", path.display());
    let tls = protection.mode(&address(), SOMEBODY, is_secure)?;
    remove_stale(path)?;
    let listener = UnixListener::bind(path).map_err(|error| ListenError::Io { address: address(), error })?;
    Ok(Listener { socket: Socket::Unix(listener), tls, is_public: false, _file: Some(SocketFile(path.into())) })
}

fn adopt(passed: &mut listenfd::ListenFd, number: usize, protection: Protection) -> Result<Listener, ListenError> {
    let failed = |error| ListenError::Io { address: format!("socket {number} of systemd"), error };
    if let Ok(Some(listener)) = passed.take_tcp_listener(number) {
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let origin = Origin::of_address(address.ip());
        let tls = protection.mode(&address.to_string(), origin, false)?;
        let socket = Socket::Tcp(TcpListener::from_std(listener).map_err(failed)?);
        return Ok(Listener { socket, tls, is_public: origin == Origin::Network, _file: None });
    }
    let Ok(Some(listener)) = passed.take_unix_listener(number) else { return Err(ListenError::Strange) };
    listener.set_nonblocking(true).map_err(failed)?;
    let tls = protection.mode("a Unix socket of systemd", SOMEBODY, false)?;
    let socket = Socket::Unix(UnixListener::from_std(listener).map_err(failed)?);
    Ok(Listener { socket, tls, is_public: false, _file: None })
}

/// Removes a socket that nobody serves any more, as a killed server leaves one. Nothing else is ever removed.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::InTheWay(path.into()));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| ListenError::Io { address: format!("unix:{}", path.display()), error })
        }
        _ => Err(ListenError::InUse(path.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Protection = Protection { tls: None, insecure: false };

    fn bind(address: &str, protection: Protection) -> Result<Listener, ListenError> {
        let spec = address.parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(Listener::bind(&spec, protection))
    }

    #[test]
    fn addresses_others_can_reach_are_refused() {
        // Only resolved, never bound: that is the point.
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            assert!(matches!(bind(address, PLAIN), Err(ListenError::Unprotected { .. })), "{address}");
        }
        assert!(matches!(bind("nbds://127.0.0.1:0", PLAIN), Err(ListenError::NoCertificates(_))));
    }

    #[test]
    fn the_chosen_port_is_told_and_names_are_written_for_uris() {
        let listener = bind("127.0.0.1:0", PLAIN).unwrap();
        let address = listener.address();
        assert!(address.starts_with("127.0.0.1:") && !address.ends_with(":0"));
        assert_eq!(listener.uri("np1/a b?"), format!("nbd://{address}/np1/a%20b%3F"));
    }

    #[test]
    fn what_is_secure_says_so() {
        let tls = Protection { tls: Some(ClientCertificates::Required), insecure: false };
        assert!(bind("nbds://127.0.0.1:0", tls).unwrap().uri("").starts_with("nbds://"));
        let offered = bind("127.0.0.1:0", tls).unwrap();
        assert!(offered.uri("").starts_with("nbd://") && offered.protection().contains("ask"));
    }

    #[test]
    fn only_a_dead_servers_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let spec = format!("unix:{}", path.display());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let alive = bind(&spec, PLAIN).unwrap();
        assert_eq!(alive.uri("x"), format!("nbd+unix:///x?socket={}", path.display()));
        assert!(matches!(bind(&spec, PLAIN), Err(ListenError::InUse(_))));
        drop(alive);
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&spec, PLAIN), Err(ListenError::InTheWay(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
