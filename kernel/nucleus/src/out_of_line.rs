//! Memory out of line in transit: whole pages, and which of their bytes were meant.

use abi::Code;
use abi::vm::PAGE_SIZE;
use vm::{Copy, Outcome, Pmap, Vm};

/// Memory that a message carries.
#[derive(Clone)]
pub(crate) struct OutOfLine {
    pub(crate) copy: Copy,
    /// Where the bytes start in the first page.
    pub(crate) offset: u64,
    pub(crate) size: u64,
    /// Whether what the pages hold beside those bytes is zero.
    pub(crate) clean: bool,
}

impl OutOfLine {
    /// All of whole pages.
    pub(crate) fn whole(copy: Copy) -> Self {
        let size = copy.bytes();
        Self { copy, offset: 0, size, clean: true }
    }

    /// Zeroes what the first and the last page hold beside the bytes that were sent.
    pub(crate) fn clean_edges<P: Pmap>(&mut self, vm: &Vm<P>) -> Outcome {
        if self.clean {
            return Outcome::Done;
        }
        let end = self.offset + self.size;
        let edges = [(0, self.offset), (end, end.next_multiple_of(PAGE_SIZE))];
        for (from, to) in edges.into_iter().filter(|(from, to)| from < to) {
            match vm.zero_copy(&self.copy, from / PAGE_SIZE, (from % PAGE_SIZE) as usize, (to - from) as usize) {
                Outcome::Done => (),
                other => return other,
            }
        }
        self.clean = true;
        Outcome::Done
    }

    /// Reads bytes, page by page; `at` says how far it came.
    pub(crate) fn read<P: Pmap>(&self, vm: &Vm<P>, at: u64, bytes: &mut [u8]) -> Outcome {
        let mut done = 0;
        while done < bytes.len() {
            let from = self.offset + at + done as u64;
            let length = (bytes.len() - done).min((PAGE_SIZE - from % PAGE_SIZE) as usize);
            let page = from / PAGE_SIZE;
            match vm.resolve_copy(&self.copy, page) {
                Outcome::Done => (),
                other => return other,
            }
            if !vm.read_copy(&self.copy, page, (from % PAGE_SIZE) as usize, &mut bytes[done..done + length]) {
                return Outcome::Again;
            }
            done += length;
        }
        Outcome::Done
    }

    /// Whether the bytes are whole pages, so that pages can move.
    pub(crate) fn is_whole_pages(&self) -> Result<(), Code> {
        if self.offset == 0 && self.size.is_multiple_of(PAGE_SIZE) { Ok(()) } else { Err(Code::INVALID_ARGUMENT) }
    }
}
