//! The block device: a session, one ring, and sixty-four bytes per request in flight.

use crate::{
    DeviceError, Limits, Op, SubmitError, limits,
    request::{self, Request, SLOT_BYTES},
};
use virtio::{AddError, Dma, Failure, InitError, Region, Ring, RingConfig, Routed, Segment, Session, Stopped};

const QUEUE: u16 = 0;
/// Header and status of a request are buffers too.
const OVERHEAD: u16 = 2;

/// How much memory to spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockConfig {
    /// Descriptors wanted; the device's maximum and the next lower power of two are the limit.
    pub queue_size: u16,
    /// Most segments of one request; the device may take fewer. Each costs 16 bytes per descriptor.
    pub max_segments: u16,
}

impl Default for BlockConfig {
    fn default() -> Self {
        Self { queue_size: 256, max_segments: 126 }
    }
}

/// A request the device is done with, or that was lost with the device. Each accepted request completes once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    pub token: u64,
    pub result: Result<(), DeviceError>,
}

/// What an interrupt was about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockNotice {
    /// There may be something to reap.
    pub completions: bool,
    /// The disk has another size now.
    pub capacity_changed: bool,
}

/// A virtio disk.
#[derive(Debug)]
pub struct Block<T: Routed, D: Dma> {
    session: Session<T>,
    ring: Ring<D>,
    /// Header, range and status of each slot.
    requests: Region<D>,
    limits: Limits,
}

impl<T: Routed, D: Dma + Clone> Block<T, D> {
    /// Resets the device behind `transport` and brings it up. Allocates all memory the driver will ever need.
    pub fn new(transport: T, dma: &D, config: BlockConfig) -> Result<Self, InitError> {
        let mut session = Session::negotiate(transport, limits::WANTED)?;
        let mut limits = Limits::read(&session)?;
        let size = session.queue_size(QUEUE, config.queue_size, 1 + OVERHEAD)?;
        let buffers = limits.max_segments.min(config.max_segments.max(1)).saturating_add(OVERHEAD).min(size);
        limits.max_segments = buffers - OVERHEAD;
        let ring_config = RingConfig {
            size,
            event_index: session.has(limits::EVENT_INDEX),
            indirect_buffers: if session.has(limits::INDIRECT) { buffers } else { 0 },
        };
        let ring = Ring::new(dma, ring_config)?;
        let requests = Region::allocate(dma.clone(), usize::from(size) * SLOT_BYTES)?;
        session.route_interrupts(QUEUE + 1)?;
        session.install(QUEUE, &ring)?;
        session.start();
        Ok(Self { session, ring, requests, limits })
    }
}

impl<T: Routed, D: Dma> Block<T, D> {
    /// Hands a request to the device; [`Block::kick`] announces it. The device owns the segments until the request
    /// with this token is reaped. On an error nothing was submitted.
    pub fn submit(&mut self, token: u64, op: Op, sector: u64, segments: &[Segment]) -> Result<(), SubmitError> {
        if let Some(stopped) = self.session.stopped() {
            return Err(SubmitError::Down(stopped));
        }
        let request = Request::check(&self.limits, op, sector, segments)?;
        let slot = self.ring.next_slot().ok_or(SubmitError::Full)?;
        let buffers = request.write(&self.requests, slot, segments);
        self.ring.add(token, buffers).map_err(|error| self.explain(error, segments.len()))
    }

    /// Announces everything submitted since the last kick, with at most one notification.
    pub fn kick(&mut self) {
        if self.ring.take_kick() {
            self.session.notify(QUEUE);
        }
    }

    /// Takes one completion. Once the device is down, gives every request that was in flight back as lost.
    pub fn reap(&mut self) -> Option<Completion> {
        match self.ring.pop() {
            Ok(Some(used)) => {
                let result = request::status(&self.requests, used.slot);
                return Some(Completion { token: used.token, result });
            }
            Ok(None) => {}
            Err(error) => {
                self.session.stop(Failure::Protocol(error));
            }
        }
        let stopped = self.session.stopped()?;
        let token = self.ring.abandon()?;
        Some(Completion { token, result: Err(DeviceError::Lost(stopped)) })
    }

