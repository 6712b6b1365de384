//! What outlives the service: exports that were made while it ran and are to be kept. A redb database in the state
//! directory; every change is durable before it is answered.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::entry::Source;
use crate::config::{ExportSpec, Lifetime, Size};

/// The file in the state directory.
const FILE: &str = "netpager-host.redb";
/// An export's name, and a [`Record`] as JSON.
const EXPORTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("exports");

/// The database could not be used.
#[derive(Debug, Error)]
#[error("the state directory {directory}: {error}")]
pub(crate) struct MetadataError {
    directory: String,
    error: String,
}

/// One export, as it is written down.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    size: u64,
    store: String,
    quota: Option<u64>,
    read_only: bool,
    exclusive: bool,
    owner: String,
    /// Seconds since 1970.
    since: u64,
}

/// The database.
pub(crate) struct Metadata {
    database: Database,
    directory: String,
}

impl Metadata {
    /// Opens the database in `directory`, both of which are made if they are not there.
    pub(crate) fn open(directory: &Path) -> Result<Self, MetadataError> {
        let failed = |error: String| MetadataError { directory: directory.display().to_string(), error };
        std::fs::create_dir_all(directory).map_err(|error| failed(error.to_string()))?;
        let database = Database::create(directory.join(FILE)).map_err(|error| failed(error.to_string()))?;
        Ok(Self { database, directory: directory.display().to_string() })
    }

    fn failed(&self, error: impl Into<redb::Error>) -> MetadataError {
        MetadataError { directory: self.directory.clone(), error: error.into().to_string() }
    }

    /// Writes an export down; one of the same name is replaced.
    pub(crate) fn keep(&self, spec: &ExportSpec, source: &Source) -> Result<(), MetadataError> {
        let Source::Made { owner, since, .. } = source else { return Ok(()) };
        let record = Record {
            size: spec.size.0,
            store: spec.store.to_string(),
            quota: spec.quota.map(|Size(bytes)| bytes),
            read_only: spec.read_only,
            exclusive: spec.exclusive,
            owner: owner.clone(),
            since: since.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        };
        let json = serde_json::to_vec(&record).expect("a record has only strings and numbers");
        self.change(|table| table.insert(spec.name.as_str(), json.as_slice()).map(drop))
    }

    /// Strikes an export out.
    pub(crate) fn forget(&self, name: &str) -> Result<(), MetadataError> {
        self.change(|table| table.remove(name).map(drop))
    }

    fn change(&self, with: impl FnOnce(&mut redb::Table<'_, &str, &[u8]>) -> Result<(), redb::StorageError>) -> Result<(), MetadataError> {
        let transaction = self.database.begin_write().map_err(|error| self.failed(error))?;
        {
            let mut table = transaction.open_table(EXPORTS).map_err(|error| self.failed(error))?;
            with(&mut table).map_err(|error| self.failed(error))?;
        }
        transaction.commit().map_err(|error| self.failed(error))
    }

    /// Everything that is written down.
    pub(crate) fn kept(&self) -> Result<Vec<(ExportSpec, Source)>, MetadataError> {
        let transaction = self.database.begin_read().map_err(|error| self.failed(error))?;
        let table = match transaction.open_table(EXPORTS) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            table => table.map_err(|error| self.failed(error))?,
        };
        let mut all = Vec::new();
        for row in table.iter().map_err(|error| self.failed(error))? {
            let (name, json) = row.map_err(|error| self.failed(error))?;
            let read = serde_json::from_slice(json.value()).map_err(|error| error.to_string());
            let export = read.and_then(|record| from_record(name.value(), record));
            let export = export.map_err(|error| MetadataError { directory: self.directory.clone(), error });
            all.push(export?);
        }
        Ok(all)
    }
}

fn from_record(name: &str, record: Record) -> Result<(ExportSpec, Source), String> {
    let spec = ExportSpec {
        quota: record.quota.map(Size),
        read_only: record.read_only,
        exclusive: record.exclusive,
        ..ExportSpec::new(name, Size(record.size), record.store.parse()?)
    };
    let since: SystemTime = UNIX_EPOCH + Duration::from_secs(record.since);
    Ok((spec, Source::Made { owner: record.owner, lifetime: Lifetime::Keep, since }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let spec: ExportSpec = "np1/a/b=1G,store=mirror:(file:/x/{name};ram),quota=1M,exclusive".parse().unwrap();
        let source = Source::Made { owner: "dns:a".into(), lifetime: Lifetime::Keep, since: UNIX_EPOCH + Duration::from_secs(5) };
        let metadata = Metadata::open(directory.path()).unwrap();
        assert_eq!(metadata.kept().unwrap(), []);
        metadata.keep(&spec, &source).unwrap();
        assert!(Metadata::open(directory.path()).is_err(), "two services must not share it");
        drop(metadata);
        let metadata = Metadata::open(directory.path()).unwrap();
        assert_eq!(metadata.kept().unwrap(), [(spec, source)]);
        metadata.forget("np1/a/b").unwrap();
        assert_eq!(metadata.kept().unwrap(), []);
    }
}
