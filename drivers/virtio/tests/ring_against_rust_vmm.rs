//! The ring against the device side that Firecracker, Cloud Hypervisor and others run: rust-vmm's `virtio-queue`.
//!
//! Whatever model and ring might both have misread in the specification, this one has read for itself.

#![cfg(not(miri))] // It maps memory, which Miri cannot.

use proptest::prelude::{any, prop, prop_assert_eq, proptest};
use std::{cell::Cell, collections::VecDeque, num::NonZeroUsize, ptr::NonNull, rc::Rc};
use virtio::{Buffer, Dma, DmaAddr, DmaPages, PAGE_BYTES, Ring, RingConfig, Segment};
use virtio_queue::{Queue, QueueT};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

const GUEST_BYTES: usize = 1 << 20;

/// Guest memory from which pages are taken one after the other.
#[derive(Clone)]
struct Guest {
    memory: Rc<GuestMemoryMmap<()>>,
    next: Rc<Cell<u64>>,
}

// SAFETY: pages are taken once each from a zeroed, contiguous, page-aligned anonymous mapping, which lives as long as
// any clone of the guest; a ring holds one. The device side is part of this test and keeps to the rings.
unsafe impl Dma for Guest {
    fn allocate(&self, count: NonZeroUsize) -> Option<DmaPages> {
        let start = self.next.get();
        self.next.set(start + (count.get() * PAGE_BYTES) as u64);
        let host = self.memory.get_host_address(GuestAddress(start)).ok()?;
        Some(DmaPages { device: DmaAddr::new(start), pointer: NonNull::new(host)? })
    }

    unsafe fn free(&self, _pages: DmaPages, _count: NonZeroUsize) {}
}

fn pair(config: RingConfig) -> (Ring<Guest>, Queue, Guest) {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), GUEST_BYTES)]).unwrap();
    let guest = Guest { memory: Rc::new(memory), next: Rc::new(Cell::new(PAGE_BYTES as u64)) };
    let ring = Ring::new(&guest, config).unwrap();
    let mut queue = Queue::new(256).unwrap();
    let [descriptors, available, used] = ring.addresses().map(|address| Some(address.bits() as u32));
    queue.set_size(config.size);
    queue.set_desc_table_address(descriptors, None);
    queue.set_avail_ring_address(available, None);
    queue.set_used_ring_address(used, None);
    queue.set_event_idx(config.event_index);
    queue.set_ready(true);
    assert!(queue.is_valid(&*guest.memory));
    (ring, queue, guest)
}

fn buffers(token: u64, readable: u64, writable: u64) -> Vec<Buffer> {
    let at = |index: u64| Segment::new(DmaAddr::new(0x8_0000 + (token % 64) * 4096 + index * 64), 32 + index as u32);
    let head = (0..readable).map(|index| Buffer::Readable(at(index)));
    head.chain((readable..readable + writable).map(|index| Buffer::Writable(at(index)))).collect()
}

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    /// Rounds of a batch from the driver, which kicks once, and a device that sleeps unless kicked and completes in
    /// any order. Enough rounds for a small ring to wrap its indices many times over its size.
    #[test]
    fn everything_arrives_as_it_was_sent_and_comes_back(
        power in 1..7u32,
        event_index: bool,
        indirect in prop::sample::select(vec![0u16, 2, 5]),
        rounds in prop::collection::vec((1..6usize, 1..3u64, 0..3u64, any::<u64>()), 1..60),
    ) {
        let config = RingConfig { size: 1 << power, event_index, indirect_buffers: indirect };
        let (mut ring, mut queue, guest) = pair(config);
        let memory = &*guest.memory;
        let mut token = 0;
        let mut kicked = true;
        for (batch, readable, writable, order) in rounds {
            let mut sent = VecDeque::new();
            for _ in 0..batch {
                let buffers = buffers(token, readable, writable);
                if ring.add(token, buffers.iter().copied()).is_ok() {
                    sent.push_back((token, buffers));
                    token += 1;
                }
            }
            kicked |= ring.take_kick();
            if sent.is_empty() {
                continue;
            }
            prop_assert_eq!(kicked, true, "a lost kick");
            kicked = false;

            let mut held = Vec::new();
            loop {
                queue.disable_notification(memory).unwrap();
                while let Some(chain) = queue.pop_descriptor_chain(memory) {
                    let (token, wanted) = sent.pop_front().expect("a chain nobody sent");
                    let head = chain.head_index();
                    let seen: Vec<Buffer> = chain
                        .map(|descriptor| {
                            let segment = Segment::new(DmaAddr::new(descriptor.addr().0), descriptor.len());
                            if descriptor.is_write_only() { Buffer::Writable(segment) } else { Buffer::Readable(segment) }
                        })
                        .collect();
                    prop_assert_eq!(seen, wanted);
                    held.push((token, head));
                }
                if !queue.enable_notification(memory).unwrap() {
                    break;
                }
            }
            prop_assert_eq!(sent.len(), 0, "the device saw everything");

            prop_assert_eq!(ring.rearm(), false);
            let mut completed = VecDeque::new();
            let mut interrupts = 0;
            while !held.is_empty() {
                let (token, head) = held.swap_remove(order as usize % held.len());
                queue.add_used(memory, head, writable as u32).unwrap();
                interrupts += usize::from(queue.needs_notification(memory).unwrap());
                completed.push_back((token, writable as u32));
            }
            let expected = if event_index { 1 } else { completed.len() };
            prop_assert_eq!(interrupts, expected, "one interrupt is enough for a batch");
            while let Some(used) = ring.pop().unwrap() {
                prop_assert_eq!(completed.pop_front(), Some((used.token, used.len)));
            }
            prop_assert_eq!(completed.len(), 0);
            ring.check();
        }
        prop_assert_eq!(ring.in_flight(), 0);
    }
}
