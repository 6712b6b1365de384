//! The block driver and a device that changes, fails, lies or dies: every request comes back once.

use crate::disk::{ALL, Config, Disk, INDIRECT, SECTORS, TestBlock, disk};
use proptest::prelude::{Strategy, any, prop, prop_oneof, proptest};
use std::collections::BTreeSet;
use virtio::{Failure, RingError, Segment, Stopped, model::Memory};
use virtio_blk::{Block, BlockConfig, BlockNotice, Completion, DeviceError, Op, SubmitError};

fn with_three_in_flight() -> (TestBlock, Disk) {
    let (mut block, mut disk) = disk(ALL, &Config::default(), 256);
    let one = Segment::new(disk.memory.buffer(512), 512);
    for token in 1..4 {
        block.submit(token, Op::Read, 0, &[one]).unwrap();
    }
    block.kick();
    disk.take();
    (block, disk)
}

fn assert_all_lost(block: &mut TestBlock, tokens: &[u64], failure: Failure) {
    let stopped = Stopped { failure, quiesced: true };
    for &token in tokens {
        assert_eq!(block.reap(), Some(Completion { token, result: Err(DeviceError::Lost(stopped)) }));
    }
    assert_eq!((block.reap(), block.in_flight()), (None, 0));
    assert_eq!(block.stopped(), Some(stopped));
    let one = Segment::new(virtio::DmaAddr::new(0x1000), 512);
    assert_eq!(block.submit(9, Op::Read, 0, &[one]), Err(SubmitError::Down(stopped)));
}

#[test]
fn a_device_that_needs_a_reset_loses_each_request_once() {
    let (mut block, mut disk) = with_three_in_flight();
    disk.complete(0);
    disk.device.fail();
    let notice = block.acknowledge_interrupt();
    assert!(notice.completions);
    assert!(block.rearm(), "there is something to reap");
    assert_eq!(block.reap(), Some(Completion { token: 1, result: Ok(()) }), "what was done is done");
    assert_all_lost(&mut block, &[2, 3], Failure::NeedsReset);
    assert!(!block.rearm());
    assert!(disk.device.status().is_empty(), "the device was reset");
    assert_eq!(block.acknowledge_interrupt(), BlockNotice::default());
}

#[test]
fn a_lying_device_is_stopped_and_its_requests_are_lost() {
    type Lie = fn(&mut Disk);
    let lies: [(Lie, RingError); 3] = [
        (|disk| disk.queue.push(300, 0), RingError::BadId { id: 300 }),
        (|disk| disk.queue.push(disk.held[0].head.into(), 4096), RingError::LengthTooBig { claimed: 4096, writable: 513 }),
        (|disk| disk.queue.claim_used_index(77), RingError::IndexJumped { claimed: 77, held: 3 }),
    ];
    for (lie, error) in lies {
        let (mut block, mut disk) = with_three_in_flight();
        lie(&mut disk);
        let mut lost: Vec<_> = std::iter::from_fn(|| block.reap()).map(|done| done.token).collect();
        lost.sort_unstable();
        assert_eq!(lost, [1, 2, 3]);
        assert_all_lost(&mut block, &[], Failure::Protocol(error));
    }
}

#[test]
fn a_request_completed_twice_is_given_out_once() {
    let (mut block, mut disk) = with_three_in_flight();
    let head = disk.held[0].head;
    disk.complete(0);
    disk.queue.push(head.into(), 1);
    assert_eq!(block.reap(), Some(Completion { token: 1, result: Ok(()) }));
    assert_all_lost(&mut block, &[2, 3], Failure::Protocol(RingError::NotInFlight { id: head }));
}

#[test]
fn a_device_that_does_not_answer_can_be_given_up() {
    let (mut block, _disk) = with_three_in_flight();
    assert_eq!(block.config_interrupt(), BlockNotice::default(), "it looks well");
    block.give_up();
    assert_all_lost(&mut block, &[1, 2, 3], Failure::GivenUp);
}

#[test]
fn memory_of_a_device_that_does_not_stop_is_not_reused() {
    let memory = Memory::new();
    let device = crate::disk::device(&memory, ALL, &Config::default(), 256);
    let block = Block::new(device.transport(), &memory, BlockConfig::default()).unwrap();
    assert!(memory.live() > 0);
    drop(block);
    assert_eq!(memory.live(), 0);
    assert!(device.status().is_empty());

    let block = Block::new(device.transport(), &memory, BlockConfig::default()).unwrap();
    let live = memory.live();
    device.never_reset();
    drop(block);
    assert_eq!(memory.live(), live);
}

