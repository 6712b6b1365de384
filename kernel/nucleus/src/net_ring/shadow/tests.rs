//! The index arithmetic against a model that counts in 64 bits, with a device that gives buffers back in any order and a pager that lies.

use super::*;
use alloc::collections::VecDeque;

/// Deterministic noise (xorshift).
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

impl Receive {
    fn check(&self) {
        let (produced, posted) = (self.produced.wrapping_sub(self.consumed), self.posted.wrapping_sub(self.consumed));
        assert!(produced <= posted && posted <= self.slots, "{produced} {posted}");
        for slot in 0..self.slots {
            let is_posted = slot.wrapping_sub(self.produced) % self.slots < self.posted.wrapping_sub(self.produced);
            assert!(is_posted || self.filled[slot as usize].is_none(), "slot {slot} is filled, but the device never had it");
        }
    }
}

impl Send {
    fn check(&self) {
        assert!(self.taken.wrapping_sub(self.consumed) <= self.slots);
        for slot in 0..self.slots {
            let is_taken = slot.wrapping_sub(self.consumed) % self.slots < self.taken.wrapping_sub(self.consumed);
            assert!(is_taken || !self.done[slot as usize], "slot {slot} is done, but the device never had it");
        }
    }
}

/// Starts near the end of the 32-bit indices, so that they wrap.
const START: u32 = u32::MAX - 100;

#[test]
fn received_packets_come_in_the_order_of_their_slots() {
    for (slots, seed) in [(1, 3), (2, 5), (8, 7), (64, 9)] {
        let mut noise = Noise(seed);
        let mut ring = Receive::new(slots).unwrap();
        (ring.consumed, ring.produced, ring.posted) = (START, START, START);
        let (mut device, mut expected): (Vec<u32>, VecDeque<(u32, Option<u32>)>) = (Vec::new(), VecDeque::new());
        let (mut delivered, mut given_back) = (0u32, 0u32);
        for step in 0..4000u32 {
            match noise.below(5) {
                0 | 1 => {
                    while let Some(slot) = ring.to_post() {
                        ring.post();
                        assert!(!device.contains(&slot), "the device got slot {slot} twice");
                        device.push(slot);
                        expected.push_back((slot, None));
                    }
                }
                2 if !device.is_empty() => {
                    let slot = device.swap_remove(noise.below(device.len()));
                    assert!(ring.fill(u64::from(slot), step));
                    assert!(!ring.fill(u64::from(slot), step), "a slot was filled twice");
                    expected.iter_mut().find(|(posted, bytes)| *posted == slot && bytes.is_none()).unwrap().1 = Some(step);
                }
                3 => {
                    while let Some((slot, bytes)) = ring.produce() {
                        assert_eq!(expected.pop_front(), Some((slot, Some(bytes))));
                        delivered += 1;
                    }
                    assert!(expected.front().is_none_or(|(_, bytes)| bytes.is_none()), "a packet was held back");
                }
                _ => {
                    let lie = ring.produced.wrapping_add(1 + noise.below(1 << 20) as u32);
                    assert!(!ring.consume(lie) && !ring.consume(ring.consumed.wrapping_sub(1)), "a lie was believed");
                    let some = noise.below((delivered - given_back) as usize + 1) as u32;
                    assert!(ring.consume(ring.consumed.wrapping_add(some)));
                    given_back += some;
                }
            }
            assert_eq!(ring.is_starved(), expected.is_empty());
            ring.check();
        }
        assert!(delivered > 100, "the test must wrap: {delivered}");
    }
}

#[test]
fn what_nobody_reads_is_posted_again() {
    let mut ring = Receive::new(2).unwrap();
    for round in 0..10 {
        let slot = ring.to_post().unwrap();
        assert_eq!(slot, round % 2);
        ring.post();
        assert!(ring.fill(u64::from(slot), 60));
        assert_eq!(ring.produce(), Some((slot, 60)));
        ring.discard();
        ring.check();
    }
}

#[test]
fn a_device_cannot_give_back_what_it_does_not_have() {
    let mut ring = Receive::new(4).unwrap();
    assert!(!ring.fill(0, 60));
    ring.post();
    assert!(!ring.fill(1, 60) && !ring.fill(4, 60) && !ring.fill(u64::MAX, 60));
    assert!(ring.fill(0, 60));
    let mut ring = Send::new(4).unwrap();
    assert!(!ring.finish(0));
    ring.take();
    assert!(!ring.finish(1) && !ring.finish(4) && !ring.finish(u64::MAX));
    assert!(ring.finish(0) && !ring.finish(0));
    ring.check();
}

#[test]
fn slots_are_sent_once_and_come_back_in_order() {
    for (slots, seed) in [(1, 3), (2, 5), (8, 7), (64, 9)] {
        let mut noise = Noise(seed);
        let mut ring = Send::new(slots).unwrap();
        (ring.consumed, ring.taken) = (START, START);
        let mut produced = START;
        let mut device = Vec::new();
        for _ in 0..4000 {
            match noise.below(4) {
                0 => {
                    let room = slots - produced.wrapping_sub(ring.consumed);
                    produced = produced.wrapping_add(noise.below(room as usize + 1) as u32);
                    let mut next = ring.taken;
                    while let Some(slot) = ring.to_send(produced) {
                        assert_eq!(slot, next % slots);
                        assert!(!device.contains(&slot));
                        ring.take();
                        device.push(slot);
                        next = next.wrapping_add(1);
                    }
                    assert_eq!(next, produced);
                }
                1 if !device.is_empty() => {
                    let slot = device.swap_remove(noise.below(device.len()));
                    assert!(ring.finish(u64::from(slot)));
                }
                2 => {
                    let before = ring.consumed;
                    assert_eq!(ring.consume(), ring.consumed != before);
                    assert!(device.iter().all(|slot| slot.wrapping_sub(ring.consumed) % slots < ring.taken.wrapping_sub(ring.consumed)));
                }
                _ => {
                    let lie = ring.consumed.wrapping_add(slots + 1 + noise.below(1 << 20) as u32);
                    assert!(ring.to_send(lie).is_none() && ring.to_send(ring.consumed.wrapping_sub(1)).is_none(), "a lie was believed");
                }
            }
            ring.check();
        }
        assert!(produced.wrapping_sub(START) > 101, "the test must wrap");
    }
}

/// A pager that takes back what it said was filled stops its own packets and nothing else.
#[test]
fn a_pager_that_goes_back_only_waits() {
    let mut ring = Send::new(8).unwrap();
    for _ in 0..5 {
        assert!(ring.to_send(5).is_some());
        ring.take();
    }
    assert_eq!(ring.to_send(3), None);
    assert_eq!(ring.to_send(6), Some(5));
    ring.check();
}

#[test]
fn rings_are_powers_of_two_that_the_device_can_have() {
    assert_eq!((slots(128, 256), slots(128, 128), slots(128, 100), slots(64, 256)), (128, 128, 64, 64));
    assert_eq!((slots(128, 1), slots(128, 0)), (1, 0));
}
