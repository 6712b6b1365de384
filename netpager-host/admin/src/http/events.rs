//! Samples as they are taken, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::Shared;

/// The last sample at once, and every further one. Who is too slow misses some: an event stands for itself.
pub(super) async fn events(State(admin): State<Shared>) -> impl IntoResponse {
    let samples = admin.sampler.listen();
    let first = serde_json::to_string(&*admin.sampler.latest()).ok().map(Arc::from);
    Sse::new(stream::unfold((first, samples), next)).keep_alive(KeepAlive::default())
}

type Listening = (Option<Arc<str>>, Receiver<Arc<str>>);

async fn next((first, mut samples): Listening) -> Option<(Result<Event, Infallible>, Listening)> {
    let text = match first {
        Some(text) => text,
        None => loop {
            match samples.recv().await {
                Ok(text) => break text,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        },
    };
    Some((Ok(Event::default().event("sample").data(&*text)), (None, samples)))
}
