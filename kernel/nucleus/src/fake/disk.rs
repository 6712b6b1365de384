//! A disk of memory. Transfers finish one at a time, in the order that the seed says; a test can make records fail.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use frames::{FrameNumber, Pool};

use crate::machine::{Block, BlockOp, DeviceError, Segment};

const SECTOR: usize = 512;

/// What a test makes go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Read,
    Write,
}

struct Request {
    token: u64,
    op: BlockOp,
    sector: u64,
    segments: Vec<Segment>,
}

#[derive(Default)]
struct Inner {
    sectors: BTreeMap<u64, [u8; SECTOR]>,
    capacity: u64,
    queued: Vec<Request>,
    kicked: Vec<Request>,
    done: VecDeque<(u64, Result<(), DeviceError>)>,
    /// Operations that will fail.
    faults: Vec<Fault>,
    transfers: usize,
}

/// The kernel's side.
pub(crate) struct FakeBlock(Arc<Mutex<Inner>>);

/// The world's side.
pub(super) struct DiskPart {
    inner: Arc<Mutex<Inner>>,
    pool: &'static Pool,
    /// In `Boot::devices`.
    pub(super) index: usize,
}

/// Requests that it takes at once: few, so that the queue before it is used.
const SLOTS: usize = 4;

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn disk(sectors: u64, pool: &'static Pool, index: usize) -> (FakeBlock, DiskPart) {
    let inner = Arc::new(Mutex::new(Inner { capacity: sectors, ..Inner::default() }));
    (FakeBlock(Arc::clone(&inner)), DiskPart { inner, pool, index })
}

impl DiskPart {
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight() > 0
    }

    pub(super) fn in_flight(&self) -> usize {
        lock(&self.inner).kicked.len()
    }

    pub(super) fn fail(&self, fault: Fault) {
        lock(&self.inner).faults.push(fault);
    }

    pub(super) fn transfers(&self) -> usize {
        lock(&self.inner).transfers
    }

    /// Does the n-th of the requests that it has.
    pub(super) fn finish(&mut self, which: usize) {
        let mut inner = lock(&self.inner);
        let request = inner.kicked.remove(which);
        let kind = if request.op == BlockOp::Read { Fault::Read } else { Fault::Write };
        let fault = inner.faults.iter().position(|fault| *fault == kind);
        let result = match fault {
            Some(at) => {
                inner.faults.remove(at);
                Err(DeviceError::Io)
            }
            None => {
                self.transfer(&mut inner, &request);
                Ok(())
            }
        };
        inner.transfers += 1;
        inner.done.push_back((request.token, result));
    }

    fn transfer(&self, inner: &mut Inner, request: &Request) {
        let mut sector = request.sector;
        for segment in &request.segments {
            for at in (0..u64::from(segment.length)).step_by(SECTOR) {
                let address = segment.address + at;
                let (frame, offset) = (FrameNumber::from_phys(address), (address % frames::PAGE_SIZE as u64) as usize);
                match request.op {
                    BlockOp::Read => self.pool.poke(frame, offset, &inner.sectors.get(&sector).copied().unwrap_or([0; SECTOR])),
                    BlockOp::Write => self.pool.peek(frame, offset, inner.sectors.entry(sector).or_insert([0; SECTOR])),
                    BlockOp::Flush | BlockOp::Discard => (),
                }
                sector += 1;
            }
        }
    }
}

impl Block for FakeBlock {
    fn capacity_sectors(&self) -> u64 {
        lock(&self.0).capacity
    }
    fn max_segments(&self) -> usize {
        3
    }
    fn max_segment_bytes(&self) -> u32 {
        16 << 10
    }
    fn is_read_only(&self) -> bool {
        false
    }
    fn submit(&mut self, token: u64, op: BlockOp, sector: u64, segments: &[Segment]) -> Result<(), DeviceError> {
        let mut inner = lock(&self.0);
        let bytes: u64 = segments.iter().map(|segment| u64::from(segment.length)).sum();
        if sector + bytes / SECTOR as u64 > inner.capacity || !bytes.is_multiple_of(SECTOR as u64) {
            return Err(DeviceError::OutOfRange);
        }
        if inner.queued.len() + inner.kicked.len() + inner.done.len() >= SLOTS {
            return Err(DeviceError::Full);
        }
        inner.queued.push(Request { token, op, sector, segments: segments.to_vec() });
        Ok(())
    }
    fn kick(&mut self) {
        let mut inner = lock(&self.0);
        let queued = core::mem::take(&mut inner.queued);
        inner.kicked.extend(queued);
    }
    fn reap(&mut self) -> Option<(u64, Result<(), DeviceError>)> {
        lock(&self.0).done.pop_front()
    }
}
