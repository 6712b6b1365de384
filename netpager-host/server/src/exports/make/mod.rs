//! From what an export was said to be kept in to a store.
//!
//! | module | what it does |
//! |---|---|
//! | [`build`] | puts stores together, members of members first |
//! | [`secure`] | TLS to other servers |
//! | [`health`] | how those other servers do |

mod build;
mod health;
mod secure;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use nbd::uri::NbdUri;
use remote::{Engine, Mirror, NbdStore, Secure};
use store::{
    Arena, Compressor, CompressorOptions, DelayFilter, Delays, ErrorFilter, ErrorRates, LogFilter, RamStore, Space, Store, StoreError,
};
use thiserror::Error;

use crate::config::{Config, ExportSpec, Size, Span, StoreSpec};
use build::{Build, mirror_file};
use secure::Certificates;

/// Failures asked for with `error=` come in an order that is the same in every run.
const ERROR_SEED: u64 = 1;

/// A store that could not be made.
#[derive(Debug, Error)]
pub(crate) enum MakeError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("an export in RAM may have at most {}", Size(RamStore::SIZE_MAX))]
    TooLarge,
    #[error("{store} has {has}, which is less than the {wanted} of the export")]
    TooSmall { store: String, has: Size, wanted: Size },
    #[error("{0}: it is to be secure, and there are no certificates; say tls-certificates=DIRECTORY in it, or [tls] in the file")]
    NoCertificates(String),
    #[error("{0}")]
    Tls(#[from] security::TlsError),
}

/// A store, and what is known about it.
pub(crate) struct Made {
    pub(crate) store: Arc<dyn Store>,
    /// Where it is, in a few words that may be shown to clients: no paths, no addresses.
    pub(crate) place: &'static str,
    parts: Parts,
    /// Last: they go when the stores above have gone.
    leftovers: Leftovers,
}

/// What a store is made of that can be asked how it does.
#[derive(Default)]
struct Parts {
    mirrors: Vec<Arc<Mirror>>,
    upstreams: Vec<(String, Arc<NbdStore>)>,
}

/// What stores are made of.
pub(crate) struct Maker {
    arena: Arc<Arena>,
    /// Started when the first compressed export is made; all share it.
    compressor: Mutex<Option<Arc<Compressor>>>,
    /// Drives all connections to other servers; started with the first of them.
    engine: Mutex<Option<Engine>>,
    /// Where mirrors remember which member missed writes.
    state: Option<PathBuf>,
    /// Certificates for other servers whose addresses name none.
    certificates: Option<PathBuf>,
}

/// The store of an export that no service serves.
pub(crate) fn open_alone(spec: &ExportSpec) -> Result<Arc<dyn Store>, MakeError> {
    Ok(Maker::with(spec.size.0, None, None).make(spec)?.store)
}

/// Who we are to the server at `uri`, if that is to be secure; the certificates are those it names.
pub(crate) fn certificates(uri: &NbdUri) -> Result<Option<Arc<dyn Secure>>, MakeError> {
    uri.is_secure.then(|| Certificates::load(uri, None)).transpose()
}

impl Maker {
    pub(crate) fn new(config: &Config) -> Self {
        let bytes = config.memory.map_or_else(|| default_memory(config), |Size(bytes)| bytes);
        Self::with(bytes, config.state.clone(), config.tls.as_ref().map(|tls| tls.certificates.clone()))
    }

    fn with(bytes: u64, state: Option<PathBuf>, certificates: Option<PathBuf>) -> Self {
        Self { arena: Arc::new(Arena::new(bytes)), compressor: Mutex::default(), engine: Mutex::default(), state, certificates }
    }

    /// The most memory all stores in RAM may use together.
    pub(crate) fn memory_limit(&self) -> u64 {
        (self.arena.usage().limit_pages * store::PAGE_BYTES) as u64
    }

    /// Makes or opens the store of an export. May wait for disks and other servers.
    pub(crate) fn make(&self, spec: &ExportSpec) -> Result<Made, MakeError> {
        let mut build = Build::new(self, &spec.name);
        let store = build.open(&spec.store, spec.size.0, spec.quota.map(|Size(bytes)| bytes))?;
        let parts = build.parts();
        let place = match &spec.store {
            StoreSpec::Ram => "RAM",
            StoreSpec::Compressed => "compressed RAM",
            StoreSpec::File(_) => "a file",
            StoreSpec::Log(_) => "a log",
            StoreSpec::Nbd(_) => "another server",
            StoreSpec::Valkey(_) => "a cluster",
            StoreSpec::Mirror(_) => "a mirror",
            StoreSpec::Stripe { .. } => "stripes",
        };
        Ok(Made { store: with_filters(spec, store), place, parts, leftovers: Leftovers::default() })
    }

