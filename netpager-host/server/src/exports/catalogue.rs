//! All exports there are.
//!
//! Lock order: the table, then an entry's users, then the counts. None is held while a store is made or asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Notify, mpsc};

use super::entry::{Entry, Source};
use super::link::{Cut, Link};
use super::make::{MakeError, Maker};
use super::metadata::{Metadata, MetadataError};
use super::policy::Policy;
use super::throttle::Throttle;
use crate::config::{Config, ExportSpec, Lifetime, Mistake};

/// An export that could not be made.
#[derive(Debug, Error)]
pub(crate) enum CatalogueError {
    #[error("export `{name}`: {error}")]
    Make { name: String, error: MakeError },
    #[error("{0}")]
    Metadata(#[from] MetadataError),
    #[error("{0}")]
    Mistake(#[from] Mistake),
    #[error("there is an export called `{0}` already")]
    Exists(String),
    #[error("there is no export called `{0}`")]
    Unknown(String),
    #[error("export `{0}` stands in the configuration; take it out there and reload")]
    Fixed(String),
    #[error("export `{0}` is used by clients")]
    Used(String),
}

#[derive(Default)]
struct Table {
    entries: BTreeMap<String, Arc<Entry>>,
    /// Exports that are being made: for whom, and how much they may cost.
    pending: HashMap<String, (String, u64)>,
    /// What the empty name stands for, unless an export is called so.
    default: Option<String>,
}

/// All exports.
pub(crate) struct Catalogue {
    maker: Maker,
    metadata: Option<Metadata>,
    table: Mutex<Table>,
    /// Told when an export was made, or could not be, or is gone.
    changed: Notify,
    policy: RwLock<Arc<Policy>>,
    /// Connections by identity.
    counts: Mutex<HashMap<String, u32>>,
    /// Rates by identity, as long as somebody uses them.
    throttles: Mutex<HashMap<String, Weak<Throttle>>>,
    is_ending: AtomicBool,
    /// Exports whose last client left.
    idle: mpsc::UnboundedSender<Arc<Entry>>,
}

/// What one identity has made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) exports: u32,
    pub(super) bytes: u64,
}

impl Catalogue {
    /// Opens all stores. The receiver is for [`super::expire`].
    pub(crate) fn open(config: &Config) -> Result<(Arc<Self>, mpsc::UnboundedReceiver<Arc<Entry>>), CatalogueError> {
        let (idle, leaving) = mpsc::unbounded_channel();
        let catalogue = Arc::new(Self {
            maker: Maker::new(config),
            metadata: config.state.as_deref().map(Metadata::open).transpose()?,
            table: Mutex::default(),
            changed: Notify::new(),
            policy: RwLock::new(Arc::new(Policy::new(config)?)),
            counts: Mutex::default(),
            throttles: Mutex::default(),
            is_ending: AtomicBool::new(false),
            idle,
        });
        for spec in &config.exports {
            catalogue.make_now(spec.clone(), Source::Fixed)?;
        }
        catalogue.lock().default = config.exports.first().map(|spec| spec.name.clone());
        if let Some(metadata) = &catalogue.metadata {
            for (spec, source) in metadata.kept()? {
                let name = spec.name.clone();
                match catalogue.make_now(spec, source) {
                    Ok(_) => {}
                    Err(CatalogueError::Exists(_)) => {
                        tracing::warn!("export `{name}` was made earlier and now stands in the configuration, which counts")
                    }
                    // One upstream that is away must not keep all others from being served.
                    Err(error) => tracing::error!("an export of earlier cannot be served: {error}"),
                }
            }
        }
        if catalogue.metadata.is_none() && config.patterns.iter().any(|pattern| pattern.lifetime == Lifetime::Keep) {
            tracing::warn!(
                "exports with lifetime = \"keep\" are forgotten when the service ends, as there is no state directory (--state)"
            );
        }
        Ok((catalogue, leaving))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Every change is one insertion or removal: nothing can be half done.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn maker(&self) -> &Maker {
        &self.maker
    }

    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        self.lock().entries.values().cloned().collect()
    }

    /// The export with exactly this name.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Entry>> {
        self.lock().entries.get(name).cloned()
    }

    /// The export a client means by this name.
    pub(super) fn resolve(&self, name: &str) -> Option<Arc<Entry>> {
        let table = self.lock();
        let by_name = table.entries.get(name);
        let default = || table.default.as_ref().filter(|_| name.is_empty()).and_then(|default| table.entries.get(default));
        by_name.or_else(default).cloned()
    }

    /// What an identity has made so far, and is having made.
    fn holding_in(table: &Table, owner: &str) -> Holding {
        let made = table.entries.values().filter(|entry| matches!(&entry.source, Source::Made { owner: made, .. } if made == owner));
        let pending = table.pending.values().filter(|(pending, _)| pending == owner).map(|(_, bytes)| *bytes);
        made.map(|entry| cost(&entry.spec))
            .chain(pending)
            .fold(Holding::default(), |sum, bytes| Holding { exports: sum.exports + 1, bytes: sum.bytes.saturating_add(bytes) })
    }

