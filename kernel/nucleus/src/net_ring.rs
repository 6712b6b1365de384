//! The packet ring of a network device: `abi::ring`'s other side.
//!
//! The first `device_map` takes the frames (`net_ring/memory.rs`); from then on the device's interrupts and the pager's kicks do the same thing,
//! [`Open::serve`]: take what the device is done with, show it to the pager, and give the device what the pager has left. All that
//! is relied on is in the shadows (`net_ring/shadow.rs`); what EL0 writes is checked against them and else ignored.
//!
//! One lock. It is not held while a message is sent.

mod memory;
mod shadow;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};
use spin::{Mutex, Once};

use abi::{Code, ring};
use frames::Pool;
use ipc::{How, RightKind, Sent};
use vm::{NoMemory, Object};

use crate::kernel::Kernel;
use crate::kobject::{Effects, Message, Object as KernelObject, Port, Right};
use crate::machine::{DeviceError, Machine, Net};
use crate::thread::Delivery;
use memory::{Facts, Memory};

/// An Ethernet header: the least that is sent.
const ETHERNET_HEADER: u32 = 14;
/// Machines with as much memory have rings of many slots.
const LARGE_MACHINE: usize = 48 << 20;
const SLOTS_LARGE: u32 = 128;
const SLOTS_SMALL: u32 = 64;

/// A network device.
pub(crate) struct NetRing<M: Machine> {
    /// It is `eth{index}`.
    index: usize,
    mac: [u8; 6],
    mtu: u16,
    port: Once<Port<M>>,
    state: Mutex<State<M>>,
}

struct State<M: Machine> {
    device: M::Net,
    /// Gets the news.
    notify: Right<M>,
    ring: Option<Open>,
}

/// A ring that has been mapped once: from then on the device has buffers.
struct Open {
    memory: Memory,
    /// As it is given out; all who have it can see the packets.
    object: Arc<Object>,
    receive: shadow::Receive,
    send: shadow::Send,
    /// What `RX_LENGTH` says.
    lengths: Vec<u32>,
    packet_max: u32,
    packet_offset: u32,
    /// Somebody has the device open: packets are shown.
    is_in_use: bool,
    health: Health,
}

/// What there is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct News {
    received: bool,
    sent: bool,
}

impl News {
    const fn any(self) -> bool {
        self.received || self.sent
    }

    /// Whether a pager that wrote this word waits for it.
    const fn is_wanted(self, word: u32) -> bool {
        match word {
            ring::WANTS_ALL => self.any(),
            ring::WANTS_RECEIVED => self.received,
            _ => false,
        }
    }
}

/// Whether the device works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Works,
    /// It doesn't, and nobody was told yet.
    Died,
    Told,
}

impl<M: Machine> NetRing<M> {
    pub(crate) fn new(index: usize, device: M::Net) -> Self {
        let (mac, mtu) = (device.mac(), device.mtu());
        Self { index, mac, mtu, port: Once::new(), state: Mutex::new(State { device, notify: Right::null(), ring: None }) }
    }

    /// The hardware address.
    pub(crate) const fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// The largest packet without its Ethernet header.
    pub(crate) const fn mtu(&self) -> u16 {
        self.mtu
    }
}

impl<M: Machine> Kernel<M> {
    /// device_open: its port, always the same, so that the last send right to it is the last user's.
    pub(crate) fn ring_port(&self, ring: &Arc<NetRing<M>>) -> Result<Port<M>, Code> {
        if let Some(port) = ring.port.get() {
            return Ok(Arc::clone(port));
        }
        let port = ipc::Port::new_kernel(KernelObject::Net(Arc::clone(ring)))?;
        Ok(Arc::clone(ring.port.call_once(|| port)))
    }

    /// device_map: the ring's memory. Whoever maps it first after the device was closed begins anew; D_ALREADY_OPEN while those before still have it.
    pub(crate) fn ring_map(&self, ring: &Arc<NetRing<M>>) -> Result<Arc<Object>, Code> {
        let mut state = ring.state.lock();
        let State { device, ring: place, .. } = &mut *state;
        let open = match place {
            Some(open) if open.is_in_use => return Ok(Arc::clone(&open.object)),
            Some(open) if Arc::strong_count(&open.object) > 1 => return Err(Code::D_ALREADY_OPEN),
            Some(open) => open,
            None => place.insert(Open::new(self.pool, self.vm.core(), device)?),
        };
        open.begin(ring.mac);
        // Nobody waits for news yet.
        open.serve(device);
        Ok(Arc::clone(&open.object))
    }

    /// The device's interrupt.
    pub(crate) fn ring_interrupt(&self, ring: &Arc<NetRing<M>>) {
        let (news, died) = {
            let mut state = ring.state.lock();
            (state.serve(), state.ring.as_mut().is_some_and(Open::has_died))
        };
        if died {
            self.print(format_args!("pvmach: eth{}: the device has stopped working\n", ring.index));
        }
        self.tell(ring, news);
    }

