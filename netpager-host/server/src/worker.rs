//! The threads that serve clients: each a runtime of its own, which a client does not leave.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use admin::{ClientInfo, Registry};
use nbd::Framing;
use security::TlsServer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::clients::Clients;
use crate::connection::{Connection, ConnectionError, Parts, Tally};
use crate::exports::{Catalogue, Cut};
use crate::handshake::{Ready, welcome};
use crate::socket::Arrival;

/// Threads per worker for requests that must wait; more than a disk or a few servers can do at a time is of no use.
const POOL_THREADS: usize = 32;

/// What all workers work with.
pub(crate) struct Shared {
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) tls: Option<Arc<TlsServer>>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) clients: Clients,
    /// Room for large requests, in KiB.
    pub(crate) room: Arc<Semaphore>,
}

/// A client on its way to a worker, with its place among the clients allowed at a time.
pub(crate) struct Client {
    pub(crate) arrival: Arrival,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// The way to a running worker.
pub(crate) struct Worker {
    clients: mpsc::UnboundedSender<Client>,
    /// How many clients it has.
    load: Arc<AtomicUsize>,
}

impl Worker {
    /// Starts a worker, whose thread ends when `ending` turns true and its clients are gone.
    pub(crate) fn start(number: usize, shared: Arc<Shared>, ending: watch::Receiver<bool>) -> io::Result<(Self, JoinHandle<()>)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(POOL_THREADS).build()?;
        let (clients, arriving) = mpsc::unbounded_channel();
        let load = Arc::new(AtomicUsize::new(0));
        let counted = load.clone();
        let work = move || runtime.block_on(work(shared, arriving, ending, counted));
        let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(work)?;
        Ok((Self { clients, load }, thread))
    }

    /// Hands over a client. One that comes too late is dropped, which closes its connection.
    pub(crate) fn adopt(&self, client: Client) {
        self.load.fetch_add(1, Ordering::Relaxed);
        let _ = self.clients.send(client);
    }

    pub(crate) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }
}

/// One client less, however it ends.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A client with a seat.
struct Guest {
    connection: Connection,
    label: String,
    export: String,
    number: u64,
    /// Given back when it is gone.
    place: (OwnedSemaphorePermit, Counted),
}

async fn work(
    shared: Arc<Shared>,
    mut arriving: mpsc::UnboundedReceiver<Client>,
    mut ending: watch::Receiver<bool>,
    load: Arc<AtomicUsize>,
) {
    let (mut handshakes, mut connections) = (JoinSet::new(), JoinSet::new());
    loop {
        tokio::select! {
            _ = ending.wait_for(|&ending| ending) => break,
            client = arriving.recv() => match client {
                None => break,
                Some(client) => drop(handshakes.spawn(greet(shared.clone(), client, Counted(load.clone())))),
            },
            Some(greeted) = handshakes.join_next() => {
                if let Ok(Some(guest)) = greeted {
                    connections.spawn(serve(shared.clone(), guest));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
    handshakes.shutdown().await;
    while connections.join_next().await.is_some() {}
}

/// Does the handshake; `None` if the client does not stay.
async fn greet(shared: Arc<Shared>, client: Client, counted: Counted) -> Option<Guest> {
    let Client { arrival, permit } = client;
    let peer = arrival.peer.clone();
    let limits = shared.catalogue.policy().limits;
    match welcome(arrival, shared.catalogue.clone(), shared.tls.clone(), limits.handshake).await {
        Ok(Some(ready)) => Some(introduce(&shared, ready, (permit, counted))),
        Ok(None) => {
            tracing::debug!(peer, "left without choosing an export");
            None
        }
        Err(error) => {
            tracing::warn!(peer, "no handshake: {error}");
            None
        }
    }
}

/// Writes a client into the books.
fn introduce(shared: &Shared, ready: Ready, place: (OwnedSemaphorePermit, Counted)) -> Guest {
    let Ready { wire, seat, visitor, negotiated, early, transport } = ready;
    let protocol = match negotiated.framing {
        Framing::Extended => "extended headers",
        Framing::Structured => "structured replies",
        Framing::Simple => "simple replies",
    };
    let (export, label) = (seat.entry.name().to_owned(), seat.link.label.clone());
    let identity = (!visitor.identity.is_anyone()).then(|| label.clone());
    let info = ClientInfo {
        export: export.clone(),
        peer: visitor.peer.clone(),
        identity,
        transport: transport.clone(),
        protocol: protocol.into(),
    };
    let tally = Tally::new(shared.registry.connect(info));
    let number = tally.number();
    tracing::info!(client = number, export, identity = label, peer = visitor.peer, transport, protocol, "connected");
    shared.clients.add(number, seat.link.clone());
    let limits = shared.catalogue.policy().limits;
    let connection = Connection::new(Parts { wire, seat, negotiated, early, tally, limits, room: shared.room.clone() });
    Guest { connection, label, export, number, place }
}

async fn serve(shared: Arc<Shared>, guest: Guest) {
    let Guest { connection, label, export, number, place } = guest;
    let (result, tally) = connection.serve().await;
    shared.clients.remove(number);
    say_goodbye(&result, &tally, &label, &export);
    drop(place);
}

/// One line for each connection, however it ended.
fn say_goodbye(result: &Result<(), ConnectionError>, tally: &Tally, label: &str, export: &str) {
    let Tally { requests, read_bytes, written_bytes, .. } = tally;
    let (client, seconds) = (tally.number(), tally.age().as_secs_f64());
    match result {
        Ok(()) => tracing::info!(client, export, identity = label, requests, read_bytes, written_bytes, seconds, "left"),
        Err(ConnectionError::Cut(why @ (Cut::Ending | Cut::Fenced | Cut::Disconnected | Cut::Removed))) => {
            tracing::info!(client, export, identity = label, requests, read_bytes, written_bytes, seconds, "disconnected: {why}");
        }
        Err(why) => {
            tracing::warn!(client, export, identity = label, requests, read_bytes, written_bytes, seconds, "disconnected: {why}");
        }
    }
}
