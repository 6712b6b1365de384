//! The ring against the model's device side: no chain lost, none completed twice, whatever the order.

use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use std::collections::BTreeMap;
use virtio::{
    AddError, Buffer, DmaAddr, Ring, RingConfig, RingError, Segment,
    model::{Chain, DeviceQueue, Memory},
};

fn pair(config: RingConfig) -> (Ring<Memory>, DeviceQueue, Memory) {
    let memory = Memory::new();
    let ring = Ring::new(&memory, config).unwrap();
    let addresses = ring.addresses().map(DmaAddr::bits);
    let queue = DeviceQueue::new(&memory, config.size, addresses, config.event_index);
    (ring, queue, memory)
}

fn config(size: u16, event_index: bool, indirect_buffers: u16) -> RingConfig {
    RingConfig { size, event_index, indirect_buffers }
}

/// Buffers of made-up addresses: the ring never looks behind them.
fn buffers(readable: usize, writable: usize, token: u64) -> Vec<Buffer> {
    let segment = |index: usize| Segment::new(DmaAddr::new(token << 16 | (index as u64) << 8), 64 + index as u32);
    let readable_part = (0..readable).map(|index| Buffer::Readable(segment(index)));
    readable_part.chain((readable..readable + writable).map(|index| Buffer::Writable(segment(index)))).collect()
}

fn assert_same(chain: &Chain, wanted: &[Buffer]) {
    let all = chain.readable.iter().map(|&segment| Buffer::Readable(segment));
    let all: Vec<_> = all.chain(chain.writable.iter().map(|&segment| Buffer::Writable(segment))).collect();
    assert_eq!(all, wanted);
}

#[derive(Clone, Debug)]
enum Step {
    Add { readable: usize, writable: usize },
    Kick,
    DeviceTakes,
    DeviceCompletes { which: usize, short_by: u32 },
    Reap,
    Rearm { count: u16 },
    Disarm,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4usize, 0..4usize).prop_map(|(readable, writable)| Step::Add { readable, writable }),
        2 => proptest::strategy::Just(Step::Kick),
        4 => proptest::strategy::Just(Step::DeviceTakes),
        4 => (any::<usize>(), 0..64u32).prop_map(|(which, short_by)| Step::DeviceCompletes { which, short_by }),
        4 => proptest::strategy::Just(Step::Reap),
        1 => (1..4u16).prop_map(|count| Step::Rearm { count }),
        1 => proptest::strategy::Just(Step::Disarm),
    ]
}

/// Both sides and what must be true of them.
struct World {
    ring: Ring<Memory>,
    queue: DeviceQueue,
    event_index: bool,
    next_token: u64,
    /// Added, not seen by the device, in order.
    waiting: std::collections::VecDeque<(u64, Vec<Buffer>)>,
    /// Taken by the device.
    held: Vec<(u64, Chain)>,
    /// Completed, in order, with the length the device told.
    completed: std::collections::VecDeque<(u64, u32)>,
    /// The device sleeps until kicked.
    device_sleeps: bool,
    /// The driver sleeps until interrupted, or until a timer if it waits for several.
    armed_for: Option<u16>,
}

impl World {
    fn run(&mut self, step: Step) {
        match step {
            Step::Add { readable, writable } => self.add(readable, writable),
            Step::Kick => {
                if self.ring.take_kick() {
                    self.device_sleeps = false;
                }
                assert!(!self.device_sleeps || self.waiting.is_empty(), "a lost kick");
            }
            Step::DeviceTakes => match self.queue.pop() {
                Some(chain) => {
                    let (token, wanted) = self.waiting.pop_front().expect("a chain nobody added");
                    assert_same(&chain, &wanted);
                    self.queue.want_no_kick();
                    self.device_sleeps = false;
                    self.held.push((token, chain));
                }
                None => self.device_sleeps = !self.queue.want_kick(),
            },
            Step::DeviceCompletes { which, short_by } => self.complete(which, short_by),
            Step::Reap => match self.ring.pop().unwrap() {
                Some(used) => {
                    assert_eq!(self.completed.pop_front(), Some((used.token, used.len)));
                    self.armed_for = None;
                }
                None => assert!(self.completed.is_empty(), "a lost completion"),
            },
            Step::Rearm { count } => {
                let there = self.ring.rearm_after(count);
                // Flags know no counts, and more than the ring holds never comes.
                let count = if self.event_index { count.min(self.ring.size()) } else { 1 };
                self.armed_for = (!there).then_some(count);
            }
            Step::Disarm => {
                self.ring.disarm();
                self.armed_for = None;
            }
        }
        self.ring.check();
        let all = self.waiting.len() + self.held.len() + self.completed.len();
        assert_eq!(usize::from(self.ring.in_flight()), all);
    }

