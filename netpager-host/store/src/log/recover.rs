//! Opens a log: reads all of it, and finds out what is missing.
//!
//! Only the end of the last segment may be torn: everything before was made durable when its segment was sealed, or is said
//! to be durable by a record behind it. A record that is damaged there is an alarm, and its page is lost; what is damaged
//! behind was not flushed, and is cut off.

use std::io;
use std::path::Path;

use super::index::{Index, Place};
use super::record::{HEADER_BYTES, Kind, Subject};
use super::segment::{Found, Opened, SEGMENT_HEADER_BYTES, Segment, id_of, path};
use crate::PAGE_BYTES;
use crate::error::StoreError;
use crate::vfs::Vfs;

/// Where the log ends, and what comes next there.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) at: u64,
    pub(super) number: u64,
    pub(super) previous: Subject,
}

/// A log that was read.
pub(super) struct Recovered {
    pub(super) index: Index,
    pub(super) head: Segment,
    pub(super) end: End,
    /// Pages whose records are damaged so much that nothing but the log's order says so.
    pub(super) lost: Vec<u64>,
}

/// Reads the log in `directory`; makes one if there is none.
pub(super) fn recover(vfs: &dyn Vfs, directory: &Path, size: u64) -> Result<Recovered, StoreError> {
    let mut segments = open_segments(vfs, directory)?;
    if let Some(larger) = segments.iter().find(|segment| segment.store_size > size) {
        let what = format!("the log is of an export of {} bytes, which is more than {size}; nothing was changed", larger.store_size);
        return Err(larger.damaged(directory, &what));
    }
    if segments.is_empty() {
        segments.push(Segment::create(vfs, directory, 1, 1, size)?);
    }
    let mut recovery = Recovery {
        directory,
        index: Index::new(size.div_ceil(PAGE_BYTES as u64)),
        end: End { at: 0, number: 0, previous: Subject::none(Kind::Mark) },
        is_sealed: false,
        lost: Vec::new(),
    };
    let last = segments.pop().expect("there is one at least");
    for segment in &segments {
        recovery.replay(segment, None)?;
    }
    recovery.replay(&last, Some(durable_bytes(&last)?))?;
    let Recovery { mut index, end, lost, is_sealed, .. } = recovery;
    if last.file.length()? > end.at {
        tracing::warn!("{}: {} bytes that were never flushed are cut off", directory.display(), last.file.length()? - end.at);
        last.file.set_length(end.at)?;
        last.file.sync_data()?;
    }
    if !is_sealed {
        return Ok(Recovered { index, head: last, end, lost });
    }
    let head = Segment::create(vfs, directory, last.id + 1, end.number, size)?;
    index.add(head.clone(), SEGMENT_HEADER_BYTES as u64);
    Ok(Recovered { index, head, end: End { at: SEGMENT_HEADER_BYTES as u64, ..end }, lost })
}

/// Opens all segments, in order. One whose making was interrupted is removed.
fn open_segments(vfs: &dyn Vfs, directory: &Path) -> Result<Vec<Segment>, StoreError> {
    let mut ids: Vec<u32> = vfs.list(directory)?.iter().filter_map(|name| id_of(name)).collect();
    ids.sort_unstable();
    let mut segments = Vec::new();
    for (index, &id) in ids.iter().enumerate() {
        match Segment::open(vfs, directory, id)? {
            Opened::Segment(segment) => segments.push(segment),
            Opened::Unfinished if index + 1 == ids.len() => {
                vfs.remove(&path(directory, id))?;
                vfs.sync_directory(directory)?;
            }
            Opened::Unfinished => {
                let path = path(directory, id);
                let reason = format!("{}: the header is missing; nothing was changed", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason).into());
            }
        }
    }
    Ok(segments)
}

/// How much of the last segment is known to be durable.
fn durable_bytes(segment: &Segment) -> io::Result<u64> {
    let mut durable = SEGMENT_HEADER_BYTES as u64;
    segment.scan(SEGMENT_HEADER_BYTES as u64, |found| {
        durable = durable.max(u64::from(found.record.durable_bytes));
        true
    })?;
    Ok(durable)
}

struct Recovery<'a> {
    directory: &'a Path,
    index: Index,
    end: End,
    is_sealed: bool,
    lost: Vec<u64>,
}

impl Recovery<'_> {
    /// Follows the records of a segment. `durable` is how far it is durable, if it is the last; others are as a whole.
    fn replay(&mut self, segment: &Segment, durable: Option<u64>) -> Result<(), StoreError> {
        let length = segment.file.length()?;
        self.index.add(segment.clone(), length);
        self.end = End { at: SEGMENT_HEADER_BYTES as u64, number: segment.first, ..self.end };
        self.is_sealed = false;
        let mut result = Ok(true);
        segment.scan(SEGMENT_HEADER_BYTES as u64, |found| {
            result = self.follow(segment, durable.unwrap_or(length), found);
            matches!(result, Ok(true))
        })?;
        result?;
        self.index.grow(segment.id, self.end.at);
        // If only the seal is damaged, nothing is missing.
        let is_whole = durable.is_some() || self.is_sealed || self.end.at + HEADER_BYTES as u64 == length;
        if is_whole { Ok(()) } else { Err(segment.damaged(self.directory, "the last records are damaged; nothing was changed")) }
    }

    /// Follows one record; `false` if the log ends before it.
    fn follow(&mut self, segment: &Segment, durable: u64, found: Found) -> Result<bool, StoreError> {
        let Found { at, record, is_intact } = found;
        let is_next = at == self.end.at && record.number == self.end.number;
        if self.end.at >= durable && !(is_next && is_intact) {
            return Ok(false);
        }
        if !is_next {
            self.follow_missing(segment, found)?;
        }
        if !self.index.covers(record.subject) {
            let what = format!("the log holds page {}, which is beyond the export; nothing was changed", record.subject.page);
            return Err(segment.damaged(self.directory, &what));
        }
        // Data that is damaged is found to be so when it is read.
        self.index.apply(record.subject, Place::new(segment.id, at));
        self.is_sealed = Segment::is_seal(&record);
        self.end = End { at: at + record.subject.record_bytes() as u64, number: record.number + 1, previous: record.subject };
        Ok(true)
    }

    /// Follows a record whose header is damaged, as far as the record behind it, which was found, says what it was.
    fn follow_missing(&mut self, segment: &Segment, behind: Found) -> Result<(), StoreError> {
        let missing = behind.record.number.saturating_sub(self.end.number);
        if missing != 1 {
            let what =
                format!("{missing} records before byte {} are damaged, and nothing says of which pages; nothing was changed", behind.at);
            return Err(segment.damaged(self.directory, &what));
        }
        let subject = behind.record.previous;
        tracing::error!("{}: segment {}: the record at {} is damaged: {subject:?}", self.directory.display(), segment.id, self.end.at);
        match subject.kind {
            Kind::Data => {
                self.index.apply(Subject { kind: Kind::Lost, ..subject }, Place::LOST);
                self.lost.push(subject.page);
            }
            _ => self.index.apply(subject, Place::HOLE),
        }
        Ok(())
    }
}
