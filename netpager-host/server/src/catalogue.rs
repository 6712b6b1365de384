//! The exports of this service, and the stores behind them.

use std::sync::Arc;

use nbd::server::{Export, Exports};
use nbd::{BlockSizes, ExportInfo, TransmissionFlags};
use store::{Arena, DelayFilter, Delays, ErrorFilter, ErrorRates, FileStore, RamStore, Store, StoreError};
use thiserror::Error;

use crate::spec::{ExportSpec, StoreSpec};

/// Failures asked for with `error=` come in an order that is the same in every run.
const ERROR_SEED: u64 = 1;

/// An export that could not be made.
#[derive(Debug, Error)]
pub(crate) enum CatalogueError {
    #[error("two exports are called `{0}`")]
    Twice(String),
    #[error("export `{name}`: {error}")]
    Store { name: String, error: StoreError },
    #[error("export `{0}`: a RAM export may have at most {max} bytes", max = RamStore::SIZE_MAX)]
    TooLarge(String),
}

/// One export.
pub(crate) struct Entry {
    name: String,
    description: String,
    info: ExportInfo,
    pub(crate) store: Arc<dyn Store>,
}

/// All exports; an export's id is its place here.
pub(crate) struct Catalogue(Vec<Entry>);

impl Catalogue {
    /// Opens all stores. RAM exports share an arena of `ram` bytes.
    pub(crate) fn open(specs: &[ExportSpec], ram: Option<u64>) -> Result<Self, CatalogueError> {
        let arena = Arc::new(Arena::new(ram.unwrap_or_else(|| default_ram(specs))));
        let mut entries: Vec<Entry> = Vec::new();
        for spec in specs {
            if entries.iter().any(|entry| entry.name == spec.name) {
                return Err(CatalogueError::Twice(spec.name.clone()));
            }
            let entry = Entry {
                name: spec.name.clone(),
                description: describe(spec),
                info: info(spec),
                store: with_filters(spec, open_store(spec, &arena)?),
            };
            tracing::info!("export `{}`: {}", entry.name, entry.description);
            entries.push(entry);
        }
        Ok(Self(entries))
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// Flushes every store; says whether all could be.
    pub(crate) fn flush(&self) -> bool {
        let failed = |entry: &&Entry| match entry.store.flush() {
            Ok(()) => false,
            Err(error) => {
                tracing::error!("export `{}` could not be flushed: {error}", entry.name);
                true
            }
        };
        self.0.iter().filter(failed).count() == 0
    }
}

impl Entry {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// What the RAM exports need, but at most half of the machine: a server that swaps is worse than one that says no.
fn default_ram(specs: &[ExportSpec]) -> u64 {
    let wanted = specs.iter().filter(|spec| spec.store == StoreSpec::Ram).map(|spec| spec.quota.unwrap_or(spec.size));
    let system = rustix::system::sysinfo();
    let total = system.totalram.saturating_mul(u64::from(system.mem_unit));
    // Pages are whole, so an export that is not needs up to one more.
    wanted.fold(0, |sum: u64, bytes| sum.saturating_add(bytes.next_multiple_of(store::PAGE_BYTES as u64))).min(total / 2)
}

fn open_store(spec: &ExportSpec, arena: &Arc<Arena>) -> Result<Arc<dyn Store>, CatalogueError> {
    let too_large = || CatalogueError::TooLarge(spec.name.clone());
    match &spec.store {
        StoreSpec::Ram => {
            let full = RamStore::full_cost(spec.size).ok_or_else(too_large)?;
            let store = RamStore::new(arena.clone(), spec.size, spec.quota.unwrap_or(full));
            Ok(Arc::new(store.ok_or_else(too_large)?))
        }
        StoreSpec::File(path) => match FileStore::open(path, spec.size) {
            Ok(store) => Ok(Arc::new(store)),
            Err(error) => Err(CatalogueError::Store { name: spec.name.clone(), error }),
        },
    }
}

fn with_filters(spec: &ExportSpec, mut store: Arc<dyn Store>) -> Arc<dyn Store> {
    let rate = spec.error_per_mille;
    if rate > 0 {
        store = Arc::new(ErrorFilter::new(store, ErrorRates { read: rate, write: rate, flush: rate }, ERROR_SEED));
    }
    if !spec.delay.is_zero() {
        store = Arc::new(DelayFilter::new(store, Delays { read: spec.delay, write: spec.delay, flush: spec.delay }));
    }
    store
}

fn describe(spec: &ExportSpec) -> String {
    let rights = if spec.read_only { ", read-only" } else { "" };
    match &spec.store {
        StoreSpec::Ram => format!("{} bytes in RAM{rights}", spec.size),
        StoreSpec::File(_) => format!("{} bytes in a file{rights}", spec.size),
    }
}

fn info(spec: &ExportSpec) -> ExportInfo {
    let abilities = TransmissionFlags::HAS_FLAGS
        | TransmissionFlags::SEND_FLUSH
        | TransmissionFlags::SEND_FUA
        | TransmissionFlags::SEND_TRIM
        | TransmissionFlags::SEND_WRITE_ZEROES
        | TransmissionFlags::SEND_DF
        | TransmissionFlags::SEND_CACHE
        // True of every store here: a write that returned is seen by all, and a flush covers all connections.
        | TransmissionFlags::CAN_MULTI_CONN;
    let read_only = if spec.read_only { TransmissionFlags::READ_ONLY } else { TransmissionFlags::empty() };
    let block = BlockSizes { minimum: 1, preferred: store::PAGE_BYTES as u32, maximum: nbd::limits::PAYLOAD_MAX };
    ExportInfo { size: spec.size, flags: abilities | read_only, block }
}

impl Exports for Catalogue {
    fn find(&self, name: &str) -> Option<Export<'_>> {
        let named = self.0.iter().position(|entry| entry.name == name);
        let id = named.or_else(|| name.is_empty().then_some(0))?;
        let entry = self.0.get(id)?;
        Some(Export { id, name: &entry.name, description: &entry.description, info: entry.info })
    }