    fn add(&mut self, readable: usize, writable: usize) {
        let token = self.next_token;
        let buffers = buffers(readable, writable, token);
        let before = self.ring.in_flight();
        match self.ring.add(token, buffers.iter().copied()) {
            Ok(()) => {
                self.waiting.push_back((token, buffers));
                self.next_token += 1;
            }
            Err(AddError::Empty) => assert!(buffers.is_empty()),
            Err(AddError::Full) => assert_eq!(self.ring.in_flight(), before),
            Err(AddError::TooManyBuffers { count, max }) => assert!(count > usize::from(max)),
            Err(error) => panic!("{error}"),
        }
    }

    fn complete(&mut self, which: usize, short_by: u32) {
        if self.held.is_empty() {
            return;
        }
        let (token, chain) = self.held.swap_remove(which % self.held.len());
        let written = chain.writable_bytes().saturating_sub(short_by);
        self.queue.push(chain.head.into(), written);
        self.completed.push_back((token, written));
        let interrupted = self.queue.take_interrupt();
        if let Some(count) = self.armed_for {
            let due = !self.event_index || self.completed.len() == usize::from(count);
            assert_eq!(interrupted, due, "armed for {count}");
        }
    }
}

fn run(config: RingConfig, start: u16, steps: Vec<Step>) {
    let (ring, queue, _memory) = pair(config);
    let mut world = World {
        ring,
        queue,
        event_index: config.event_index,
        next_token: 1,
        waiting: Default::default(),
        held: Vec::new(),
        completed: Default::default(),
        device_sleeps: false,
        armed_for: None,
    };
    // Often to where the indices are about to wrap.
    world.ring.start_at(start);
    world.queue.start_at(start);
    for step in steps {
        world.run(step);
    }
    drain(&mut world);
}

/// Whatever happened before, everything comes back in the end.
fn drain(world: &mut World) {
    world.run(Step::Kick);
    while !world.waiting.is_empty() {
        world.run(Step::DeviceTakes);
    }
    while !world.held.is_empty() {
        world.complete(0, 0);
    }
    while !world.completed.is_empty() {
        world.run(Step::Reap);
    }
    assert_eq!(world.ring.in_flight(), 0);
}

