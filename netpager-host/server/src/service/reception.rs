//! Accepts clients and hands them to workers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::listener::Listener;
use crate::worker::{Client, Worker};

/// How long to wait when a connection cannot be accepted, most likely for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What accepting a client takes.
pub(super) struct Reception {
    workers: Vec<Worker>,
    places: Arc<Semaphore>,
}

impl Reception {
    pub(super) fn new(workers: Vec<Worker>, places: u32) -> Self {
        Self { workers, places: Arc::new(Semaphore::new(places as usize)) }
    }
}

/// Accepts clients until it is aborted.
pub(super) async fn accept(listener: Listener, reception: Arc<Reception>) {
    loop {
        match listener.accept().await {
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            Ok(arrival) => match reception.places.clone().try_acquire_owned() {
                Err(_) => tracing::warn!(peer = arrival.peer, "a client was turned away: there are too many"),
                Ok(permit) => {
                    let least = reception.workers.iter().min_by_key(|worker| worker.load());
                    least.expect("there is at least one worker").adopt(Client { arrival, permit });
                }
            },
        }
    }
}
