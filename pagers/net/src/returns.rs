//! Page-outs: pages that came home go to the server, as fast as it takes them.
//!
//! The kernel asks first (return requests), and gets its answer when there is room here: so what waits for the server waits in the kernel, where it can
//! still be used. Pages that come unasked are taken all the same.

use alloc::rc::Rc;

use abi::Code;
use abi::vm::PAGE_SIZE;
use pager::{Control, ObjectId, Run};
use runtime::Pages;

use crate::core_state::Core;
use crate::jobs::{Job, Work};
use crate::requests::pieces;

/// Bytes that may wait for the server here.
const WRITE_BYTES_MAX: u64 = 2 << 20;
/// The most pages of one WRITE.
const WRITE_PAGES: u64 = 64;
/// Fewer zero pages than this between others go with them: a request of their own would cost more.
const ZERO_PAGES_MIN: u64 = 8;
/// Pages that were asked for come at once, or not at all.
const PROMISE_NS: u64 = 20_000_000;

impl Core {
    /// The kernel asks where dirty pages go: here, when there is room.
    pub(crate) fn return_request(&mut self, control: &Control, run: Run) {
        if self.objects.get(control.object()).is_none() {
            return control.refuse(run, Code::INVALID_ARGUMENT);
        }
        self.returns.push_back((control.clone(), run));
        self.take_returns();
    }

    /// Answers return requests for as many pages as there is room for.
    pub(crate) fn take_returns(&mut self) {
        if self.promised_ns + PROMISE_NS <= self.now_ns {
            self.promised = 0;
        }
        while let Some((control, run)) = self.returns.pop_front() {
            if self.is_full.is_some() {
                control.refuse(run, Code::NO_SPACE);
                continue;
            }
            let room = WRITE_BYTES_MAX.saturating_sub(self.jobs.write_bytes() + self.promised) / PAGE_SIZE;
            let now = run.pages().min(room);
            let (Some(part), rest) = (run.part(0, now), run.part(now, run.pages() - now)) else {
                self.returns.push_front((control, run));
                return;
            };
            self.promised += part.length();
            self.promised_ns = self.now_ns;
            control.return_as_data(part);
            if let Some(rest) = rest {
                self.returns.push_front((control, rest));
            }
        }
    }

    /// When return requests that wait may be looked at again, if nothing else happens.
    pub(crate) fn returns_due_ns(&self) -> Option<u64> {
        (!self.returns.is_empty() && self.promised > 0).then_some(self.promised_ns + PROMISE_NS)
    }

    /// Pages came home.
    pub(crate) fn returned(&mut self, object: ObjectId, run: Run, mut pages: Pages) {
        self.promised = self.promised.saturating_sub(run.length());
        let Some(layout) = self.objects.get_mut(object) else { return };
        let Some(run) = run.part(0, run.pages().min(layout.pages().saturating_sub(run.first_page()))) else { return };
        let is_full = self.seal.as_ref().is_some_and(|seal| seal.is_full);
        let stretches = if is_full { alloc::vec![(run, false)] } else { stretches(&pages, run) };
        for (part, is_zero) in &stretches {
            for page in part.first_page()..part.first_page() + part.pages() {
                layout.wrote(page, *is_zero);
                let from = ((page - run.first_page()) * PAGE_SIZE) as usize;
                if let (Some(seal), Some(bytes), false) = (&mut self.seal, pages.get_mut(from..from + PAGE_SIZE as usize), is_zero) {
                    layout.sealed(page, seal.seal(object, page, bytes));
                }
            }
        }
        let data = Rc::new(pages);
        for (part, is_zero) in stretches {
            self.put(object, run, part, is_zero, &data);
        }
    }

    fn put(&mut self, object: ObjectId, run: Run, part: Run, is_zero: bool, data: &Rc<Pages>) {
        let Some(layout) = self.objects.get(object) else { return };
        let most = if is_zero { u64::MAX } else { WRITE_PAGES };
        let pieces = pieces(layout, part, most);
        for (at, piece) in pieces {
            let length = piece.length() as u32;
            if is_zero {
                self.counters.pages_zero += piece.pages();
                self.jobs.add(at, length, Work::Zeroes);
            } else {
                let from = (piece.offset() - run.offset()) as usize;
                let (first_page, data) = (piece.first_page(), Rc::clone(data));
                self.jobs.supersede(at, length);
                self.jobs.add(at, length, Work::Write { object, first_page, data, from });
            }
        }
    }

