//! What a pool's owner of a frame can do with its contents: zero, copy, read, write.
//!
//! All by words of eight bytes (why: `linear.rs`); a write that does not fill a word exchanges it, so that a neighbouring byte written
//! by EL0 in the same moment is not lost. Sixteen bytes a step would need assembly: the machine can bring its own `zero` and `copy`
//! (`Pool::with_zero`, `Pool::with_copy`).

use crate::frame::{Frame, FrameRun, PAGE_SIZE};
use crate::linear::{WORDS, Words};
use crate::pool::Pool;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes in a word.
const WORD: usize = size_of::<u64>();

impl Pool {
    /// Fills a frame with zeroes.
    pub fn zero(&self, frame: &Frame) {
        match self.zero_page {
            // SAFETY: `with_zero`'s caller promised that it zeroes the page and nothing else; the frame is ours to write.
            Some(zero) => unsafe { zero(self.checked_pointer(frame.number())) },
            None => self.words(frame).iter().for_each(|word| word.store(0, Relaxed)),
        }
    }

    /// Fills all frames of a run with zeroes.
    pub fn zero_run(&self, run: &FrameRun) {
        let first = run.first().0;
        for at in 0..run.len() as u32 {
            self.zero(&Frame::owned(crate::FrameNumber(first + at)));
        }
    }

    /// Copies all of a frame to another.
    pub fn copy(&self, from: &Frame, to: &Frame) {
        if let Some(copy) = self.copy_page {
            let source = self.checked_pointer(from.number());
            let target = self.checked_pointer(to.number());
            // SAFETY: `with_copy`'s caller promised that it copies the page and nothing else; the target is ours to write.
            return unsafe { copy(source, target) };
        }
        let (from, to) = (self.words(from), self.words(to));
        for at in 0..WORDS {
            to[at].store(from[at].load(Relaxed), Relaxed);
        }
    }

    /// Reads from a frame. Each byte is one that was there at some time during the call.
    ///
    /// # Panics
    /// If the bytes are not all inside the frame: a mistake of the caller, who cuts at page boundaries.
    pub fn read(&self, frame: &Frame, offset: usize, bytes: &mut [u8]) {
        let words = self.words(frame);
        let pieces = Pieces::new(offset, bytes.len());
        let (head, rest) = bytes.split_at_mut(pieces.head.len());
        let (middle, tail) = rest.split_at_mut(pieces.middle.len() * WORD);
        read_part(words, pieces.head, head);
        for (chunk, word) in middle.chunks_exact_mut(WORD).zip(&words[pieces.middle]) {
            chunk.copy_from_slice(&word.load(Relaxed).to_ne_bytes());
        }
        read_part(words, pieces.tail, tail);
    }

    /// Writes into a frame.
    ///
    /// # Panics
    /// If the bytes are not all inside the frame: a mistake of the caller, who cuts at page boundaries.
    pub fn write(&self, frame: &Frame, offset: usize, bytes: &[u8]) {
        let words = self.words(frame);
        let pieces = Pieces::new(offset, bytes.len());
        let (head, rest) = bytes.split_at(pieces.head.len());
        let (middle, tail) = rest.split_at(pieces.middle.len() * WORD);
        write_part(words, pieces.head, head);
        let (chunks, _) = middle.as_chunks::<WORD>();
        for (chunk, word) in chunks.iter().zip(&words[pieces.middle]) {
            word.store(u64::from_ne_bytes(*chunk), Relaxed);
        }
        write_part(words, pieces.tail, tail);
    }

    fn words<'a>(&'a self, frame: &'a Frame) -> &'a Words {
        let number = frame.number();
        assert!(self.contains(number), "a frame of another pool");
        // SAFETY: the pool gave this frame out (`Frame` has no other maker in safe code and numbers of other pools are refused above),
        // so it is RAM under the pool's map, as long as the pool lives. Its borrowed owner keeps it from being freed or given to the heap.
        unsafe { self.linear.words(number) }
    }
}

/// The bytes `offset..offset + len` as part of a word, whole words, part of a word.
struct Pieces {
    /// In bytes.
    head: Range<usize>,
    /// In words.
    middle: Range<usize>,
    /// In bytes.
    tail: Range<usize>,
}

impl Pieces {
    fn new(offset: usize, len: usize) -> Self {
        let end = offset.checked_add(len).filter(|&end| end <= PAGE_SIZE);
        let end = end.expect("bytes outside a frame");
        let first = offset.next_multiple_of(WORD).min(end);
        let last = (end - end % WORD).max(first);
        Self { head: offset..first, middle: first.div_ceil(WORD)..(first.div_ceil(WORD)) + (last - first) / WORD, tail: last..end }
    }
}

/// Reads bytes that lie in one word.
fn read_part(words: &Words, part: Range<usize>, bytes: &mut [u8]) {
    if !part.is_empty() {
        let word = words[part.start / WORD].load(Relaxed).to_ne_bytes();
        let at = part.start % WORD;
        bytes.copy_from_slice(&word[at..at + part.len()]);
    }
}

/// Writes bytes that lie in one word.
fn write_part(words: &Words, part: Range<usize>, bytes: &[u8]) {
    if !part.is_empty() {
        exchange(&words[part.start / WORD], part.start % WORD, bytes);
    }
}

/// Replaces some bytes of a word and no other.
fn exchange(word: &AtomicU64, at: usize, bytes: &[u8]) {
    let mut old = word.load(Relaxed);
    loop {
        let mut new = old.to_ne_bytes();
        new[at..at + bytes.len()].copy_from_slice(bytes);
        match word.compare_exchange_weak(old, u64::from_ne_bytes(new), Relaxed, Relaxed) {
            Ok(_) => return,
            Err(now) => old = now,
        }
    }
}
