//! The memory of a packet ring: the control page that EL0 shares, and the slots' buffers.
//!
//! The frames are taken once and kept for ever: EL0 maps them and the device writes into them. Words that the kernel writes have their eight
//! bytes to themselves, so that it stores them whole: a store that had to leave a neighbour alone would be a loop that EL0
//! could keep busy.

use alloc::sync::Arc;
use core::sync::atomic::{Ordering, fence};

use abi::ring;
use abi::vm::PAGE_SIZE;
use frames::{Frame, FrameNumber, Pool, Purpose};
use vm::Object;

use crate::machine::Segment;

/// A ring's frames.
pub(crate) struct Memory {
    pool: &'static Pool,
    control: Frame,
    buffers: FrameNumber,
    rx_slots: u32,
    pages: u64,
}

/// What the pager is told of its ring and cannot change.
pub(crate) struct Facts {
    pub(crate) rx_slots: u32,
    pub(crate) tx_slots: u32,
    pub(crate) packet_max: u32,
    pub(crate) packet_offset: u32,
    pub(crate) mac: [u8; 6],
}

impl Memory {
    /// Takes the frames, zeroed. None if there aren't so many in a row.
    pub(crate) fn new(pool: &'static Pool, rx_slots: u32, tx_slots: u32) -> Option<Self> {
        let pages = 1 + rx_slots as usize + tx_slots as usize;
        let run = pool.allocate_contiguous(pages, Purpose::User)?;
        pool.zero_run(&run);
        let (control, buffers) = match run.split(1) {
            Ok(parts) => parts,
            Err(run) => {
                pool.free_run(run);
                return None;
            }
        };
        let control = control.into_frames().next()?;
        // The device's, and EL0's: nobody frees them.
        let (buffers, _) = buffers.into_parts();
        Some(Self { pool, control, buffers, rx_slots, pages: pages as u64 })
    }

    /// As something to map.
    pub(crate) fn object(&self, core: &'static vm::Core) -> Arc<Object> {
        Object::device(core, self.control.number(), self.pages)
    }

    /// Makes the control page new.
    pub(crate) fn begin(&self, facts: &Facts) {
        self.pool.zero(&self.control);
        let mut head = [0; ring::MAC + 8];
        let words = [
            (ring::MAGIC, ring::MAGIC_VALUE),
            (ring::RX_SLOTS, facts.rx_slots),
            (ring::TX_SLOTS, facts.tx_slots),
            (ring::PACKET_MAX, facts.packet_max),
            (ring::PACKET_OFFSET, facts.packet_offset),
        ];
        for (at, word) in words {
            head[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        head[ring::MAC..ring::MAC + 6].copy_from_slice(&facts.mac);
        self.pool.write(&self.control, 0, &head);
    }

    /// A word that the pager writes, and what it wrote before it.
    pub(crate) fn read(&self, at: usize) -> u32 {
        let mut word = [0; 4];
        self.pool.read(&self.control, at, &mut word);
        fence(Ordering::Acquire);
        u32::from_le_bytes(word)
    }

    /// A word of the kernel's, seen after all that was written before it.
    pub(crate) fn publish(&self, at: usize, value: u32) {
        fence(Ordering::Release);
        self.pool.write(&self.control, at, &u64::from(value).to_le_bytes());
    }

    /// The lengths of two neighbouring receive slots, of which `pair` is the even one.
    pub(crate) fn set_lengths(&self, pair: u32, lengths: [u32; 2]) {
        let value = u64::from(lengths[0]) | u64::from(lengths[1]) << 32;
        self.pool.write(&self.control, ring::RX_LENGTH + pair as usize * 4, &value.to_le_bytes());
    }

    /// The length of a send slot: read once, then checked.
    pub(crate) fn send_length(&self, slot: u32) -> u32 {
        self.read(ring::TX_LENGTH + slot as usize * 4)
    }

    /// All of a receive slot's page.
    pub(crate) fn receive_buffer(&self, slot: u32) -> Segment {
        Segment { address: self.page(slot), length: PAGE_SIZE as u32 }
    }

    /// The first bytes of a send slot's page.
    pub(crate) fn send_buffer(&self, slot: u32, length: u32) -> Segment {
        Segment { address: self.page(self.rx_slots + slot), length }
    }

    fn page(&self, buffer: u32) -> u64 {
        FrameNumber(self.buffers.0 + buffer).phys()
    }
}

/// The kernel's words have eight bytes each, and the tables fit between them and the end of the page.
const _: () = {
    let words = [ring::RX_PRODUCED, ring::RX_CONSUMED, ring::RX_WANTED, ring::RX_STARVED, ring::TX_PRODUCED, ring::TX_CONSUMED];
    let mut at = 0;
    while at < words.len() {
        assert!(words[at].is_multiple_of(8) && words[at] >= ring::MAC + 8 && words[at] + 8 <= ring::RX_LENGTH);
        assert!(at == 0 || words[at] >= words[at - 1] + 8);
        at += 1;
    }
    let table = ring::SLOTS_MAX as usize * 4;
    assert!(
        ring::RX_LENGTH.is_multiple_of(8) && ring::RX_LENGTH + table <= ring::TX_LENGTH && ring::TX_LENGTH + table <= PAGE_SIZE as usize
    );
};
