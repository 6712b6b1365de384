//! The whole way: packets in a ring in memory, a link that loses some, a TCP of the server's own, and the server behind it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use abi::ring::{
    MAC, MAGIC, MAGIC_VALUE, PACKET_MAX, PACKET_OFFSET, RX_CONSUMED, RX_LENGTH, RX_PRODUCED, RX_SLOTS, TX_CONSUMED, TX_LENGTH, TX_PRODUCED,
    TX_SLOTS,
};
use abi::vm::PAGE_SIZE;
use net_pager::Net;
use net_pager::device::PacketDevice;
use net_pager::ring::{Ring, RingMemory, Shape};
use net_pager::stack::{Addresses, Stack};
use pager::testing::{Answer, Harness, Mapped};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Address, Ipv4Cidr};

use crate::bench::{contents, page, run, settings};
use crate::server::{Server, Shared, Store};

const SLOTS: u32 = 64;
const MAX: usize = 1514;
const OFFSET: usize = 12;
const PORT: u16 = 10_809;

/// The ring's memory; clones are the same.
#[derive(Clone)]
struct RingPages(Rc<RefCell<Vec<u8>>>);

impl RingMemory for RingPages {
    fn load(&self, offset: u64) -> u32 {
        let mut word = [0; 4];
        self.read(offset, &mut word);
        u32::from_le_bytes(word)
    }

    fn store(&self, offset: u64, value: u32) {
        self.write(offset, &value.to_le_bytes());
    }

    fn read(&self, offset: u64, to: &mut [u8]) {
        to.copy_from_slice(&self.0.borrow()[offset as usize..][..to.len()]);
    }

    fn write(&self, offset: u64, from: &[u8]) {
        self.0.borrow_mut()[offset as usize..][..from.len()].copy_from_slice(from);
    }
}

impl RingPages {
    fn new() -> Self {
        let memory = Self(Rc::new(RefCell::new(vec![0; (1 + 2 * SLOTS as usize) * PAGE_SIZE as usize])));
        let words = [(MAGIC, MAGIC_VALUE), (RX_SLOTS, SLOTS), (TX_SLOTS, SLOTS), (PACKET_MAX, MAX as u32), (PACKET_OFFSET, OFFSET as u32)];
        words.iter().for_each(|(offset, value)| memory.store(*offset as u64, *value));
        memory.write(MAC as u64, &[2, 0, 0, 0, 0, 1]);
        // Indices run freely: these are about to wrap.
        [RX_PRODUCED, RX_CONSUMED, TX_PRODUCED, TX_CONSUMED].iter().for_each(|offset| memory.store(*offset as u64, u32::MAX - 100));
        memory
    }

    /// The kernel's half: the next packet that the pager sent.
    fn take(&self) -> Option<Vec<u8>> {
        let consumed = self.load(TX_CONSUMED as u64);
        if consumed == self.load(TX_PRODUCED as u64) {
            return None;
        }
        let slot = u64::from(consumed % SLOTS);
        let mut packet = vec![0; self.load(TX_LENGTH as u64 + 4 * slot) as usize];
        self.read((1 + u64::from(SLOTS) + slot) * PAGE_SIZE + OFFSET as u64, &mut packet);
        self.store(TX_CONSUMED as u64, consumed.wrapping_add(1));
        Some(packet)
    }

    /// The kernel's half: a packet came; it is lost if there is no slot.
    fn put(&self, packet: &[u8]) {
        let produced = self.load(RX_PRODUCED as u64);
        if produced.wrapping_sub(self.load(RX_CONSUMED as u64)) >= SLOTS {
            return;
        }
        let slot = u64::from(produced % SLOTS);
        self.write((1 + slot) * PAGE_SIZE + OFFSET as u64, packet);
        self.store(RX_LENGTH as u64 + 4 * slot, packet.len() as u32);
        self.store(RX_PRODUCED as u64, produced.wrapping_add(1));
    }
}

/// The server's network card.
#[derive(Default)]
struct Card {
    coming: VecDeque<Vec<u8>>,
    going: VecDeque<Vec<u8>>,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut packet = vec![0; length];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl Device for Card {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
        Some((Rx(self.coming.pop_front()?), Tx(&mut self.going)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.going))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MAX;
        capabilities
    }
}

/// The server's machine.
struct Host {
    card: Card,
    interface: Interface,
    sockets: SocketSet<'static>,
    servers: Vec<(SocketHandle, Option<Server>)>,
    store: Shared,
}

impl Host {
    fn new(store: &Shared) -> Self {
        let mut card = Card::default();
        let config = Config::new(HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0, 2])));
        let mut interface = Interface::new(config, &mut card, Instant::ZERO);
        interface.update_ip_addrs(|all| all.push(IpCidr::new(Ipv4Address::new(10, 0, 2, 2).into(), 24)).unwrap());
        let mut sockets = SocketSet::new(Vec::new());
        let buffer = || tcp::SocketBuffer::new(vec![0; 65_536]);
        let servers = (0..4).map(|_| (sockets.add(tcp::Socket::new(buffer(), buffer())), None)).collect();
        Self { card, interface, sockets, servers, store: Rc::clone(store) }
    }

    /// The service is killed and started again: connections are reset, its memory stays.
    fn restart(&mut self) {
        for (handle, server) in &mut self.servers {
            self.sockets.get_mut::<tcp::Socket<'_>>(*handle).abort();
            *server = None;
        }
    }

    fn poll(&mut self, now: Instant) {
        self.interface.poll(now, &mut self.card, &mut self.sockets);
        for (handle, server) in &mut self.servers {
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(*handle);
            if !socket.is_open() {
                socket.listen(PORT).unwrap();
                *server = None;
            }
            if !socket.may_send() {
                continue;
            }
            let server = server.get_or_insert_with(|| Server::new(&self.store));
            if socket.can_recv() {
                socket.recv(|bytes| (bytes.len(), server.receive(bytes))).unwrap();
            }
            while !server.pending.is_empty() {
                server.finish(0, true);
            }
            let sent = socket.send_slice(&server.out).unwrap();
            server.out.drain(..sent);
        }
        self.interface.poll(now, &mut self.card, &mut self.sockets);
    }
}

