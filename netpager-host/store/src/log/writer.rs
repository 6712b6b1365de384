//! The end of the log, where everything is written.
//!
//! A batch of records is written with one call; only then does the index know of them. If that fails the file is cut back, so
//! that nothing of a failed batch is ever taken for a record. When a segment is full it is sealed and made durable before
//! the next one is begun: only the last segment can be torn.

use std::io;
use std::sync::atomic::Ordering;

use super::LogStore;
use super::clean::Cleaning;
use super::index::Place;
use super::record::{DATA_BYTES, HEADER_BYTES, Kind, Record, Subject};
use super::segment::{SEGMENT_HEADER_BYTES, Segment};
use crate::error::StoreError;
use crate::vfs::Zeroing;

/// Records written with one call.
const BATCH_RECORDS: usize = 64;
/// A file that only takes space, so that on a full disk there is some for cleaning.
pub(super) const RESERVE_NAME: &str = "reserve";

/// A record to be written.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    pub(super) subject: Subject,
    pub(super) data: &'a [u8],
}

/// The end of the log.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) head: Segment,
    pub(super) at: u64,
    pub(super) number: u64,
    pub(super) previous: Subject,
    pub(super) cleaning: Option<Cleaning>,
    /// Whether the reserve takes its space.
    pub(super) has_reserve: bool,
    pub(super) buffer: Vec<u8>,
}

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A client that wants space.
    Store,
    /// Whoever gives space back, and may use the reserve for that.
    Release,
}

impl LogStore {
    /// How many records fit into a batch.
    pub(super) fn batch_records(&self) -> usize {
        let room = self.segment_bytes as usize - SEGMENT_HEADER_BYTES - HEADER_BYTES;
        (room / DATA_BYTES).min(BATCH_RECORDS)
    }

    /// Writes records to the end of the log, which `entries` must not be too many for.
    pub(super) fn append(&self, writer: &mut Writer, entries: &[Entry<'_>], purpose: Purpose) -> Result<(), StoreError> {
        self.check_poison()?;
        if purpose == Purpose::Store && !writer.has_reserve {
            self.take_reserve(writer)?;
        }
        match self.try_append(writer, entries) {
            Err(error) if error.is_out_of_space() && purpose == Purpose::Release && writer.has_reserve => {
                self.release_reserve(writer)?;
                self.try_append(writer, entries)
            }
            other => other,
        }
    }

    fn try_append(&self, writer: &mut Writer, entries: &[Entry<'_>]) -> Result<(), StoreError> {
        let length: usize = entries.iter().map(|entry| entry.subject.record_bytes()).sum();
        if writer.is_sealed() || writer.at + (length + HEADER_BYTES) as u64 > self.segment_bytes {
            self.roll(writer)?;
        }
        writer.encode(entries, self.durable_in(writer.head.id));
        self.write_buffer(writer)?;
        let mut index = self.index_mut();
        for entry in entries {
            index.apply(entry.subject, Place::new(writer.head.id, writer.at));
            writer.advance(entry.subject);
        }
        index.grow(writer.head.id, writer.at);
        Ok(())
    }

    fn write_buffer(&self, writer: &Writer) -> Result<(), StoreError> {
        let Err(error) = writer.head.file.write_all_at(&writer.buffer, writer.at) else { return Ok(()) };
        // A disk that is read-only took nothing.
        if error.kind() != io::ErrorKind::ReadOnlyFilesystem
            && let Err(error) = writer.head.file.set_length(writer.at)
        {
            self.poison(&error);
        }
        Err(error.into())
    }

    /// Seals the segment, makes it durable, and begins the next.
    fn roll(&self, writer: &mut Writer) -> Result<(), StoreError> {
        if !writer.is_sealed() {
            let seal = Subject::none(Kind::Seal);
            writer.encode(&[Entry { subject: seal, data: &[] }], self.durable_in(writer.head.id));
            self.write_buffer(writer)?;
            writer.advance(seal);
            self.index_mut().grow(writer.head.id, writer.at);
        }
        self.sync_head(writer)?;
        let head = Segment::create(&*self.vfs, &self.directory, writer.head.id + 1, writer.number, self.size);
        let head = head.map_err(StoreError::from).inspect_err(|error| {
            if !error.is_out_of_space() {
                // A header that may or may not be durable is nothing to write records behind.
                self.poison(error);
            }
        })?;
        self.index_mut().add(head.clone(), SEGMENT_HEADER_BYTES as u64);
        writer.head = head;
        writer.at = SEGMENT_HEADER_BYTES as u64;
        self.durable.fetch_max(Place::new(writer.head.id, writer.at).to_bits(), Ordering::AcqRel);
        Ok(())
    }

    /// Makes everything written so far durable.
    pub(super) fn sync_head(&self, writer: &Writer) -> Result<(), StoreError> {
        self.sync(&writer.head, writer.at)
    }

    /// Makes a segment durable up to `at`, which is how long it was, or less, a moment ago.
    pub(super) fn sync(&self, segment: &Segment, at: u64) -> Result<(), StoreError> {
        self.check_poison()?;
        segment.file.sync_data().map_err(|error| {
            // The kernel may have dropped what it could not write and call the next attempt a success.
            self.poison(&error);
            StoreError::from(error)
        })?;
        self.durable.fetch_max(Place::new(segment.id, at).to_bits(), Ordering::AcqRel);
        Ok(())
    }

    /// How many bytes of the last segment are durable.
    fn durable_in(&self, head: u32) -> u32 {
        let durable = Place::from_bits(self.durable.load(Ordering::Acquire));
        if durable.segment() == head { durable.at() as u32 } else { SEGMENT_HEADER_BYTES as u32 }
    }

    /// Takes the space of the reserve, if the file system can do that without writing all of it.
    pub(super) fn take_reserve(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let file = self.vfs.open(&self.directory.join(RESERVE_NAME), true)?;
        let bytes = self.segment_bytes / 2;
        file.set_length(bytes)?;
        file.zero(Zeroing::Allocate, 0, bytes)?;
        writer.has_reserve = true;
        Ok(())
    }

    fn release_reserve(&self, writer: &mut Writer) -> io::Result<()> {
        tracing::warn!("{}: the disk is full; the reserve is used to clean the log", self.directory.display());
        writer.has_reserve = false;
        self.vfs.open(&self.directory.join(RESERVE_NAME), true)?.set_length(0)
    }
}

impl Writer {
    /// Whether the segment takes no more records.
    fn is_sealed(&self) -> bool {
        self.previous.kind == Kind::Seal && self.at > SEGMENT_HEADER_BYTES as u64
    }

    /// Where the last record ends that says anything.
    pub(super) fn end_of_data(&self) -> Place {
        let is_marked = self.previous.kind == Kind::Mark && self.at > SEGMENT_HEADER_BYTES as u64;
        Place::new(self.head.id, self.at - if is_marked { HEADER_BYTES as u64 } else { 0 })
    }

    /// Moves behind a record that was written.
    fn advance(&mut self, subject: Subject) {
        self.at += subject.record_bytes() as u64;
        self.number += 1;
        self.previous = subject;
    }

    /// Puts records into the buffer.
    fn encode(&mut self, entries: &[Entry<'_>], durable_bytes: u32) {
        self.buffer.clear();
        let (mut number, mut previous) = (self.number, self.previous);
        for entry in entries {
            Record::new(entry.subject, previous, number, durable_bytes, entry.data).encode(self.head.salt, &mut self.buffer);
            self.buffer.extend_from_slice(entry.data);
            number += 1;
            previous = entry.subject;
        }
    }
}
