//! The threads that serve requests. All connections of an export share a worker, so its locks are never fought over.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use nbd::server::Negotiated;
use store::Store;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::JoinSet;

use crate::catalogue::Catalogue;
use crate::connection::Connection;
use crate::socket::Detached;

/// Threads per worker for requests that must wait; more than a disk can do at a time is of no use.
const POOL_THREADS: usize = 16;

/// A client on its way to a worker.
pub(crate) struct Client {
    pub(crate) number: u64,
    pub(crate) socket: Detached,
    pub(crate) negotiated: Negotiated,
    pub(crate) early: Vec<u8>,
    /// Its place among the clients allowed at a time.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// The way to a running worker.
pub(crate) struct Worker(mpsc::UnboundedSender<Client>);

impl Worker {
    /// Starts a worker, whose thread ends when `ending` turns true and its clients are gone.
    pub(crate) fn start(number: usize, catalogue: Arc<Catalogue>, ending: watch::Receiver<bool>) -> io::Result<(Self, JoinHandle<()>)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(POOL_THREADS).build()?;
        let (clients, arriving) = mpsc::unbounded_channel();
        let work = move || runtime.block_on(work(&catalogue, arriving, ending));
        let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(work)?;
        Ok((Self(clients), thread))
    }

    /// Hands over a client. One that comes too late is dropped, which closes its connection.
    pub(crate) fn adopt(&self, client: Client) {
        let _ = self.0.send(client);
    }
}

async fn work(catalogue: &Catalogue, mut arriving: mpsc::UnboundedReceiver<Client>, mut ending: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let ended = ending.clone();
    loop {
        tokio::select! {
            _ = ending.wait_for(|&ending| ending) => break,
            client = arriving.recv() => match client {
                None => break,
                Some(client) => {
                    let entry = &catalogue.entries()[client.negotiated.export];
                    connections.spawn(serve(client, entry.name().to_owned(), entry.store.clone(), ended.clone()));
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn serve(client: Client, export: String, store: Arc<dyn Store>, ending: watch::Receiver<bool>) {
    let Client { number, socket, negotiated, early, permit } = client;
    tracing::info!("client {number}: uses export `{export}`");
    let result = match socket.attach() {
        Ok(socket) => Connection::new(socket, store, negotiated, early).serve(ending).await,
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => tracing::info!("client {number}: left"),
        Err(error) => tracing::warn!("client {number}: disconnected: {error}"),
    }
    drop(permit);
}
