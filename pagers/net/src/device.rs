//! The packet ring as smoltcp's device.

use alloc::vec::Vec;

use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

use crate::ring::{Ring, RingMemory};

/// The device. A packet is copied once between the ring and here, so that what smoltcp reads can't change under its hands.
#[derive(Debug)]
pub struct PacketDevice<M> {
    ring: Ring<M>,
    received: Vec<u8>,
    sending: Vec<u8>,
    /// A packet found no slot.
    is_short: bool,
}

impl<M: RingMemory> PacketDevice<M> {
    /// With buffers for the ring's largest packet.
    #[must_use]
    pub fn new(ring: Ring<M>) -> Self {
        let size = ring.shape().packet_max as usize;
        Self { ring, received: alloc::vec![0; size], sending: alloc::vec![0; size], is_short: false }
    }

    /// The ring.
    pub const fn ring(&self) -> &Ring<M> {
        &self.ring
    }

    /// Whether the kernel has to be told of what was done.
    pub fn take_kick(&mut self) -> bool {
        self.ring.take_kick()
    }

    /// Asks for a message when there is something to do. False if there is already.
    pub fn sleep(&mut self) -> bool {
        self.ring.sleep(core::mem::take(&mut self.is_short))
    }
}

/// A packet that came.
#[derive(Debug)]
pub struct RxToken<'a>(&'a [u8]);

/// A slot to be filled.
#[derive(Debug)]
pub struct TxToken<'a, M> {
    ring: &'a mut Ring<M>,
    sending: &'a mut [u8],
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl<M: RingMemory> phy::TxToken for TxToken<'_, M> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        // smoltcp asks for no more than the device's capabilities allow.
        let length = length.min(self.sending.len());
        let packet = &mut self.sending[..length];
        let result = f(packet);
        // There is a slot, or there would be no token.
        self.ring.send(packet);
        result
    }
}

impl<M: RingMemory> Device for PacketDevice<M> {
    type RxToken<'a>
        = RxToken<'a>
    where
        M: 'a;
    type TxToken<'a>
        = TxToken<'a, M>
    where
        M: 'a;

    fn receive(&mut self, _: Instant) -> Option<(RxToken<'_>, TxToken<'_, M>)> {
        if !self.ring.can_send() {
            self.is_short = true;
            return None;
        }
        let length = self.ring.receive(&mut self.received)?;
        let Self { ring, received, sending, .. } = self;
        Some((RxToken(&received[..length]), TxToken { ring, sending }))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_, M>> {
        if !self.ring.can_send() {
            self.is_short = true;
            return None;
        }
        let Self { ring, sending, .. } = self;
        Some(TxToken { ring, sending })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.ring.shape().packet_max as usize;
        capabilities
    }
}
