//! The buddy allocator: which blocks of 2^order frames are free.
//!
//! It works on indices and knows nothing of addresses; index 0 stands for a frame whose number is a multiple of the largest block, so
//! that an aligned index is an aligned physical address. Its links lie in a table beside the frames and not in the free frames
//! themselves, so that nothing a task does to memory it should no longer reach can lead the kernel astray; that costs 9 bytes a frame.
//!
//! Invariants (`check`): a block is free exactly when the state of its first frame says so; free blocks do not overlap; no two free
//! blocks of one order are buddies; no frame outside RAM is in a free block.

/// log2 of the largest block's frames.
pub const MAX_ORDER: usize = 10;
const ORDERS: usize = MAX_ORDER + 1;
/// Frames in the largest block.
pub(crate) const MAX_BLOCK: usize = 1 << MAX_ORDER;

/// No block.
const NONE: u32 = u32::MAX;

/// Not RAM, or never to be given out.
pub(crate) const ABSENT: u8 = 0;
/// In use, or inside a free block.
const PLAIN: u8 = 1;
/// The first frame of a free block, whose order is in the low bits.
const FREE: u8 = 0x80;

const fn free_of(order: usize) -> u8 {
    FREE | order as u8
}

/// Neighbours of a free block in the list of its order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    next: u32,
    previous: u32,
}

/// The allocator's whole state.
pub(crate) struct Buddy {
    links: &'static mut [Link],
    states: &'static mut [u8],
    heads: [u32; ORDERS],
    free: usize,
}

impl Buddy {
    /// The tables have one entry a frame; all states are [`ABSENT`].
    pub(crate) fn new(links: &'static mut [Link], states: &'static mut [u8]) -> Self {
        assert_eq!(links.len(), states.len());
        Self { links, states, heads: [NONE; ORDERS], free: 0 }
    }

    /// Frames in free blocks.
    pub(crate) fn free_frames(&self) -> usize {
        self.free
    }

    /// Makes absent frames free.
    pub(crate) fn add(&mut self, first: usize, frames: usize) {
        self.states[first..first + frames].fill(PLAIN);
        self.free_range(first, frames);
    }

    /// Takes a block; the lowest order that has one is split.
    pub(crate) fn allocate(&mut self, order: usize) -> Option<usize> {
        let found = (order..ORDERS).find(|&o| self.heads[o] != NONE)?;
        let block = self.heads[found] as usize;
        self.unlink(block, found);
        for half in (order..found).rev() {
            self.link(block + (1 << half), half);
        }
        self.free -= 1 << order;
        Some(block)
    }

    /// Takes adjacent blocks of the largest order, first fit by address. A walk over all of RAM in steps of `MAX_BLOCK`: for the few
    /// tables that are larger than a block.
    pub(crate) fn allocate_blocks(&mut self, blocks: usize) -> Option<usize> {
        let mut run = 0;
        let mut at = 0;
        while run < blocks {
            let state = *self.states.get(at)?;
            run = if state == free_of(MAX_ORDER) { run + 1 } else { 0 };
            at += MAX_BLOCK;
        }
        let first = at - blocks * MAX_BLOCK;
        for block in (first..at).step_by(MAX_BLOCK) {
            self.unlink(block, MAX_ORDER);
        }
        self.free -= blocks * MAX_BLOCK;
        Some(first)
    }

    /// Gives a block back and merges it with its buddies.
    pub(crate) fn free(&mut self, block: usize, order: usize) {
        debug_assert_eq!(self.states[block], PLAIN, "frame is not in use");
        self.free += 1 << order;
        let mut block = block;
        let mut order = order;
        while order < MAX_ORDER {
            let buddy = block ^ (1 << order);
            if self.states.get(buddy) != Some(&free_of(order)) {
                break;
            }
            self.unlink(buddy, order);
            block = block.min(buddy);
            order += 1;
        }
        self.link(block, order);
    }

    /// Gives back adjacent frames, however aligned, as the fewest blocks.
    pub(crate) fn free_range(&mut self, first: usize, frames: usize) {
        let end = first + frames;
        let mut at = first;
        while at < end {
            let aligned = (at.trailing_zeros() as usize).min(MAX_ORDER);
            let fits = (end - at).ilog2() as usize;
            let order = aligned.min(fits);
            self.free(at, order);
            at += 1 << order;
        }
    }

    fn link(&mut self, block: usize, order: usize) {
        let next = self.heads[order];
        self.links[block] = Link { next, previous: NONE };
        if next != NONE {
            self.links[next as usize].previous = block as u32;
        }
        self.heads[order] = block as u32;
        self.states[block] = free_of(order);
    }

    fn unlink(&mut self, block: usize, order: usize) {
        let Link { next, previous } = self.links[block];
        match previous {
            NONE => self.heads[order] = next,
            before => self.links[before as usize].next = next,
        }
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
        self.states[block] = PLAIN;
    }

    /// Whether a frame lies in a free block.
    fn is_free(&self, index: usize) -> bool {
        (0..ORDERS).any(|order| self.states[index & !((1 << order) - 1)] == free_of(order))
    }

    /// Asserts that these frames are in use.
    pub(crate) fn check_in_use(&self, mut frames: impl Iterator<Item = usize>) {
        assert!(frames.all(|f| self.states[f] == PLAIN && !self.is_free(f)), "a frame in use is free or not RAM");
    }

    /// Asserts all invariants. Slow.
    pub(crate) fn check(&self) {
        let mut free = 0;
        let mut at = 0;
        while at < self.states.len() {
            let state = self.states[at];
            if state < FREE {
                at += 1;
                continue;
            }
            let order = (state & !FREE) as usize;
            let frames = 1 << order;
            assert_eq!(at % frames, 0, "a free block is not aligned");
            assert!(self.states[at + 1..at + frames].iter().all(|&s| s == PLAIN), "a free block overlaps another, or what is not RAM");
            if order < MAX_ORDER {
                let buddy = self.states.get(at ^ frames);
                assert_ne!(buddy, Some(&state), "two free buddies are not merged");
            }
            free += frames;
            at += frames;
        }
        assert_eq!(free, self.free, "the number of free frames is wrong");
        assert_eq!(free, self.check_lists(), "a free block is on no list");
    }

    /// Frames on the free lists, whose blocks are all free.
    fn check_lists(&self) -> usize {
        let mut listed = 0;
        for order in 0..ORDERS {
            let mut previous = NONE;
            let mut at = self.heads[order];
            while at != NONE {
                let block = at as usize;
                assert_eq!(self.states[block], free_of(order), "a listed block is in use");
                assert_eq!(self.links[block].previous, previous, "a link is broken");
                listed += 1 << order;
                assert!(listed <= self.free, "a list has a cycle");
                previous = at;
                at = self.links[block].next;
            }
        }
        listed
    }
}