    fn compressor(&self) -> Result<Arc<Compressor>, MakeError> {
        let mut compressor = self.compressor.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compressor) = &*compressor {
            return Ok(compressor.clone());
        }
        let started = Compressor::new(self.arena.clone(), CompressorOptions::default()).map_err(StoreError::from)?;
        Ok(compressor.insert(started).clone())
    }

    fn engine(&self) -> Result<Engine, MakeError> {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = &*engine {
            return Ok(engine.clone());
        }
        Ok(engine.insert(Engine::start()?).clone())
    }
}

/// What the exports in RAM need, but at most half of the machine: a server that swaps is worse than one that says no.
fn default_memory(config: &Config) -> u64 {
    let system = rustix::system::sysinfo();
    let half = system.totalram.saturating_mul(u64::from(system.mem_unit)) / 2;
    if config.admin.is_some() || config.patterns.iter().any(|pattern| pattern.store.is_memory()) {
        // More exports may come.
        return half;
    }
    let in_memory = config.exports.iter().filter(|spec| spec.store.is_memory());
    let wanted = in_memory.map(|spec| spec.quota.unwrap_or(spec.size).0.saturating_mul(copies(&spec.store)));
    // Pages are whole, so an export that is not needs up to one more.
    wanted.fold(0, |sum: u64, bytes| sum.saturating_add(bytes.next_multiple_of(store::PAGE_BYTES as u64))).min(half)
}

/// How often a page of an export is in memory.
fn copies(spec: &StoreSpec) -> u64 {
    match spec {
        StoreSpec::Ram | StoreSpec::Compressed => 1,
        StoreSpec::Mirror(members) => members.iter().map(copies).sum(),
        StoreSpec::Stripe { members, .. } => members.iter().map(copies).max().unwrap_or(0),
        _ => 0,
    }
}

fn with_filters(spec: &ExportSpec, mut store: Arc<dyn Store>) -> Arc<dyn Store> {
    let rate = spec.error;
    if rate > 0 {
        store = Arc::new(ErrorFilter::new(store, ErrorRates { read: rate, write: rate, flush: rate }, ERROR_SEED));
    }
    if let Some(Span(delay)) = spec.delay {
        store = Arc::new(DelayFilter::new(store, Delays { read: delay, write: delay, flush: delay }));
    }
    if spec.log {
        store = Arc::new(LogFilter::new(store, spec.name.clone()));
    }
    store
}

impl Maker {
    /// Gives up what an export keeps, for good.
    pub(super) fn destroy(&self, spec: &ExportSpec, made: &Made) -> Result<(), MakeError> {
        destroy(&spec.store, &*made.store)?;
        if let Some(state) = &self.state {
            let files = (1..=mirrors(&spec.store)).map(|number| mirror_file(state, &spec.name, number));
            made.leftovers.0.lock().unwrap_or_else(PoisonError::into_inner).extend(files);
        }
        Ok(())
    }
}

/// Files that must go when the stores have gone that write them: an export of the same name must not find them.
#[derive(Default)]
struct Leftovers(Mutex<Vec<PathBuf>>);

impl Drop for Leftovers {
    fn drop(&mut self) {
        for file in self.0.get_mut().unwrap_or_else(PoisonError::into_inner) {
            match std::fs::remove_file(&*file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!("{} could not be removed: {error}", file.display());
                }
                _ => {}
            }
        }
    }
}

/// How many mirrors a store has in it.
fn mirrors(spec: &StoreSpec) -> usize {
    match spec {
        StoreSpec::Mirror(members) => 1 + members.iter().map(mirrors).sum::<usize>(),
        StoreSpec::Stripe { members, .. } => members.iter().map(mirrors).sum(),
        _ => 0,
    }
}

fn destroy(spec: &StoreSpec, store: &dyn Store) -> Result<(), MakeError> {
    match spec {
        // Gone with the store itself.
        StoreSpec::Ram | StoreSpec::Compressed => Ok(()),
        StoreSpec::File(path) => Ok(std::fs::remove_file(path).map_err(StoreError::from)?),
        StoreSpec::Log(directory) => Ok(std::fs::remove_dir_all(directory).map_err(StoreError::from)?),
        // These may be larger than what one call should hold up, but nobody else uses the export any more.
        StoreSpec::Nbd(_) | StoreSpec::Valkey(_) => Ok(store.write_zeroes(0, store.size(), Space::Release)?),
        StoreSpec::Mirror(members) | StoreSpec::Stripe { members, .. } => {
            if members.iter().any(is_elsewhere) {
                store.write_zeroes(0, store.size(), Space::Release)?;
            }
            members.iter().filter(|member| !is_elsewhere(member)).try_for_each(|member| destroy(member, store))
        }
    }
}

fn is_elsewhere(spec: &StoreSpec) -> bool {
    matches!(spec, StoreSpec::Nbd(_) | StoreSpec::Valkey(_))
}
