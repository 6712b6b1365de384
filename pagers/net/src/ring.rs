//! The packet ring: this side of `abi::ring`.
//!
//! The kernel's words are checked all the same: a wrong one costs a packet, not this task.

use core::sync::atomic::{Ordering, fence};

use abi::ring::{
    MAC, MAGIC, MAGIC_VALUE, PACKET_MAX, PACKET_OFFSET, RX_CONSUMED, RX_LENGTH, RX_PRODUCED, RX_SLOTS, RX_STARVED, RX_WANTED, SLOTS_MAX,
    TX_CONSUMED, TX_LENGTH, TX_PRODUCED, TX_SLOTS, WANTS_ALL, WANTS_RECEIVED,
};
use abi::vm::PAGE_SIZE;
use runtime::Mapping;

/// The memory that both sides share.
pub trait RingMemory {
    /// Loads a word; what the other side stored before it is seen.
    fn load(&self, offset: u64) -> u32;
    /// Stores a word; what was stored before is seen before it.
    fn store(&self, offset: u64, value: u32);
    /// Copies bytes out.
    fn read(&self, offset: u64, to: &mut [u8]);
    /// Copies bytes in.
    fn write(&self, offset: u64, from: &[u8]);
}

impl RingMemory for Mapping {
    fn load(&self, offset: u64) -> u32 {
        self.load_u32(offset, Ordering::Acquire)
    }

    fn store(&self, offset: u64, value: u32) {
        self.store_u32(offset, value, Ordering::Release);
    }

    fn read(&self, offset: u64, to: &mut [u8]) {
        Self::read(self, offset, to);
    }

    fn write(&self, offset: u64, from: &[u8]) {
        Self::write(self, offset, from);
    }
}

/// What the control page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub rx_slots: u32,
    pub tx_slots: u32,
    /// The largest packet, Ethernet header included.
    pub packet_max: u32,
    packet_offset: u32,
    pub mac: [u8; 6],
}

impl Shape {
    /// Reads the control page. The error says what is wrong with it.
    pub fn read(control: &impl RingMemory) -> Result<Self, &'static str> {
        let word = |offset: usize| control.load(offset as u64);
        let mut mac = [0; 6];
        control.read(MAC as u64, &mut mac);
        let shape = Self {
            rx_slots: word(RX_SLOTS),
            tx_slots: word(TX_SLOTS),
            packet_max: word(PACKET_MAX),
            packet_offset: word(PACKET_OFFSET),
            mac,
        };
        let is_whole = |slots: u32| (1..=SLOTS_MAX).contains(&slots);
        if word(MAGIC) != MAGIC_VALUE {
            return Err("it is no packet ring");
        }
        if !is_whole(shape.rx_slots) || !is_whole(shape.tx_slots) {
            return Err("its number of slots makes no sense");
        }
        if shape.packet_max < 64 || u64::from(shape.packet_offset) + u64::from(shape.packet_max) > PAGE_SIZE {
            return Err("its packets don't fit their slots");
        }
        Ok(shape)
    }

    /// Bytes of the whole ring.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        (1 + self.rx_slots as u64 + self.tx_slots as u64) * PAGE_SIZE
    }
}

/// The ring.
#[derive(Debug)]
pub struct Ring<M> {
    memory: M,
    shape: Shape,
    rx_consumed: u32,
    tx_produced: u32,
    /// Packets were put in, or slots given back, since the kernel was told.
    is_kick_due: bool,
}

impl<M: RingMemory> Ring<M> {
    /// Takes the ring over, where it stands.
    #[must_use]
    pub fn new(memory: M, shape: Shape) -> Self {
        let (rx_consumed, tx_produced) = (memory.load(RX_CONSUMED as u64), memory.load(TX_PRODUCED as u64));
        Self { memory, shape, rx_consumed, tx_produced, is_kick_due: false }
    }

    /// Its shape.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// The memory.
    pub const fn memory(&self) -> &M {
        &self.memory
    }

    fn received(&self) -> u32 {
        let waiting = self.memory.load(RX_PRODUCED as u64).wrapping_sub(self.rx_consumed);
        if waiting > self.shape.rx_slots { 0 } else { waiting }
    }

