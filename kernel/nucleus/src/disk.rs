//! Fetched: from the disk (page's life, step 7: Fetched).
//!
//! A disk: the jobs that are with its driver, and those that wait for a slot. A job is a run of frames and what happens when they are read or written; it is
//! split into as many of the driver's requests as the device needs. Nothing here waits; completions come by interrupt.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use spin::Mutex;

use abi::Code;
use abi::trace::Step as Life;
use abi::vm::PAGE_SIZE;
use frames::{Frame, FrameNumber};
use vm::Transfer;

use crate::kernel::Kernel;
use crate::kobject::Right;
use crate::machine::{Block, BlockOp, DeviceError, Machine, Segment};
use crate::pager::Pager;

/// Bytes in a record.
pub(crate) const SECTOR: u64 = 512;

/// A disk.
pub(crate) struct Disk<M: Machine> {
    state: Mutex<State<M>>,
}

struct State<M: Machine> {
    device: M::Block,
    jobs: Vec<Option<Job<M>>>,
    free: Vec<usize>,
    /// Requests that the device had no slot for, in order.
    waiting: VecDeque<Part>,
}

/// One request of a job.
struct Part {
    job: usize,
    op: BlockOp,
    sector: u64,
    segments: Vec<Segment>,
}

struct Job<M: Machine> {
    parts: usize,
    result: Result<(), Code>,
    done: Done<M>,
}

/// Which way a pager's pages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Supply,
    Return,
}

/// What happens when a job is done.
pub(crate) enum Done<M: Machine> {
    Pages {
        purpose: Purpose,
        transfer: Transfer,
        pager: Arc<Pager<M>>,
    },
    /// device_read: the reply goes to a port, with these bytes of the frames.
    Read {
        reply: Right<M>,
        id: i32,
        frames: Vec<Frame>,
        offset: usize,
        bytes: usize,
        inband: bool,
    },
    /// device_write.
    Write {
        reply: Right<M>,
        id: i32,
        frames: Vec<Frame>,
        bytes: usize,
    },
    /// device_set_status(DEV_FLUSH).
    Flush {
        reply: Right<M>,
        id: i32,
    },
}

impl DeviceError {
    /// As the device interface says it.
    pub(crate) const fn code(self) -> Code {
        match self {
            Self::Full => Code::D_WOULD_BLOCK,
            Self::OutOfRange => Code::D_INVALID_RECNUM,
            Self::Unsupported => Code::D_INVALID_OPERATION,
            Self::ReadOnly => Code::D_READ_ONLY,
            Self::Io => Code::D_IO_ERROR,
            Self::Dead => Code::D_DEVICE_DOWN,
        }
    }
}

impl<M: Machine> Disk<M> {
    pub(crate) const fn new(device: M::Block) -> Self {
        Self { state: Mutex::new(State { device, jobs: Vec::new(), free: Vec::new(), waiting: VecDeque::new() }) }
    }

    /// Records (sectors), and whether they can be written.
    pub(crate) fn geometry(&self) -> (u64, bool) {
        let state = self.state.lock();
        (state.device.capacity_sectors(), state.device.is_read_only())
    }

    /// Whether anything is with the device.
    fn is_busy(&self) -> bool {
        let state = self.state.lock();
        state.free.len() < state.jobs.len()
    }

    /// Takes a job. The frames are in `done`, whose owner it is now.
    fn start(&self, op: BlockOp, sector: u64, frames: &[FrameNumber], bytes: u64, done: Done<M>) -> Result<(), (Code, Done<M>)> {
        let mut state = self.state.lock();
        let parts = match state.split(op, sector, frames, bytes) {
            Ok(parts) => parts,
            Err(code) => return Err((code, done)),
        };
        let Some(job) = state.slot() else { return Err((Code::D_NO_MEMORY, done)) };
        state.jobs[job] = Some(Job { parts: parts.len(), result: Ok(()), done });
        for part in parts {
            state.waiting.push_back(Part { job, ..part });
        }
        Ok(())
    }

    /// Gives the device what waits, and takes what it has finished.
    fn run(&self, finished: &mut Vec<(Result<(), Code>, Done<M>)>) {
        let mut state = self.state.lock();
        loop {
            let submitted = state.submit(finished);
            if submitted {
                state.device.kick();
            }
            let mut reaped = false;
            while let Some((token, result)) = state.device.reap() {
                reaped = true;
                state.part_done(token as usize, result.map_err(DeviceError::code), finished);
            }
            if !reaped {
                return;
            }
        }
    }
}

