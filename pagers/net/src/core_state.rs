//! What all connections share: the objects, the jobs, and what is known of the export.

use alloc::collections::VecDeque;

use abi::Code;
use nbd::{ExportInfo, NbdError, TransmissionFlags};
use pager::{Control, Run};
use runtime::println;

use crate::attach::{Attach, Refusal};
use crate::extents::{EXTENT_BYTES, Extents};
use crate::jobs::{Job, JobId, Jobs, Work};
use crate::objects::{Content, Objects};
use crate::seal::Seal;

/// How long a write that failed rests before it is tried again.
const REST_NS: u64 = 500_000_000;

/// What happened, for default_pager_info.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub pages_in: u64,
    pub pages_out: u64,
    pub pages_zero: u64,
    pub from_buffers: u64,
    pub reconnects: u64,
    pub resent: u64,
    /// Reads that were asked for on a second connection, because the first said nothing.
    pub asked_twice: u64,
    pub read_errors: u64,
    pub write_errors: u64,
    pub pages_lost: u64,
    /// Pages that the server gave and that weren't what it was given.
    pub pages_broken: u64,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) objects: Objects,
    pub(crate) jobs: Jobs,
    pub(crate) attach: Attach,
    /// Seals pages, if they are.
    pub(crate) seal: Option<Seal>,
    /// Of the export, since the first attachment.
    pub(crate) extents: Option<Extents>,
    pub(crate) size: u64,
    /// Return requests that wait for room.
    pub(crate) returns: VecDeque<(Control, Run)>,
    /// Bytes of pages that were asked for as data and may be on their way here, and since when.
    pub(crate) promised: u64,
    pub(crate) promised_ns: u64,
    /// Bytes of memory that reads are coming into.
    pub(crate) read_bytes: u64,
    /// The last write failed: no room on the server, or worse.
    pub(crate) is_full: Option<NbdError>,
    /// Why the export can't be used.
    pub(crate) refusal: Option<Refusal>,
    pub(crate) counters: Counters,
    pub(crate) now_ns: u64,
}

impl Core {
    pub(crate) fn new(attach: Attach, seal: Option<Seal>) -> Self {
        Self {
            objects: Objects::new(seal.is_some()),
            jobs: Jobs::default(),
            attach,
            seal,
            extents: None,
            size: 0,
            returns: VecDeque::new(),
            promised: 0,
            promised_ns: 0,
            read_bytes: 0,
            is_full: None,
            refusal: None,
            counters: Counters::default(),
            now_ns: 0,
        }
    }

    /// Whether an export can hold what this one held.
    pub(crate) fn accepts(&self, export: &ExportInfo) -> Result<(), Refusal> {
        let needed = self.size.max(2 * EXTENT_BYTES);
        match export {
            _ if export.can(TransmissionFlags::READ_ONLY) => Err(Refusal::ReadOnly),
            _ if export.block.minimum > 4096 || export.block.maximum < 4096 => Err(Refusal::Blocks),
            _ if export.size < needed => Err(Refusal::Size { now: export.size, before: needed }),
            _ => Ok(()),
        }
    }

    /// The superblock is ours, so is the export.
    pub(crate) fn attached(&mut self, export: &ExportInfo) {
        self.refusal = None;
        if self.extents.is_none() {
            match Extents::new(export.size) {
                Ok(extents) => (self.extents, self.size) = (Some(extents), export.size),
                Err(error) => println!("net: no memory for the extents of the export: {error}"),
            }
        }
    }

    /// The server has lost everything. Whoever waits for what it had is told.
    pub(crate) fn lost(&mut self, why: &str) {
        let pages = self.objects.lose_all();
        self.counters.pages_lost = pages;
        println!("net: {why}: {pages} pages are lost");
        let is_read = |job: &Job| matches!(job.work, Work::Read { .. });
        for id in self.jobs.waiting(is_read) {
            let is_lost = self.jobs.get(id).is_some_and(|job| self.reads_lost_pages(job));
            if is_lost {
                self.fail_read(id, Code::MEMORY_ERROR);
            }
        }
    }

    fn reads_lost_pages(&self, job: &Job) -> bool {
        let Work::Read { control, run, .. } = &job.work else { return false };
        let Some(layout) = self.objects.get(control.object()) else { return true };
        (run.first_page()..run.first_page() + run.pages()).any(|page| layout.content(page) == Content::Lost)
    }

    /// A read can't be done: whoever waits is told.
    pub(crate) fn fail_read(&mut self, id: JobId, code: Code) {
        if let Some(Job { work: Work::Read { control, run, pages, .. }, .. }) = self.jobs.finish(id) {
            self.read_bytes -= pages.map_or(0, |pages| pages.size());
            self.counters.read_errors += 1;
            control.error(run, code);
        }
    }

    /// The server has done a job, or refused to.
    pub(crate) fn done(&mut self, id: JobId, result: Result<(), NbdError>, text: &str) {
        match (self.jobs.get(id).map(|job| &job.work), result) {
            (Some(Work::Read { .. }), Err(error)) => {
                println!("net: a read failed: {error} {text}");
                self.fail_read(id, code_of(error));
            }
            (Some(Work::Write { .. }), Err(error)) => self.write_failed(id, error, text),
            // The server need not forget what nobody will read.
            _ => self.succeeded(id),
        }
    }

    fn write_failed(&mut self, id: JobId, error: NbdError, text: &str) {
        self.counters.write_errors += 1;
        if self.is_full.replace(error) != Some(error) {
            println!("net: the server doesn't take pages: {error} {text}; they are kept here and tried again");
        }
        self.jobs.rest(id, self.now_ns + REST_NS);
    }

    pub(crate) fn succeeded(&mut self, id: JobId) {
        let Some(job) = self.jobs.finish(id) else { return };
        match job.work {
            Work::Read { control, run, pages: Some(pages), stamps } => {
                self.read_bytes -= pages.size();
                self.arrived(&control, run, pages, &stamps);
            }
            Work::Read { control, run, pages: None, .. } => control.error(run, Code::FAILURE),
            Work::Write { object, first_page, .. } => {
                if self.is_full.take().is_some() {
                    println!("net: the server takes pages again");
                }
                let pages = u64::from(job.length) / abi::vm::PAGE_SIZE;
                self.counters.pages_out += pages;
                if let Some(layout) = self.objects.get_mut(object) {
                    (first_page..first_page + pages).for_each(|page| layout.stored(page));
                }
            }
            Work::Zeroes => {}
            Work::Release { extent } => {
                if let Some(extents) = &mut self.extents {
                    extents.release(extent);
                }
            }
        }
    }
}

fn code_of(error: NbdError) -> Code {
    match error {
        NbdError::NoMemory => Code::RESOURCE_SHORTAGE,
        _ => Code::MEMORY_ERROR,
    }
}