    fn list(&self, each: &mut dyn FnMut(&str)) {
        self.0.iter().for_each(|entry| each(&entry.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(specs: &[&str]) -> Result<Catalogue, CatalogueError> {
        let specs: Vec<ExportSpec> = specs.iter().map(|spec| spec.parse().unwrap()).collect();
        Catalogue::open(&specs, None)
    }

    #[test]
    fn the_empty_name_is_the_first_export_unless_one_is_called_so() {
        let catalogue = open(&["a=1M", "b=2M"]).unwrap();
        assert_eq!(catalogue.find("").map(|export| export.id), Some(0));
        assert_eq!(catalogue.find("b").map(|export| export.info.size), Some(2 << 20));
        assert!(catalogue.find("c").is_none());
        assert_eq!(open(&["a=1M", "=2M"]).unwrap().find("").map(|export| export.id), Some(1));
    }

    #[test]
    fn exports_that_cannot_be_are_refused() {
        assert!(matches!(open(&["a=1M", "a=2M"]), Err(CatalogueError::Twice(_))));
        assert!(matches!(open(&["a=65T"]), Err(CatalogueError::TooLarge(_))));
        assert!(matches!(open(&["a=1M,store=file:/nonexistent/x"]), Err(CatalogueError::Store { .. })));
    }

    #[test]
    fn filters_are_really_there() {
        let catalogue = open(&["fails=1M,error=1000", "slow=1M,delay=1", "plain=1M"]).unwrap();
        let [fails, slow, plain] = catalogue.entries() else { panic!("three exports") };
        assert!(fails.store.write_at(0, &[1]).is_err() && plain.store.write_at(0, &[1]).is_ok());
        assert!(!slow.store.is_immediate() && plain.store.is_immediate());
        assert!(!catalogue.flush(), "one store fails");
    }
}