impl<M: Machine> State<M> {
    /// A free slot for a job, with room to give it back.
    fn slot(&mut self) -> Option<usize> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        let slots = self.jobs.len() + 1;
        self.jobs.try_reserve(1).ok()?;
        self.free.try_reserve(slots - self.free.len()).ok()?;
        self.jobs.push(None);
        Some(slots - 1)
    }

    /// The requests for a run of frames: neighbours in RAM are one segment.
    fn split(&mut self, op: BlockOp, sector: u64, frames: &[FrameNumber], bytes: u64) -> Result<Vec<Part>, Code> {
        let mut parts: Vec<Part> = Vec::new();
        parts.try_reserve(1).map_err(|_| Code::D_NO_MEMORY)?;
        if frames.is_empty() {
            parts.push(Part { job: 0, op, sector, segments: Vec::new() });
        }
        let end = bytes.div_ceil(SECTOR).checked_add(sector).ok_or(Code::D_INVALID_RECNUM)?;
        if end > self.device.capacity_sectors() {
            return Err(Code::D_INVALID_RECNUM);
        }
        let (most, longest) = (self.device.max_segments().max(1), self.device.max_segment_bytes());
        let mut left = bytes.next_multiple_of(SECTOR);
        let mut at = sector;
        for frame in frames {
            let length = left.min(PAGE_SIZE) as u32;
            left -= u64::from(length);
            let joined = parts
                .last_mut()
                .and_then(|part| part.segments.last_mut())
                .filter(|last| last.address + u64::from(last.length) == frame.phys() && last.length.saturating_add(length) <= longest);
            if let Some(last) = joined {
                last.length += length;
            } else {
                if parts.last().is_none_or(|part| part.segments.len() >= most) {
                    parts.try_reserve(1).map_err(|_| Code::D_NO_MEMORY)?;
                    parts.push(Part { job: 0, op, sector: at, segments: Vec::new() });
                }
                if let Some(part) = parts.last_mut() {
                    part.segments.try_reserve(1).map_err(|_| Code::D_NO_MEMORY)?;
                    part.segments.push(Segment { address: frame.phys(), length });
                }
            }
            at += u64::from(length) / SECTOR;
        }
        self.waiting.try_reserve(parts.len()).map_err(|_| Code::D_NO_MEMORY)?;
        Ok(parts)
    }

    /// Gives waiting requests to the device while it takes them. True if it took any.
    fn submit(&mut self, finished: &mut Vec<(Result<(), Code>, Done<M>)>) -> bool {
        let mut any = false;
        while let Some(part) = self.waiting.front() {
            match self.device.submit(part.job as u64, part.op, part.sector, &part.segments) {
                Ok(()) => any = true,
                Err(DeviceError::Full) => break,
                Err(error) => {
                    let job = part.job;
                    self.waiting.pop_front();
                    self.part_done(job, Err(error.code()), finished);
                    continue;
                }
            }
            self.waiting.pop_front();
        }
        any
    }

    fn part_done(&mut self, job: usize, result: Result<(), Code>, finished: &mut Vec<(Result<(), Code>, Done<M>)>) {
        let Some(slot) = self.jobs.get_mut(job) else { return };
        let Some(running) = slot else { return };
        running.parts -= 1;
        running.result = running.result.and(result);
        if running.parts == 0
            && let Some(Job { result, done, .. }) = slot.take()
        {
            self.free.push(job);
            finished.push((result, done));
        }
    }
}

impl<M: Machine> Kernel<M> {
    /// Reads or writes a pager's pages. The caller kicks the disk afterwards.
    pub(crate) fn transfer(&self, disk: &Disk<M>, purpose: Purpose, transfer: Transfer, sector: u64, pager: Arc<Pager<M>>) {
        let frames: Vec<FrameNumber> = transfer.frames.iter().map(Frame::number).collect();
        let op = match purpose {
            Purpose::Supply => BlockOp::Read,
            Purpose::Return => BlockOp::Write,
        };
        let bytes = frames.len() as u64 * PAGE_SIZE;
        let done = Done::Pages { purpose, transfer, pager };
        if let Err((code, done)) = disk.start(op, sector, &frames, bytes, done) {
            self.disk_done(Err(code), done);
        }
    }

    /// A job of the device interface.
    pub(crate) fn disk_start(&self, disk: &Disk<M>, op: BlockOp, sector: u64, frames: &[FrameNumber], bytes: u64, done: Done<M>) {
        match disk.start(op, sector, frames, bytes, done) {
            Ok(()) => self.kick(disk),
            Err((code, done)) => self.disk_done(Err(code), done),
        }
    }

    /// Gives a disk what waits for it.
    pub(crate) fn kick(&self, disk: &Disk<M>) {
        let mut finished = Vec::new();
        disk.run(&mut finished);
        for (result, done) in finished {
            self.disk_done(result, done);
        }
    }

    /// A disk's interrupt.
    pub(crate) fn disk_interrupt(&self, disk: &Disk<M>) {
        self.kick(disk);
    }

    /// Whether a disk is busy for somebody: memory may be on its way.
    pub(crate) fn transfers_pending(&self) -> bool {
        self.disks.iter().any(|disk| disk.is_busy())
    }

    fn disk_done(&self, result: Result<(), Code>, done: Done<M>) {
        match done {
            Done::Pages { purpose, transfer, pager } => self.pages_done(purpose, transfer, &pager, result),
            Done::Read { reply, id, frames, offset, bytes, inband } => {
                self.read_done(reply, id, frames, offset, bytes, inband, result);
            }
            Done::Write { reply, id, frames, bytes } => {
                frames.into_iter().for_each(|frame| self.pool.free(frame));
                self.reply_later(reply, id, Code::of(&result), |writer| abi::item::Item::put(&(bytes as i32), writer), Vec::new());
            }
            Done::Flush { reply, id } => self.reply_later(reply, id, Code::of(&result), |_| Ok(()), Vec::new()),
        }
    }

    fn pages_done(&self, purpose: Purpose, transfer: Transfer, pager: &Arc<Pager<M>>, result: Result<(), Code>) {
        let (first, pages) = (transfer.first, transfer.frames.len() as u64);
        match purpose {
            Purpose::Supply => {
                self.trace.step(self.machine, Life::Fetched, first * PAGE_SIZE);
                // Whoever waits for a page learns that its memory failed; the pager learns what the device said.
                self.with_wake(|wake| self.vm.end_supply(transfer, result.map_err(|_| Code::MEMORY_ERROR), wake));
                self.trace.step(self.machine, Life::Supplied, first * PAGE_SIZE);
            }
            Purpose::Return => {
                self.with_wake(|wake| self.vm.end_return(transfer, result, wake));
                self.wake_memory_waiters();
            }
        }
        if let Err(code) = result {
            self.tell_device_failed(pager, first, pages, code);
        }
    }
}
