//! A store in one sparse file, for people who want a plain image.
//!
//! Reads and writes are `pread` and `pwrite`; nothing is mapped, because an I/O error in a mapping is a signal and not an
//! error. A write is acknowledged once the kernel has it, so it survives the death of the service; it survives the death
//! of the machine once it is flushed.
//!
//! The file has the client's bytes and nothing else, so other tools can use it, and the store does not notice if they are
//! damaged: neither a write that was cut in the middle by a loss of power (before it was flushed: old bytes and new ones may
//! lie side by side) nor a bit that flips on the disk. [`crate::LogStore`] notices both.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{StoreError, check_range};
use crate::vfs::{Found, HostVfs, Vfs, VfsFile, Zeroing};
use crate::{Content, Extent, Space, State, StateExtent, Store, Usage};

/// Zeroes are written this many bytes at a time where the file system has no better way.
static ZEROES: [u8; 64 * 1024] = [0; 64 * 1024];

/// An export in a file. The file is locked: a second service that opens it is refused.
#[derive(Debug)]
pub struct FileStore {
    file: Box<dyn VfsFile>,
    size: u64,
    poisoned: AtomicBool,
}

impl FileStore {
    /// Opens `path`, which is made if there is none. An existing file is never cut: it must be no longer than `size`.
    ///
    /// # Errors
    /// The file cannot be used; it is as it was before.
    pub fn open(path: &Path, size: u64) -> Result<Self, StoreError> {
        Self::open_in(&HostVfs, path, size)
    }

    /// [`FileStore::open`] with the files of `vfs`.
    ///
    /// # Errors
    /// The file cannot be used; it is as it was before.
    pub fn open_in(vfs: &dyn Vfs, path: &Path, size: u64) -> Result<Self, StoreError> {
        let existed = vfs.exists(path)?;
        let file = vfs.open(path, true)?;
        if !file.try_lock()? {
            return Err(io::Error::other("the file is used by another process").into());
        }
        let length = file.length()?;
        if length > size {
            let reason = format!("the file holds {length} bytes, which is more than the export's {size}; nothing was changed");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason).into());
        }
        if length < size {
            file.set_length(size)?;
            file.sync_data()?;
        }
        if !existed {
            // The file's name, too, must survive a crash before anything in the file can.
            vfs.sync_directory(path.parent().unwrap_or(path))?;
        }
        Ok(Self { file, size, poisoned: AtomicBool::new(false) })
    }

    fn check_write(&self, offset: u64, length: u64) -> Result<(), StoreError> {
        check_range(self.size, offset, length)?;
        match self.poisoned.load(Ordering::Acquire) {
            true => Err(StoreError::Poisoned),
            false => Ok(()),
        }
    }

    fn write_zero_bytes(&self, mut offset: u64, length: u64) -> Result<(), StoreError> {
        let end = offset + length;
        while offset < end {
            let count = (end - offset).min(ZEROES.len() as u64);
            self.file.write_all_at(&ZEROES[..count as usize], offset)?;
            offset += count;
        }
        Ok(())
    }
}

impl Store for FileStore {
    fn size(&self) -> u64 {
        self.size
    }

    fn is_immediate(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        check_range(self.size, offset, buffer.len() as u64)?;
        Ok(self.file.read_exact_at(buffer, offset)?)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        self.check_write(offset, data.len() as u64)?;
        Ok(self.file.write_all_at(data, offset)?)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.check_write(0, 0)?;
        self.file.sync_data().map_err(|error| {
            // The kernel may have dropped the pages it could not write and call the next attempt a success.
            self.poisoned.store(true, Ordering::Release);
            error.into()
        })
    }

