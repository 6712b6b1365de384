//! The block driver against a model disk: what it negotiates, what it refuses, and that data goes where it should.

use crate::disk::{
    ALL, BLK_SIZE, Config, DISCARD, DISCARDED, EVENT_INDEX, FLUSH, INDIRECT, RO, SECTORS, SEG_MAX, SIZE_MAX, WRITE_ZEROES, disk,
};
use virtio::{InitError, Segment, model::Memory};
use virtio_blk::{Block, BlockConfig, Completion, DeviceError, Op, SubmitError};

fn segment(memory: &Memory, len: u32) -> Segment {
    Segment::new(memory.buffer(len as usize), len)
}

fn ok(token: u64) -> Option<Completion> {
    Some(Completion { token, result: Ok(()) })
}

#[test]
fn a_read_over_several_segments_brings_the_sectors() {
    for features in [ALL, ALL & !INDIRECT, ALL & !EVENT_INDEX, SEG_MAX] {
        let (mut block, mut disk) = disk(features, &Config::default(), 256);
        let segments = [segment(&disk.memory, 512), segment(&disk.memory, 100), segment(&disk.memory, 924)];
        block.submit(7, Op::Read, 5, &segments).unwrap();
        block.kick();
        assert_eq!(disk.device.take_kicks(0), 1);
        assert_eq!(block.reap(), None);
        disk.run();
        assert_eq!(block.reap(), ok(7));
        assert_eq!(block.reap(), None);
        let read: Vec<u8> = segments.iter().flat_map(|part| disk.memory.read(part.addr, part.len as usize)).collect();
        assert_eq!(read, disk.contents[5 * 512..8 * 512]);
    }
}

#[test]
fn a_write_lands_on_the_disk() {
    let (mut block, mut disk) = disk(ALL, &Config::default(), 256);
    let segments = [segment(&disk.memory, 512), segment(&disk.memory, 512)];
    disk.memory.write(segments[0].addr, &[0xaa; 512]);
    disk.memory.write(segments[1].addr, &[0xbb; 512]);
    block.submit(1, Op::Write, SECTORS - 2, &segments).unwrap();
    block.kick();
    disk.run();
    assert_eq!(block.reap(), ok(1));
    assert!(disk.contents[62 * 512..63 * 512].iter().all(|&byte| byte == 0xaa));
    assert!(disk.contents[63 * 512..].iter().all(|&byte| byte == 0xbb));
    assert_eq!(disk.contents[61 * 512..62 * 512], disk.contents[61 * 512..][..512]);
}

#[test]
fn flush_discard_and_write_zeroes_do_what_they_say() {
    let (mut block, mut disk) = disk(ALL, &Config::default(), 256);
    block.submit(1, Op::Flush, 0, &[]).unwrap();
    block.submit(2, Op::Discard { sectors: 3 }, 10, &[]).unwrap();
    block.submit(3, Op::WriteZeroes { sectors: 2, unmap: true }, 20, &[]).unwrap();
    block.submit(4, Op::WriteZeroes { sectors: 1, unmap: false }, 30, &[]).unwrap();
    block.kick();
    assert_eq!(disk.device.take_kicks(0), 1, "one kick for four requests");
    disk.take();
    for _ in 0..4 {
        disk.complete(0);
    }
    let mut tokens: Vec<_> = std::iter::from_fn(|| block.reap()).collect();
    tokens.sort_by_key(|completion| completion.token);
    assert_eq!(tokens, (1..5).map(|token| Completion { token, result: Ok(()) }).collect::<Vec<_>>());
    assert_eq!((disk.flushes, disk.unmapped), (1, 1));
    let all =
        |sectors: std::ops::Range<usize>, byte| disk.contents[sectors.start * 512..sectors.end * 512].iter().all(|&found| found == byte);
    assert!(all(10..13, DISCARDED) && all(20..22, 0) && all(30..31, 0));
    assert!(!all(13..14, DISCARDED) && !all(22..23, 0) && !all(31..32, 0));
}

