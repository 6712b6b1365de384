//! The split virtqueue, driver side (virtio 1.3 §2.7).
//!
//! Requests are chains of buffers with a token; they are added, the device is kicked once for any number of them, and
//! tokens come back in whatever order the device finishes. Nothing is allocated after construction: indirect tables
//! are preallocated, one per descriptor. Nothing the device can write is believed: see [`Slots`].
//!
//! Both store→load handshakes carry an explicit full fence. `store(SeqCst); load(SeqCst)` alone is not enough: it is
//! STLR;LDAR, which a multi-threaded emulator on x86 reorders, and with RCpc loads so may hardware. A reordered
//! handshake is a lost kick or a lost interrupt, which shows as a hang.

use crate::{
    Buffer, Dma, DmaAddr, OutOfMemory, Region, Segment, event,
    layout::{DESCRIPTOR_BYTES, Layout},
    slots::Slots,
};
use core::sync::atomic::{Ordering, fence};
use virtio_spec::virtq::DescF;

const NEXT: u16 = DescF::NEXT.bits().to_ne();
const WRITE: u16 = DescF::WRITE.bits().to_ne();
const INDIRECT: u16 = DescF::INDIRECT.bits().to_ne();
/// `VIRTQ_AVAIL_F_NO_INTERRUPT` and `VIRTQ_USED_F_NO_NOTIFY`, used when `EVENT_IDX` was not negotiated.
const SUPPRESS: u16 = 1;

/// How a ring is to be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingConfig {
    /// Number of descriptors, a power of two up to 32768.
    pub size: u16,
    /// `VIRTIO_F_EVENT_IDX` was negotiated.
    pub event_index: bool,
    /// Buffers an indirect table holds; 0 if `VIRTIO_F_INDIRECT_DESC` was not negotiated. At most `size` are used,
    /// since a chain must not be longer than the ring.
    pub indirect_buffers: u16,
}

/// Why a chain was not added. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    #[error("the ring has no room until the device completes something")]
    Full,
    #[error("a chain of {count} buffers is more than the {max} this ring takes")]
    TooManyBuffers { count: usize, max: u16 },
    #[error("a chain needs at least one buffer")]
    Empty,
    #[error("a buffer of length zero")]
    EmptyBuffer,
    #[error("a readable buffer after a writable one")]
    Order,
    #[error("more than 4 GiB in one chain")]
    TooLong,
    #[error("the ring was given up")]
    Broken,
}

/// How the device broke the protocol. The ring is of no use afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    #[error("the device says it used {claimed} chains while it holds {held}")]
    IndexJumped { claimed: u16, held: u16 },
    #[error("the device used descriptor {id}, which does not exist")]
    BadId { id: u32 },
    #[error("the device used descriptor {id}, which does not start a chain it holds")]
    NotInFlight { id: u16 },
    #[error("the device says it wrote {claimed} bytes into {writable}")]
    LengthTooBig { claimed: u32, writable: u64 },
}

/// A chain the device is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// What [`Ring::next_slot`] said before the chain was added.
    pub slot: u16,
    /// Whose it is.
    pub token: u64,
    /// Bytes the device says it wrote; never more than the writable buffers hold.
    pub len: u32,
}

/// A split virtqueue.
#[derive(Debug)]
pub struct Ring<D: Dma> {
    memory: Region<D>,
    tables: Option<Region<D>>,
    table_buffers: u16,
    layout: Layout,
    size: u16,
    event_index: bool,
    slots: Slots,
    /// Free-running index of the next chain made available.
    available: u16,
    /// Its value when a kick was last considered.
    kicked: u16,
    /// Free-running index of the next completion to take.
    used: u16,
    broken: Option<RingError>,
    /// Chains were taken back by force: the rings no longer say who holds what.
    abandoned: bool,
}

/// What a chain needs, known before anything is written.
struct Plan {
    count: u16,
    writable_bytes: u64,
}

