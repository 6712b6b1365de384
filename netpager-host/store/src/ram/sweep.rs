//! Packs the pages of a table that nobody touched since it last came by: the second-chance clock.
//!
//! A leaf is locked twice for each batch, to copy pages and to install them packed, and not while they are compressed.

use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use super::frames::PAGE_BYTES;
use super::leaf::LEAF_PAGES;
use super::packed::Packer;
use super::table::Table;

/// Pages copied under one hold of a leaf's lock, which takes some microseconds.
const BATCH: usize = 32;

/// How hard to try.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Whether a page that was touched is left alone this time.
    pub(super) heed_touch: bool,
    /// Whether packed pages are moved together.
    pub(super) tighten: bool,
}

/// Buffers of a sweep.
pub(super) struct Sweeper {
    packer: Packer,
    pages: Box<[[u8; PAGE_BYTES]; BATCH]>,
    claimed: Vec<usize>,
    packed: Vec<u8>,
    /// Where in `packed` each claimed page is.
    places: Vec<Option<Range<usize>>>,
}

impl Sweeper {
    pub(super) fn new() -> Self {
        let pages = vec![[0; PAGE_BYTES]; BATCH].try_into().expect("it was made with this many pages");
        Self { packer: Packer::new(), pages, claimed: Vec::new(), packed: Vec::new(), places: Vec::new() }
    }

    /// Goes on by one leaf; says how many bytes that saved, or nothing if it came to the end of the table. The next call
    /// begins at the beginning then.
    pub(super) fn step(&mut self, table: &Table, effort: Effort) -> Option<usize> {
        let leaf = table.next_leaf(table.hand.load(Relaxed));
        table.hand.store(leaf.map_or(0, |leaf| leaf + 1), Relaxed);
        leaf.map(|leaf| self.leaf(table, leaf, effort))
    }

    /// Goes on until `enough` bytes are saved or every leaf was looked at; says how many were.
    pub(super) fn turn(&mut self, table: &Table, effort: Effort, enough: usize) -> usize {
        let first = table.hand.load(Relaxed);
        let (mut saved, mut wrapped) = (0, first == 0);
        while saved < enough && !(wrapped && first > 0 && table.hand.load(Relaxed) >= first) {
            match self.step(table, effort) {
                Some(bytes) => saved += bytes,
                None if wrapped => break,
                None => wrapped = true,
            }
        }
        saved
    }

    fn leaf(&mut self, table: &Table, leaf: u64, effort: Effort) -> usize {
        let (mut saved, mut page) = (0, 0);
        while page < LEAF_PAGES {
            let next = self.claim(table, leaf, page, effort);
            if next == page {
                // The leaf is not there any more.
                break;
            }
            page = next;
            self.pack();
            saved += self.install(table, leaf);
        }
        saved
    }

    /// Claims up to a batch of pages from `first` on; says which page comes next.
    fn claim(&mut self, table: &Table, leaf: u64, first: usize, effort: Effort) -> usize {
        let mut next = first;
        self.claimed.clear();
        let memory = table.memory();
        let claimed = table.change_existing(leaf, |leaf| {
            while next < LEAF_PAGES && self.claimed.len() < BATCH {
                if leaf.claim(next, effort.heed_touch, memory.arena, &mut self.pages[self.claimed.len()]) {
                    self.claimed.push(next);
                } else if effort.tighten {
                    leaf.tighten(next, memory);
                }
                next += 1;
            }
            Ok(())
        });
        claimed.expect("claiming cannot fail");
        next
    }

    fn pack(&mut self) {
        self.packed.clear();
        self.places.clear();
        for page in &self.pages[..self.claimed.len()] {
            let start = self.packed.len();
            let place = self.packer.pack(page).map(|bytes| {
                self.packed.extend_from_slice(bytes);
                start..start + bytes.len()
            });
            self.places.push(place);
        }
    }

    fn install(&mut self, table: &Table, leaf: u64) -> usize {
        let mut saved = 0;
        if self.claimed.is_empty() {
            return saved;
        }
        let installed = table.change_existing(leaf, |leaf| {
            for (&page, place) in self.claimed.iter().zip(&self.places) {
                saved += leaf.install(page, place.clone().map(|place| &self.packed[place]), table.memory());
            }
            Ok(())
        });
        installed.expect("installing cannot fail");
        saved
    }
}
