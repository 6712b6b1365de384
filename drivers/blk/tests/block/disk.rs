//! A disk of a few sectors behind the model of a virtio device, written from the specification (virtio 1.3 §5.2).

use virtio::{
    DeviceType,
    model::{Chain, DeviceQueue, Memory, ModelDevice, ModelTransport},
};
use virtio_blk::{Block, BlockConfig};

pub(crate) const SIZE_MAX: u64 = 1 << 1;
pub(crate) const SEG_MAX: u64 = 1 << 2;
pub(crate) const RO: u64 = 1 << 5;
pub(crate) const BLK_SIZE: u64 = 1 << 6;
pub(crate) const FLUSH: u64 = 1 << 9;
pub(crate) const CONFIG_WCE: u64 = 1 << 11;
pub(crate) const DISCARD: u64 = 1 << 13;
pub(crate) const WRITE_ZEROES: u64 = 1 << 14;
pub(crate) const INDIRECT: u64 = 1 << 28;
pub(crate) const EVENT_INDEX: u64 = 1 << 29;

pub(crate) const ALL: u64 = SEG_MAX | BLK_SIZE | FLUSH | CONFIG_WCE | DISCARD | WRITE_ZEROES | INDIRECT | EVENT_INDEX;
pub(crate) const SECTORS: u64 = 64;
/// What discarded sectors read as: this disk loses their contents.
pub(crate) const DISCARDED: u8 = 0xdd;

/// The configuration space, as the device fills it in.
pub(crate) struct Config {
    pub(crate) size_max: u32,
    pub(crate) seg_max: u32,
    pub(crate) block_bytes: u32,
    pub(crate) writeback: u8,
    pub(crate) max_discard: u32,
    pub(crate) max_write_zeroes: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { size_max: 0, seg_max: 6, block_bytes: 512, writeback: 1, max_discard: 16, max_write_zeroes: 8 }
    }
}

impl Config {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 60];
        let mut put = |offset: usize, field: &[u8]| bytes[offset..offset + field.len()].copy_from_slice(field);
        put(0, &SECTORS.to_le_bytes());
        put(8, &self.size_max.to_le_bytes());
        put(12, &self.seg_max.to_le_bytes());
        put(20, &self.block_bytes.to_le_bytes());
        put(32, &[self.writeback]);
        put(36, &self.max_discard.to_le_bytes());
        put(40, &1u32.to_le_bytes());
        put(48, &self.max_write_zeroes.to_le_bytes());
        put(52, &1u32.to_le_bytes());
        put(56, &[1]);
        bytes
    }
}

pub(crate) type TestBlock = Block<ModelTransport, Memory>;

/// The device side.
pub(crate) struct Disk {
    pub(crate) memory: Memory,
    pub(crate) device: ModelDevice,
    pub(crate) queue: DeviceQueue,
    pub(crate) contents: Vec<u8>,
    pub(crate) flushes: u32,
    /// Write-zeroes requests that allowed unmapping.
    pub(crate) unmapped: u32,
    /// Requests taken and not completed.
    pub(crate) held: Vec<Chain>,
}

pub(crate) fn device(memory: &Memory, features: u64, config: &Config, queue_max: u32) -> ModelDevice {
    ModelDevice::new(memory, DeviceType::Block, features, &config.bytes(), &[queue_max])
}

pub(crate) fn disk(features: u64, config: &Config, queue_max: u32) -> (TestBlock, Disk) {
    let memory = Memory::new();
    let device = device(&memory, features, config, queue_max);
    let block = Block::new(device.transport(), &memory, BlockConfig::default()).unwrap();
    let queue = device.queue(0);
    let contents = (0..SECTORS * 512).map(|index| (index / 512) as u8 ^ index as u8).collect();
    (block, Disk { memory, device, queue, contents, flushes: 0, unmapped: 0, held: Vec::new() })
}

impl Disk {
    /// Takes all requests that are there.
    pub(crate) fn take(&mut self) -> usize {
        let before = self.held.len();
        while let Some(chain) = self.queue.pop() {
            self.held.push(chain);
        }
        _ = self.queue.want_kick();
        self.held.len() - before
    }

    /// Carries out and completes one of the requests taken.
    pub(crate) fn complete(&mut self, which: usize) {
        let chain = self.held.swap_remove(which);
        let (status, data_bytes) = match self.execute(&chain) {
            Ok(bytes) => (0, bytes),
            Err(status) => (status, 0),
        };
        self.finish(&chain, status, data_bytes);
    }

    /// Completes one of the requests taken with any status.
    pub(crate) fn complete_with(&mut self, which: usize, status: u8) {
        let chain = self.held.swap_remove(which);
        self.finish(&chain, status, 0);
    }

    pub(crate) fn run(&mut self) {
        self.take();
        while !self.held.is_empty() {
            self.complete(0);
        }
    }

    fn finish(&mut self, chain: &Chain, status: u8, data_bytes: u32) {
        let last = chain.writable.last().expect("a status byte");
        assert_eq!(last.len, 1, "the status is a byte of its own");
        self.memory.write(last.addr, &[status]);
        self.queue.push(chain.head.into(), data_bytes + 1);
        self.device.raise();
    }

    fn execute(&mut self, chain: &Chain) -> Result<u32, u8> {
        let told = chain.read(&self.memory);
        let kind = u32::from_le_bytes(told[0..4].try_into().unwrap());
        assert_eq!(told[4..8], [0; 4], "reserved");
        let sector = u64::from_le_bytes(told[8..16].try_into().unwrap());
        let data = &told[16..];
        let room = (chain.writable_bytes() - 1) as usize;
        let start = sector as usize * 512;
        match kind {
            0 => {
                let bytes = self.contents.get(start..start + room).ok_or(1)?;
                assert_eq!(chain.write(&self.memory, bytes) as usize, room);
                Ok(room as u32)
            }
            1 => {
                let target = self.contents.get_mut(start..start + data.len()).ok_or(1)?;
                target.copy_from_slice(data);
                Ok(0)
            }
            4 => {
                assert_eq!((sector, data.len(), room), (0, 0, 0));
                self.flushes += 1;
                Ok(0)
            }
            11 | 13 => self.execute_range(kind, data),
            _ => Err(2),
        }
    }

    fn execute_range(&mut self, kind: u32, range: &[u8]) -> Result<u32, u8> {
        assert_eq!(range.len(), 16, "one range");
        let sector = u64::from_le_bytes(range[0..8].try_into().unwrap()) as usize;
        let sectors = u32::from_le_bytes(range[8..12].try_into().unwrap()) as usize;
        let flags = u32::from_le_bytes(range[12..16].try_into().unwrap());
        assert!(flags == 0 || (kind == 13 && flags == 1), "only write-zeroes has a flag");
        self.unmapped += flags;
        let fill = if kind == 11 { DISCARDED } else { 0 };
        self.contents.get_mut(sector * 512..(sector + sectors) * 512).ok_or(1)?.fill(fill);
        Ok(0)
    }
}