    /// device_ring_kick.
    pub(crate) fn ring_kick(&self, ring: &Arc<NetRing<M>>) {
        self.ring_interrupt(ring);
    }

    /// device_ring_notify: who gets the news.
    pub(crate) fn ring_notify(&self, ring: &Arc<NetRing<M>>, right: Right<M>) {
        let old = core::mem::replace(&mut ring.state.lock().notify, right);
        let mut effects = Effects::new();
        old.destroy(&mut effects);
        self.work_off(effects);
    }

    /// Nobody has the device open any more. Its frames stay: the device may write into them.
    pub(crate) fn ring_closed(&self, ring: &Arc<NetRing<M>>) {
        if let Some(open) = &mut ring.state.lock().ring {
            open.is_in_use = false;
        }
        self.ring_notify(ring, Right::null());
        self.ring_interrupt(ring);
    }

    /// Sends the news, to whoever waited for them.
    fn tell(&self, ring: &NetRing<M>, news: Option<Right<M>>) {
        let Some(right) = news else { return };
        let mut effects = Effects::new();
        let sent = Message::build(right, None, ring::NEWS_ID, Vec::new(), &mut effects, |_| Ok(()));
        // A queue that is full is news enough, and without its limit a pager that doesn't receive would fill the kernel's memory.
        let is_told = match sent.map(|message| ipc::send(message, How::Normal(None), &mut effects)) {
            Ok(Sent::Deliver { waiter, message }) => {
                self.deliver(&waiter, Delivery::Message(message));
                true
            }
            Ok(Sent::Queued) => true,
            Ok(Sent::Kernel { message, .. }) => {
                message.consume(&mut effects);
                true
            }
            Ok(Sent::Full { message, .. } | Sent::Dead(message)) => {
                message.destroy(&mut effects);
                true
            }
            Ok(Sent::NoMemory(message)) => {
                message.destroy(&mut effects);
                false
            }
            Err(_) => false,
        };
        if !is_told && let Some(open) = &ring.state.lock().ring {
            // There was no memory: at the next packet, then.
            open.memory.publish(ring::RX_WANTED, ring::WANTS_ALL);
        }
        self.work_off(effects);
    }
}

impl<M: Machine> State<M> {
    /// Moves packets. Gives the right to send the news to, if there are any and they are waited for.
    fn serve(&mut self) -> Option<Right<M>> {
        let Some(open) = &mut self.ring else {
            // It has no buffers; asking acknowledges its interrupt.
            let _ = (self.device.received(), self.device.sent());
            return None;
        };
        let news = open.serve(&mut self.device);
        if !news.any() || !open.is_in_use || self.notify.kind() != RightKind::Send {
            return None;
        }
        // The pager wrote RX_WANTED and then looked at the indices; here it is the other way round: one of the two sees the other's.
        fence(Ordering::SeqCst);
        if !news.is_wanted(open.memory.read(ring::RX_WANTED)) {
            return None;
        }
        open.memory.publish(ring::RX_WANTED, 0);
        Some(self.notify.copy_send())
    }
}

impl Open {
    fn new(pool: &'static Pool, core: &'static vm::Core, device: &impl Net) -> Result<Self, Code> {
        let is_large = pool.total() * frames::PAGE_SIZE >= LARGE_MACHINE;
        let wanted = if is_large { SLOTS_LARGE } else { SLOTS_SMALL };
        let (rx_queue, tx_queue) = device.queue_slots();
        let (rx_slots, tx_slots) = (shadow::slots(wanted, rx_queue), shadow::slots(wanted, tx_queue));
        // The device's header begins the page, which no device finds misaligned; the packet follows it.
        let packet_offset = u32::try_from(device.header_bytes()).map_err(|_| Code::D_DEVICE_DOWN)?;
        let room = (frames::PAGE_SIZE as u32).saturating_sub(packet_offset);
        let packet_max = (u32::from(device.mtu()) + ETHERNET_HEADER).min(room);
        if rx_slots == 0 || tx_slots == 0 || packet_max < ETHERNET_HEADER {
            return Err(Code::D_DEVICE_DOWN);
        }
        let no_memory = |NoMemory| Code::D_NO_MEMORY;
        let receive = shadow::Receive::new(rx_slots).map_err(no_memory)?;
        let send = shadow::Send::new(tx_slots).map_err(no_memory)?;
        let mut lengths = Vec::new();
        lengths.try_reserve_exact(rx_slots as usize).map_err(|_| Code::D_NO_MEMORY)?;
        lengths.resize(rx_slots as usize, 0);
        let memory = Memory::new(pool, rx_slots, tx_slots).ok_or(Code::D_NO_MEMORY)?;
        let object = memory.object(core);
        Ok(Self { memory, object, receive, send, lengths, packet_max, packet_offset, is_in_use: false, health: Health::Works })
    }

