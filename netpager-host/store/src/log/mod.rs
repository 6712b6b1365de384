//! A store in a log: everything is appended to segments, with checksums, and an index in RAM says where each page is.
//!
//! Nothing is written in place, so a write that is cut by a loss of power leaves what was there; and every byte that is read
//! is checked. In exchange the log must be cleaned, opening it takes as long as reading all of it, and only whole pages are
//! kept (a write of less than a page costs one).
//!
//! | module | is |
//! |---|---|
//! | `record`, `segment` | the format |
//! | `index` | where each page is |
//! | `parts` | which pages a range is of |
//! | `writer` | the end of the log |
//! | `clean` | gives space back |
//! | `recover` | opens a log |
//!
//! Lock order: `syncing`, `writer`, `index`.

mod clean;
mod index;
mod parts;
mod record;
mod recover;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::error::{StoreError, check_range};
use crate::vfs::{HostVfs, Vfs, VfsFile};
use crate::zero::is_zero;
use crate::{Content, Extent, PAGE_BYTES, Space, State, StateExtent, Store, Usage};
use index::{Index, Place};
use parts::{Part, parts};
use record::{DATA_BYTES, HEADER_BYTES, Kind, Record, Subject};
use recover::{Recovered, recover};
use segment::Segment;
use writer::{Entry, Purpose, Writer};

const PAGE: u64 = PAGE_BYTES as u64;
/// How long segments are, if nobody says otherwise.
const SEGMENT_BYTES: u64 = 64 << 20;
/// A file that is locked as long as the log is used.
const LOCK_NAME: &str = "lock";

/// An export in a log-structured directory. The directory is locked: a second service that opens it is refused.
///
/// What was acknowledged before a flush survives a loss of power; all that was acknowledged survives the death of the
/// service. A damaged page is [`StoreError::Corrupt`] until it is written again. Space cannot be reserved: asking for it
/// zeroes the range.
#[derive(Debug)]
pub struct LogStore {
    vfs: Arc<dyn Vfs>,
    directory: PathBuf,
    size: u64,
    segment_bytes: u64,
    index: RwLock<Index>,
    writer: Mutex<Writer>,
    /// Held while syncing, so that those who come meanwhile are served by one sync together.
    syncing: Mutex<()>,
    /// The place up to which all is durable.
    durable: AtomicU64,
    poisoned: AtomicBool,
    _lock: Box<dyn VfsFile>,
}

impl LogStore {
    /// The largest export: 8 TiB.
    pub const SIZE_MAX: u64 = 8 << 40;

    /// Opens the log in `directory`; makes both if there are none. An export that was smaller before has become larger.
    ///
    /// # Errors
    /// The log cannot be used; what is in it was not changed.
    pub fn open(directory: &Path, size: u64) -> Result<Self, StoreError> {
        Self::open_in(Arc::new(HostVfs), directory, size, SEGMENT_BYTES)
    }