struct Link {
    memory: RingPages,
    host: Host,
    harness: Harness<Net<Stack<RingPages>>>,
    /// One packet in so many is lost; 0 for none.
    loses: u64,
    random: u64,
    kicks: Rc<RefCell<u64>>,
}

thread_local! {
    static KICKS: Rc<RefCell<u64>> = Rc::default();
}

impl Link {
    fn new(loses: u64) -> Self {
        let (memory, store) = (RingPages::new(), Store::new(16 << 20));
        let ring = Ring::new(memory.clone(), Shape::read(&memory).unwrap());
        let own = Ipv4Cidr::new(Ipv4Address::new(10, 0, 2, 15), 24);
        let addresses = Addresses { own, gateway: None, server: Ipv4Address::new(10, 0, 2, 2), port: PORT };
        let stack = Stack::new(PacketDevice::new(ring), addresses, 2, 99, 0, |_| KICKS.with(|kicks| *kicks.borrow_mut() += 1));
        let harness = Harness::new(|_| Net::new(stack, &settings()).unwrap());
        Self { memory, host: Host::new(&store), harness, loses, random: 3, kicks: KICKS.with(Rc::clone) }
    }

    fn is_lost(&mut self) -> bool {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.loses != 0 && (self.random >> 33).is_multiple_of(self.loses)
    }

    fn step(&mut self) {
        self.harness.server.pager_mut().turn();
        self.harness.pump();
        if std::mem::take(&mut *self.kicks.borrow_mut()) > 0 {
            while let Some(packet) = self.memory.take() {
                if !self.is_lost() {
                    self.host.card.coming.push_back(packet);
                }
            }
        }
        self.host.poll(Instant::from_micros((runtime::time::now_ns() / 1000) as i64));
        while let Some(packet) = self.host.card.going.pop_front() {
            if !self.is_lost() {
                self.memory.put(&packet);
            }
        }
        self.harness.kernel.advance_ms(1);
    }

    fn until(&mut self, is_so: impl Fn(&mut Self) -> bool) {
        for _ in 0..600_000 {
            if is_so(self) {
                return;
            }
            self.step();
        }
        panic!("it never became so: {}", self.harness.kernel.console());
    }

    fn attach(&mut self) -> Mapped {
        self.until(|link| link.harness.server.pager().is_attached());
        let object = self.harness.create(4 << 20).unwrap();
        assert_eq!(self.harness.answers(&object).len(), 2);
        object
    }

    fn give(&mut self, object: &Mapped, first: u64, pages: u64, version: u64) {
        let bytes = (first..first + pages).flat_map(|number| page(number, version)).collect();
        self.harness.data_return(object, first * PAGE_SIZE, bytes);
    }

    fn settle(&mut self) {
        self.until(|link| link.harness.server.pager().open_jobs() == 0);
    }

    fn check(&mut self, object: &Mapped, first: u64, pages: u64, version: u64) {
        self.harness.request(object, run(first, pages));
        self.settle();
        let answers: Vec<Answer> = self.harness.answers(object);
        let mut found: Vec<_> = answers.iter().flat_map(contents).collect();
        found.sort_by_key(|(number, _)| *number);
        let numbers: Vec<u64> = found.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (first..first + pages).collect::<Vec<_>>());
        for (number, content) in found {
            assert!(content == Some(page(number, version)), "page {number}");
        }
    }
}

#[test]
fn pages_cross_a_good_link() {
    let mut link = Link::new(0);
    let object = link.attach();
    link.give(&object, 0, 512, 1);
    link.settle();
    link.check(&object, 0, 512, 1);
    assert_eq!(link.harness.server.pager().counters().reconnects, 0);
}

#[test]
fn pages_cross_a_link_that_loses_packets() {
    let mut link = Link::new(29);
    let object = link.attach();
    for version in 1..=3 {
        link.give(&object, 100, 64, version);
        link.settle();
        link.check(&object, 100, 64, version);
    }
}

#[test]
fn a_service_that_is_restarted_loses_nothing() {
    let mut link = Link::new(0);
    let object = link.attach();
    for version in 1..=5 {
        link.give(&object, 0, 200, version);
        for _ in 0..3 * version {
            link.step();
        }
        link.host.restart();
        link.settle();
        link.harness.request(&object, run(0, 200));
        link.step();
        link.host.restart();
        link.settle();
        let supplied: usize = link.harness.answers(&object).iter().map(|answer| contents(answer).len()).sum();
        assert_eq!(supplied, 200);
        link.check(&object, 0, 200, version);
    }
    assert!(link.harness.server.pager().counters().reconnects >= 5);
}
