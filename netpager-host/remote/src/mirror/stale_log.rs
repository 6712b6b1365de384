//! Which members of a mirror must not be believed after a restart, written down where a restart finds it.
//!
//! If the mirror's own process ends while a member is behind, nothing in that member's bytes says so. So before a write is
//! acknowledged that a member missed, the member's name is recorded; and as long as the mirror is open that is recorded too,
//! because a write may have reached some members and not others when the process is killed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use store::StoreError;

use super::witness::Witness;

/// What is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaleRecord {
    /// Whether the mirror is open, or was not closed properly.
    pub is_open: bool,
    /// The names of the members that missed acknowledged writes.
    pub stale: Vec<String>,
    /// Of a mirror that was closed: what the other members must have.
    pub witnesses: Vec<Witness>,
}

/// Where a [`StaleRecord`] is kept.
pub trait StaleLog: Send + Sync {
    /// What was saved last; the default if nothing ever was.
    ///
    /// # Errors
    /// It cannot be read. A mirror does not open then, because it could show old data.
    fn load(&self) -> Result<StaleRecord, StoreError>;

    /// Returns when `record` survives a crash.
    ///
    /// # Errors
    /// It may not survive. The write that made it necessary fails then.
    fn save(&self, record: &StaleRecord) -> Result<(), StoreError>;
}

/// A record in a small file of text: a version, `open` or `closed`, then lines that begin with `stale` or `witness`.
#[derive(Debug)]
pub struct StaleFile {
    path: PathBuf,
}

const VERSION: &str = "pvmach mirror 1";

impl StaleFile {
    /// A record in the file at `path`, which need not exist yet; its directory must.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn parse(text: &str) -> Option<StaleRecord> {
        let mut lines = text.strip_suffix('\n')?.lines();
        if lines.next()? != VERSION {
            return None;
        }
        let is_open = match lines.next()? {
            "open" => true,
            "closed" => false,
            _ => return None,
        };
        let mut record = StaleRecord { is_open, ..StaleRecord::default() };
        for line in lines {
            match line.split_once(' ')? {
                ("stale", name) => record.stale.push(name.to_owned()),
                ("witness", numbers) => {
                    let (offset, fingerprint) = numbers.split_once(' ')?;
                    let fingerprint = u64::from_str_radix(fingerprint, 16).ok()?;
                    record.witnesses.push(Witness { offset: offset.parse().ok()?, fingerprint });
                }
                _ => return None,
            }
        }
        Some(record)
    }
}

impl StaleLog for StaleFile {
    fn load(&self) -> Result<StaleRecord, StoreError> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Self::parse(&text).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{} is no record of a mirror's members", self.path.display())).into()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(StaleRecord::default()),
            Err(error) => Err(error.into()),
        }
    }

    fn save(&self, record: &StaleRecord) -> Result<(), StoreError> {
        let mut text = format!("{VERSION}\n{}\n", if record.is_open { "open" } else { "closed" });
        for name in &record.stale {
            text.push_str(&format!("stale {name}\n"));
        }
        for Witness { offset, fingerprint } in &record.witnesses {
            text.push_str(&format!("witness {offset} {fingerprint:x}\n"));
        }
        // Old or new, never half: written beside, made durable, and put in its place.
        let beside = self.path.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()?;
        Ok(())
    }
}

/// A record that lasts as long as the process, for mirrors of memory that ends with it too.
#[derive(Debug, Default)]
pub struct StaleMemory(Mutex<StaleRecord>);

impl StaleLog for StaleMemory {
    fn load(&self) -> Result<StaleRecord, StoreError> {
        Ok(self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone())
    }

    fn save(&self, record: &StaleRecord) -> Result<(), StoreError> {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = record.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_back_what_was_saved_last() {
        let directory = tempfile::tempdir().unwrap();
        let log = StaleFile::new(directory.path().join("mirror"));
        assert_eq!(log.load().unwrap(), StaleRecord::default());
        for stale in [vec![], vec!["a b".to_owned(), "nbd://[::1]/x?y".to_owned()]] {
            for is_open in [true, false] {
                let witnesses = (0..stale.len() as u64).map(|at| Witness { offset: at << 40, fingerprint: !at }).collect();
                let record = StaleRecord { is_open, stale: stale.clone(), witnesses };
                log.save(&record).unwrap();
                assert_eq!(log.load().unwrap(), record);
            }
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "something was left behind");
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_an_empty_record() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mirror");
        for text in [
            "",
            "pvmach mirror 1\n",
            "pvmach mirror 2\nopen\n",
            "pvmach mirror 1\nopened\n",
            "pvmach mirror 1\nopen\nstale a",
            "pvmach mirror 1\nopen\nwitness 1\n",
        ] {
            fs::write(&path, text).unwrap();
            assert!(StaleFile::new(&path).load().is_err(), "{text:?}");
        }
    }
}