impl<D: Dma + Clone> Ring<D> {
    /// Allocates everything the ring will ever need. Panics if `size` is not a power of two up to 32768.
    pub fn new(dma: &D, config: RingConfig) -> Result<Self, OutOfMemory> {
        let size = config.size;
        assert!(size.is_power_of_two(), "ring size {size} is not a power of two");
        let layout = Layout::new(size);
        // One buffer never needs a table, so a table for one is no table.
        let table_buffers = Some(config.indirect_buffers.min(size)).filter(|&buffers| buffers > 1).unwrap_or(0);
        let table_bytes = usize::from(size) * usize::from(table_buffers) * DESCRIPTOR_BYTES;
        let tables = if table_bytes > 0 { Some(Region::allocate(dma.clone(), table_bytes)?) } else { None };
        Ok(Self {
            memory: Region::allocate(dma.clone(), layout.bytes())?,
            tables,
            table_buffers,
            layout,
            size,
            event_index: config.event_index,
            slots: Slots::new(size)?,
            available: 0,
            kicked: 0,
            used: 0,
            broken: None,
            abandoned: false,
        })
    }
}

impl<D: Dma> Ring<D> {
    pub fn size(&self) -> u16 {
        self.size
    }

    /// The longest chain this ring takes.
    pub fn max_buffers(&self) -> u16 {
        if self.table_buffers > 0 { self.table_buffers } else { self.size }
    }

    /// How many chains of `buffers` buffers can be in flight at once.
    pub fn depth(&self, buffers: u16) -> u16 {
        self.size / self.descriptors_for(buffers.max(1))
    }

    /// Chains the device holds.
    pub fn in_flight(&self) -> u16 {
        self.slots.in_flight()
    }

    /// Device addresses of descriptor table, available ring and used ring, in this order.
    pub fn addresses(&self) -> [DmaAddr; 3] {
        [0, self.layout.available(), self.layout.used()].map(|offset| self.memory.device_address(offset))
    }

    /// The slot the next chain will have, below `size`: an index for what the caller keeps per request in flight.
    pub fn next_slot(&self) -> Option<u16> {
        self.slots.next_head()
    }

    /// Makes a chain available to the device. Not announced until [`Ring::take_kick`] says so.
    pub fn add(&mut self, token: u64, buffers: impl Iterator<Item = Buffer> + Clone) -> Result<(), AddError> {
        if self.broken.is_some() || self.abandoned {
            return Err(AddError::Broken);
        }
        let plan = self.plan(buffers.clone())?;
        let descriptors = self.descriptors_for(plan.count);
        let head = self.slots.take(descriptors, token, plan.writable_bytes).ok_or(AddError::Full)?;
        if descriptors == plan.count {
            self.write_chain(head, plan.count, buffers);
        } else {
            self.write_table(head, plan.count, buffers);
        }
        self.memory.store_u16(self.layout.available_entry(self.available), head, Ordering::Relaxed);
        self.available = self.available.wrapping_add(1);
        // Release: the device sees chain and entry before it sees the index.
        self.memory.store_u16(self.layout.available_index(), self.available, Ordering::Release);
        Ok(())
    }

    /// Whether the device has to be notified of what was added since the last call.
    #[must_use = "a kick not given is a hang"]
    pub fn take_kick(&mut self) -> bool {
        let old = core::mem::replace(&mut self.kicked, self.available);
        if old == self.available {
            return false;
        }
        // The index store above must be visible before we look at what the device wants; it does the same the other
        // way round, so one of us sees the other.
        fence(Ordering::SeqCst);
        if self.event_index {
            let event = self.memory.load_u16(self.layout.available_event(), Ordering::Relaxed);
            event::passes(event, self.available, old)
        } else {
            self.memory.load_u16(self.layout.used_flags(), Ordering::Relaxed) & SUPPRESS == 0
        }
    }

