//! The service as a whole: starts everything, accepts clients, and ends in order.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{JoinHandle, available_parallelism};
use std::time::Duration;

use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::catalogue::{Catalogue, CatalogueError};
use crate::cli::Serve;
use crate::handshake::{Ready, handshake};
use crate::listener::{ListenError, Listener};
use crate::socket::Socket;
use crate::worker::{Client, Worker};

/// How long to wait when a connection cannot be accepted, most likely for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the service ended otherwise than by a signal, or not well.
#[derive(Debug, Error)]
pub(crate) enum ServiceError {
    #[error("{0}")]
    Catalogue(#[from] CatalogueError),
    #[error("{0}")]
    Listen(#[from] ListenError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("not everything could be flushed; what was not flushed before may be lost")]
    NotFlushed,
    #[error("a worker failed")]
    WorkerFailed,
}

/// What accepting a client takes.
struct Reception {
    catalogue: Arc<Catalogue>,
    workers: Vec<Worker>,
    places: Arc<Semaphore>,
    handshake_timeout: Duration,
    clients: AtomicU64,
}

/// Serves until a signal, or until it cannot begin.
pub(crate) fn run(serve: &Serve) -> Result<(), ServiceError> {
    let catalogue = Arc::new(Catalogue::open(&serve.exports, serve.ram)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        let listeners = bind(serve).await?;
        let (end, ending) = watch::channel(false);
        let (reception, threads) = Reception::open(serve, catalogue.clone(), &ending)?;
        announce(&listeners)?;
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(accept(listener, reception.clone()));
        }
        let name = signals.next().await;
        tracing::info!("{name}: ending");
        accepting.shutdown().await;
        end.send_replace(true);
        tokio::select! {
            result = tokio::task::spawn_blocking(move || finish(threads, &catalogue)) => result.unwrap_or(Err(ServiceError::WorkerFailed)),
            // Not an orderly return: that would wait for the very thing that takes too long.
            name = signals.next() => {
                tracing::error!("{name} again: ending at once, nothing was flushed");
                std::process::exit(1)
            }
        }
    })
}

async fn bind(serve: &Serve) -> Result<Vec<Listener>, ListenError> {
    let mut listeners = Vec::new();
    for spec in &serve.listen {
        listeners.push(Listener::bind(spec, serve.insecure_any_address).await?);
    }
    Ok(listeners)
}

/// Says where clients may come. Whoever started us may wait for these lines, so they must not stay in a buffer.
fn announce(listeners: &[Listener]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for listener in listeners {
        writeln!(stdout, "listening on {}", listener.address())?;
    }
    stdout.flush()
}

/// Waits until all clients are gone, and makes what they wrote durable.
fn finish(threads: Vec<JoinHandle<()>>, catalogue: &Catalogue) -> Result<(), ServiceError> {
    let failed = threads.into_iter().map(JoinHandle::join).filter(Result::is_err).count();
    match (catalogue.flush(), failed) {
        (false, _) => Err(ServiceError::NotFlushed),
        (true, 0) => Ok(()),
        (true, _) => Err(ServiceError::WorkerFailed),
    }
}

async fn accept(listener: Listener, reception: Arc<Reception>) {
    let mut handshakes = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Err(error) => {
                    tracing::warn!("a connection could not be accepted: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                Ok((socket, peer)) => match reception.places.clone().try_acquire_owned() {
                    Ok(permit) => drop(handshakes.spawn(reception.clone().welcome(socket, peer, permit))),
                    Err(_) => tracing::warn!("a client from {peer} was turned away: there are too many"),
                },
            },
            Some(_) = handshakes.join_next() => {}
        }
    }
}

impl Reception {
    /// Starts the workers.
    fn open(serve: &Serve, catalogue: Arc<Catalogue>, ending: &watch::Receiver<bool>) -> io::Result<(Arc<Self>, Vec<JoinHandle<()>>)> {
        let count = serve.workers.map_or_else(|| available_parallelism().map_or(1, usize::from), usize::from);
        let workers = (0..count).map(|number| Worker::start(number, catalogue.clone(), ending.clone()));
        let (workers, threads) = workers.collect::<io::Result<Vec<_>>>()?.into_iter().unzip();
        let reception = Self {
            catalogue,
            workers,
            places: Arc::new(Semaphore::new(serve.max_connections as usize)),
            handshake_timeout: serve.handshake_timeout,
            clients: AtomicU64::new(0),
        };
        Ok((Arc::new(reception), threads))
    }

    async fn welcome(self: Arc<Self>, mut socket: Socket, peer: String, permit: OwnedSemaphorePermit) {
        let number = self.clients.fetch_add(1, Ordering::Relaxed);
        tracing::debug!("client {number}: from {peer}");
        let Ready { negotiated, early } = match handshake(&mut socket, &self.catalogue, self.handshake_timeout).await {
            Ok(Some(ready)) => ready,
            Ok(None) => return tracing::debug!("client {number}: left without choosing an export"),
            Err(error) => return tracing::warn!("client {number} from {peer}: no handshake: {error}"),
        };
        match socket.detach() {
            Ok(socket) => {
                let worker = &self.workers[negotiated.export % self.workers.len()];
                worker.adopt(Client { number, socket, negotiated, early, permit });
            }
            Err(error) => tracing::warn!("client {number}: {error}"),
        }
    }
}

/// The signals that end the service.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
