//! A file of the log: its header, and how the records in it are found.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{HEADER_BYTES, Kind, Record, UNIT_BYTES, checksum};
use crate::error::StoreError;
use crate::vfs::{Vfs, VfsFile};

/// Bytes of a segment before its first record.
pub(super) const SEGMENT_HEADER_BYTES: usize = 64;
const MAGIC: &[u8; 8] = b"pvmachLG";
const VERSION: u32 = 1;
const SUFFIX: &str = ".segment";
/// How much is read at a time when the log is searched.
const WINDOW_BYTES: usize = 256 << 10;

/// A segment that can be read.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) file: Arc<dyn VfsFile>,
    pub(super) id: u32,
    pub(super) salt: u64,
    /// The number of its first record.
    pub(super) first: u64,
    /// The size of the export when it was made.
    pub(super) store_size: u64,
}

/// What [`Segment::open`] found.
pub(super) enum Opened {
    Segment(Segment),
    /// The power failed before the header was complete, so nothing can be in it.
    Unfinished,
}

/// A record that was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) at: u64,
    pub(super) record: Record,
    pub(super) is_intact: bool,
}

pub(super) fn path(directory: &Path, id: u32) -> PathBuf {
    directory.join(format!("{id:010}{SUFFIX}"))
}

/// The id of the segment of this name, if it is the name of one.
pub(super) fn id_of(name: &str) -> Option<u32> {
    name.strip_suffix(SUFFIX)?.parse().ok()
}

fn damaged(directory: &Path, id: u32, what: &str) -> StoreError {
    let path = path(directory, id);
    StoreError::Io(io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display())))
}

impl Segment {
    /// Makes a segment with nothing in it, durable with its name.
    pub(super) fn create(vfs: &dyn Vfs, directory: &Path, id: u32, first: u64, store_size: u64) -> io::Result<Self> {
        let salt = RandomState::new().hash_one(id);
        let file = vfs.open(&path(directory, id), true)?;
        let mut header = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend(id.to_le_bytes());
        [salt, first, store_size].iter().for_each(|field| header.extend(field.to_le_bytes()));
        header.resize(SEGMENT_HEADER_BYTES - 4, 0);
        header.extend(checksum(0, &header).to_le_bytes());
        file.write_all_at(&header, 0)?;
        file.sync_data()?;
        vfs.sync_directory(directory)?;
        Ok(Self { file: file.into(), id, salt, first, store_size })
    }

    /// Opens a segment.
    pub(super) fn open(vfs: &dyn Vfs, directory: &Path, id: u32) -> Result<Opened, StoreError> {
        let file: Arc<dyn VfsFile> = vfs.open(&path(directory, id), false)?.into();
        let mut header = [0; SEGMENT_HEADER_BYTES];
        let length = file.length()?;
        if length < SEGMENT_HEADER_BYTES as u64 {
            return Ok(Opened::Unfinished);
        }
        file.read_exact_at(&mut header, 0)?;
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let is_intact = word(60) == checksum(0, &header[..60]) && &header[..8] == MAGIC;
        if is_intact && word(8) != VERSION {
            let what = format!("it has version {} of the format; this program knows version {VERSION}", word(8));
            return Err(damaged(directory, id, &what));
        }
        if is_intact && word(12) == id {
            return Ok(Opened::Segment(Self { file, id, salt: long(16), first: long(24), store_size: long(32) }));
        }
        // Records are only written once the header is durable.
        let is_unfinished = length == SEGMENT_HEADER_BYTES as u64;
        if is_unfinished { Ok(Opened::Unfinished) } else { Err(damaged(directory, id, "the header is damaged; nothing was changed")) }
    }

    /// Shows the records from `from` on, in order, as long as `each` says to go on; those behind a damaged header, too. Says
    /// where the next one may begin.
    pub(super) fn scan(&self, from: u64, mut each: impl FnMut(Found) -> bool) -> io::Result<u64> {
        let mut window = Window { file: &*self.file, length: self.file.length()?, start: 0, bytes: Vec::new() };
        let (mut at, mut next) = (from, 0);
        while let Some(header) = window.get(at, HEADER_BYTES)? {
            let record = Record::decode(header, self.salt).filter(|record| record.number >= next.max(self.first));
            let Some(record) = record else {
                at += UNIT_BYTES as u64;
                continue;
            };
            let length = record.subject.record_bytes();
            let is_intact = window.get(at, length)?.is_some_and(|bytes| record.matches(&bytes[HEADER_BYTES..]));
            let found = Found { at, record, is_intact };
            next = record.number + 1;
            at += length as u64;
            if !each(found) {
                break;
            }
        }
        Ok(at)
    }

    /// Whether a record seals the segment.
    pub(super) const fn is_seal(record: &Record) -> bool {
        matches!(record.subject.kind, Kind::Seal)
    }

    /// An error that names this segment.
    pub(super) fn damaged(&self, directory: &Path, what: &str) -> StoreError {
        damaged(directory, self.id, what)
    }
}

/// Part of a file that moves along as it is read.
struct Window<'a> {
    file: &'a dyn VfsFile,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// Some bytes, if the file has so many.
    fn get(&mut self, at: u64, length: usize) -> io::Result<Option<&[u8]>> {
        if at + length as u64 > self.length {
            return Ok(None);
        }
        if at < self.start || at + length as u64 > self.start + self.bytes.len() as u64 {
            self.bytes.resize(WINDOW_BYTES.min((self.length - at) as usize), 0);
            self.start = at;
            self.file.read_exact_at(&mut self.bytes, at)?;
        }
        let start = (at - self.start) as usize;
        Ok(Some(&self.bytes[start..start + length]))
    }
}