    /// Takes the next completion, if there is one. After an error every call returns that error.
    pub fn pop(&mut self) -> Result<Option<Used>, RingError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        if self.abandoned {
            return Ok(None);
        }
        self.pop_checked().inspect_err(|&error| self.broken = Some(error))
    }

    /// Asks for an interrupt at the next completion. Returns whether there is one to take already; then the caller
    /// goes on taking and re-arms again.
    #[must_use = "completions that came before the interrupt was armed raise none"]
    pub fn rearm(&mut self) -> bool {
        self.rearm_after(1)
    }

    /// Like [`Ring::rearm`], but for an interrupt only after `count` completions (the caller has a timer for the
    /// rest). Without `EVENT_IDX` this is `rearm`. Returns whether `count` completions are there already.
    #[must_use = "completions that came before the interrupt was armed raise none"]
    pub fn rearm_after(&mut self, count: u16) -> bool {
        let count = if self.event_index { count.clamp(1, self.size) } else { 1 };
        if self.event_index {
            let event = self.used.wrapping_add(count - 1);
            self.memory.store_u16(self.layout.used_event(), event, Ordering::Relaxed);
        } else {
            self.memory.store_u16(self.layout.available_flags(), 0, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
        self.pending() >= count
    }

    /// Asks for no interrupts until re-armed. A hint: one may still come.
    pub fn disarm(&mut self) {
        if self.event_index {
            // As far ahead as an index goes.
            self.memory.store_u16(self.layout.used_event(), self.used.wrapping_sub(1), Ordering::Relaxed);
        } else {
            self.memory.store_u16(self.layout.available_flags(), SUPPRESS, Ordering::Relaxed);
        }
    }

    /// Takes a chain back from a device that was reset. Gives each chain once; the ring is of no use afterwards.
    pub fn abandon(&mut self) -> Option<u64> {
        self.abandoned = true;
        if self.slots.in_flight() == 0 {
            return None;
        }
        let head = self.slots.first_in_flight(0)?;
        self.slots.release(head).map(|chain| chain.token)
    }

    /// Keeps the memory from being given back, because the device could not be stopped.
    pub fn leak(&mut self) {
        self.memory.leak();
        if let Some(tables) = &mut self.tables {
            tables.leak();
        }
    }

    /// Lets a new ring start at any index, as if so many chains had been through it.
    #[cfg(any(test, feature = "model"))]
    pub fn start_at(&mut self, index: u16) {
        assert_eq!((self.available, self.used), (0, 0), "a ring that is in use");
        (self.available, self.kicked, self.used) = (index, index, index);
        self.memory.store_u16(self.layout.available_index(), index, Ordering::Relaxed);
        self.memory.store_u16(self.layout.used_index(), index, Ordering::Relaxed);
        self.memory.store_u16(self.layout.used_event(), index, Ordering::Relaxed);
        self.memory.store_u16(self.layout.available_event(), index, Ordering::Relaxed);
    }

    /// Checks the ring's own invariants.
    #[cfg(any(test, feature = "model"))]
    pub fn check(&self) {
        self.slots.check();
        let made_available = self.memory.load_u16(self.layout.available_index(), Ordering::Relaxed);
        assert_eq!(made_available, self.available);
        if self.broken.is_none() && !self.abandoned {
            assert_eq!(self.available.wrapping_sub(self.used), self.slots.in_flight());
        }
    }

    fn plan(&self, buffers: impl Iterator<Item = Buffer>) -> Result<Plan, AddError> {
        let (mut count, mut total_bytes, mut writable_bytes) = (0usize, 0u64, 0u64);
        for buffer in buffers {
            let bytes = u64::from(buffer.segment().len);
            match buffer {
                _ if bytes == 0 => return Err(AddError::EmptyBuffer),
                Buffer::Readable(_) if writable_bytes > 0 => return Err(AddError::Order),
                Buffer::Readable(_) => {}
                Buffer::Writable(_) => writable_bytes += bytes,
            }
            total_bytes += bytes;
            count += 1;
        }
        let max = self.max_buffers();
        match u16::try_from(count) {
            Ok(0) => Err(AddError::Empty),
            _ if total_bytes > 1 << 32 => Err(AddError::TooLong),
            Ok(count) if count <= max => Ok(Plan { count, writable_bytes }),
            _ => Err(AddError::TooManyBuffers { count, max }),
        }
    }

    fn descriptors_for(&self, buffers: u16) -> u16 {
        if self.table_buffers > 0 { 1 } else { buffers }
    }

    fn write_chain(&self, head: u16, count: u16, buffers: impl Iterator<Item = Buffer>) {
        let mut index = head;
        for (buffer, position) in buffers.zip(1..=count) {
            let next = self.slots.next(index);
            let linked = (position < count).then_some(next);
            write_descriptor(&self.memory, self.layout.descriptor(index), buffer, linked);
            index = next;
        }
    }

    fn write_table(&self, head: u16, count: u16, buffers: impl Iterator<Item = Buffer>) {
        let Some(tables) = &self.tables else { return };
        let table = usize::from(head) * usize::from(self.table_buffers) * DESCRIPTOR_BYTES;
        for (buffer, position) in buffers.zip(1..=count) {
            let offset = table + usize::from(position - 1) * DESCRIPTOR_BYTES;
            write_descriptor(tables, offset, buffer, (position < count).then_some(position));
        }
        let bytes = u32::from(count) * DESCRIPTOR_BYTES as u32;
        let segment = Segment::new(tables.device_address(table), bytes);
        write_words(&self.memory, self.layout.descriptor(head), segment, INDIRECT, 0);
    }

    fn pending(&self) -> u16 {
        // Acquire: what the device wrote before its index is visible after it.
        self.memory.load_u16(self.layout.used_index(), Ordering::Acquire).wrapping_sub(self.used)
    }

    fn pop_checked(&mut self) -> Result<Option<Used>, RingError> {
        let claimed = self.pending();
        if claimed == 0 {
            return Ok(None);
        }
        let held = self.slots.in_flight();
        if claimed > held {
            return Err(RingError::IndexJumped { claimed, held });
        }
        let entry = self.layout.used_entry(self.used);
        let id = self.memory.load_u32(entry, Ordering::Relaxed);
        let len = self.memory.load_u32(entry + 4, Ordering::Relaxed);
        let slot = u16::try_from(id).ok().filter(|&slot| slot < self.size).ok_or(RingError::BadId { id })?;
        let writable = self.slots.get(slot).ok_or(RingError::NotInFlight { id: slot })?.writable_bytes;
        if u64::from(len) > writable {
            return Err(RingError::LengthTooBig { claimed: len, writable });
        }
        let chain = self.slots.release(slot).ok_or(RingError::NotInFlight { id: slot })?;
        self.used = self.used.wrapping_add(1);
        Ok(Some(Used { slot, token: chain.token, len }))
    }
}

fn write_descriptor<D: Dma>(memory: &Region<D>, offset: usize, buffer: Buffer, next: Option<u16>) {
    let direction = if matches!(buffer, Buffer::Writable(_)) { WRITE } else { 0 };
    let linked = if next.is_some() { NEXT } else { 0 };
    write_words(memory, offset, buffer.segment(), direction | linked, next.unwrap_or(0));
}

/// A descriptor is two little-endian words: the address; and length, flags and next from the low bits up.
fn write_words<D: Dma>(memory: &Region<D>, offset: usize, segment: Segment, flags: u16, next: u16) {
    let tail = u64::from(segment.len) | u64::from(flags) << 32 | u64::from(next) << 48;
    memory.store_u64(offset, segment.addr.bits(), Ordering::Relaxed);
    memory.store_u64(offset + 8, tail, Ordering::Relaxed);
}