#[test]
fn what_the_device_does_not_offer_is_unsupported() {
    let (mut block, _disk) = disk(SEG_MAX, &Config::default(), 256);
    for op in [Op::Flush, Op::Discard { sectors: 1 }, Op::WriteZeroes { sectors: 1, unmap: false }] {
        assert_eq!(block.submit(1, op, 0, &[]), Err(SubmitError::Unsupported));
    }
    assert!(!block.limits().writeback, "no flush: a completed write is durable");
    assert_eq!(block.in_flight(), 0);
}

#[test]
fn bad_requests_are_refused_by_name_and_change_nothing() {
    let config = Config { size_max: 4096, block_bytes: 1024, ..Config::default() };
    let (mut block, disk) = disk(ALL | SIZE_MAX, &config, 256);
    let one = segment(&disk.memory, 1024);
    let of = |len| Segment::new(one.addr, len);
    let mut submit = |op, sector, segments: &[Segment]| block.submit(1, op, sector, segments).unwrap_err();
    let range = |sector, sectors| SubmitError::OutOfRange { sector, sectors, capacity: SECTORS };
    assert_eq!(submit(Op::Read, 0, &[]), SubmitError::Empty);
    assert_eq!(submit(Op::Read, 0, &[of(1024), of(0)]), SubmitError::EmptySegment);
    assert_eq!(submit(Op::Read, 0, &[one; 7]), SubmitError::TooManySegments { count: 7, max: 6 });
    assert_eq!(submit(Op::Write, 0, &[of(5120)]), SubmitError::SegmentTooLong { len: 5120, max: 4096 });
    assert_eq!(submit(Op::Read, 64, &[one]), range(64, 2));
    assert_eq!(submit(Op::Read, 62, &[one, one]), range(62, 4));
    assert_eq!(submit(Op::Read, u64::MAX - 1, &[one]), range(u64::MAX - 1, 2));
    let misaligned = SubmitError::Misaligned { sector: 1, bytes: 1024, block_bytes: 1024 };
    assert_eq!(submit(Op::Read, 1, &[one]), misaligned);
    let misaligned = SubmitError::Misaligned { sector: 0, bytes: 512, block_bytes: 1024 };
    assert_eq!(submit(Op::Write, 0, &[of(512)]), misaligned);
    assert_eq!(submit(Op::Flush, 0, &[one]), SubmitError::UnexpectedSegments);
    assert_eq!(submit(Op::Discard { sectors: 0 }, 0, &[]), SubmitError::Empty);
    assert_eq!(submit(Op::Discard { sectors: 18 }, 0, &[]), SubmitError::TooManySectors { sectors: 18, max: 16 });
    let zeroes = Op::WriteZeroes { sectors: 8, unmap: true };
    assert_eq!(submit(zeroes, 60, &[]), range(60, 8));
    assert_eq!(block.in_flight(), 0);
    block.kick();
    assert_eq!(disk.device.take_kicks(0), 0);
}

#[test]
fn a_read_only_disk_is_not_written() {
    let (mut block, disk) = disk(ALL | RO, &Config::default(), 256);
    let one = segment(&disk.memory, 512);
    assert_eq!(block.submit(1, Op::Write, 0, &[one]), Err(SubmitError::ReadOnly));
    assert_eq!(block.submit(1, Op::Discard { sectors: 1 }, 0, &[]), Err(SubmitError::ReadOnly));
    let zeroes = Op::WriteZeroes { sectors: 1, unmap: false };
    assert_eq!(block.submit(1, zeroes, 0, &[]), Err(SubmitError::ReadOnly));
    block.submit(1, Op::Read, 0, &[one]).unwrap();
}