fn cases() -> proptest::test_runner::Config {
    // Miri is there for the memory accesses, of which a few cases have all kinds.
    proptest::test_runner::Config::with_cases(if cfg!(miri) { 3 } else { 256 })
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_order_loses_nothing_and_repeats_nothing(
        power in 0..5u32,
        event_index: bool,
        indirect in prop_oneof![proptest::strategy::Just(0u16), 1..10u16],
        before_wrap in prop_oneof![proptest::strategy::Just(None), (0..8u16).prop_map(Some)],
        steps in prop::collection::vec(step(), 1..if cfg!(miri) { 30 } else { 200 }),
    ) {
        let start = before_wrap.map_or(0, |steps| 65535 - steps);
        run(config(1 << power, event_index, indirect), start, steps);
    }

    #[test]
    fn a_lying_device_gets_a_typed_error_and_no_chain_is_given_out_twice(
        lies in prop::collection::vec((any::<u32>(), any::<u32>()), 1..8),
        index in any::<u16>(),
    ) {
        let (mut ring, mut queue, _memory) = pair(config(8, true, 0));
        let tokens: Vec<u64> = (0..4).collect();
        for &token in &tokens {
            ring.add(token, buffers(1, 1, token).into_iter()).unwrap();
        }
        for (id, len) in lies {
            queue.push(id % 12, len % 200);
        }
        queue.claim_used_index(index);
        let mut seen = BTreeMap::new();
        for _ in 0..8 {
            match ring.pop() {
                Ok(Some(used)) => {
                    prop_assert!(used.len <= 64 + 1);
                    *seen.entry(used.token).or_insert(0) += 1;
                }
                Ok(None) => break,
                Err(error) => {
                    prop_assert_eq!(ring.pop(), Err(error), "an error stays");
                    break;
                }
            }
            ring.check();
        }
        while let Some(token) = ring.abandon() {
            *seen.entry(token).or_insert(0) += 1;
        }
        prop_assert_eq!(seen.into_iter().collect::<Vec<_>>(), tokens.into_iter().map(|token| (token, 1)).collect::<Vec<_>>());
    }
}

#[test]
fn a_batch_over_the_wrap_kicks_the_device_that_waits_at_65534() {
    let (mut ring, mut queue, _memory) = pair(config(4, true, 0));
    ring.start_at(65534);
    queue.start_at(65534);
    assert!(!queue.want_kick(), "all taken; now the device waits at 65534");
    ring.add(1, buffers(1, 0, 1).into_iter()).unwrap();
    ring.add(2, buffers(1, 0, 2).into_iter()).unwrap();
    assert_eq!(queue.available_index(), 0);
    assert!(ring.take_kick());
    assert!(!ring.take_kick(), "and only once");
}

#[test]
fn a_busy_device_is_not_kicked_for_every_request() {
    let (mut ring, mut queue, _memory) = pair(config(16, true, 0));
    assert!(!queue.want_kick());
    let mut kicks = 0;
    for token in 0..10 {
        ring.add(token, buffers(1, 0, token).into_iter()).unwrap();
        kicks += u32::from(ring.take_kick());
    }
    assert_eq!(kicks, 1);
}

#[test]
fn without_event_index_flags_suppress() {
    let (mut ring, mut queue, _memory) = pair(config(8, false, 0));
    queue.want_no_kick();
    ring.add(1, buffers(1, 1, 1).into_iter()).unwrap();
    assert!(!ring.take_kick());
    assert!(queue.want_kick(), "it came meanwhile");
    ring.add(2, buffers(1, 1, 2).into_iter()).unwrap();
    assert!(ring.take_kick());
    ring.disarm();
    let head = queue.pop().unwrap().head;
    queue.push(head.into(), 0);
    assert!(!queue.take_interrupt());
    assert!(ring.rearm(), "it came before the interrupt was armed");
    ring.pop().unwrap().unwrap();
    assert!(!ring.rearm());
    let head = queue.pop().unwrap().head;
    queue.push(head.into(), 0);
    assert!(queue.take_interrupt());
}

#[test]
fn every_lie_has_its_name() {
    type Lie = fn(&mut DeviceQueue, u16);
    let cases: [(Lie, RingError); 5] = [
        (|queue, _| queue.push(8, 0), RingError::BadId { id: 8 }),
        (|queue, _| queue.push(1 << 16, 0), RingError::BadId { id: 1 << 16 }),
        (|queue, _| queue.push(7, 0), RingError::NotInFlight { id: 7 }),
        (|queue, head| queue.push(head.into(), 66), RingError::LengthTooBig { claimed: 66, writable: 65 }),
        (|queue, _| queue.claim_used_index(9), RingError::IndexJumped { claimed: 9, held: 2 }),
    ];
    for (lie, wanted) in cases {
        let (mut ring, mut queue, _memory) = pair(config(8, true, 0));
        ring.add(1, buffers(1, 1, 1).into_iter()).unwrap();
        ring.add(2, buffers(1, 1, 2).into_iter()).unwrap();
        let head = queue.pop().unwrap().head;
        lie(&mut queue, head);
        assert_eq!(ring.pop(), Err(wanted));
        assert_eq!(ring.add(3, buffers(1, 0, 3).into_iter()), Err(AddError::Broken));
        assert_eq!([ring.abandon(), ring.abandon(), ring.abandon()], [Some(1), Some(2), None]);
    }
}