    /// Makes an export if there is none of that name; waits if somebody else is making it. `allowed` is asked about what the
    /// owner has so far; nobody else can add to that in between.
    pub(super) async fn find_or_make<E: From<CatalogueError>>(
        self: &Arc<Self>,
        spec: &ExportSpec,
        source: &Source,
        allowed: impl Fn(Holding) -> Result<(), E>,
    ) -> Result<Arc<Entry>, E> {
        let Source::Made { owner, .. } = source else { unreachable!("fixed exports are made when the service starts") };
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let mut table = self.lock();
                if let Some(entry) = table.entries.get(&spec.name) {
                    return Ok(entry.clone());
                }
                if !table.pending.contains_key(&spec.name) {
                    allowed(Self::holding_in(&table, owner))?;
                    table.pending.insert(spec.name.clone(), (owner.clone(), cost(spec)));
                    break;
                }
            }
            changed.await;
        }
        // Even if this client gives up waiting, the store is made to the end: half a file helps nobody.
        let (catalogue, spec, source) = (self.clone(), spec.clone(), source.clone());
        let made = tokio::task::spawn_blocking(move || {
            let name = spec.name.clone();
            let made = catalogue.make_now(spec, source);
            catalogue.lock().pending.remove(&name);
            catalogue.changed.notify_waiters();
            made
        });
        made.await.expect("making a store does not panic").map_err(E::from)
    }

    /// Makes an export. May wait for disks and other servers.
    pub(crate) fn make_now(&self, spec: ExportSpec, source: Source) -> Result<Arc<Entry>, CatalogueError> {
        if self.lock().entries.contains_key(&spec.name) {
            return Err(CatalogueError::Exists(spec.name));
        }
        let made = self.maker.make(&spec).map_err(|error| CatalogueError::Make { name: spec.name.clone(), error })?;
        if let (Some(metadata), Source::Made { lifetime: Lifetime::Keep, .. }) = (&self.metadata, &source) {
            metadata.keep(&spec, &source)?;
        }
        let entry = Arc::new(Entry::new(spec, source, made));
        let mut table = self.lock();
        if table.entries.contains_key(entry.name()) {
            return Err(CatalogueError::Exists(entry.name().into()));
        }
        table.entries.insert(entry.name().into(), entry.clone());
        drop(table);
        tracing::info!("export `{}`: {}", entry.name(), entry.describe());
        Ok(entry)
    }

    /// Gives up an export that was made at run time, with what is in it, if nobody has used it for `idle`.
    pub(super) fn remove_if_idle(&self, entry: &Arc<Entry>, idle: Duration) {
        if entry.is_fixed() || !entry.close_if_idle(idle) {
            return;
        }
        if let Err(error) = self.strike(entry) {
            tracing::error!("export `{}` could not be given up: {error}", entry.name());
        }
    }

    /// Removes an export that was made at run time, with what is in it. `force` disconnects its clients first.
    pub(crate) async fn remove(&self, name: &str, force: bool) -> Result<(), CatalogueError> {
        let entry = self.get(name).ok_or_else(|| CatalogueError::Unknown(name.into()))?;
        if entry.is_fixed() {
            return Err(CatalogueError::Fixed(name.into()));
        }
        if force {
            entry.close();
            entry.pull_all(Cut::Removed);
            entry.empty().await;
        } else if !entry.close_if_idle(Duration::ZERO) {
            return Err(CatalogueError::Used(name.into()));
        }
        self.strike(&entry)
    }

    /// Forgets a closed export, and what is in it.
    fn strike(&self, entry: &Arc<Entry>) -> Result<(), CatalogueError> {
        if let Some(metadata) = &self.metadata {
            metadata.forget(entry.name())?;
        }
        // What it kept goes before its name is free: the next of that name must not find it.
        let destroyed = self.maker.destroy(&entry.spec, &entry.made);
        self.lock().entries.remove(entry.name());
        self.changed.notify_waiters();
        tracing::info!("export `{}`: given up", entry.name());
        destroyed.map_err(|error| CatalogueError::Make { name: entry.name().into(), error })
    }

    /// Counts connections of an identity.
    pub(super) fn count(&self, label: &str, change: i32) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(label.into()).or_default();
        *count = count.saturating_add_signed(change);
        if *count == 0 {
            counts.remove(label);
        }
    }

    pub(crate) fn connections_of(&self, label: &str) -> u32 {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).get(label).copied().unwrap_or(0)
    }

    /// The rates of a client's identity, which its connections share.
    pub(super) fn throttle(&self, link: &Link) -> Option<Arc<Throttle>> {
        let mut throttles = self.throttles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(throttle) = throttles.get(&link.label).and_then(Weak::upgrade) {
            return Some(throttle);
        }
        let throttle = Arc::new(Throttle::new(&link.grant.limits)?);
        throttles.retain(|_, throttle| throttle.strong_count() > 0);
        throttles.insert(link.label.clone(), Arc::downgrade(&throttle));
        Some(throttle)
    }

    /// What an identity has reserved, in the exports it has made and in those it uses.
    pub(crate) fn reserved_by(&self, label: &str) -> u64 {
        let is_its = |entry: &Arc<Entry>| {
            let made = matches!(&entry.source, Source::Made { owner, .. } if owner == label);
            made || entry.links().iter().any(|link| link.label == label)
        };
        self.entries().iter().filter(|entry| is_its(entry)).map(|entry| entry.store.usage().reserved_bytes).sum()
    }

    /// Tells all clients that the service ends. Those that come later find out themselves.
    pub(crate) fn end(&self) {
        self.is_ending.store(true, Ordering::SeqCst);
        self.entries().iter().for_each(|entry| entry.pull_all(Cut::Ending));
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::SeqCst)
    }

    /// An export's last client has left.
    pub(super) fn someone_left(&self, entry: &Arc<Entry>) {
        // If nobody listens, the service is ending.
        let _ = self.idle.send(entry.clone());
    }

    /// Puts new rules in force: exports that are new in the configuration are made, clients that may no longer be here are
    /// disconnected by `still_welcome`'s word.
    pub(crate) fn reload(&self, config: &Config, still_welcome: impl Fn(&Link) -> bool) -> Result<(), CatalogueError> {
        let policy = Arc::new(Policy::new(config)?);
        for spec in &config.exports {
            match self.get(&spec.name) {
                None => drop(self.make_now(spec.clone(), Source::Fixed)?),
                Some(entry) if entry.spec != *spec => {
                    tracing::warn!("export `{}` is not what the configuration says now; that takes a restart", spec.name);
                }
                Some(_) => {}
            }
        }
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy.clone();
        for entry in self.entries() {
            let is_welcome = |link: &Link| {
                let grant = policy.acl.decide(&link.identity, entry.name());
                let as_before = grant.is_ok_and(|grant| grant.access == link.grant.access);
                as_before && still_welcome(link)
            };
            entry.links().iter().filter(|link| !is_welcome(link)).for_each(|link| link.pull(Cut::Revoked));
            let is_configured = config.exports.iter().any(|spec| spec.name == entry.name());
            if entry.is_fixed() && !is_configured && entry.close_if_idle(Duration::ZERO) {
                self.lock().entries.remove(entry.name());
                tracing::info!("export `{}`: no longer served", entry.name());
            } else if entry.is_fixed() && !is_configured {
                tracing::warn!("export `{}` is in no configuration any more, but in use; it goes at the next reload", entry.name());
            }
        }
        Ok(())
    }

    /// Flushes every store; says whether all could be.
    pub(crate) fn flush(&self) -> bool {
        let failed = |entry: &Arc<Entry>| match entry.store.flush() {
            Ok(()) => false,
            Err(error) => {
                tracing::error!("export `{}` could not be flushed: {error}", entry.name());
                true
            }
        };
        self.entries().iter().filter(|entry| failed(entry)).count() == 0
    }
}