    fn trim(&self, offset: u64, length: u64) -> Result<(), StoreError> {
        self.check_write(offset, length)?;
        if length > 0 {
            self.file.zero(Zeroing::PunchHole, offset, length)?;
        }
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, length: u64, space: Space) -> Result<(), StoreError> {
        self.check_write(offset, length)?;
        let zeroing = match space {
            Space::Release => Zeroing::PunchHole,
            Space::Reserve => Zeroing::Allocate,
        };
        if length == 0 || self.file.zero(zeroing, offset, length)? {
            return Ok(());
        }
        self.write_zero_bytes(offset, length)
    }

    fn extent_at(&self, offset: u64, length: u64) -> Result<Extent, StoreError> {
        check_range(self.size, offset, length)?;
        let extent = |end: u64, content| Ok(Extent { length: end.saturating_sub(offset).clamp(1, length), content });
        match self.file.find_data(offset)? {
            Found::At(start) if start > offset => extent(start, Content::Hole),
            Found::At(_) => match self.file.find_hole(offset)? {
                Found::At(end) => extent(end, Content::Data),
                Found::Nowhere | Found::Unknown => extent(self.size, Content::Data),
            },
            Found::Nowhere => extent(self.size, Content::Hole),
            Found::Unknown => extent(self.size, Content::Data),
        }
    }

    fn state_at(&self, offset: u64, length: u64) -> Result<StateExtent, StoreError> {
        let extent = self.extent_at(offset, length)?;
        let state = if extent.content == Content::Data { State::FILE } else { State::empty() };
        Ok(StateExtent { length: extent.length, state })
    }

    fn usage(&self) -> Usage {
        // Space beyond what the file holds is taken by the file system's own books.
        let file_bytes = self.file.allocated_bytes().unwrap_or(0).min(self.size);
        Usage { file_bytes, zero_bytes: self.size - file_bytes, ..Usage::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> FileStore {
        FileStore::open(path, 1 << 20).unwrap()
    }

    #[test]
    fn what_was_written_is_there_when_the_file_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        open(&path).write_at(5000, b"pages").unwrap();
        let mut bytes = [0; 7];
        open(&path).read_at(4999, &mut bytes).unwrap();
        assert_eq!(&bytes, b"\0pages\0");
    }

    #[test]
    fn a_file_is_served_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        let _first = open(&path);
        let error = FileStore::open(&path, 1 << 20).unwrap_err();
        assert_eq!(error.to_string(), "the file is used by another process");
    }

    #[test]
    fn a_longer_file_is_not_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        std::fs::write(&path, [7; 100]).unwrap();
        assert!(FileStore::open(&path, 99).unwrap_err().to_string().contains("more than the export's 99"));
        assert_eq!(std::fs::read(&path).unwrap(), [7; 100]);
    }

    #[test]
    fn zeroed_space_is_given_back_or_kept_as_asked() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory.path().join("image"));
        let blocks = || store.usage().file_bytes;
        assert_eq!(blocks(), 0);
        store.write_at(0, &[1; 1 << 20]).unwrap();
        store.flush().unwrap();
        let full = blocks();
        store.write_zeroes(0, 1 << 20, Space::Reserve).unwrap();
        store.flush().unwrap();
        assert_eq!(blocks(), full);
        store.write_zeroes(0, 1 << 20, Space::Release).unwrap();
        assert_eq!(blocks(), 0);
        assert_eq!(store.extent_at(0, 1 << 20).unwrap(), Extent { length: 1 << 20, content: Content::Hole });
    }

    #[test]
    fn after_a_failed_flush_nothing_is_promised_any_more() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory.path().join("image"));
        store.write_at(0, &[1]).unwrap();
        store.poisoned.store(true, Ordering::Release);
        assert!(matches!(store.flush(), Err(StoreError::Poisoned)));
        assert!(matches!(store.write_at(0, &[2]), Err(StoreError::Poisoned)));
        assert!(matches!(store.trim(0, 1), Err(StoreError::Poisoned)));
        let mut byte = [0];
        store.read_at(0, &mut byte).unwrap();
        assert_eq!(byte, [1]);
    }
}