#[test]
fn the_same_chain_does_not_complete_twice() {
    let (mut ring, mut queue, _memory) = pair(config(8, true, 4));
    ring.add(1, buffers(1, 1, 1).into_iter()).unwrap();
    ring.add(2, buffers(1, 1, 2).into_iter()).unwrap();
    let head = queue.pop().unwrap().head;
    queue.push(head.into(), 0);
    queue.push(head.into(), 0);
    assert_eq!(ring.pop().unwrap().unwrap().token, 1);
    assert_eq!(ring.pop(), Err(RingError::NotInFlight { id: head }));
    assert_eq!([ring.abandon(), ring.abandon()], [Some(2), None]);
}

#[test]
fn indirect_tables_make_the_ring_as_deep_as_it_is_long() {
    let (mut ring, mut queue, _memory) = pair(config(4, true, 4));
    for token in 0..4 {
        ring.add(token, buffers(2, 2, token).into_iter()).unwrap();
    }
    assert_eq!(ring.add(9, buffers(1, 0, 9).into_iter()), Err(AddError::Full));
    for token in 0..4 {
        let chain = queue.pop().unwrap();
        assert!(chain.indirect);
        assert_same(&chain, &buffers(2, 2, token));
    }
    assert_eq!(ring.depth(4), 4);
}

#[test]
fn a_single_buffer_needs_no_table_and_no_room_changes_nothing() {
    let (mut ring, mut queue, _memory) = pair(config(4, true, 4));
    ring.add(1, buffers(0, 1, 1).into_iter()).unwrap();
    assert!(!queue.pop().unwrap().indirect);

    let (mut ring, _queue, _memory) = pair(config(4, true, 0));
    ring.add(1, buffers(2, 1, 1).into_iter()).unwrap();
    assert_eq!(ring.add(2, buffers(1, 1, 2).into_iter()), Err(AddError::Full));
    assert_eq!(ring.add(2, buffers(4, 1, 2).into_iter()), Err(AddError::TooManyBuffers { count: 5, max: 4 }));
    ring.check();
    ring.add(2, buffers(1, 0, 2).into_iter()).unwrap();
    assert_eq!(ring.depth(3), 1);
}

#[test]
fn chains_that_make_no_sense_are_refused() {
    let (mut ring, _queue, _memory) = pair(config(8, true, 0));
    let at = |len| Segment::new(DmaAddr::new(0x1000), len);
    let mut add = |buffers: &[Buffer]| ring.add(0, buffers.iter().copied());
    assert_eq!(add(&[]), Err(AddError::Empty));
    assert_eq!(add(&[Buffer::Readable(at(0))]), Err(AddError::EmptyBuffer));
    assert_eq!(add(&[Buffer::Writable(at(1)), Buffer::Readable(at(1))]), Err(AddError::Order));
    assert_eq!(add(&[Buffer::Readable(at(u32::MAX)), Buffer::Readable(at(2))]), Err(AddError::TooLong));
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn memory_goes_back_unless_the_device_may_still_use_it() {
    let (ring, _queue, memory) = pair(config(8, true, 8));
    assert_eq!(memory.live(), 2);
    drop(ring);
    assert_eq!(memory.live(), 0);
    let mut ring = Ring::new(&memory, config(8, true, 8)).unwrap();
    ring.leak();
    drop(ring);
    assert_eq!(memory.live(), 2);
    memory.allow(1);
    assert!(Ring::new(&memory, config(8, true, 8)).is_err());
    assert_eq!(memory.live(), 2, "a ring half built gives back what it had");
}
