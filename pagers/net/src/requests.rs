//! Page-ins: for each page that the kernel asks for, where it is, and the answer or the job that brings it.

use abi::Code;
use abi::vm::PAGE_SIZE;
use pager::{Control, ObjectId, Run};
use runtime::Pages;

use crate::core_state::Core;
use crate::jobs::Work;
use crate::objects::{Content, EXTENT_PAGES, Layout};

/// The most pages of one READ: the first pages of a long run need not wait for its last.
pub(crate) const READ_PAGES: u64 = 32;

/// Where a page's newest content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Nowhere: it is zero.
    Zero,
    /// In this write that isn't done, counted from the oldest.
    Buffer(usize),
    Server,
    Lost,
    /// Past the object's end.
    Outside,
}

impl Core {
    /// Answers or brings all pages of a run.
    pub(crate) fn request(&mut self, control: &Control, run: Run) {
        let mut rest = Some(run);
        while let Some(from) = rest {
            let (source, part) = self.next_part(control, from);
            rest = from.part(part.pages(), from.pages() - part.pages());
            match source {
                Source::Zero => control.unavailable(part),
                Source::Lost => control.error(part, Code::MEMORY_ERROR),
                Source::Outside => control.error(part, Code::INVALID_ARGUMENT),
                Source::Buffer(write) => self.supply_buffered(control, part, write),
                Source::Server => self.read(control, part),
            }
        }
    }

    /// The first pages of a run that come from the same source.
    fn next_part(&self, control: &Control, run: Run) -> (Source, Run) {
        let writes = self.jobs.writes_of(control.object(), run);
        let layout = self.objects.get(control.object());
        let source = |page: u64| {
            let in_buffer = |(pages, _): &(Run, &[u8])| (pages.first_page()..pages.first_page() + pages.pages()).contains(&page);
            match (layout.map(|layout| (layout.pages() > page, layout.content(page))), writes.iter().rposition(in_buffer)) {
                (None | Some((false, _)), _) => Source::Outside,
                (Some((true, Content::Zero)), _) => Source::Zero,
                (_, Some(write)) => Source::Buffer(write),
                (Some((true, Content::Lost)), None) => Source::Lost,
                (Some((true, Content::Stored)), None) => Source::Server,
            }
        };
        let first = run.first_page();
        let this = source(first);
        let pages = 1 + (first + 1..first + run.pages()).take_while(|page| source(*page) == this).count() as u64;
        (this, run.part(0, pages).unwrap_or(run))
    }

    /// Pages that aren't on the server yet: a copy of what goes there. Without memory for it they are read when they are there.
    fn supply_buffered(&mut self, control: &Control, run: Run, write: usize) {
        let Ok(mut copy) = Pages::allocate(run.length()) else { return self.read(control, run) };
        let writes = self.jobs.writes_of(control.object(), run);
        let from = writes.iter().rev().find_map(|(pages, bytes)| {
            let from = (run.first_page().checked_sub(pages.first_page())? * PAGE_SIZE) as usize;
            bytes.get(from..from + run.length() as usize)
        });
        debug_assert!(write < writes.len() || from.is_some());
        let Some(bytes) = from else { return self.read(control, run) };
        copy.copy_from_slice(bytes);
        if !self.open_buffered(control.object(), run, &mut copy) {
            return control.error(run, Code::MEMORY_ERROR);
        }
        self.counters.from_buffers += run.pages();
        control.supply(run.offset(), copy);
    }

    fn read(&mut self, control: &Control, run: Run) {
        let Some(layout) = self.objects.get(control.object()) else { return control.error(run, Code::INVALID_ARGUMENT) };
        let pieces = pieces(layout, run, READ_PAGES);
        let sealed = self.seal.is_some();
        for (at, run) in pieces {
            let numbers = (run.first_page()..run.first_page() + run.pages()).filter(|_| sealed);
            let stamps = numbers.filter_map(|page| Some(self.objects.get(control.object())?.stamp(page))).collect();
            self.jobs.add(at, run.length() as u32, Work::Read { control: control.clone(), run, pages: None, stamps });
        }
    }

    /// What waits here for the server is sealed already. False if it doesn't open, which only a fault of this machine's memory could do.
    fn open_buffered(&self, object: ObjectId, run: Run, copy: &mut Pages) -> bool {
        let (Some(seal), Some(layout)) = (&self.seal, self.objects.get(object)) else { return true };
        let mut numbered = (run.first_page()..).zip(copy.chunks_exact_mut(PAGE_SIZE as usize));
        numbered.all(|(page, bytes)| seal.open(object, page, &layout.stamp(page), bytes).is_ok())
    }
}

/// A run as stretches of the export, of at most so many pages each.
pub(crate) fn pieces(layout: &Layout, run: Run, most: u64) -> alloc::vec::Vec<(u64, Run)> {
    let mut pieces = alloc::vec::Vec::new();
    let mut rest = Some(run);
    while let Some(from) = rest {
        let in_extent = EXTENT_PAGES - from.first_page() % EXTENT_PAGES;
        let pages = from.pages().min(most).min(in_extent);
        if let (Some(part), Some(at)) = (from.part(0, pages), layout.place(from.first_page())) {
            pieces.push((at, part));
        }
        rest = from.part(pages, from.pages() - pages);
    }
    pieces
}
