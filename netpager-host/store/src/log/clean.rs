//! Gives space back: what is still needed of a segment is written again at the end of the log, and the segment removed.
//!
//! There is no thread for it. Whoever writes also cleans, twice as much as it writes, once less than half of the log is
//! needed: so the log is never much longer than twice what is in it, and no write waits long. A record of zeroes is needed
//! as long as an older segment may hold what was there before.

use super::LogStore;
use super::index::Place;
use super::record::{DATA_BYTES, HEADER_BYTES, Kind, Subject};
use super::segment::{Found, SEGMENT_HEADER_BYTES, Segment, path};
use super::writer::{Entry, Purpose, Writer};
use crate::PAGE_BYTES;
use crate::error::StoreError;

/// Records that are copied before someone else may write.
const BATCH_RECORDS: usize = 32;
/// Bytes that are searched for them.
const BATCH_BYTES: u64 = 1 << 20;

/// How far a segment is cleaned.
#[derive(Debug)]
pub(super) struct Cleaning {
    victim: Segment,
    /// Where to go on.
    at: u64,
    is_oldest: bool,
}

impl LogStore {
    /// Cleans about `bytes` of the log, if it is worth it.
    pub(super) fn clean(&self, writer: &mut Writer, bytes: usize) -> Result<(), StoreError> {
        let mut done = 0;
        while done < bytes {
            if writer.cleaning.is_none() {
                writer.cleaning = self.begin(writer, false)?;
            }
            if writer.cleaning.is_none() {
                break;
            }
            done += self.clean_batch(writer)?;
        }
        Ok(())
    }

    /// Cleans one segment, however much is needed of it; `false` if there is none with anything to gain.
    pub(super) fn clean_segment(&self, writer: &mut Writer) -> Result<bool, StoreError> {
        if writer.cleaning.is_none() {
            writer.cleaning = self.begin(writer, true)?;
        }
        let any = writer.cleaning.is_some();
        while writer.cleaning.is_some() {
            self.clean_batch(writer)?;
        }
        Ok(any)
    }

    /// Chooses the segment that is needed least.
    fn begin(&self, writer: &Writer, is_urgent: bool) -> Result<Option<Cleaning>, StoreError> {
        let index = self.index();
        let live = index.live_pages() * DATA_BYTES as u64;
        let is_worth_it = index.total_bytes().saturating_sub(live) > live.max(3 * self.segment_bytes);
        let sealed = || index.shelves().filter(|shelf| shelf.segment.id != writer.head.id);
        let least = sealed().min_by_key(|shelf| shelf.live * 1024 / shelf.length.max(1));
        let Some(shelf) = least.filter(|shelf| is_worth_it || is_urgent && shelf.live < shelf.length / 8 * 7) else { return Ok(None) };
        let victim = shelf.segment.clone();
        let is_oldest = sealed().next().is_some_and(|oldest| oldest.segment.id == victim.id);
        drop(index);
        Ok(Some(Cleaning { victim, at: SEGMENT_HEADER_BYTES as u64, is_oldest }))
    }

    /// Copies some records; at the end removes the segment. Says how many bytes that was.
    fn clean_batch(&self, writer: &mut Writer) -> Result<usize, StoreError> {
        let Some(cleaning) = writer.cleaning.take() else { return Ok(0) };
        let mut records = Vec::new();
        let next = cleaning.victim.scan(cleaning.at, |Found { at, record, .. }| {
            let is_needed = match record.subject.kind {
                Kind::Data => self.index().place(record.subject.page) == Place::new(cleaning.victim.id, at),
                Kind::Zero => !cleaning.is_oldest,
                Kind::Lost => true,
                Kind::Mark | Kind::Seal => false,
            };
            if is_needed {
                records.push((at, record.subject));
            }
            records.len() < BATCH_RECORDS && at < cleaning.at + BATCH_BYTES
        })?;
        let is_end = next + HEADER_BYTES as u64 > cleaning.victim.file.length()?;
        let mut copied = 0;
        for (at, subject) in records {
            // After an error the segment is begun anew, and what was copied is not needed any more.
            copied += self.copy(writer, &cleaning.victim, at, subject)?;
        }
        if is_end {
            self.finish(writer, &cleaning)?;
        } else {
            writer.cleaning = Some(Cleaning { at: next, ..cleaning });
        }
        Ok(copied + PAGE_BYTES)
    }

    /// Copies what is still needed of a record.
    fn copy(&self, writer: &mut Writer, victim: &Segment, at: u64, subject: Subject) -> Result<usize, StoreError> {
        let mut append = |subject: Subject, data: &[u8]| {
            self.append(writer, &[Entry { subject, data }], Purpose::Release).map(|()| subject.record_bytes())
        };
        let lost = Subject { kind: Kind::Lost, ..subject };
        match subject.kind {
            Kind::Data => {
                let place = Place::new(victim.id, at);
                if self.index().place(subject.page) != place {
                    return Ok(0);
                }
                let mut page = [0; PAGE_BYTES];
                match self.read_record(victim, place, subject.page, &mut page) {
                    Ok(()) => append(subject, &page),
                    Err(StoreError::Corrupt { .. }) => append(lost, &[]),
                    Err(error) => Err(error),
                }
            }
            Kind::Lost if self.index().place(subject.page) == Place::LOST => append(lost, &[]),
            Kind::Zero => {
                let (mut page, end, mut copied) = (subject.page, subject.page + u64::from(subject.count), 0);
                while page < end {
                    let (is_hole, count) = self.index().run(page, end, |place| place == Place::HOLE);
                    if is_hole {
                        copied += append(Subject { kind: Kind::Zero, page, count: count as u32 }, &[])?;
                    }
                    page += count;
                }
                Ok(copied)
            }
            _ => Ok(0),
        }
    }

    /// Removes a segment nothing is needed of, once what was copied from it, or took its place, is durable.
    fn finish(&self, writer: &mut Writer, cleaning: &Cleaning) -> Result<(), StoreError> {
        let id = cleaning.victim.id;
        if self.index().shelf(id).is_some_and(|shelf| shelf.live > 0) {
            // Their headers were not found any more.
            let pages = self.index().pages_in(id);
            for page in pages {
                tracing::error!("{}: page {page} is damaged", self.directory.display());
                self.append(writer, &[Entry { subject: Subject { kind: Kind::Lost, page, count: 1 }, data: &[] }], Purpose::Release)?;
            }
        }
        self.sync_head(writer)?;
        debug_assert!(!cleaning.is_oldest || self.index().shelves().next().is_some_and(|oldest| oldest.segment.id == id));
        self.index_mut().remove(id);
        self.vfs.remove(&path(&self.directory, id))?;
        // A removal must not outlive an earlier one: zeroes are forgotten once what they cover is.
        self.vfs.sync_directory(&self.directory)?;
        Ok(())
    }
}
