//! Network interfaces: the virtio network driver as the nucleus sees it.

use super::lines::Source;
use super::resources::Resources;
use alloc::vec::Vec;
use nucleus::machine::{self, DeviceError, Segment};
use virtio::{AnyTransport, DmaAddr, InitError};
use virtio_net::{HEADER_BYTES, NetConfig, PostError, SendError};

/// The driver of one.
pub type Driver = virtio_net::Net<AnyTransport, Resources>;

/// A network interface.
pub struct Net {
    driver: Driver,
    source: Source,
    mac: [u8; 6],
    /// What the device has to receive into, by the driver's token. `None`: free.
    posted: Vec<Option<Posted>>,
    /// Indices of `posted` that are free.
    free: Vec<u16>,
}

/// A buffer that was posted.
#[derive(Clone, Copy)]
struct Posted {
    token: u64,
    address: u64,
}

impl Net {
    /// Brings an interface up.
    pub fn bring_up(transport: AnyTransport, resources: Resources) -> Result<Driver, InitError> {
        let config = NetConfig { receive_size: 256, transmit_size: 256, max_segments: 1 };
        virtio_net::Net::new(transport, &resources, config)
    }

    /// Listens to its interrupt. `device` numbers it among all devices.
    pub fn listen(driver: Driver, source: Source, device: usize) -> Self {
        let depth = driver.rx_depth();
        // A device without an address gets a local one.
        let mac = driver.mac().unwrap_or([0x02, 0, 0, 0, 0, device as u8]);
        Self { driver, source, mac, posted: alloc::vec![None; usize::from(depth)], free: (0..depth).collect() }
    }

    fn acknowledge(&mut self) {
        if !self.source.noticed() {
            return;
        }
        // The queues are looked at anyway; the link's state is nothing the nucleus asks for.
        if self.source.is_wired() {
            let _ = self.driver.acknowledge_interrupt();
            self.source.served();
        } else {
            let _ = self.driver.config_interrupt();
        }
    }

    /// A buffer that came back, with the bytes of a whole packet, or 0.
    fn take(&mut self) -> Option<(u64, u32)> {
        let posted = &self.posted;
        let done = self.driver.rx(|slot| header(posted.get(slot as usize).copied().flatten()))?;
        let buffer = self.posted.get_mut(done.token as usize)?.take()?;
        self.free.push(done.token as u16);
        let bytes = match done.result {
            Ok(part) if part.first && part.more == 0 => part.len,
            // Part of a packet that is longer than the buffers: dropped. Or the device is dead, which the next post says.
            Ok(_) | Err(_) => 0,
        };
        Some((buffer.token, bytes))
    }
}

/// The header that the device has put into a buffer.
fn header(buffer: Option<Posted>) -> [u8; HEADER_BYTES as usize] {
    const WORDS: usize = HEADER_BYTES as usize / 4;
    let mut header = [0; HEADER_BYTES as usize];
    let Some(buffer) = buffer else { return header };
    for word in 0..WORDS {
        let at = crate::layout::linear(buffer.address) as usize + word * 4;
        // SAFETY: the nucleus posted this address as a buffer of at least a header: RAM in the linear map; `post_receive` took it
        // as it is a multiple of 4. EL0 and the device may write it at any time, hence the atomic.
        let value = unsafe {
            (*core::ptr::with_exposed_provenance::<core::sync::atomic::AtomicU32>(at)).load(core::sync::atomic::Ordering::Relaxed)
        };
        header[word * 4..][..4].copy_from_slice(&value.to_ne_bytes());
    }
    header
}

impl machine::Net for Net {
    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn mtu(&self) -> u16 {
        self.driver.mtu()
    }

    fn header_bytes(&self) -> usize {
        HEADER_BYTES as usize
    }

    fn queue_slots(&self) -> (usize, usize) {
        (usize::from(self.driver.rx_depth()), usize::from(self.driver.tx_depth(1)))
    }

    /// The buffer's address must be a multiple of 4 and in RAM.
    fn post_receive(&mut self, token: u64, buffer: Segment) -> Result<(), DeviceError> {
        if !buffer.address.is_multiple_of(4) {
            return Err(DeviceError::OutOfRange);
        }
        let slot = *self.free.last().ok_or(DeviceError::Full)?;
        self.driver.post_rx(u64::from(slot), DmaAddr::new(buffer.address), buffer.length).map_err(|error| match error {
            PostError::Full => DeviceError::Full,
            PostError::TooSmall { .. } => DeviceError::OutOfRange,
            PostError::Down(_) => DeviceError::Dead,
        })?;
        self.free.pop();
        self.posted[usize::from(slot)] = Some(Posted { token, address: buffer.address });
        Ok(())
    }

    fn received(&mut self) -> Option<(u64, u32)> {
        self.acknowledge();
        self.take().or_else(|| if self.driver.rearm_rx() { self.take() } else { None })
    }

    /// The driver has headers of its own: of the buffer, what follows the header is sent.
    fn send(&mut self, token: u64, buffer: Segment) -> Result<(), DeviceError> {
        let length = buffer.length.checked_sub(HEADER_BYTES).ok_or(DeviceError::OutOfRange)?;
        let frame = virtio::Segment::new(DmaAddr::new(buffer.address + u64::from(HEADER_BYTES)), length);
        self.driver.tx(token, &[frame]).map_err(|error| match error {
            SendError::Full => DeviceError::Full,
            SendError::Down(_) => DeviceError::Dead,
            _ => DeviceError::OutOfRange,
        })
    }

    fn sent(&mut self) -> Option<u64> {
        self.acknowledge();
        let done = self.driver.tx_done().or_else(|| if self.driver.rearm_tx(1) { self.driver.tx_done() } else { None })?;
        Some(done.token)
    }

    fn kick(&mut self) {
        self.driver.kick_rx();
        self.driver.kick_tx();
    }
}
