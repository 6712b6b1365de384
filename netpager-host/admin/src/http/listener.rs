//! The socket and the connections on it.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::guard::Guard;
use super::{Admin, AdminAddress, Token, router};
use crate::metrics::Registry;
use crate::observed::Operated;
use crate::sampler::Sampler;

/// More people and scrapers than this look at nothing; each costs memory.
const CONNECTIONS_MAX: usize = 128;
/// How long a request's head may take.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// A request's head must fit into this.
const HEAD_BYTES: usize = 16 * 1024;
/// When the service ends, how long answers may still take. The event stream has no end, so there must be one.
const DRAIN: Duration = Duration::from_millis(500);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the operator wants.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Where to listen.
    pub address: AdminAddress,
    /// What who asks must know. Needed unless the address is local.
    pub token: Option<Token>,
    /// Names the service is called by, besides addresses and `localhost`.
    pub host_names: Vec<String>,
}

/// Why there is no admin listener.
#[derive(Debug, Error)]
pub enum AdminError {
    /// Anybody could operate the service.
    #[error("admin address {0}: other machines can reach it, so it needs a token file")]
    NeedsToken(AdminAddress),
    /// The address is not to be had.
    #[error("admin address {address}: {error}")]
    Bind {
        /// The address.
        address: AdminAddress,
        /// Why.
        error: io::Error,
    },
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A bound socket.
#[derive(Debug)]
pub struct AdminListener {
    address: AdminAddress,
    socket: Socket,
    guard: Guard,
}

impl AdminListener {
    /// Binds. Must be called in a runtime.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn bind(config: AdminConfig) -> Result<Self, AdminError> {
        let AdminConfig { address, token, host_names } = config;
        if !address.is_local() && token.is_none() {
            return Err(AdminError::NeedsToken(address));
        }
        let failed = |error| AdminError::Bind { address: address.clone(), error };
        let (bound, socket) = match &address {
            AdminAddress::Tcp(wanted) => {
                let listener = TcpListener::bind(wanted).await.map_err(failed)?;
                (AdminAddress::Tcp(listener.local_addr().map_err(failed)?), Socket::Tcp(listener))
            }
            AdminAddress::Unix(path) => (address.clone(), Socket::Unix(bind_unix(path).await.map_err(failed)?)),
        };
        let host_names = host_names.into_iter().map(|name| name.to_ascii_lowercase()).collect();
        Ok(Self { address: bound, socket, guard: Guard { token, host_names } })
    }

    /// Where it is: with the port that was chosen, if the choice was left open.
    #[must_use]
    pub fn address(&self) -> &AdminAddress {
        &self.address
    }

    /// Samples and answers until `ending` is ready, and then for a moment longer.
    pub async fn serve(self, registry: Arc<Registry>, service: Arc<dyn Operated>, ending: impl Future<Output = ()>) {
        let sampler = Sampler::new(registry.clone(), service.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(sampler.clone().run());
        let router = router(Arc::new(Admin { registry, service, sampler, guard: self.guard }));
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let (end, ended) = tokio::sync::watch::channel(());
        let mut ending = std::pin::pin!(ending);
        loop {
            let accepted = tokio::select! {
                () = &mut ending => break,
                Some(_) = tasks.join_next() => continue,
                accepted = accept(&self.socket) => accepted,
            };
            match (accepted, places.clone().try_acquire_owned()) {
                (Ok(stream), Ok(place)) => drop(tasks.spawn(converse(stream, router.clone(), place, ended.clone()))),
                (Ok(_), Err(_)) => tracing::warn!("an admin connection was turned away: there are {CONNECTIONS_MAX}"),
                (Err(error), _) => {
                    tracing::warn!("an admin connection could not be accepted: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        if let AdminAddress::Unix(path) = &self.address {
            let _ = fs::remove_file(path);
        }
        drop(end);
        let drained = async { while places.available_permits() < CONNECTIONS_MAX && tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(DRAIN, drained).await;
        tasks.shutdown().await;
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn accept(socket: &Socket) -> io::Result<Box<dyn Stream>> {
    match socket {
        Socket::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }
        Socket::Unix(listener) => listener.accept().await.map(|(stream, _)| Box::new(stream) as Box<dyn Stream>),
    }
}

async fn converse(stream: Box<dyn Stream>, router: Router, place: OwnedSemaphorePermit, mut ended: tokio::sync::watch::Receiver<()>) {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD_BYTES);
    let mut connection = std::pin::pin!(server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        // The other end is dropped when it is time.
        _ = ended.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!("an admin connection ended: {error}");
    }
    drop(place);
}

/// Binds, for our user only, in place of a socket that a killed service has left behind. The socket gets its name when its
/// permissions are right, so that there is no moment in which others may connect.
async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if fs::symlink_metadata(path).is_ok() {
        let is_socket = fs::symlink_metadata(path)?.file_type().is_socket();
        let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        if !is_socket || !tokio::net::UnixStream::connect(path).await.is_err_and(refused) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
    }
    let mut unnamed = path.as_os_str().to_owned();
    unnamed.push(format!(".{}", std::process::id()));
    let listener = UnixListener::bind(&unnamed)?;
    let named = fs::set_permissions(&unnamed, fs::Permissions::from_mode(0o600)).and_then(|()| fs::rename(&unnamed, path));
    if named.is_err() {
        let _ = fs::remove_file(&unnamed);
    }
    named.map(|()| listener)
}