    /// The next packet, whose slot is given back; its length.
    pub fn receive(&mut self, to: &mut [u8]) -> Option<usize> {
        if self.received() == 0 {
            return None;
        }
        let slot = u64::from(self.rx_consumed % self.shape.rx_slots);
        let said = self.memory.load(RX_LENGTH as u64 + 4 * slot);
        let length = (said.min(self.shape.packet_max) as usize).min(to.len());
        self.memory.read((1 + slot) * PAGE_SIZE + u64::from(self.shape.packet_offset), &mut to[..length]);
        self.rx_consumed = self.rx_consumed.wrapping_add(1);
        self.memory.store(RX_CONSUMED as u64, self.rx_consumed);
        Some(length)
    }

    /// Whether there is a slot for a packet.
    pub fn can_send(&self) -> bool {
        self.tx_produced.wrapping_sub(self.memory.load(TX_CONSUMED as u64)) < self.shape.tx_slots
    }

    /// Puts a packet into a slot. False if there is none, or the packet is too long.
    pub fn send(&mut self, packet: &[u8]) -> bool {
        if !self.can_send() || packet.len() > self.shape.packet_max as usize {
            return false;
        }
        let slot = u64::from(self.tx_produced % self.shape.tx_slots);
        let page = 1 + u64::from(self.shape.rx_slots) + slot;
        self.memory.write(page * PAGE_SIZE + u64::from(self.shape.packet_offset), packet);
        self.memory.store(TX_LENGTH as u64 + 4 * slot, packet.len() as u32);
        self.tx_produced = self.tx_produced.wrapping_add(1);
        self.memory.store(TX_PRODUCED as u64, self.tx_produced);
        self.is_kick_due = true;
        true
    }

    /// Whether the kernel has to be told: asked once after packets were put in or taken out.
    pub fn take_kick(&mut self) -> bool {
        fence(Ordering::SeqCst);
        let is_starved = self.memory.load(RX_STARVED as u64) == 1;
        core::mem::take(&mut self.is_kick_due) || is_starved
    }

    /// Asks for a message when a packet comes, or, if `for_room`, when one was sent: who has room to send sleeps through that. False if something has happened already, or `for_room` wants a send slot and one is free: look again.
    pub fn sleep(&self, for_room: bool) -> bool {
        self.memory.store(RX_WANTED as u64, if for_room { WANTS_ALL } else { WANTS_RECEIVED });
        fence(Ordering::SeqCst);
        self.received() == 0 && !(for_room && self.can_send())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use abi::ring::{MAGIC, MAGIC_VALUE, PACKET_MAX, PACKET_OFFSET, RX_SLOTS, TX_SLOTS};

    use super::{RingMemory, Shape};

    struct Page(RefCell<Vec<u8>>);

    impl RingMemory for Page {
        fn load(&self, offset: u64) -> u32 {
            let mut word = [0; 4];
            self.read(offset, &mut word);
            u32::from_le_bytes(word)
        }
        fn store(&self, offset: u64, value: u32) {
            self.write(offset, &value.to_le_bytes());
        }
        fn read(&self, offset: u64, to: &mut [u8]) {
            to.copy_from_slice(&self.0.borrow()[offset as usize..][..to.len()]);
        }
        fn write(&self, offset: u64, from: &[u8]) {
            self.0.borrow_mut()[offset as usize..][..from.len()].copy_from_slice(from);
        }
    }

    #[test]
    fn a_control_page_that_makes_no_sense_is_refused() {
        let good = [(MAGIC, MAGIC_VALUE), (RX_SLOTS, 64), (TX_SLOTS, 64), (PACKET_MAX, 1514), (PACKET_OFFSET, 12)];
        let read = |changed: (usize, u32)| {
            let page = Page(RefCell::new(vec![0; 4096]));
            good.iter().chain([&changed]).for_each(|(offset, value)| page.store(*offset as u64, *value));
            Shape::read(&page)
        };
        assert_eq!(read((RX_SLOTS, 128)).map(|shape| shape.bytes()), Ok(193 * 4096));
        for bad in [(MAGIC, 0), (RX_SLOTS, 0), (TX_SLOTS, 257), (PACKET_MAX, 4090), (PACKET_MAX, u32::MAX), (PACKET_OFFSET, u32::MAX)] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
