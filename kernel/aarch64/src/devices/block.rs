//! Disks: the virtio block driver as the nucleus sees it.

use super::lines::Source;
use super::resources::Resources;
use arrayvec::ArrayVec;
use nucleus::machine::{self, BlockOp, DeviceError, Segment};
use virtio::{AnyTransport, DmaAddr, InitError};
use virtio_blk::{BlockConfig, Op, SECTOR_BYTES, SubmitError};

/// The most segments of a request that are passed on: about 1 MiB in pages.
const MAX_SEGMENTS: u16 = 254;
/// (queue size, segments) with plenty of RAM and with little: the tables take 16 bytes for each segment of each entry.
const LARGE: (u16, u16) = (128, MAX_SEGMENTS);
const SMALL: (u16, u16) = (64, 62);
/// Frames from where on RAM is plenty.
const PLENTY: usize = (256 << 20) / frames::PAGE_SIZE;

/// The driver of one.
pub type Driver = virtio_blk::Block<AnyTransport, Resources>;

/// A disk.
pub struct Block {
    driver: Driver,
    source: Source,
}

impl Block {
    /// Brings a disk up.
    pub fn bring_up(transport: AnyTransport, resources: Resources) -> Result<Driver, InitError> {
        let (queue_size, max_segments) = if resources.0.total() >= PLENTY { LARGE } else { SMALL };
        virtio_blk::Block::new(transport, &resources, BlockConfig { queue_size, max_segments })
    }

    /// Listens to its interrupt.
    pub fn listen(driver: Driver, source: Source) -> Self {
        Self { driver, source }
    }

    /// After an interrupt: a device on a wire lowers it; one whose configuration has changed may want a reset.
    fn acknowledge(&mut self) {
        if !self.source.noticed() {
            return;
        }
        // What it was about is found by looking: completions are reaped, a size that changed is read when it is asked for.
        if self.source.is_wired() {
            let _ = self.driver.acknowledge_interrupt();
            self.source.served();
        } else {
            let _ = self.driver.config_interrupt();
        }
    }
}

impl machine::Block for Block {
    fn capacity_sectors(&self) -> u64 {
        self.driver.capacity_sectors()
    }

    fn max_segments(&self) -> usize {
        usize::from(self.driver.max_segments().min(MAX_SEGMENTS))
    }

    fn max_segment_bytes(&self) -> u32 {
        self.driver.limits().max_segment_bytes
    }

    fn is_read_only(&self) -> bool {
        self.driver.limits().read_only
    }

    /// A discard's segments say how much: the sum of their lengths. Their addresses mean nothing.
    fn submit(&mut self, token: u64, op: BlockOp, sector: u64, segments: &[Segment]) -> Result<(), DeviceError> {
        let none: &[Segment] = &[];
        let (op, segments) = match op {
            BlockOp::Read => (Op::Read, segments),
            BlockOp::Write => (Op::Write, segments),
            BlockOp::Flush => (Op::Flush, none),
            BlockOp::Discard => {
                let bytes: u64 = segments.iter().map(|segment| u64::from(segment.length)).sum();
                let sectors = u32::try_from(bytes / u64::from(SECTOR_BYTES)).map_err(|_| DeviceError::OutOfRange)?;
                (Op::Discard { sectors }, none)
            }
        };
        if segments.len() > self.max_segments() {
            return Err(DeviceError::OutOfRange);
        }
        let to_device = |segment: &Segment| virtio::Segment::new(DmaAddr::new(segment.address), segment.length);
        let segments: ArrayVec<_, { MAX_SEGMENTS as usize }> = segments.iter().map(to_device).collect();
        self.driver.submit(token, op, sector, &segments).map_err(refusal)
    }

    fn kick(&mut self) {
        self.driver.kick();
    }

    fn reap(&mut self) -> Option<(u64, Result<(), DeviceError>)> {
        self.acknowledge();
        let done = self.driver.reap().or_else(|| if self.driver.rearm() { self.driver.reap() } else { None })?;
        Some((done.token, done.result.map_err(failure)))
    }
}

fn refusal(error: SubmitError) -> DeviceError {
    match error {
        SubmitError::Full => DeviceError::Full,
        SubmitError::Unsupported => DeviceError::Unsupported,
        SubmitError::ReadOnly => DeviceError::ReadOnly,
        SubmitError::Down(_) => DeviceError::Dead,
        _ => DeviceError::OutOfRange,
    }
}

fn failure(error: virtio_blk::DeviceError) -> DeviceError {
    match error {
        virtio_blk::DeviceError::Unsupported => DeviceError::Unsupported,
        virtio_blk::DeviceError::Lost(_) => DeviceError::Dead,
        virtio_blk::DeviceError::Io | virtio_blk::DeviceError::UnknownStatus(_) => DeviceError::Io,
    }
}
