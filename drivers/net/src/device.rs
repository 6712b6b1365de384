//! The network device: a session, two rings, and twelve bytes of header per frame in flight.

use crate::{
    DeviceError, HEADER_BYTES, NetInfo, PostError, RxDone, SendError, TxDone, config, header, receive::Receive, transmit::Transmit,
};
use virtio::{Dma, DmaAddr, Failure, InitError, Region, Ring, RingConfig, Routed, Segment, Session, Stopped};

/// The receive queue's number, for interrupt routes.
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
const QUEUES: u16 = 2;

/// How much memory to spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetConfig {
    /// Receive buffers wanted; the device's maximum and the next lower power of two are the limit.
    pub receive_size: u16,
    /// Transmit descriptors wanted.
    pub transmit_size: u16,
    /// Most segments of one frame. Each costs 16 bytes per transmit descriptor.
    pub max_segments: u16,
}

impl Default for NetConfig {
    fn default() -> Self {
        Self { receive_size: 256, transmit_size: 256, max_segments: 15 }
    }
}

/// What an interrupt was about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetNotice {
    /// There may be something to take from either queue.
    pub queues: bool,
    /// The link went up or down.
    pub link_changed: bool,
}

/// A virtio network interface.
#[derive(Debug)]
pub struct Net<T: Routed, D: Dma> {
    session: Session<T>,
    receive: Receive<D>,
    transmit: Transmit<D>,
    info: NetInfo,
}

impl<T: Routed, D: Dma + Clone> Net<T, D> {
    /// Resets the device behind `transport` and brings it up. Allocates all memory the driver will ever need, but no
    /// packet buffers.
    pub fn new(transport: T, dma: &D, config: NetConfig) -> Result<Self, InitError> {
        let mut session = Session::negotiate(transport, config::WANTED)?;
        let info = NetInfo::read(&session)?;
        let event_index = session.has(config::EVENT_INDEX);

        let receive_size = session.queue_size(RECEIVE, config.receive_size, 1)?;
        let receive_config = RingConfig { size: receive_size, event_index, indirect_buffers: 0 };
        let mergeable = session.has(config::MERGEABLE);
        let receive = Receive::new(Ring::new(dma, receive_config)?, mergeable, info.whole_frame_bytes());

        let transmit_size = session.queue_size(TRANSMIT, config.transmit_size, 2)?;
        let indirect = session.has(config::INDIRECT);
        let indirect_buffers = if indirect { config.max_segments.max(1).saturating_add(1) } else { 0 };
        let ring = Ring::new(dma, RingConfig { size: transmit_size, event_index, indirect_buffers })?;
        let headers = Region::allocate(dma.clone(), usize::from(transmit_size) * header::SLOT_BYTES)?;
        let transmit = Transmit::new(ring, headers, info.max_frame_bytes());

        session.route_interrupts(QUEUES)?;
        session.install(RECEIVE, &receive.ring)?;
        session.install(TRANSMIT, &transmit.ring)?;
        session.start();
        Ok(Self { session, receive, transmit, info })
    }
}

impl<T: Routed, D: Dma> Net<T, D> {
    /// Gives the device a buffer to receive into; [`Net::kick_rx`] announces it. It must hold
    /// [`Net::min_rx_bytes`], and belongs to the device until it comes back from [`Net::rx`].
    pub fn post_rx(&mut self, token: u64, addr: DmaAddr, len: u32) -> Result<(), PostError> {
        match self.session.stopped() {
            Some(stopped) => Err(PostError::Down(stopped)),
            None => self.receive.post(token, Segment::new(addr, len)),
        }
    }

    /// Takes one receive buffer that the device filled. `read_header` is called at most once, with the token of the
    /// buffer that is being taken, and returns that buffer's first [`HEADER_BYTES`] bytes; it is called only if
    /// buffers are merged. Once the device is down, gives every posted buffer back as lost.
    pub fn rx(&mut self, read_header: impl FnOnce(u64) -> [u8; HEADER_BYTES as usize]) -> Option<RxDone> {
        match self.receive.take(read_header) {
            Ok(Some((token, Ok(part)))) => return Some(RxDone { token, result: Ok(part) }),
            Ok(Some((token, Err(failure)))) => {
                let stopped = self.session.stop(failure);
                return Some(RxDone { token, result: Err(DeviceError::Lost(stopped)) });
            }
            Ok(None) => {}
            Err(error) => {
                self.session.stop(Failure::Protocol(error));
            }
        }
        let stopped = self.session.stopped()?;
        let token = self.receive.ring.abandon()?;
        Some(RxDone { token, result: Err(DeviceError::Lost(stopped)) })
    }

    /// Hands a frame, from its Ethernet header on, to the device; [`Net::kick_tx`] announces it. The device owns the
    /// segments until the token comes back from [`Net::tx_done`].
    pub fn tx(&mut self, token: u64, segments: &[Segment]) -> Result<(), SendError> {
        match self.session.stopped() {
            Some(stopped) => Err(SendError::Down(stopped)),
            None => self.transmit.send(token, segments),
        }
    }

    /// Takes one frame the device is done with. Once the device is down, gives every frame back as lost.
    pub fn tx_done(&mut self) -> Option<TxDone> {
        match self.transmit.ring.pop() {
            Ok(Some(used)) => return Some(TxDone { token: used.token, result: Ok(()) }),
            Ok(None) => {}
            Err(error) => {
                self.session.stop(Failure::Protocol(error));
            }
        }
        let stopped = self.session.stopped()?;
        let token = self.transmit.ring.abandon()?;
        Some(TxDone { token, result: Err(DeviceError::Lost(stopped)) })
    }

