//! Streams that are pipes to servers in memory: bytes come in pieces, answers in any order, and the test pulls the plug.

use std::cell::RefCell;
use std::rc::Rc;

use net_pager::stream::{Phase, Streams};

use crate::server::{Server, Shared, Store};

/// The other end of all pipes.
pub(crate) struct World {
    pub(crate) store: Shared,
    /// Whether the server can be reached.
    pub(crate) is_up: bool,
    /// Whether requests are done at all.
    pub(crate) is_stuck: bool,
    pipes: Vec<Pipe>,
    random: u64,
    pub(crate) connects: u64,
}

struct Pipe {
    phase: Phase,
    server: Server,
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
            if self.random(2) == 0 {
                self.pipes[index].server.finish(which, false);
            } else {
                self.pipes[index].server.pending.remove(which);
            }
        }
        let pipe = &mut self.pipes[index];
        pipe.inbox.clear();
        pipe.phase = Phase::Closed;
    }

    /// The server dies and comes back with nothing.
    pub(crate) fn empty(&mut self) {
        self.cut();
        self.store.borrow_mut().bytes.fill(0);
    }

    /// Some answers, in any order, cut anywhere.
    fn answer(&mut self) -> bool {
        let mut moved = false;
        for index in 0..self.pipes.len() {
            while !self.is_stuck && !self.pipes[index].server.pending.is_empty() && self.random(3) != 0 {
                let count = self.pipes[index].server.pending.len();
                let which = self.random(count);
                self.pipes[index].server.finish(which, true);
            }
            let waiting = self.pipes[index].server.out.len();
            let now = self.random(waiting + 1).max(waiting.min(9));
            let pipe = &mut self.pipes[index];
            pipe.inbox.extend(pipe.server.out.drain(..now));
            moved |= now > 0;
        }
        moved
    }
}

impl Pipes {
    pub(crate) fn new(count: usize, store: &Shared, seed: u64) -> Self {
        let pipe = || Pipe { phase: Phase::Closed, server: Server::new(store), inbox: Vec::new() };
        let pipes = (0..count).map(|_| pipe()).collect();
        let store = Rc::clone(store);
        Self(Rc::new(RefCell::new(World { store, is_up: true, is_stuck: false, pipes, random: seed, connects: 0 })))
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
            let server = Server::new(&world.store);
            world.pipes[index] = Pipe { phase: Phase::Open, server, inbox: Vec::new() };
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
        world.pipes[index].server.receive(&bytes[..count]);
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

    fn poll(&mut self, _: u64) -> bool {
        self.0.borrow_mut().answer()
    }

    fn next_poll_ns(&mut self, now_ns: u64) -> Option<u64> {
        let world = self.0.borrow();
        let is_busy = world.pipes.iter().any(|pipe| !pipe.server.pending.is_empty() || !pipe.server.out.is_empty());
        (is_busy && !world.is_stuck).then_some(now_ns + 100_000)
    }
}