#[test]
fn a_device_that_names_no_limit_takes_one_segment_and_needs_no_indirect() {
    // Firecracker's disk.
    let (mut block, mut disk) = disk(FLUSH | EVENT_INDEX, &Config::default(), 256);
    assert_eq!((block.max_segments(), block.queue_depth(1)), (1, 85));
    let one = segment(&disk.memory, 1024);
    assert_eq!(block.submit(1, Op::Read, 0, &[one, one]), Err(SubmitError::TooManySegments { count: 2, max: 1 }));
    for token in 0..85 {
        block.submit(token, Op::Read, token % 32, &[one]).unwrap();
    }
    assert_eq!(block.submit(85, Op::Read, 0, &[one]), Err(SubmitError::Full));
    block.kick();
    disk.run();
    assert_eq!(std::iter::from_fn(|| block.reap()).filter(|done| done.result.is_ok()).count(), 85);
    block.submit(85, Op::Read, 0, &[one]).unwrap();
}

#[test]
fn a_small_queue_bounds_the_segments() {
    let (block, _disk) = disk(ALL, &Config { seg_max: 254, ..Config::default() }, 8);
    assert_eq!((block.max_segments(), block.queue_depth(6)), (6, 8));
    let (block, _disk) = disk(ALL & !INDIRECT, &Config { seg_max: 254, ..Config::default() }, 8);
    assert_eq!((block.max_segments(), block.queue_depth(1), block.queue_depth(6)), (6, 2, 1));
}

#[test]
fn limits_are_what_the_device_says() {
    let config = Config { seg_max: 0, block_bytes: 4096, writeback: 0, ..Config::default() };
    let (block, disk) = disk(ALL, &config, 256);
    assert_eq!(disk.device.accepted_features(), ALL | 1 << 32);
    assert_eq!(disk.device.routed_queues(), Some(1));
    let limits = *block.limits();
    assert_eq!((limits.capacity_sectors, limits.block_bytes, limits.max_segments), (SECTORS, 4096, 1));
    assert_eq!((limits.flush, limits.writeback), (true, false));
    assert_eq!((limits.max_discard_sectors, limits.max_write_zeroes_sectors), (Some(16), Some(8)));
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    let memory = Memory::new();
    for block_bytes in [0, 256, 1000] {
        let config = Config { block_bytes, ..Config::default() };
        let device = crate::disk::device(&memory, BLK_SIZE | DISCARD | WRITE_ZEROES, &config, 256);
        let result = Block::new(device.transport(), &memory, BlockConfig::default());
        assert!(matches!(result.err(), Some(InitError::ConfigInvalid(_))), "{block_bytes}");
    }
    let device = crate::disk::device(&memory, ALL, &Config::default(), 2);
    let result = Block::new(device.transport(), &memory, BlockConfig::default());
    assert_eq!(result.err(), Some(InitError::QueueTooSmall { queue: 0, max: 2, needed: 3 }));
    assert_eq!(memory.live(), 0);
}

#[test]
fn each_status_has_its_name() {
    let (mut block, mut disk) = disk(ALL, &Config::default(), 256);
    let one = segment(&disk.memory, 512);
    let errors = [(1, DeviceError::Io), (2, DeviceError::Unsupported), (0xff, DeviceError::UnknownStatus(0xff))];
    for (status, error) in errors {
        block.submit(status.into(), Op::Read, 0, &[one]).unwrap();
        disk.take();
        disk.complete_with(0, status);
        assert_eq!(block.reap(), Some(Completion { token: status.into(), result: Err(error) }));
    }
}

#[test]
fn a_status_the_device_did_not_write_is_not_the_last_requests_status() {
    let (mut block, mut disk) = disk(ALL, &Config::default(), 256);
    let one = segment(&disk.memory, 512);
    block.submit(1, Op::Read, 0, &[one]).unwrap();
    disk.run();
    assert_eq!(block.reap(), ok(1));
    block.submit(2, Op::Read, 0, &[one]).unwrap();
    disk.take();
    disk.queue.push(disk.held[0].head.into(), 0);
    assert_eq!(block.reap(), Some(Completion { token: 2, result: Err(DeviceError::UnknownStatus(0xff)) }));
}