    /// For a new user. The device has buffers of the last one's, and their order can't change: the indices go on from where they are.
    fn begin(&mut self, mac: [u8; 6]) {
        self.receive.discard();
        self.lengths.fill(0);
        self.memory.begin(&Facts {
            rx_slots: self.lengths.len() as u32,
            tx_slots: self.send.slots(),
            packet_max: self.packet_max,
            packet_offset: self.packet_offset,
            mac,
        });
        self.memory.publish(ring::RX_PRODUCED, self.receive.produced());
        self.memory.publish(ring::RX_CONSUMED, self.receive.consumed());
        self.memory.publish(ring::TX_PRODUCED, self.send.taken());
        self.memory.publish(ring::TX_CONSUMED, self.send.consumed());
        self.is_in_use = true;
    }

    /// Moves packets. Says which of the kernel's indices went on.
    fn serve(&mut self, device: &mut impl Net) -> News {
        let sent = self.take_sent(device);
        let received = self.take_received(device);
        let dropped = self.give_packets(device);
        self.give_buffers(device);
        device.kick();
        News { received, sent: sent || dropped }
    }

    /// Packets that were sent: their slots are the pager's again.
    fn take_sent(&mut self, device: &mut impl Net) -> bool {
        while let Some(slot) = device.sent() {
            self.send.finish(slot);
        }
        self.show_sent()
    }

    fn show_sent(&mut self) -> bool {
        let is_news = self.send.consume();
        if is_news {
            self.memory.publish(ring::TX_CONSUMED, self.send.consumed());
        }
        is_news
    }

    /// Packets that came. One that is no packet is shown with the length 0, since slots go in order.
    fn take_received(&mut self, device: &mut impl Net) -> bool {
        let packets = ETHERNET_HEADER..=self.packet_max;
        while let Some((slot, bytes)) = device.received() {
            let length = bytes.checked_sub(self.packet_offset).filter(|length| packets.contains(length));
            self.receive.fill(slot, length.unwrap_or(0));
        }
        let before = self.receive.produced();
        while let Some((slot, length)) = self.receive.produce() {
            self.show_length(slot, length);
        }
        if !self.is_in_use {
            self.receive.discard();
        }
        let is_news = self.receive.produced() != before;
        if is_news {
            self.memory.publish(ring::RX_PRODUCED, self.receive.produced());
        }
        is_news
    }

    fn show_length(&mut self, slot: u32, length: u32) {
        self.lengths[slot as usize] = length;
        let pair = slot & !1;
        let of = |slot: u32| self.lengths.get(slot as usize).copied().unwrap_or(0);
        self.memory.set_lengths(pair, [of(pair), of(pair + 1)]);
    }

    /// Packets that the pager wants to send. True if one was none, so that its slot came back at once.
    fn give_packets(&mut self, device: &mut impl Net) -> bool {
        if !self.is_in_use {
            return false;
        }
        let produced = self.memory.read(ring::TX_PRODUCED);
        while let Some(slot) = self.send.to_send(produced) {
            let length = self.memory.send_length(slot);
            let is_packet = (ETHERNET_HEADER..=self.packet_max).contains(&length);
            let buffer = self.memory.send_buffer(slot, self.packet_offset + if is_packet { length } else { 0 });
            let result = if is_packet { device.send(u64::from(slot), buffer) } else { Err(DeviceError::OutOfRange) };
            match result {
                // It goes when the device has sent another.
                Err(DeviceError::Full) => break,
                Ok(()) => self.send.take(),
                Err(_) => {
                    self.send.take();
                    self.send.finish(u64::from(slot));
                }
            }
        }
        self.show_sent()
    }

    /// Gives the device what the pager has read.
    fn give_buffers(&mut self, device: &mut impl Net) {
        self.post(device);
        if !self.is_in_use {
            return;
        }
        self.memory.publish(ring::RX_STARVED, u32::from(self.receive.is_starved()));
        if self.receive.is_starved() {
            // The pager gives slots back and then looks whether it must kick; here it is the other way round.
            fence(Ordering::SeqCst);
            self.post(device);
            if !self.receive.is_starved() {
                self.memory.publish(ring::RX_STARVED, 0);
            }
        }
    }

    fn post(&mut self, device: &mut impl Net) {
        if self.is_in_use {
            self.receive.consume(self.memory.read(ring::RX_CONSUMED));
        }
        while let Some(slot) = self.receive.to_post() {
            match device.post_receive(u64::from(slot), self.memory.receive_buffer(slot)) {
                Ok(()) => self.receive.post(),
                Err(error) => {
                    if error == DeviceError::Dead && self.health == Health::Works {
                        self.health = Health::Died;
                    }
                    return;
                }
            }
        }
    }

    /// True once, when the device has died.
    fn has_died(&mut self) -> bool {
        let died = self.health == Health::Died;
        if died {
            self.health = Health::Told;
        }
        died
    }
}

#[cfg(test)]
mod tests;
