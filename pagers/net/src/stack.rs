//! TCP to one server: smoltcp over the packet ring.

use alloc::vec;
use alloc::vec::Vec;

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{self, CongestionControl, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, Ipv4Address, Ipv4Cidr};

use crate::device::PacketDevice;
use crate::ring::RingMemory;
use crate::stream::{Phase, Streams};

/// Bytes of a page-in's answers that may be on their way; less if the ring holds less.
const RX_WINDOW: usize = 256 * 1024;
const TX_WINDOW: usize = 128 * 1024;
/// A silent peer is asked whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Given up after so long without an acknowledgement.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The local ports that are used: the dynamic ones.
const FIRST_PORT: u16 = 49_152;

/// Where this guest is and where its server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub own: Ipv4Cidr,
    pub gateway: Option<Ipv4Address>,
    pub server: Ipv4Address,
    pub port: u16,
}

/// The stack.
pub struct Stack<M> {
    device: PacketDevice<M>,
    interface: Interface,
    sockets: SocketSet<'static>,
    streams: Vec<SocketHandle>,
    server: (IpAddress, u16),
    next_port: u16,
    /// Tells the kernel that the ring has changed.
    kick: fn(&M),
}

impl<M: RingMemory> Stack<M> {
    /// A stack with so many streams.
    #[must_use]
    pub fn new(mut device: PacketDevice<M>, addresses: Addresses, streams: usize, seed: u64, now_ns: u64, kick: fn(&M)) -> Self {
        let shape = device.ring().shape();
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(shape.mac)));
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut device, instant(now_ns));
        // One address and one route fit: smoltcp has room for two of each.
        interface.update_ip_addrs(|all| {
            let _ = all.push(IpCidr::Ipv4(addresses.own));
        });
        if let Some(gateway) = addresses.gateway {
            let _ = interface.routes_mut().add_default_ipv4_route(gateway);
        }
        // All streams together must not be sent more than the ring holds, acknowledgements included: what is dropped costs a second.
        let window = (shape.rx_slots as usize * 1460 * 3 / 4 / streams.max(1)).min(RX_WINDOW);
        let mut sockets = SocketSet::new(Vec::new());
        let streams = (0..streams).map(|_| sockets.add(socket(window))).collect();
        let server = (IpAddress::Ipv4(addresses.server), addresses.port);
        let next_port = FIRST_PORT + (seed % 10_000) as u16;
        Self { device, interface, sockets, streams, server, next_port, kick }
    }

    fn socket(&self, index: usize) -> &tcp::Socket<'static> {
        self.sockets.get(self.streams[index])
    }

    fn socket_mut(&mut self, index: usize) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.streams[index])
    }
}

fn socket(window: usize) -> tcp::Socket<'static> {
    let mut socket = tcp::Socket::new(tcp::SocketBuffer::new(vec![0; window]), tcp::SocketBuffer::new(vec![0; TX_WINDOW]));
    // A request is small and somebody waits for it; so does whoever sends the answer.
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    socket.set_keep_alive(Some(KEEP_ALIVE));
    socket.set_timeout(Some(TIMEOUT));
    socket.set_congestion_control(CongestionControl::Reno);
    socket
}

fn instant(now_ns: u64) -> Instant {
    Instant::from_micros(i64::try_from(now_ns / 1000).unwrap_or(i64::MAX))
}

impl<M: RingMemory> Streams for Stack<M> {
    fn count(&self) -> usize {
        self.streams.len()
    }

    fn phase(&self, index: usize) -> Phase {
        let socket = self.socket(index);
        match socket.state() {
            State::SynSent | State::SynReceived => Phase::Connecting,
            State::Established => Phase::Open,
            // The server has closed; what it sent before counts.
            State::CloseWait if socket.can_recv() => Phase::Open,
            _ => Phase::Closed,
        }
    }

    fn connect(&mut self, index: usize) {
        let port = self.next_port;
        self.next_port = if port == u16::MAX { FIRST_PORT } else { port + 1 };
        let (server, handle) = (self.server, self.streams[index]);
        let (sockets, interface) = (&mut self.sockets, &mut self.interface);
        // A failure leaves the socket closed, which is what the caller sees.
        let _ = sockets.get_mut::<tcp::Socket<'_>>(handle).connect(interface.context(), server, port);
    }

    fn abort(&mut self, index: usize) {
        self.socket_mut(index).abort();
    }

    fn send(&mut self, index: usize, bytes: &[u8]) -> usize {
        self.socket_mut(index).send_slice(bytes).unwrap_or(0)
    }

    fn receive(&mut self, index: usize, take: &mut dyn FnMut(&[u8]) -> usize) -> bool {
        let took = self.socket_mut(index).recv(|bytes| {
            let used = if bytes.is_empty() { 0 } else { take(bytes) };
            (used.min(bytes.len()), !bytes.is_empty())
        });
        took.unwrap_or(false)
    }

    fn poll(&mut self, now_ns: u64) -> bool {
        let result = self.interface.poll(instant(now_ns), &mut self.device, &mut self.sockets);
        if self.device.take_kick() {
            (self.kick)(self.device.ring().memory());
        }
        result == PollResult::SocketStateChanged
    }

    fn next_poll_ns(&mut self, now_ns: u64) -> Option<u64> {
        if !self.device.sleep() {
            return Some(now_ns);
        }
        let delay = self.interface.poll_delay(instant(now_ns), &self.sockets)?;
        Some(now_ns.saturating_add(delay.total_micros().saturating_mul(1000)))
    }
}
