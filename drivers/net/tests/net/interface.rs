//! A network interface behind the model of a virtio device, written from the specification (virtio 1.3 §5.1).

use virtio::{
    DeviceType, DmaAddr,
    model::{DeviceQueue, Memory, ModelDevice, ModelTransport},
};
use virtio_net::{HEADER_BYTES, Net, NetConfig, RxPart};

pub(crate) const MTU: u64 = 1 << 3;
pub(crate) const MAC: u64 = 1 << 5;
pub(crate) const MRG_RXBUF: u64 = 1 << 15;
pub(crate) const STATUS: u64 = 1 << 16;
pub(crate) const INDIRECT: u64 = 1 << 28;
pub(crate) const EVENT_INDEX: u64 = 1 << 29;
pub(crate) const PLAIN: u64 = MAC | STATUS | INDIRECT | EVENT_INDEX;

pub(crate) const ADDRESS: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
const LINK_UP: u16 = 1;

pub(crate) type TestNet = Net<ModelTransport, Memory>;

/// The device side, and the caller's side of the buffers.
pub(crate) struct Interface {
    pub(crate) memory: Memory,
    pub(crate) device: ModelDevice,
    pub(crate) receive: DeviceQueue,
    pub(crate) transmit: DeviceQueue,
    /// Where the buffer with each token is.
    pub(crate) posted: Vec<DmaAddr>,
}

pub(crate) fn device(memory: &Memory, features: u64, mtu: u16) -> ModelDevice {
    let mut config = ADDRESS.to_vec();
    config.extend(LINK_UP.to_le_bytes());
    config.extend(1u16.to_le_bytes());
    config.extend(mtu.to_le_bytes());
    ModelDevice::new(memory, DeviceType::Network, features, &config, &[8, 8])
}

pub(crate) fn interface(features: u64) -> (TestNet, Interface) {
    let memory = Memory::new();
    let device = device(&memory, features, 1500);
    let net = Net::new(device.transport(), &memory, NetConfig::default()).unwrap();
    let (receive, transmit) = (device.queue(0), device.queue(1));
    (net, Interface { memory, device, receive, transmit, posted: Vec::new() })
}

impl Interface {
    /// Posts a buffer whose token is its number.
    pub(crate) fn post(&mut self, net: &mut TestNet, bytes: u32) {
        let addr = self.memory.buffer(bytes as usize);
        net.post_rx(self.posted.len() as u64, addr, bytes).unwrap();
        self.posted.push(addr);
    }

    /// A frame comes in and is spread over as many buffers as it takes.
    pub(crate) fn deliver(&mut self, frame: &[u8]) {
        let mut chains = vec![self.receive.pop().expect("a posted buffer")];
        let mut room = chains[0].writable_bytes() as usize;
        while room < HEADER_BYTES as usize + frame.len() {
            let chain = self.receive.pop().expect("enough posted buffers");
            room += chain.writable_bytes() as usize;
            chains.push(chain);
        }
        let mut bytes = [0u8; HEADER_BYTES as usize].to_vec();
        bytes[10..12].copy_from_slice(&(chains.len() as u16).to_le_bytes());
        bytes.extend(frame);
        let mut rest = &bytes[..];
        for chain in &chains {
            let written = chain.write(&self.memory, rest);
            rest = &rest[written as usize..];
            self.receive.push(chain.head.into(), written);
        }
        self.device.raise();
    }

    /// Fills the next buffer with a header the test makes up and claims a length.
    pub(crate) fn deliver_raw(&mut self, buffers: u16, len: u32) {
        let chain = self.receive.pop().expect("a posted buffer");
        let mut header = [0u8; HEADER_BYTES as usize];
        header[10..12].copy_from_slice(&buffers.to_le_bytes());
        chain.write(&self.memory, &header);
        self.receive.push(chain.head.into(), len);
    }

    /// Receives one frame the way a kernel does.
    pub(crate) fn take(&self, net: &mut TestNet) -> Option<Vec<u8>> {
        let mut frame = Vec::new();
        let mut expected = None;
        loop {
            let part = self.take_part(net)?;
            let (token, RxPart { len, first, more }) = part;
            assert_eq!(first, expected.is_none());
            assert!(expected.is_none_or(|expected| expected == more));
            let bytes = self.memory.read(self.posted[token as usize], len as usize);
            frame.extend(&bytes[if first { HEADER_BYTES as usize } else { 0 }..]);
            if more == 0 {
                return Some(frame);
            }
            expected = Some(more - 1);
        }
    }

    pub(crate) fn take_part(&self, net: &mut TestNet) -> Option<(u64, RxPart)> {
        let done = net.rx(|token| self.memory.read_array(self.posted[token as usize]))?;
        Some((done.token, done.result.expect("a working device")))
    }
}
