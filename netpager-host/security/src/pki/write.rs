//! Files that appear whole, are never overwritten, and are nobody else's business.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

use super::PkiError;

/// For certificates: whoever connects sees them anyway.
pub(super) const PUBLIC: u32 = 0o644;
/// For keys.
pub(super) const SECRET: u32 = 0o600;

/// Files that are to appear together. Those that did are taken away again unless all of them do.
pub(super) struct Batch {
    prepared: Vec<(TempPath, PathBuf)>,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self { prepared: Vec::new() }
    }

    /// Prepares a file that must not exist.
    pub(super) fn add(&mut self, path: PathBuf, content: &[u8], mode: u32) -> Result<(), PkiError> {
        // Said early: the name is taken for good only in `commit`.
        if path.symlink_metadata().is_ok() {
            return Err(PkiError::Exists(path));
        }
        let temporary = prepare(&path, content, mode).map_err(|error| PkiError::File { path: path.clone(), error })?;
        self.prepared.push((temporary, path));
        Ok(())
    }

    /// Gives the files their names.
    pub(super) fn commit(self) -> Result<(), PkiError> {
        let mut done: Vec<PathBuf> = Vec::new();
        for (temporary, path) in self.prepared {
            if let Err(error) = temporary.persist_noclobber(&path) {
                done.iter().for_each(|path| drop(fs::remove_file(path)));
                return Err(match error.error.kind() {
                    io::ErrorKind::AlreadyExists => PkiError::Exists(path),
                    _ => PkiError::File { path, error: error.error },
                });
            }
            done.push(path);
        }
        done.iter().try_for_each(|path| sync_directory_of(path))
    }
}

/// Puts new content in a file's place, in one step.
pub(super) fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), PkiError> {
    let failed = |error| PkiError::File { path: path.into(), error };
    prepare(path, content, mode).map_err(failed)?.persist(path).map_err(|error| failed(error.error))?;
    sync_directory_of(path)
}

/// Makes a directory, and those above it, for us alone; one that is there is left as it is.
pub(super) fn directory(path: &Path) -> Result<(), PkiError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| PkiError::File { path: path.into(), error })
}

fn prepare(path: &Path, content: &[u8], mode: u32) -> io::Result<TempPath> {
    // Temporary files are made with mode 0600.
    let mut file = NamedTempFile::new_in(parent(path))?;
    file.write_all(content)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    Ok(file.into_temp_path())
}

fn sync_directory_of(path: &Path) -> Result<(), PkiError> {
    let synced = File::open(parent(path)).and_then(|directory| directory.sync_all());
    synced.map_err(|error| PkiError::File { path: path.into(), error })
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_appears_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| directory.path().join(name));
        let mut batch = Batch::new();
        batch.add(a.clone(), b"1", SECRET).unwrap();
        batch.add(b.clone(), b"2", PUBLIC).unwrap();
        fs::write(&b, "somebody else was faster").unwrap();
        assert!(matches!(batch.commit(), Err(PkiError::Exists(path)) if path == b));
        let left: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!((left, fs::read(&b).unwrap()), (vec!["b".into()], b"somebody else was faster".to_vec()));
    }

    #[test]
    fn modes_are_what_they_are_said_to_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let mut batch = Batch::new();
        batch.add(path.clone(), b"1", SECRET).unwrap();
        batch.commit().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        replace(&path, b"2", PUBLIC).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert!(matches!(Batch::new().add(path, b"3", PUBLIC), Err(PkiError::Exists(_))));
    }
}