    /// Asks for an interrupt at the next completion. `true` means that there is something to reap now.
    #[must_use = "completions that came before the interrupt was armed raise none"]
    pub fn rearm(&mut self) -> bool {
        self.rearm_after(1)
    }

    /// Asks for an interrupt after `count` completions; the caller has a timer for the rest. `true` means that so
    /// many are there to reap now.
    #[must_use = "completions that came before the interrupt was armed raise none"]
    pub fn rearm_after(&mut self, count: u16) -> bool {
        match self.session.stopped() {
            Some(_) => self.ring.in_flight() > 0,
            None => self.ring.rearm_after(count),
        }
    }

    /// Asks for no interrupts until re-armed: for a caller that polls.
    pub fn disarm(&mut self) {
        self.ring.disarm();
    }

    /// For the interrupt of virtio-mmio or an INTx line: acknowledges it and says what it was about. A line may be
    /// shared, so it may have been about nothing.
    pub fn acknowledge_interrupt(&mut self) -> BlockNotice {
        let notice = self.session.acknowledge();
        let mut outcome = BlockNotice { completions: notice.queue, capacity_changed: false };
        if notice.config {
            let config = self.config_interrupt();
            outcome.completions |= config.completions;
            outcome.capacity_changed = config.capacity_changed;
        }
        outcome
    }

    /// For the MSI-X vector of configuration changes, and for a caller that wonders why nothing completes: looks
    /// whether the device asks for a reset (then all requests in flight are lost) or has changed its size.
    pub fn config_interrupt(&mut self) -> BlockNotice {
        if self.session.needs_reset() {
            self.session.stop(Failure::NeedsReset);
            return BlockNotice { completions: true, capacity_changed: false };
        }
        if self.session.stopped().is_some() {
            return BlockNotice::default();
        }
        // A configuration that cannot be read leaves the size as it was known.
        let capacity_changed = self.limits.refresh(&self.session).unwrap_or(false);
        BlockNotice { completions: false, capacity_changed }
    }

    /// Gives the device up (it does not answer): resets it, and all requests in flight are lost.
    pub fn give_up(&mut self) -> Stopped {
        self.session.stop(Failure::GivenUp)
    }

    /// Why the device is down, if it is.
    pub fn stopped(&self) -> Option<Stopped> {
        self.session.stopped()
    }

    /// Size in sectors of 512 bytes.
    pub fn capacity_sectors(&self) -> u64 {
        self.limits.capacity_sectors
    }

    /// Most segments of one read or write.
    pub fn max_segments(&self) -> u16 {
        self.limits.max_segments
    }

    /// Everything known about the disk.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many requests of `segments` segments can be in flight at once.
    pub fn queue_depth(&self, segments: u16) -> u16 {
        self.ring.depth(segments.min(self.limits.max_segments).saturating_add(OVERHEAD))
    }

    /// Requests the device holds, or that are lost and not reaped yet.
    pub fn in_flight(&self) -> u16 {
        self.ring.in_flight()
    }

    /// The negotiated feature bits.
    pub fn features(&self) -> u64 {
        self.session.features()
    }

    /// The transport, for what only it knows (an MSI-X table).
    pub fn transport_mut(&mut self) -> &mut T {
        self.session.transport_mut()
    }

    fn explain(&self, error: AddError, count: usize) -> SubmitError {
        match error {
            AddError::Full => SubmitError::Full,
            // Cannot happen: `Request::check` allows only what the ring takes.
            _ => SubmitError::TooManySegments { count, max: self.limits.max_segments },
        }
    }
}

impl<T: Routed, D: Dma> Drop for Block<T, D> {
    /// The device is stopped before its memory is given back; if it does not stop, the memory is not.
    fn drop(&mut self) {
        if !self.session.stop(Failure::GivenUp).quiesced {
            self.ring.leak();
            self.requests.leak();
        }
    }
}
