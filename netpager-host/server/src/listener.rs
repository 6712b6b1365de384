//! The addresses clients come to.

use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};

use crate::socket::Socket;
use crate::spec::ListenSpec;

/// An address that cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ListenError {
    #[error("cannot listen on {address}: {error}")]
    Io { address: String, error: io::Error },
    #[error(
        "{0} can be reached by other machines, and there is neither encryption nor access control; \
         use a loopback address or a Unix socket, or say --insecure-any-address"
    )]
    NotLoopback(SocketAddr),
    #[error("cannot listen on unix:{0}: something that is no socket is in the way")]
    InTheWay(PathBuf),
    #[error("cannot listen on unix:{0}: another server does")]
    InUse(PathBuf),
}

/// A bound address.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// The name of a Unix socket, removed when the listener goes.
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!("could not remove {}: {error}", self.0.display());
        }
    }
}

impl Listener {
    /// Binds an address.
    pub(crate) async fn bind(spec: &ListenSpec, any_address: bool) -> Result<Self, ListenError> {
        match spec {
            ListenSpec::Tcp(address) => bind_tcp(address, any_address).await,
            ListenSpec::Unix(path) => bind_unix(path),
        }
    }

    /// The address as clients may use it: with the port that was chosen.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string()),
            Self::Unix(_, file) => format!("unix:{}", file.0.display()),
        }
    }

    /// Waits for a client; says where it came from.
    pub(crate) async fn accept(&self) -> io::Result<(Socket, String)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Socket::tcp(stream)?, peer.to_string()))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let peer = stream.peer_cred().map_or_else(|_| "unix".into(), |user| format!("unix, user {}", user.uid()));
                Ok((Socket::Unix(stream), peer))
            }
        }
    }
}

async fn bind_tcp(address: &str, any_address: bool) -> Result<Listener, ListenError> {
    let failed = |error| ListenError::Io { address: address.into(), error };
    let addresses: Vec<SocketAddr> = address.to_socket_addrs().map_err(failed)?.collect();
    if let Some(public) = addresses.iter().find(|address| !address.ip().to_canonical().is_loopback() && !any_address) {
        return Err(ListenError::NotLoopback(*public));
    }
    TcpListener::bind(&addresses[..]).await.map(Listener::Tcp).map_err(failed)
}

fn bind_unix(path: &Path) -> Result<Listener, ListenError> {
    remove_stale(path)?;
    let failed = |error| ListenError::Io { address: format!("unix:{}", path.display()), error };
    let listener = UnixListener::bind(path).map_err(failed)?;
    Ok(Listener::Unix(listener, SocketFile(path.into())))
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

    fn bind(address: &str, any_address: bool) -> Result<Listener, ListenError> {
        let spec = address.parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(Listener::bind(&spec, any_address))
    }

    #[test]
    fn addresses_others_can_reach_are_refused() {
        // Only resolved, never bound: that is the point.
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            assert!(matches!(bind(address, false), Err(ListenError::NotLoopback(_))), "{address}");
        }
    }

    #[test]
    fn the_chosen_port_is_told() {
        let address = bind("127.0.0.1:0", false).unwrap().address();
        assert!(address.starts_with("127.0.0.1:") && !address.ends_with(":0"));
    }

    #[test]
    fn only_a_dead_servers_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let spec = format!("unix:{}", path.display());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let alive = bind(&spec, false).unwrap();
        assert!(matches!(bind(&spec, false), Err(ListenError::InUse(_))));
        drop(alive);
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&spec, false), Err(ListenError::InTheWay(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
