//! A ring between a device that the test plays and a pager that it plays too.

use super::*;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use vm::Core;

use crate::machine::Segment;

const HEADER: u32 = 12;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
const SMALL_PAGES: usize = 1024;

/// A device; strict: it refuses buffers that no device could use.
#[derive(Default)]
struct FakeNet {
    slots: usize,
    posted: VecDeque<(u64, Segment)>,
    received: VecDeque<(u64, u32)>,
    sending: VecDeque<(u64, Segment)>,
    sent: VecDeque<u64>,
    is_dead: bool,
}

impl Net for FakeNet {
    fn mac(&self) -> [u8; 6] {
        MAC
    }
    fn mtu(&self) -> u16 {
        1500
    }
    fn header_bytes(&self) -> usize {
        HEADER as usize
    }
    fn queue_slots(&self) -> (usize, usize) {
        (self.slots, self.slots)
    }
    fn post_receive(&mut self, token: u64, buffer: Segment) -> Result<(), DeviceError> {
        assert!(buffer.address.is_multiple_of(4) && buffer.length >= HEADER + ETHERNET_HEADER + 1500);
        assert!(self.posted.iter().all(|(_, other)| other.address != buffer.address), "a buffer was posted twice");
        if self.is_dead {
            return Err(DeviceError::Dead);
        }
        self.posted.push_back((token, buffer));
        Ok(())
    }
    fn received(&mut self) -> Option<(u64, u32)> {
        self.received.pop_front()
    }
    fn send(&mut self, token: u64, buffer: Segment) -> Result<(), DeviceError> {
        assert!(buffer.length >= HEADER + ETHERNET_HEADER && buffer.length <= HEADER + ETHERNET_HEADER + 1500);
        if self.sending.len() == self.slots {
            return Err(DeviceError::Full);
        }
        self.sending.push_back((token, buffer));
        Ok(())
    }
    fn sent(&mut self) -> Option<u64> {
        self.sent.pop_front()
    }
    fn kick(&mut self) {}
}

impl FakeNet {
    /// A packet arrives, header included.
    fn arrive(&mut self, bytes: u32) {
        let (token, _) = self.posted.pop_front().expect("the device has a buffer");
        self.received.push_back((token, bytes));
    }

    fn transmit(&mut self) {
        self.sent.extend(self.sending.drain(..).map(|(token, _)| token));
    }
}

fn fresh(pages: usize, slots: usize) -> (Open, FakeNet) {
    let pool: &'static Pool = Box::leak(Box::new(Pool::for_tests(pages)));
    let core: &'static Core = Box::leak(Box::new(Core::new(pool)));
    let mut device = FakeNet { slots, ..FakeNet::default() };
    let mut open = Open::new(pool, core, &device).expect("there is memory");
    open.begin(MAC);
    open.serve(&mut device);
    (open, device)
}

/// What the pager does to send packets of these lengths.
fn fill(open: &Open, from: u32, lengths: &[u32]) {
    let slots = open.send.slots();
    for (at, length) in lengths.iter().enumerate() {
        open.memory.publish(ring::TX_LENGTH + ((from + at as u32) % slots) as usize * 4, *length);
    }
    open.memory.publish(ring::TX_PRODUCED, from + lengths.len() as u32);
}

#[test]
fn a_new_ring_tells_its_shape_and_the_device_has_all_buffers() {
    let (open, device) = fresh(SMALL_PAGES, 256);
    let word = |at| open.memory.read(at);
    assert_eq!((word(ring::MAGIC), word(ring::RX_SLOTS), word(ring::TX_SLOTS)), (ring::MAGIC_VALUE, 64, 64));
    assert_eq!((word(ring::PACKET_MAX), word(ring::PACKET_OFFSET)), (1514, HEADER));
    assert_eq!((word(ring::MAC), word(ring::MAC + 4)), (u32::from_le_bytes([2, 0, 0, 0]), u32::from_le_bytes([0, 7, 0, 0])));
    assert_eq!((word(ring::RX_STARVED), device.posted.len()), (0, 64));
    let (open, _) = fresh(LARGE_MACHINE / frames::PAGE_SIZE, 256);
    assert_eq!((open.memory.read(ring::RX_SLOTS), open.memory.read(ring::TX_SLOTS)), (128, 128));
    let (open, device) = fresh(SMALL_PAGES, 20);
    assert_eq!((open.memory.read(ring::RX_SLOTS), device.posted.len()), (16, 16), "no more than the device can have");
}

#[test]
fn packets_that_arrive_are_shown_in_order_with_their_lengths() {
    let (mut open, mut device) = fresh(SMALL_PAGES, 8);
    device.arrive(HEADER + 60);
    device.arrive(HEADER + 1514);
    assert!(open.serve(&mut device).any());
    assert_eq!(open.memory.read(ring::RX_PRODUCED), 2);
    assert_eq!((open.memory.read(ring::RX_LENGTH), open.memory.read(ring::RX_LENGTH + 4)), (60, 1514));
    assert!(!open.serve(&mut device).any(), "no news the second time");
}

#[test]
fn what_is_no_packet_has_the_length_zero() {
    let (mut open, mut device) = fresh(SMALL_PAGES, 8);
    for bytes in [0, HEADER, HEADER + 13, HEADER + 1515, u32::MAX] {
        device.arrive(bytes);
    }
    device.arrive(HEADER + 14);
    assert!(open.serve(&mut device).any());
    let lengths: Vec<u32> = (0..6).map(|slot| open.memory.read(ring::RX_LENGTH + slot * 4)).collect();
    assert_eq!(lengths, [0, 0, 0, 0, 0, 14]);
}