    /// [`LogStore::open`] with the files of `vfs`, and segments of another length: 16 KiB to 1 GiB.
    ///
    /// # Errors
    /// The log cannot be used; what is in it was not changed.
    pub fn open_in(vfs: Arc<dyn Vfs>, directory: &Path, size: u64, segment_bytes: u64) -> Result<Self, StoreError> {
        if size > Self::SIZE_MAX {
            let reason = format!("a log holds up to {} bytes", Self::SIZE_MAX);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason).into());
        }
        vfs.create_directory(directory)?;
        let lock = vfs.open(&directory.join(LOCK_NAME), true)?;
        if !lock.try_lock()? {
            return Err(io::Error::other("the log is used by another process").into());
        }
        vfs.sync_directory(directory.parent().unwrap_or(directory))?;
        let Recovered { index, head, end, lost } = recover(&*vfs, directory, size)?;
        // What was read may be in the kernel's memory only, if the service died and not the machine.
        head.file.sync_data()?;
        let durable = AtomicU64::new(Place::new(head.id, end.at).to_bits());
        let (number, previous, at) = (end.number, end.previous, end.at);
        let writer = Writer { head, at, number, previous, cleaning: None, has_reserve: false, buffer: Vec::new() };
        let store = Self {
            vfs,
            directory: directory.to_owned(),
            size,
            segment_bytes: segment_bytes.clamp(16 << 10, 1 << 30),
            index: RwLock::new(index),
            writer: Mutex::new(writer),
            syncing: Mutex::new(()),
            durable,
            poisoned: AtomicBool::new(false),
            _lock: lock,
        };
        for page in lost {
            let subject = Subject { kind: Kind::Lost, page, count: 1 };
            store.append(&mut store.writer(), &[Entry { subject, data: &[] }], Purpose::Release)?;
        }
        Ok(store)
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_poison(&self) -> Result<(), StoreError> {
        if self.poisoned.load(Ordering::Acquire) { Err(StoreError::Poisoned) } else { Ok(()) }
    }

    fn poison(&self, error: &dyn std::fmt::Display) {
        tracing::error!("{}: takes no more writes: {error}", self.directory.display());
        self.poisoned.store(true, Ordering::Release);
    }

    /// Reads the page a record holds, which is checked.
    fn read_record(&self, segment: &Segment, place: Place, page: u64, out: &mut [u8; PAGE_BYTES]) -> Result<(), StoreError> {
        let mut bytes = [0; DATA_BYTES];
        segment.file.read_exact_at(&mut bytes, place.at())?;
        out.copy_from_slice(checked(&bytes, segment.salt, page)?);
        Ok(())
    }

    /// Reads a page.
    fn read_page(&self, page: u64, out: &mut [u8; PAGE_BYTES]) -> Result<(), StoreError> {
        let index = self.index();
        let place = index.place(page);
        if place == Place::HOLE {
            out.fill(0);
            return Ok(());
        }
        let segment = index.shelf(place.segment()).map(|shelf| shelf.segment.clone());
        drop(index);
        let segment = segment.filter(|_| place.is_record()).ok_or(StoreError::Corrupt { offset: page * PAGE })?;
        // If the segment is removed now, its file is still there for us.
        self.read_record(&segment, place, page, out)
    }

    /// Reads as many whole pages as lie in one piece, into the beginning of `out`; says how many bytes.
    fn read_run(&self, page: u64, out: &mut [u8], scratch: &mut Vec<u8>) -> Result<usize, StoreError> {
        let index = self.index();
        let wanted = (out.len() / PAGE_BYTES) as u64;
        let place = index.place(page);
        if place == Place::HOLE {
            let (_, count) = index.run(page, page + wanted, |place| place == Place::HOLE);
            let bytes = count as usize * PAGE_BYTES;
            out[..bytes].fill(0);
            return Ok(bytes);
        }
        let mut last = place;
        let follows = |page: &u64| {
            let next = last.next();
            last = next;
            index.place(*page) == next
        };
        let count = 1 + (page + 1..page + wanted).take_while(follows).count();
        let segment = index.shelf(place.segment()).map(|shelf| shelf.segment.clone());
        drop(index);
        let segment = segment.filter(|_| place.is_record()).ok_or(StoreError::Corrupt { offset: page * PAGE })?;
        scratch.resize(count * DATA_BYTES, 0);
        segment.file.read_exact_at(scratch, place.at())?;
        for ((page, record), out) in (page..).zip(scratch.chunks_exact(DATA_BYTES)).zip(out.chunks_exact_mut(PAGE_BYTES)) {
            out.copy_from_slice(checked(record, segment.salt, page)?);
        }
        Ok(count * PAGE_BYTES)
    }

    /// Writes records, with as much cleaning as they are worth; on a full disk after cleaning what can be.
    fn append_and_clean(&self, writer: &mut Writer, entries: &[Entry<'_>], purpose: Purpose) -> Result<(), StoreError> {
        loop {
            match self.append(writer, entries, purpose) {
                Err(error) if error.is_out_of_space() && self.clean_segment(writer).unwrap_or(false) => {}
                other => break other?,
            }
        }
        let bytes: usize = entries.iter().map(|entry| entry.subject.record_bytes()).sum();
        match self.clean(writer, 2 * bytes) {
            // The write is done; cleaning goes on with the next.
            Err(error) if !matches!(error, StoreError::Poisoned) => {
                tracing::warn!("{}: the log cannot be cleaned: {error}", self.directory.display());
                Ok(())
            }
            other => other,
        }
    }

    /// Makes whole pages zeroes.
    fn zero_pages(&self, writer: &mut Writer, start: u64, end: u64) -> Result<(), StoreError> {
        let mut page = start;
        while page < end {
            let (is_hole, count) = self.index().run(page, end, |place| place == Place::HOLE);
            if !is_hole {
                let subject = Subject { kind: Kind::Zero, page, count: count as u32 };
                self.append_and_clean(writer, &[Entry { subject, data: &[] }], Purpose::Release)?;
            }
            page += count;
        }
        Ok(())
    }

    /// Changes part of a page.
    fn change_page(&self, writer: &mut Writer, page: u64, with: impl FnOnce(&mut [u8; PAGE_BYTES])) -> Result<(), StoreError> {
        let mut bytes = [0; PAGE_BYTES];
        self.read_page(page, &mut bytes)?;
        with(&mut bytes);
        if is_zero(&bytes) {
            return self.zero_pages(writer, page, page + 1);
        }
        let subject = Subject { kind: Kind::Data, page, count: 1 };
        self.append_and_clean(writer, &[Entry { subject, data: &bytes }], Purpose::Store)
    }

    /// Writes whole pages.
    fn write_pages(&self, writer: &mut Writer, page: u64, data: &[u8]) -> Result<(), StoreError> {
        let mut entries: Vec<Entry<'_>> = Vec::new();
        for (page, data) in (page..).zip(data.chunks_exact(PAGE_BYTES)) {
            let zero = is_zero(data);
            if zero && self.index().place(page) == Place::HOLE {
                continue;
            }
            let (kind, data) = if zero { (Kind::Zero, &[][..]) } else { (Kind::Data, data) };
            entries.push(Entry { subject: Subject { kind, page, count: 1 }, data });
        }
        entries.chunks(self.batch_records()).try_for_each(|batch| self.append_and_clean(writer, batch, Purpose::Store))
    }
}

