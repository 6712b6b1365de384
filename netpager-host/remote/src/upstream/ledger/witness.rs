//! How we notice that a server came back without its memory.
//!
//! NBD has no word for "I was restarted and everything is gone": a RAM server simply reads as zeroes. So we remember the
//! fingerprints of some bytes that were written and flushed, and read those back on the first connection after all
//! connections were lost. If one differs, the contents are gone and reading must fail rather than show zeroes.
//!
//! This finds the loss of everything for certain as soon as one flushed page that is not zero has stayed unchanged; a
//! server that loses a few pages and keeps others may go unnoticed. Nothing has to be stored on the server for it.

use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;

use super::super::call::{Call, Work};
use crate::range::overlap;

/// How many places are remembered. Reading them back takes one round trip.
const KEPT: usize = 64;
/// How much of a write is remembered.
const BYTES: usize = 4096;

/// Some bytes the server must still have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Witness {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    fingerprint: u64,
}

impl Witness {
    fn new(offset: u64, bytes: &[u8]) -> Self {
        Self { offset, length: bytes.len() as u64, fingerprint: fingerprint(bytes) }
    }

    /// Whether these are the bytes.
    pub(crate) fn recognises(&self, bytes: &[u8]) -> bool {
        self.length == bytes.len() as u64 && self.fingerprint == fingerprint(bytes)
    }

    const fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.length
    }
}

/// Keyed by nothing: this guards against loss, not against a server that lies.
fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// All that is remembered.
#[derive(Debug, Default)]
pub(crate) struct Witnesses {
    kept: Vec<Witness>,
    replaced: usize,
}

impl Witnesses {
    /// Remembers the beginning of a call that the server has flushed, unless that is zeroes.
    pub(super) fn note(&mut self, call: &Call) {
        self.forget(&call.range());
        let Work::Write(data) = &call.work else { return };
        let head = &data[..data.len().min(BYTES)];
        if head.iter().all(|&byte| byte == 0) {
            return;
        }
        let witness = Witness::new(call.offset, head);
        if self.kept.len() < KEPT {
            self.kept.push(witness);
        } else {
            // In steps of seven, so that a place written early may survive many later ones.
            self.replaced = (self.replaced + 7) % KEPT;
            self.kept[self.replaced] = witness;
        }
    }

    /// A range is about to change.
    pub(super) fn forget(&mut self, range: &Range<u64>) {
        self.kept.retain(|witness| !overlap(&witness.range(), range));
    }

    pub(super) fn clear(&mut self) {
        self.kept.clear();
    }

    pub(super) fn kept(&self) -> &[Witness] {
        &self.kept
    }
}