#[test]
fn slots_that_the_pager_has_read_go_back_to_the_device() {
    let (mut open, mut device) = fresh(SMALL_PAGES, 8);
    (0..8).for_each(|_| device.arrive(HEADER + 60));
    open.serve(&mut device);
    assert_eq!((open.memory.read(ring::RX_STARVED), device.posted.len()), (1, 0));
    open.memory.publish(ring::RX_CONSUMED, 3);
    open.serve(&mut device);
    assert_eq!((open.memory.read(ring::RX_STARVED), device.posted.len()), (0, 3));
    open.memory.publish(ring::RX_CONSUMED, 9);
    open.serve(&mut device);
    assert_eq!(device.posted.len(), 3, "it can't have read what was never there");
}

#[test]
fn packets_are_sent_and_their_slots_come_back() {
    let (mut open, mut device) = fresh(SMALL_PAGES, 8);
    fill(&open, 0, &[14, 1514, 60]);
    assert!(!open.serve(&mut device).any());
    let lengths: Vec<u32> = device.sending.iter().map(|(_, buffer)| buffer.length - HEADER).collect();
    assert_eq!(lengths, [14, 1514, 60]);
    let receive = open.memory.receive_buffer(7).address;
    assert!(device.sending.iter().all(|(_, buffer)| buffer.address > receive), "send slots follow the receive slots");
    device.transmit();
    assert!(open.serve(&mut device).any());
    assert_eq!(open.memory.read(ring::TX_CONSUMED), 3);
}

#[test]
fn lengths_that_no_packet_has_come_back_unsent() {
    let (mut open, mut device) = fresh(SMALL_PAGES, 8);
    fill(&open, 0, &[0, 13, 1515, u32::MAX]);
    assert!(open.serve(&mut device).any());
    assert_eq!((device.sending.len(), open.memory.read(ring::TX_CONSUMED)), (0, 4));
}

#[test]
fn an_index_too_far_ahead_sends_nothing() {
    let (mut open, mut device) = fresh(SMALL_PAGES, 8);
    fill(&open, 0, &[60; 8]);
    open.memory.publish(ring::TX_PRODUCED, 9);
    assert!(!open.serve(&mut device).any());
    assert_eq!(device.sending.len(), 0);
    open.memory.publish(ring::TX_PRODUCED, 8);
    open.serve(&mut device);
    assert_eq!(device.sending.len(), 8);
}

/// The device has buffers all the time; the next user goes on where the last one was.
#[test]
fn a_ring_that_nobody_reads_stays_alive_for_its_next_user() {
    let (mut open, mut device) = fresh(SMALL_PAGES, 8);
    fill(&open, 0, &[60]);
    open.serve(&mut device);
    open.is_in_use = false;
    for _ in 0..3 {
        (0..5).for_each(|_| device.arrive(HEADER + 60));
        open.serve(&mut device);
        assert_eq!(device.posted.len(), 8, "buffers of packets for nobody go back");
    }
    fill(&open, 1, &[60]);
    open.serve(&mut device);
    assert_eq!(device.sending.len(), 1, "who left can't send");
    open.begin(MAC);
    assert_eq!((open.memory.read(ring::RX_PRODUCED), open.memory.read(ring::RX_CONSUMED)), (15, 15));
    assert_eq!((open.memory.read(ring::TX_PRODUCED), open.memory.read(ring::TX_CONSUMED)), (1, 0), "one is still being sent");
    device.arrive(HEADER + 99);
    device.transmit();
    assert!(open.serve(&mut device).any());
    assert_eq!((open.memory.read(ring::RX_PRODUCED), open.memory.read(ring::TX_CONSUMED)), (16, 1));
    assert_eq!(open.memory.read(ring::RX_LENGTH + 7 * 4), 99, "slot 15 mod 8");
}

#[test]
fn a_device_that_dies_is_told_of_once() {
    let (mut open, mut device) = fresh(SMALL_PAGES, 8);
    (0..8).for_each(|_| device.arrive(0));
    device.is_dead = true;
    open.serve(&mut device);
    open.memory.publish(ring::RX_CONSUMED, 8);
    open.serve(&mut device);
    assert_eq!(open.memory.read(ring::RX_STARVED), 1);
    assert!(open.has_died() && !open.has_died());
    open.serve(&mut device);
    assert!(!open.has_died());
}

#[test]
fn no_memory_is_an_error_and_takes_none() {
    let pool: &'static Pool = Box::leak(Box::new(Pool::for_tests(100)));
    let core: &'static Core = Box::leak(Box::new(Core::new(pool)));
    let before = pool.available();
    let device = FakeNet { slots: 64, ..FakeNet::default() };
    assert_eq!(Open::new(pool, core, &device).map(|_| ()).unwrap_err(), Code::D_NO_MEMORY);
    assert_eq!(pool.available(), before);
    let device = FakeNet::default();
    assert_eq!(Open::new(pool, core, &device).map(|_| ()).unwrap_err(), Code::D_DEVICE_DOWN);
}

#[test]
fn news_of_sent_packets_wakes_only_who_wants_it() {
    let (mut open, mut device) = fresh(SMALL_PAGES, 8);
    fill(&open, 0, &[60]);
    open.serve(&mut device);
    device.transmit();
    let sent = open.serve(&mut device);
    device.arrive(HEADER + 60);
    let received = open.serve(&mut device);
    let wants = |news: News| [0, ring::WANTS_ALL, ring::WANTS_RECEIVED, 3].map(|word| news.is_wanted(word));
    assert_eq!(wants(sent), [false, true, false, false]);
    assert_eq!(wants(received), [false, true, true, false]);
    assert_eq!(wants(open.serve(&mut device)), [false; 4]);
}
