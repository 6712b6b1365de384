//! The device side of a split virtqueue (virtio 1.3 §2.7), one step at a time.
//!
//! The test decides when the device looks, in which order it completes, and what lies it tells.

use super::Memory;
use crate::{DmaAddr, Segment};
use std::sync::atomic::{Ordering, fence};

/// A chain of buffers the driver made available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub head: u16,
    pub readable: Vec<Segment>,
    pub writable: Vec<Segment>,
    /// It came in an indirect table.
    pub indirect: bool,
}

impl Chain {
    pub fn writable_bytes(&self) -> u32 {
        self.writable.iter().map(|segment| segment.len).sum()
    }

    /// Everything the driver wants to tell.
    pub fn read(&self, memory: &Memory) -> Vec<u8> {
        self.readable.iter().flat_map(|segment| memory.read(segment.addr, segment.len as usize)).collect()
    }

    /// Fills the writable buffers from their start. Returns how many bytes went in.
    pub fn write(&self, memory: &Memory, bytes: &[u8]) -> u32 {
        let mut rest = bytes;
        for segment in &self.writable {
            let (now, later) = rest.split_at(rest.len().min(segment.len as usize));
            memory.write(segment.addr, now);
            rest = later;
        }
        (bytes.len() - rest.len()) as u32
    }
}

/// One virtqueue as the device knows it.
#[derive(Clone, Debug)]
pub struct DeviceQueue {
    memory: Memory,
    size: u16,
    descriptors: u64,
    available: u64,
    used: u64,
    event_index: bool,
    next_available: u16,
    next_used: u16,
    /// `next_used` when an interrupt was last considered.
    signalled: u16,
}

struct Descriptor {
    segment: Segment,
    flags: u16,
    next: u16,
}

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

impl DeviceQueue {
    /// A queue at the addresses of its descriptor table, available ring and used ring.
    pub fn new(memory: &Memory, size: u16, [descriptors, available, used]: [u64; 3], event_index: bool) -> Self {
        assert!(size.is_power_of_two() && size <= 32768);
        assert!(descriptors.is_multiple_of(16) && available.is_multiple_of(2) && used.is_multiple_of(4));
        let memory = memory.clone();
        Self { memory, size, descriptors, available, used, event_index, next_available: 0, next_used: 0, signalled: 0 }
    }

    /// Starts where a ring that was told the same starts.
    pub fn start_at(&mut self, index: u16) {
        (self.next_available, self.next_used, self.signalled) = (index, index, index);
    }

    /// How many chains the driver has made available, modulo 65536.
    pub fn available_index(&self) -> u16 {
        self.memory.load_u16(self.available + 2, Ordering::Acquire)
    }

    /// Takes the next chain, if there is one.
    pub fn pop(&mut self) -> Option<Chain> {
        let waiting = self.available_index().wrapping_sub(self.next_available);
        assert!(waiting <= self.size, "more chains available than the ring holds");
        if waiting == 0 {
            return None;
        }
        let entry = self.available + 4 + 2 * u64::from(self.next_available % self.size);
        let head = self.memory.load_u16(entry, Ordering::Relaxed);
        self.next_available = self.next_available.wrapping_add(1);
        Some(self.chain(head))
    }

    /// Asks for a kick at the next chain; returns whether one came before that took effect.
    pub fn want_kick(&mut self) -> bool {
        if self.event_index {
            self.memory.store_u16(self.event_address(), self.next_available, Ordering::Relaxed);
        } else {
            self.memory.store_u16(self.used, 0, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
        self.available_index() != self.next_available
    }

    /// Asks for a kick when the driver's index passes `event`, wherever the device is.
    pub fn want_kick_at(&mut self, event: u16) {
        assert!(self.event_index);
        self.memory.store_u16(self.event_address(), event, Ordering::Relaxed);
    }

    /// Asks for no kicks.
    pub fn want_no_kick(&mut self) {
        if self.event_index {
            self.want_kick_at(self.next_available.wrapping_sub(1));
        } else {
            self.memory.store_u16(self.used, 1, Ordering::Relaxed);
        }
    }

    /// Completes a chain (or claims to).
    pub fn push(&mut self, head: u32, written: u32) {
        let entry = self.used + 4 + 8 * u64::from(self.next_used % self.size);
        self.memory.write(DmaAddr::new(entry), &head.to_le_bytes());
        self.memory.write(DmaAddr::new(entry + 4), &written.to_le_bytes());
        self.next_used = self.next_used.wrapping_add(1);
        self.memory.store_u16(self.used + 2, self.next_used, Ordering::Release);
    }

    /// Claims a used index without completing anything.
    pub fn claim_used_index(&mut self, index: u16) {
        self.memory.store_u16(self.used + 2, index, Ordering::Release);
    }

    /// Whether the driver wants an interrupt for what was pushed since the last call.
    pub fn take_interrupt(&mut self) -> bool {
        let old = core::mem::replace(&mut self.signalled, self.next_used);
        if old == self.next_used {
            return false;
        }
        fence(Ordering::SeqCst);
        if !self.event_index {
            return self.memory.load_u16(self.available, Ordering::Relaxed) & 1 == 0;
        }
        let event = self.memory.load_u16(self.available + 4 + 2 * u64::from(self.size), Ordering::Relaxed);
        // One of the completions since then has the index the driver named.
        event.wrapping_sub(old) < self.next_used.wrapping_sub(old)
    }

    fn event_address(&self) -> u64 {
        self.used + 4 + 8 * u64::from(self.size)
    }

    fn chain(&self, head: u16) -> Chain {
        assert!(head < self.size, "head {head} outside the table");
        let first = self.descriptor(self.descriptors, head);
        let mut chain = Chain { head, readable: Vec::new(), writable: Vec::new(), indirect: false };
        if first.flags & INDIRECT != 0 {
            assert_eq!(first.flags, INDIRECT, "an indirect descriptor has no other flag");
            assert!(first.segment.len.is_multiple_of(16), "a table of no whole number of descriptors");
            chain.indirect = true;
            self.walk(&mut chain, first.segment.addr.bits(), (first.segment.len / 16) as u16, 0);
        } else {
            self.walk(&mut chain, self.descriptors, self.size, head);
        }
        chain
    }

    fn walk(&self, chain: &mut Chain, table: u64, entries: u16, start: u16) {
        let mut index = start;
        for _ in 0..self.size {
            assert!(index < entries, "descriptor {index} outside a table of {entries}");
            let descriptor = self.descriptor(table, index);
            assert_eq!(descriptor.flags & !(NEXT | WRITE), 0, "flags that must not be here");
            assert_ne!(descriptor.segment.len, 0, "an empty buffer");
            if descriptor.flags & WRITE != 0 {
                chain.writable.push(descriptor.segment);
            } else {
                assert!(chain.writable.is_empty(), "readable after writable");
                chain.readable.push(descriptor.segment);
            }
            if descriptor.flags & NEXT == 0 {
                return;
            }
            index = descriptor.next;
        }
        panic!("a chain longer than the ring");
    }

    fn descriptor(&self, table: u64, index: u16) -> Descriptor {
        let bytes: [u8; 16] = self.memory.read_array(DmaAddr::new(table + 16 * u64::from(index)));
        let field = |range: core::ops::Range<usize>| bytes[range].iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        let segment = Segment::new(DmaAddr::new(field(0..8)), field(8..12) as u32);
        Descriptor { segment, flags: field(12..14) as u16, next: field(14..16) as u16 }
    }
}