#[test]
fn running_out_of_memory_at_any_point_leaves_nothing_behind() {
    let memory = Memory::new();
    for allocations in 0..3 {
        memory.allow(allocations);
        let device = crate::disk::device(&memory, ALL, &Config::default(), 256);
        assert!(Block::new(device.transport(), &memory, BlockConfig::default()).is_err());
        assert_eq!(memory.live(), 0);
    }
    memory.allow(3);
    let device = crate::disk::device(&memory, ALL, &Config::default(), 256);
    assert!(Block::new(device.transport(), &memory, BlockConfig::default()).is_ok());
}

#[test]
fn a_disk_that_grows_is_noticed_and_used() {
    let (mut block, disk) = disk(ALL, &Config::default(), 256);
    let one = Segment::new(disk.memory.buffer(512), 512);
    assert!(block.submit(1, Op::Read, SECTORS, &[one]).is_err());
    disk.device.change_config(0, &(SECTORS + 1 + (1 << 40)).to_le_bytes());
    let notice = block.acknowledge_interrupt();
    assert_eq!(notice, BlockNotice { completions: false, capacity_changed: true });
    assert_eq!(block.capacity_sectors(), SECTORS + 1 + (1 << 40));
    block.submit(1, Op::Read, SECTORS, &[one]).unwrap();
    assert_eq!(block.config_interrupt(), BlockNotice::default(), "no further change");
}

#[test]
fn interrupts_come_when_asked_for() {
    let (mut block, mut disk) = with_three_in_flight();
    assert!(!block.rearm_after(2));
    disk.complete(0);
    assert!(!disk.queue.take_interrupt());
    disk.complete(0);
    assert!(disk.queue.take_interrupt());
    assert!(block.acknowledge_interrupt().completions);
    assert!(block.reap().is_some() && block.reap().is_some());
    block.disarm();
    disk.complete(0);
    assert!(!disk.queue.take_interrupt());
    assert!(block.rearm(), "it came before the interrupt was armed");
    assert!(block.reap().is_some());
    assert!(!block.rearm());
}

#[derive(Clone, Debug)]
enum Step {
    Submit { write: bool, sector: u64, sectors: u32 },
    Kick,
    Take,
    Complete { which: usize },
    Reap,
    Fail,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<bool>(), 0..70u64, 1..9u32).prop_map(|(write, sector, sectors)| Step::Submit { write, sector, sectors }),
        3 => proptest::strategy::Just(Step::Kick),
        4 => proptest::strategy::Just(Step::Take),
        8 => any::<usize>().prop_map(|which| Step::Complete { which }),
        8 => proptest::strategy::Just(Step::Reap),
        1 => (0..8u8).prop_map(|luck| if luck == 0 { Step::Fail } else { Step::Kick }),
    ]
}

/// Whatever the order, and whether or not the device fails in between, each accepted request is given out once.
fn run(features: u64, seg_max: u32, steps: Vec<Step>) {
    let (mut block, mut disk) = disk(features, &Config { seg_max, ..Config::default() }, 16);
    let mut outstanding = BTreeSet::new();
    let mut next_token = 0;
    for step in steps {
        match step {
            Step::Submit { write, sector, sectors } => {
                let segments: Vec<_> = (0..sectors).map(|_| Segment::new(disk.memory.buffer(512), 512)).collect();
                let op = if write { Op::Write } else { Op::Read };
                let result = block.submit(next_token, op, sector, &segments);
                let possible = sector + u64::from(sectors) <= SECTORS && segments.len() <= block.max_segments().into();
                match result {
                    Ok(()) => assert!(possible && outstanding.insert(next_token)),
                    Err(SubmitError::Full) => assert!(possible),
                    Err(SubmitError::Down(_)) => assert!(block.stopped().is_some()),
                    Err(_) => assert!(!possible),
                }
                next_token += 1;
            }
            Step::Kick => block.kick(),
            Step::Take if block.stopped().is_none() => _ = disk.take(),
            Step::Complete { which } if block.stopped().is_none() && !disk.held.is_empty() => {
                disk.complete(which % disk.held.len());
            }
            Step::Reap => {
                if let Some(done) = block.reap() {
                    assert!(outstanding.remove(&done.token), "given out twice");
                    assert_eq!(done.result.is_err(), matches!(done.result, Err(DeviceError::Lost(_))));
                }
            }
            Step::Fail => {
                disk.device.fail();
                block.config_interrupt();
            }
            Step::Take | Step::Complete { .. } => {}
        }
        assert_eq!(usize::from(block.in_flight()), outstanding.len());
    }
    block.give_up();
    while let Some(done) = block.reap() {
        assert!(outstanding.remove(&done.token));
    }
    assert!(outstanding.is_empty(), "lost for ever: {outstanding:?}");
}

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    #[test]
    fn every_request_comes_back_once(
        indirect: bool,
        seg_max in 0..8u32,
        steps in prop::collection::vec(step(), 1..150),
    ) {
        run(if indirect { ALL } else { ALL & !INDIRECT }, seg_max, steps);
    }
}
