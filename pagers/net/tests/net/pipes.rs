//! Streams that are pipes to servers in memory: bytes come in pieces, answers in any order, and the test pulls the plug.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use nbd::TransmissionFlags;
use net_pager::stream::{Phase, Streams};
use rustls::ServerConfig;

use crate::server::{Server, Shared, Store};
use crate::tls_end::TlsEnd;

/// How late the last write of a dead connection may come.
const LATE_NS: u64 = 59_000_000_000;

/// The other end of all pipes.
pub(crate) struct World {
    pub(crate) store: Shared,
    /// Whether the server can be reached.
    pub(crate) is_up: bool,
    /// Whether requests are done at all.
    pub(crate) is_stuck: bool,
    /// Nothing that the server says on this connection arrives.
    pub(crate) stalls: Option<usize>,
    pipes: Vec<Pipe>,
    /// What connections that are gone had asked, done until then if it is ever done.
    late: Vec<(u64, Server)>,
    now_ns: u64,
    /// Late requests come at the last moment.
    is_slow: bool,
    /// For TLS.
    config: Option<Arc<ServerConfig>>,
    random: u64,
    pub(crate) connects: u64,
}

struct Pipe {
    phase: Phase,
    server: Server,
    tls: Option<TlsEnd>,
    /// Bytes that leave the server.
    wire: Vec<u8>,
    /// Bytes for the client.
    inbox: Vec<u8>,
}

/// The streams; clones are the same.
#[derive(Clone)]
pub(crate) struct Pipes(pub(crate) Rc<RefCell<World>>);

impl World {
    fn random(&mut self, below: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.random >> 33) as usize) % below.max(1)
    }

    /// Cuts all connections. What was asked and not done may be done all the same.
    pub(crate) fn cut(&mut self) {
        for index in 0..self.pipes.len() {
            self.cut_one(index);
        }
    }

    pub(crate) fn cut_one(&mut self, index: usize) {
        while !self.pipes[index].server.pending.is_empty() {
            let count = self.pipes[index].server.pending.len();
            let which = self.random(count);
            match self.random(3) {
                0 => self.pipes[index].server.finish(which, false),
                1 => drop(self.pipes[index].server.pending.remove(which)),
                _ => break,
            }
        }
        self.keep_late(index);
        let pipe = &mut self.pipes[index];
        pipe.server.out.clear();
        pipe.wire.clear();
        pipe.tls = None;
        pipe.inbox.clear();
        pipe.phase = Phase::Closed;
    }

    /// What a connection has asked and what isn't done comes late.
    fn keep_late(&mut self, index: usize) {
        if !self.pipes[index].server.pending.is_empty() {
            let server = core::mem::replace(&mut self.pipes[index].server, Server::new(&self.store));
            self.late.push((self.now_ns + LATE_NS, server));
        }
    }

    /// Some of what dead connections had asked is done, and all that is due.
    fn haunt(&mut self, is_all: bool) {
        let mut late = core::mem::take(&mut self.late);
        for (due_ns, server) in &mut late {
            while !server.pending.is_empty() && (is_all || *due_ns <= self.now_ns || !self.is_slow && self.random(30) == 0) {
                let which = self.random(server.pending.len());
                if !self.is_slow && self.random(4) == 0 {
                    server.pending.remove(which);
                } else {
                    server.finish(which, false);
                }
            }
        }
        late.retain(|(_, server)| !server.pending.is_empty());
        self.late = late;
    }

    /// Cuts all connections; all that was asked comes late.
    pub(crate) fn cut_and_keep(&mut self) {
        for index in 0..self.pipes.len() {
            self.keep_late(index);
            self.cut_one(index);
        }
        self.is_slow = true;
    }

    /// Requests that may come late.
    pub(crate) fn late(&self) -> usize {
        self.late.iter().map(|(_, server)| server.pending.len()).sum()
    }

    /// The server dies and comes back with nothing.
    pub(crate) fn empty(&mut self) {
        self.cut();
        self.store.borrow_mut().bytes.fill(0);
    }

    /// Some answers, in any order, cut anywhere.
    fn answer(&mut self) -> bool {
        let mut moved = false;
        for index in (0..self.pipes.len()).filter(|index| self.stalls != Some(*index)).collect::<Vec<_>>() {
            while !self.is_stuck && !self.pipes[index].server.pending.is_empty() && self.random(3) != 0 {
                let count = self.pipes[index].server.pending.len();
                let which = self.random(count);
                self.pipes[index].server.finish(which, true);
            }
            self.pipes[index].leave();
            let waiting = self.pipes[index].wire.len();
            let now = self.random(waiting + 1).max(waiting.min(9));
            let pipe = &mut self.pipes[index];
            pipe.inbox.extend(pipe.wire.drain(..now));
            moved |= now > 0;
        }
        moved
    }
}