/// What an export may come to cost.
pub(super) fn cost(spec: &ExportSpec) -> u64 {
    spec.quota.unwrap_or(spec.size).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::serve_of;

    fn open(specs: &[&str]) -> Result<Arc<Catalogue>, CatalogueError> {
        let exports = specs.iter().flat_map(|spec| ["--export", spec]);
        let serve = serve_of(["netpager-host", "serve"].into_iter().chain(exports));
        Catalogue::open(&Config::load(&serve)?).map(|(catalogue, _)| catalogue)
    }

    #[test]
    fn the_empty_name_is_the_first_export_unless_one_is_called_so() {
        let catalogue = open(&["z=1M", "b=2M"]).unwrap();
        let size = |catalogue: &Catalogue, name| catalogue.resolve(name).map(|entry| entry.store.size());
        assert_eq!((size(&catalogue, ""), size(&catalogue, "b"), size(&catalogue, "c")), (Some(1 << 20), Some(2 << 20), None));
        assert_eq!(size(&open(&["a=1M", "=2M"]).unwrap(), ""), Some(2 << 20));
    }

    #[test]
    fn exports_that_cannot_be_are_refused() {
        assert!(matches!(open(&["a=1M", "a=2M"]), Err(CatalogueError::Mistake(_))));
        assert!(matches!(open(&["a=65T"]), Err(CatalogueError::Make { error: MakeError::TooLarge, .. })));
        assert!(matches!(open(&["a=1M,store=file:/nonexistent/x"]), Err(CatalogueError::Make { .. })));
    }

    #[test]
    fn filters_are_really_there() {
        let catalogue = open(&["fails=1M,error=1000", "slow=1M,delay=1", "plain=1M"]).unwrap();
        let store = |name| catalogue.get(name).unwrap().store.clone();
        assert!(store("fails").write_at(0, &[1]).is_err() && store("plain").write_at(0, &[1]).is_ok());
        assert!(!store("slow").is_immediate() && store("plain").is_immediate());
        assert!(!catalogue.flush(), "one store fails");
    }
}