/// The page of a record, if nothing of it is damaged.
fn checked(bytes: &[u8], salt: u64, page: u64) -> Result<&[u8], StoreError> {
    let (_, data) = bytes.split_at(HEADER_BYTES);
    let wanted = Subject { kind: Kind::Data, page, count: 1 };
    let is_right = |record: &Record| record.subject == wanted && record.matches(data);
    Record::decode(bytes, salt).filter(is_right).map(|_| data).ok_or(StoreError::Corrupt { offset: page * PAGE })
}

impl Store for LogStore {
    fn size(&self) -> u64 {
        self.size
    }

    fn is_immediate(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        check_range(self.size, offset, buffer.len() as u64)?;
        let mut scratch = Vec::new();
        for part in parts(offset, buffer.len() as u64) {
            match part {
                Part::Piece(page, bytes, at) => {
                    let mut whole = [0; PAGE_BYTES];
                    self.read_page(page, &mut whole)?;
                    buffer[at..at + bytes.len()].copy_from_slice(&whole[bytes]);
                }
                Part::Pages(mut page, end, mut at) => {
                    while page < end {
                        let rest = &mut buffer[at..at + ((end - page) * PAGE) as usize];
                        let bytes = self.read_run(page, rest, &mut scratch)?;
                        page += bytes as u64 / PAGE;
                        at += bytes;
                    }
                }
            }
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        check_range(self.size, offset, data.len() as u64)?;
        self.check_poison()?;
        let mut writer = self.writer();
        parts(offset, data.len() as u64).try_for_each(|part| match part {
            Part::Piece(page, bytes, at) => {
                let data = &data[at..at + bytes.len()];
                self.change_page(&mut writer, page, |page| page[bytes].copy_from_slice(data))
            }
            Part::Pages(page, end, at) => self.write_pages(&mut writer, page, &data[at..at + ((end - page) * PAGE) as usize]),
        })
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.check_poison()?;
        let target = self.writer().end_of_data();
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.durable.load(Ordering::Acquire) >= target.to_bits() {
            // Someone else's sync, begun after our writes, was enough.
            return self.check_poison();
        }
        let (head, at) = {
            let writer = self.writer();
            (writer.head.clone(), writer.at)
        };
        self.sync(&head, at)?;
        // Says so in the log; but that it is durable does not depend on it.
        let mark = Entry { subject: Subject::none(Kind::Mark), data: &[] };
        self.append(&mut self.writer(), &[mark], Purpose::Store).or_else(|error| match error {
            StoreError::Poisoned => Err(error),
            _ => Ok(()),
        })
    }

    fn trim(&self, offset: u64, length: u64) -> Result<(), StoreError> {
        check_range(self.size, offset, length)?;
        self.check_poison()?;
        let mut writer = self.writer();
        parts(offset, length).try_for_each(|part| match part {
            Part::Piece(..) => Ok(()),
            Part::Pages(page, end, _) => self.zero_pages(&mut writer, page, end),
        })
    }

    fn write_zeroes(&self, offset: u64, length: u64, _: Space) -> Result<(), StoreError> {
        check_range(self.size, offset, length)?;
        self.check_poison()?;
        let mut writer = self.writer();
        parts(offset, length).try_for_each(|part| match part {
            Part::Piece(page, bytes, _) => self.change_page(&mut writer, page, |page| page[bytes].fill(0)),
            Part::Pages(page, end, _) => self.zero_pages(&mut writer, page, end),
        })
    }

    fn extent_at(&self, offset: u64, length: u64) -> Result<Extent, StoreError> {
        let extent = self.state_at(offset, length)?;
        let content = if extent.state.is_empty() { Content::Hole } else { Content::Data };
        Ok(Extent { length: extent.length, content })
    }

    fn state_at(&self, offset: u64, length: u64) -> Result<StateExtent, StoreError> {
        check_range(self.size, offset, length)?;
        let durable = Place::from_bits(self.durable.load(Ordering::Acquire));
        let state = |place: Place| match place {
            Place::HOLE => State::empty(),
            place if place.is_record() && place >= durable => State::FILE | State::DIRTY,
            _ => State::FILE,
        };
        let (page, end) = (offset / PAGE, (offset + length).div_ceil(PAGE).max(offset / PAGE + 1));
        let (state, count) = self.index().run(page, end, state);
        Ok(StateExtent { length: ((page + count) * PAGE - offset).min(length), state })
    }

    fn usage(&self) -> Usage {
        let index = self.index();
        Usage {
            file_bytes: index.total_bytes(),
            zero_bytes: self.size.saturating_sub(index.live_pages() * PAGE),
            overhead_bytes: index.overhead_bytes(),
            ..Usage::default()
        }
    }
}