impl Pipe {
    fn new(phase: Phase, store: &Shared) -> Self {
        Self { phase, server: Server::new(store), tls: None, wire: Vec::new(), inbox: Vec::new() }
    }

    /// What the server says goes on the wire, through TLS if it runs.
    fn leave(&mut self) {
        let plain = std::mem::take(&mut self.server.out);
        match &mut self.tls {
            None => self.wire.extend(plain),
            Some(tls) => self.wire.extend(tls.seal(&plain)),
        }
    }

    /// Bytes reach the server.
    fn arrive(&mut self, bytes: &[u8], config: Option<&Arc<ServerConfig>>) {
        match &mut self.tls {
            None => self.server.receive(bytes),
            Some(tls) => self.server.receive(&tls.open(bytes)),
        }
        if self.server.take_start_tls() {
            self.leave();
            self.tls = config.map(TlsEnd::new);
        }
    }
}

impl Pipes {
    pub(crate) fn new(count: usize, store: &Shared, seed: u64) -> Self {
        let pipes = (0..count).map(|_| Pipe::new(Phase::Closed, store)).collect();
        let store = Rc::clone(store);
        let (late, now_ns, is_slow, config) = (Vec::new(), 0, false, None);
        Self(Rc::new(RefCell::new(World {
            store,
            is_up: true,
            is_stuck: false,
            stalls: None,
            pipes,
            late,
            now_ns,
            is_slow,
            config,
            random: seed,
            connects: 0,
        })))
    }

    /// The server is for one connection at a time, and fences.
    pub(crate) fn fence(&self) {
        let world = self.0.borrow();
        let mut store = world.store.borrow_mut();
        store.fences = true;
        store.flags -= TransmissionFlags::CAN_MULTI_CONN;
    }

    /// The server speaks TLS, and nothing else.
    pub(crate) fn secure(&self, config: ServerConfig) {
        let mut world = self.0.borrow_mut();
        world.config = Some(Arc::new(config));
        world.store.borrow_mut().requires_tls = true;
    }

    pub(crate) fn with_store(count: usize, bytes: usize, seed: u64) -> Self {
        Self::new(count, &Store::new(bytes), seed)
    }
}

impl Streams for Pipes {
    fn count(&self) -> usize {
        self.0.borrow().pipes.len()
    }

    fn phase(&self, index: usize) -> Phase {
        self.0.borrow().pipes[index].phase
    }

    fn connect(&mut self, index: usize) {
        let mut world = self.0.borrow_mut();
        assert_eq!(world.pipes[index].phase, Phase::Closed);
        world.connects += 1;
        if world.is_up {
            world.pipes[index] = Pipe::new(Phase::Open, &world.store);
        }
    }

    fn abort(&mut self, index: usize) {
        self.0.borrow_mut().cut_one(index);
    }

    fn send(&mut self, index: usize, bytes: &[u8]) -> usize {
        let mut world = self.0.borrow_mut();
        if world.pipes[index].phase != Phase::Open {
            return 0;
        }
        let count = world.random(bytes.len() + 1).max(bytes.len().min(11));
        let was_ready = world.pipes[index].server.is_ready();
        let config = world.config.clone();
        world.pipes[index].arrive(&bytes[..count], config.as_ref());
        if !was_ready && world.pipes[index].server.is_ready() && world.store.borrow().fences {
            world.haunt(true);
        }
        let all = world.pipes.iter().flat_map(|pipe| &pipe.server.pending);
        assert!(!Server::conflicts(all), "two requests that touch the same bytes are under way");
        count
    }

    fn receive(&mut self, index: usize, take: &mut dyn FnMut(&[u8]) -> usize) -> bool {
        let inbox = std::mem::take(&mut self.0.borrow_mut().pipes[index].inbox);
        if inbox.is_empty() {
            return false;
        }
        let used = take(&inbox);
        let mut world = self.0.borrow_mut();
        let later = std::mem::take(&mut world.pipes[index].inbox);
        world.pipes[index].inbox = [&inbox[used..], &later].concat();
        true
    }

    fn poll(&mut self, now_ns: u64) -> bool {
        let mut world = self.0.borrow_mut();
        world.now_ns = now_ns;
        world.haunt(false);
        world.answer()
    }

    fn next_poll_ns(&mut self, now_ns: u64) -> Option<u64> {
        let world = self.0.borrow();
        let is_busy =
            world.pipes.iter().any(|pipe| !pipe.server.pending.is_empty() || !pipe.server.out.is_empty() || !pipe.wire.is_empty());
        (is_busy && !world.is_stuck).then_some(now_ns + 100_000)
    }
}