    /// Pages that nobody will ask for any more.
    pub(crate) fn discard(&mut self, object: ObjectId, run: Run) {
        let Some(layout) = self.objects.get_mut(object) else { return };
        let Some(run) = run.part(0, run.pages().min(layout.pages().saturating_sub(run.first_page()))) else { return };
        (run.first_page()..run.first_page() + run.pages()).for_each(|page| layout.wrote(page, true));
        for (at, piece) in pieces(layout, run, u64::MAX) {
            self.jobs.add(at, piece.length() as u32, Work::Zeroes);
        }
    }

    /// An object is no more: what isn't on its way for it need not go, and its extents are free when nothing is on its way to them.
    pub(crate) fn gone(&mut self, gone: ObjectId) {
        self.returns.retain(|(control, _)| control.object() != gone);
        let is_its = |job: &Job| match &job.work {
            Work::Read { control, .. } => control.object() == gone,
            Work::Write { object, .. } => *object == gone,
            Work::Zeroes | Work::Release { .. } => false,
        };
        for id in self.jobs.waiting(is_its) {
            if let Some(Job { work: Work::Read { pages: Some(pages), .. }, .. }) = self.jobs.finish(id) {
                self.read_bytes -= pages.size();
            }
        }
        for extent in self.objects.remove(gone).map(crate::objects::Layout::into_extents).unwrap_or_default() {
            let at = u64::from(extent) * crate::extents::EXTENT_BYTES;
            self.jobs.add(at, crate::extents::EXTENT_BYTES as u32, Work::Release { extent });
        }
    }
}

fn is_zero(page: &[u8]) -> bool {
    let (words, rest) = page.as_chunks::<32>();
    words.iter().all(|word| *word == [0; 32]) && rest.iter().all(|byte| *byte == 0)
}

/// A run as stretches that are all zero or not.
fn stretches(bytes: &[u8], run: Run) -> alloc::vec::Vec<(Run, bool)> {
    let mut found: alloc::vec::Vec<(Run, bool)> = alloc::vec::Vec::new();
    let mut start = 0;
    let zero: alloc::vec::Vec<bool> = bytes.chunks(PAGE_SIZE as usize).take(run.pages() as usize).map(is_zero).collect();
    for stretch in zero.chunk_by(|one, other| one == other) {
        let pages = stretch.len() as u64;
        let is_whole = pages == run.pages();
        let is_zero = stretch.first() == Some(&true) && (is_whole || pages >= ZERO_PAGES_MIN);
        let joined = found.last().filter(|(_, before)| *before == is_zero).map_or(0, |(before, _)| before.pages());
        if joined > 0 {
            found.pop();
        }
        found.extend(run.part(start - joined, joined + pages).map(|part| (part, is_zero)));
        start += pages;
    }
    found
}

#[cfg(test)]
mod tests {
    use pager::Run;

    use super::stretches;

    #[test]
    fn zero_pages_are_told_apart_where_it_pays() {
        let run = Run::of_pages(100, 24).unwrap();
        let bytes = |full: &[usize]| {
            let mut bytes = vec![0; 24 * 4096];
            full.iter().for_each(|page| bytes[page * 4096 + 4095] = 1);
            bytes
        };
        let of = |full: &[usize]| -> Vec<(u64, u64, bool)> {
            stretches(&bytes(full), run).into_iter().map(|(part, zero)| (part.first_page(), part.pages(), zero)).collect()
        };
        assert_eq!(of(&[]), [(100, 24, true)]);
        assert_eq!(of(&(0..24).collect::<Vec<_>>()), [(100, 24, false)]);
        assert_eq!(of(&[3, 5]), [(100, 6, false), (106, 18, true)]);
        assert_eq!(of(&[12]), [(100, 12, true), (112, 1, false), (113, 11, true)]);
        assert_eq!(of(&[7, 15, 23]), [(100, 24, false)]);
        let one = Run::of_pages(5, 1).unwrap();
        assert_eq!(stretches(&[0; 4096], one), [(one, true)]);
    }
}