    /// Announces all buffers posted since the last call, with at most one notification.
    pub fn kick_rx(&mut self) {
        if self.receive.ring.take_kick() {
            self.session.notify(RECEIVE);
        }
    }

    /// Announces all frames handed over since the last call, with at most one notification.
    pub fn kick_tx(&mut self) {
        if self.transmit.ring.take_kick() {
            self.session.notify(TRANSMIT);
        }
    }

    /// Asks for an interrupt when a buffer is filled. `true` means that there is one to take now.
    #[must_use = "buffers filled before the interrupt was armed raise none"]
    pub fn rearm_rx(&mut self) -> bool {
        match self.session.stopped() {
            Some(_) => self.receive.ring.in_flight() > 0,
            None => self.receive.ring.rearm(),
        }
    }

    /// Asks for an interrupt after `frames` frames were sent. `true` means that so many are there to take now. A
    /// caller that takes sent frames whenever it sends more asks for one only when it runs out of memory for them.
    #[must_use = "frames sent before the interrupt was armed raise none"]
    pub fn rearm_tx(&mut self, frames: u16) -> bool {
        match self.session.stopped() {
            Some(_) => self.transmit.ring.in_flight() > 0,
            None => self.transmit.ring.rearm_after(frames),
        }
    }

    /// Asks for no interrupts for received frames until re-armed: for a caller that polls.
    pub fn disarm_rx(&mut self) {
        self.receive.ring.disarm();
    }

    /// Asks for no interrupts for sent frames until re-armed.
    pub fn disarm_tx(&mut self) {
        self.transmit.ring.disarm();
    }

    /// For the interrupt of virtio-mmio or an INTx line: acknowledges it and says what it was about. A line may be
    /// shared, so it may have been about nothing.
    pub fn acknowledge_interrupt(&mut self) -> NetNotice {
        let notice = self.session.acknowledge();
        let config = if notice.config { self.config_interrupt() } else { NetNotice::default() };
        NetNotice { queues: notice.queue || config.queues, link_changed: config.link_changed }
    }

    /// For the MSI-X vector of configuration changes: looks whether the device asks for a reset (then all buffers
    /// are lost) or the link changed.
    pub fn config_interrupt(&mut self) -> NetNotice {
        if self.session.needs_reset() {
            self.session.stop(Failure::NeedsReset);
            return NetNotice { queues: true, link_changed: false };
        }
        if self.session.stopped().is_some() {
            return NetNotice::default();
        }
        // A configuration that cannot be read leaves the link as it was known.
        NetNotice { queues: false, link_changed: self.info.refresh(&self.session).unwrap_or(false) }
    }

    /// Gives the device up: resets it, and all buffers are lost.
    pub fn give_up(&mut self) -> Stopped {
        self.session.stop(Failure::GivenUp)
    }

    /// Why the device is down, if it is.
    pub fn stopped(&self) -> Option<Stopped> {
        self.session.stopped()
    }

    /// Everything known about the interface.
    pub fn info(&self) -> &NetInfo {
        &self.info
    }

    /// The device's address, if it was given one.
    pub fn mac(&self) -> Option<[u8; 6]> {
        self.info.mac
    }

    /// Most bytes of a frame after its Ethernet header.
    pub fn mtu(&self) -> u16 {
        self.info.mtu
    }

    pub fn link_up(&self) -> bool {
        self.info.link_up
    }

    /// A frame may be spread over several receive buffers (`VIRTIO_NET_F_MRG_RXBUF`).
    pub fn mergeable(&self) -> bool {
        self.session.has(config::MERGEABLE)
    }

    /// The smallest buffer [`Net::post_rx`] takes.
    pub fn min_rx_bytes(&self) -> u32 {
        self.receive.min_bytes()
    }

    /// How many receive buffers fit.
    pub fn rx_depth(&self) -> u16 {
        self.receive.ring.size()
    }

    /// Receive buffers the device has.
    pub fn rx_posted(&self) -> u16 {
        self.receive.ring.in_flight()
    }

    /// How many frames of `segments` segments fit.
    pub fn tx_depth(&self, segments: u16) -> u16 {
        self.transmit.ring.depth(segments.min(self.max_segments()).saturating_add(1))
    }

    /// Frames the device has.
    pub fn tx_in_flight(&self) -> u16 {
        self.transmit.ring.in_flight()
    }

    /// Most segments of one frame.
    pub fn max_segments(&self) -> u16 {
        self.transmit.max_segments()
    }

    /// The negotiated feature bits.
    pub fn features(&self) -> u64 {
        self.session.features()
    }

    /// The transport, for what only it knows (an MSI-X table).
    pub fn transport_mut(&mut self) -> &mut T {
        self.session.transport_mut()
    }
}

impl<T: Routed, D: Dma> Drop for Net<T, D> {
    /// The device is stopped before its memory is given back; if it does not stop, the memory is not.
    fn drop(&mut self) {
        if !self.session.stop(Failure::GivenUp).quiesced {
            self.receive.ring.leak();
            self.transmit.ring.leak();
            self.transmit.headers.leak();
        }
    }
}
