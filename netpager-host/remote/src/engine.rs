//! The runtime on which connections live, and the door between it and callers that block.
//!
//! [`store::Store`] is called from threads that may wait; sockets, timers and TLS are best driven by tokio. A store hands a
//! request over and sleeps on a channel until the runtime answers. One runtime thread serves all the stores of a process:
//! two threads for each connection would cost less per request, but more memory, and TLS streams do not split into a
//! reading and a writing half without a lock around every record.

use std::future::Future;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use store::StoreError;
use tokio::runtime::{Builder, Handle, Runtime};

/// A runtime with its thread. Clones share it; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct Engine(Arc<Owned>);

#[derive(Debug)]
struct Owned(Option<Runtime>);

impl Engine {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread or no descriptor left.
    pub fn start() -> Result<Self, StoreError> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("remote").enable_all().build()?;
        Ok(Self(Arc::new(Owned(Some(runtime)))))
    }

    pub(crate) fn handle(&self) -> &Handle {
        match &self.0.0 {
            Some(runtime) => runtime.handle(),
            None => unreachable!("the runtime is only taken by drop"),
        }
    }

    /// Runs `work` on the runtime and waits for it, but not past `deadline`. Never call this from the runtime itself.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let task = self.handle().spawn(async move {
            let _ = sender.send(work.await);
        });
        let wait = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        receiver.recv_timeout(wait).unwrap_or_else(|_| {
            task.abort();
            Err(StoreError::Unavailable("no answer within the deadline".into()))
        })
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Waiting here would be forbidden on a thread of another runtime, and nothing on this one needs to be waited for.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
