//! Once a second: what happened since the last time, told to everybody who listens and kept for those who come later.

mod difference;
mod history;
mod sample;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast;

use crate::metrics::Registry;
use crate::observed::{Memory, Observed};
use crate::process::ProcessUse;
use difference::Differences;
use history::History;

pub use history::{Past, SAMPLES_KEPT};
pub use sample::{CLIENTS_SHOWN, ClientSample, EXPORTS_SHOWN, ExportSample, Rates, Sample};

/// How long a sample is.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Samples a slow listener may be behind before it misses some.
const BEHIND_MAX: usize = 8;

struct Last {
    taken: Instant,
    cpu_seconds: f64,
    differences: Differences,
    history: History,
    sample: Arc<Sample>,
}

/// Takes samples.
pub struct Sampler {
    registry: Arc<Registry>,
    service: Arc<dyn Observed>,
    last: Mutex<Last>,
    listeners: broadcast::Sender<Arc<str>>,
}

/// Milliseconds since 1970.
pub(crate) fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

impl Sampler {
    /// A sampler that has not sampled yet.
    #[must_use]
    pub fn new(registry: Arc<Registry>, service: Arc<dyn Observed>) -> Arc<Self> {
        let last = Last {
            taken: Instant::now(),
            cpu_seconds: ProcessUse::now().cpu_seconds,
            differences: Differences::default(),
            history: History::default(),
            sample: Arc::default(),
        };
        let (listeners, _) = broadcast::channel(BEHIND_MAX);
        let sampler = Self { registry, service, last: Mutex::new(last), listeners };
        sampler.take();
        Arc::new(sampler)
    }

    /// Takes samples for as long as it is polled.
    pub async fn run(self: Arc<Self>) {
        let mut clock = tokio::time::interval(INTERVAL);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        clock.tick().await;
        loop {
            clock.tick().await;
            let sampler = self.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || sampler.take()).await {
                tracing::error!("a sample could not be taken: {error}");
            }
        }
    }

    /// Takes one, now.
    pub fn take(&self) {
        let (service, states, jobs) = (self.service.service(), self.service.exports(), self.service.jobs());
        let process = ProcessUse::now();
        let mut last = self.last();
        let elapsed = last.taken.elapsed();
        let seconds = elapsed.as_secs_f64().max(0.001);
        let cpu_percent = (process.cpu_seconds - last.cpu_seconds).max(0.0) / seconds * 100.0;
        last.taken += elapsed;
        last.cpu_seconds = process.cpu_seconds;
        let mut done = last.differences.advance(self.registry.glance(), seconds);
        let mut memory = Memory::default();
        states.iter().for_each(|export| memory.add(&export.memory));
        let exports_total = states.len();
        let exports = states.into_iter().take(EXPORTS_SHOWN).map(|state| done.export(state)).collect();
        let sample = Arc::new(Sample {
            time_ms: milliseconds(SystemTime::now()),
            interval_ms: elapsed.as_millis() as u64,
            service,
            process,
            cpu_percent,
            total: done.total(),
            memory,
            exports,
            exports_total,
            clients_total: done.clients_total,
            clients: done.clients,
            jobs,
        });
        last.history.add(&sample);
        last.sample = sample.clone();
        drop(last);
        if self.listeners.receiver_count() > 0 {
            match serde_json::to_string(&*sample) {
                Ok(text) => drop(self.listeners.send(text.into())),
                Err(error) => tracing::error!("a sample could not be told: {error}"),
            }
        }
    }

    /// The last one.
    #[must_use]
    pub fn latest(&self) -> Arc<Sample> {
        self.last().sample.clone()
    }

    /// The last minutes of an export, or of all together.
    #[must_use]
    pub fn past(&self, export: Option<&str>) -> Option<Past> {
        self.last().history.past(export)
    }

    /// Samples as they are taken, as JSON.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<str>> {
        self.listeners.subscribe()
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        // A sample that failed half way leaves numbers that are at worst too small once.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
