//! What the admin side may see and do.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use admin::map::AllocationMap;
use admin::observed::{Destiny, ExportState, Fault, FaultKind, JobState, Lifetime as Shown, ListenerState, NewExport, ServiceState};
use admin::{Observed, Operated};
use store::StoreError;
use tokio::runtime::Handle;

use super::jobs::Jobs;
use crate::config::{ExportSpec, Lifetime, Size, Span, StoreSpec};
use crate::exports::{CatalogueError, Cut, Entry, Source};
use crate::worker::Shared;

/// Who exports made by an operator belong to.
const OPERATOR: &str = "operator";

/// The service as the admin side has it.
pub(super) struct Operator {
    shared: Arc<Shared>,
    listeners: Vec<ListenerState>,
    jobs: Jobs,
    started: SystemTime,
    runtime: Handle,
}

impl Operator {
    pub(super) fn new(shared: Arc<Shared>, listeners: Vec<ListenerState>) -> Self {
        Self { shared, listeners, jobs: Jobs::default(), started: SystemTime::now(), runtime: Handle::current() }
    }

    fn entry(&self, name: &str) -> Result<Arc<Entry>, Fault> {
        self.shared.catalogue.get(name).ok_or_else(|| Fault::no_export(name))
    }
}

impl Observed for Operator {
    fn service(&self) -> ServiceState {
        let not_ready = self.shared.catalogue.is_ending().then(|| "the service is ending".to_owned());
        ServiceState {
            version: env!("CARGO_PKG_VERSION").into(),
            started_ms: milliseconds(self.started),
            listeners: self.listeners.clone(),
            ram_limit: Some(self.shared.catalogue.maker().memory_limit()),
            not_ready,
        }
    }

    fn exports(&self) -> Vec<ExportState> {
        self.shared.catalogue.entries().iter().map(|entry| state(entry)).collect()
    }

    fn map(&self, export: &str, offset: u64, length: u64, cells: usize) -> Result<AllocationMap, Fault> {
        AllocationMap::of_store(&*self.entry(export)?.store, offset, length, cells).map_err(store_fault)
    }

    fn jobs(&self) -> Vec<JobState> {
        self.jobs.all()
    }
}

impl Operated for Operator {
    fn create_export(&self, wanted: &NewExport) -> Result<ExportState, Fault> {
        let invalid = |text: String| Fault::new(FaultKind::Invalid, text);
        let store: StoreSpec = wanted.store.as_deref().unwrap_or("ram").parse().map_err(invalid)?;
        let spec = ExportSpec {
            quota: wanted.quota.map(Size),
            read_only: wanted.read_only,
            ..ExportSpec::new(&wanted.name, Size(wanted.size), store.named(&wanted.name))
        };
        if wanted.size == 0 || wanted.size > i64::MAX as u64 {
            return Err(invalid("a size is greater than 0 and less than 8 EiB".into()));
        }
        spec.check().map_err(invalid)?;
        let lifetime = match wanted.lifetime.until {
            Destiny::Fixed | Destiny::Keep => Lifetime::Keep,
            Destiny::LastClose => Lifetime::LastClose,
            Destiny::Idle => {
                let seconds = wanted.lifetime.idle_seconds.filter(|&seconds| seconds > 0);
                let seconds = seconds.ok_or_else(|| invalid("idle_seconds says how long, and is missing".into()))?;
                Lifetime::Idle(Span(std::time::Duration::from_secs(seconds)))
            }
        };
        let source = Source::Made { owner: OPERATOR.into(), lifetime, since: SystemTime::now() };
        let entry = self.shared.catalogue.make_now(spec, source).map_err(catalogue_fault)?;
        Ok(state(&entry))
    }

    fn remove_export(&self, export: &str, force: bool) -> Result<(), Fault> {
        self.runtime.block_on(self.shared.catalogue.remove(export, force)).map_err(catalogue_fault)?;
        self.shared.registry.forget(export);
        Ok(())
    }

    fn disconnect(&self, client: u64) -> Result<(), Fault> {
        let link = self.shared.clients.get(client).ok_or_else(|| Fault::no_client(client))?;
        link.pull(Cut::Disconnected);
        Ok(())
    }

    fn check_export(&self, export: &str) -> Result<JobState, Fault> {
        self.jobs.check(export, self.entry(export)?.store.clone())
    }

    fn cancel_job(&self, job: u64) -> Result<(), Fault> {
        self.jobs.cancel(job)
    }
}

fn state(entry: &Entry) -> ExportState {
    let (lifetime, owner) = match &entry.source {
        Source::Fixed => (Shown { until: Destiny::Fixed, idle_seconds: None }, None),
        Source::Made { owner, lifetime, .. } => (shown(*lifetime), Some(owner.clone())),
    };
    ExportState {
        name: entry.name().into(),
        description: entry.describe(),
        store: entry.spec.store.to_string(),
        size: entry.spec.size.0,
        quota: entry.spec.quota.map(|Size(bytes)| bytes),
        read_only: entry.spec.read_only,
        exclusive: entry.spec.exclusive,
        lifetime,
        owner,
        memory: entry.store.usage().into(),
        members: entry.made.members(),
    }
}

const fn shown(lifetime: Lifetime) -> Shown {
    match lifetime {
        Lifetime::Keep => Shown { until: Destiny::Keep, idle_seconds: None },
        Lifetime::LastClose => Shown { until: Destiny::LastClose, idle_seconds: None },
        Lifetime::Idle(Span(time)) => Shown { until: Destiny::Idle, idle_seconds: Some(time.as_secs()) },
    }
}

pub(super) fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn store_fault(error: StoreError) -> Fault {
    let kind = match error {
        StoreError::OutOfRange { .. } => FaultKind::Invalid,
        _ => FaultKind::Failed,
    };
    Fault::new(kind, error.to_string())
}

fn catalogue_fault(error: CatalogueError) -> Fault {
    let kind = match &error {
        CatalogueError::Unknown(_) => FaultKind::NotFound,
        CatalogueError::Exists(_) | CatalogueError::Used(_) => FaultKind::Conflict,
        CatalogueError::Fixed(_) => FaultKind::Forbidden,
        CatalogueError::Mistake(_) => FaultKind::Invalid,
        CatalogueError::Make { .. } | CatalogueError::Metadata(_) => FaultKind::Failed,
    };
    Fault::new(kind, error.to_string())
}
