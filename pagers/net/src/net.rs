//! The pager: the kernel's questions on one side, the connections on the other.
//!
//! [`Net::turn`] does all that can be done now: moves packets, takes answers, judges superblocks, sends jobs. It is called after each message and
//! whenever something is due, so that nothing here ever waits.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use abi::Code;
use abi::vm::Protection;
use nbd::TransmissionFlags;
use nbd::client::TlsWish;
use pager::{Attributes, Control, Info, ObjectId, OnDeadline, Pager, Policy, Returned, Run};
use runtime::{Pages, Received, println, time};

use crate::attach::{Attach, Verdict};
use crate::connection::{Connection, State};
use crate::core_state::Core;
pub use crate::core_state::Counters;
use crate::jobs::Class;
use crate::seal::{Seal, SealKey};
use crate::stream::Streams;

/// How long a job that found no memory waits.
const NO_MEMORY_NS: u64 = 10_000_000;
/// After so many rounds of packets the kernel's messages are looked at.
const ROUNDS: usize = 4;

/// What the network pager is told.
#[derive(Clone, Debug)]
pub struct Settings {
    pub export: String,
    /// Nothing is said to the server about pages before TLS runs.
    pub requires_tls: bool,
    /// Random for each boot.
    pub boot_id: [u8; 16],
    /// Pages are sealed under this key, which must be of this boot alone; zero pages too if it says so.
    pub seal: Option<(SealKey, bool)>,
    /// An export that belongs to another guest or boot may be taken.
    pub takes_foreign: bool,
    /// How long the kernel waits for a page before the task that wants it gets an error; 0 is for ever.
    pub deadline_ms: u32,
}

/// The network pager.
#[derive(Debug)]
pub struct Net<S> {
    streams: S,
    connections: Vec<Connection>,
    core: Core,
    deadline_ms: u32,
    /// When there is something to do.
    due_ns: Option<u64>,
}

impl<S: Streams> Net<S> {
    /// A pager with as many connections as there are streams. None if the export's name is too long.
    #[must_use]
    pub fn new(streams: S, settings: &Settings) -> Option<Self> {
        let seed = settings.boot_id.iter().fold(0, |seed: u64, byte| seed.wrapping_mul(257) + u64::from(*byte));
        let tls = if settings.requires_tls { TlsWish::Require } else { TlsWish::Never };
        let connections: Option<Vec<_>> =
            (0..streams.count()).map(|index| Connection::new(&settings.export, tls, seed.wrapping_add(index as u64 * 77))).collect();
        let seal = settings.seal.as_ref().map(|(key, is_full)| Seal::new(key, *is_full));
        let core = Core::new(Attach::new(settings.boot_id, settings.takes_foreign), seal);
        Some(Self { streams, connections: connections?, core, deadline_ms: settings.deadline_ms, due_ns: Some(0) })
    }

    /// Whether the export was found and is ours.
    #[must_use]
    pub const fn is_attached(&self) -> bool {
        self.core.extents.is_some()
    }

    /// Why the export can't be used, if that is so.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        self.core.refusal.map(|refusal| format!("{refusal}"))
    }

    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.core.counters
    }

    /// Jobs that aren't done.
    #[must_use]
    pub fn open_jobs(&self) -> usize {
        self.core.jobs.len()
    }

    /// The streams.
    pub const fn streams_mut(&mut self) -> &mut S {
        &mut self.streams
    }

    /// Does all that can be done now.
    pub fn turn(&mut self) {
        self.core.now_ns = time::now_ns();
        self.core.jobs.wake(self.core.now_ns);
        self.streams.poll(self.core.now_ns);
        let mut changed = true;
        for _ in 0..ROUNDS {
            if !changed {
                break;
            }
            for index in 0..self.connections.len() {
                self.serve(index);
            }
            self.core.take_returns();
            self.help_out();
            self.send();
            // What comes while the answers go out would wait for the next news.
            changed = self.streams.poll(self.core.now_ns);
        }
        self.due_ns = if changed { Some(0) } else { self.next_due_ns() };
    }

    /// What a connection that has stalled was asked for is asked for on another one that works.
    fn help_out(&mut self) {
        let now_ns = self.core.now_ns;
        for index in 0..self.connections.len() {
            let Some(helper) = self.helper(index) else { continue };
            for id in self.connections[index].take_stalled(now_ns) {
                self.connections[helper].ask_too(id, &mut self.core);
            }
        }
    }

    /// Another connection that works.
    fn helper(&self, index: usize) -> Option<usize> {
        (0..self.connections.len()).find(|other| *other != index && self.connections[*other].state == State::Ready)
    }

    /// Sends jobs, and what was to be sent before, until there is no more or no room for more.
    fn send(&mut self) {
        loop {
            self.send_jobs();
            let mut sent = 0;
            for (index, connection) in self.connections.iter_mut().enumerate() {
                sent += connection.transmit(&mut self.streams, index);
            }
            if sent == 0 {
                return;
            }
        }
    }

    /// When something has to be done although nothing comes.
    fn next_due_ns(&mut self) -> Option<u64> {
        let is_ready = self.connections.iter().any(|connection| connection.state == State::Ready);
        // Only a job that found no memory is left in the queue while nothing is being read.
        let is_starved = is_ready && self.core.read_bytes == 0 && self.core.jobs.peek(Class::Demand).is_some();
        let wanted = (0..self.connections.len()).filter(|index| self.is_wanted(*index));
        let connections = wanted.filter_map(|index| self.connections[index].due_ns()).min();
        let retry = is_starved.then_some(self.core.now_ns + NO_MEMORY_NS);
        let packets = self.streams.next_poll_ns(self.core.now_ns);
        let stalls = (0..self.connections.len()).filter(|index| self.helper(*index).is_some());
        let stalls = stalls.filter_map(|index| self.connections[index].stalls_ns()).min();
        [connections, retry, packets, stalls, self.core.jobs.rested_ns(), self.core.returns_due_ns()].into_iter().flatten().min()
    }

    /// The first connection always is. The others wait until it is known whether the server takes several, and that the export is ours.
    fn is_wanted(&self, index: usize) -> bool {
        let is_up = !matches!(self.connections[index].state, State::Down { .. });
        index == 0 || is_up || self.core.attach.is_attached() && self.connections[0].can(TransmissionFlags::CAN_MULTI_CONN)
    }

    /// One connection: what came, and what time brings.
    fn serve(&mut self, index: usize) {
        if !self.is_wanted(index) {
            return;
        }
        let Self { streams, connections, core, .. } = self;
        let connection = &mut connections[index];
        if let Err(why) = connection.receive(streams, index, core) {
            // A handshake that was refused has its last words to say.
            connection.transmit(streams, index);
            connection.end(streams, index, core, &why);
        }
        if let Some(verdict) = self.connections[index].verdict.take() {
            self.judge(index, verdict);
        }
        self.connections[index].advance(&mut self.streams, index, &mut self.core);
    }

    /// Acts upon what the superblock said.
    fn judge(&mut self, index: usize, verdict: Verdict) {
        let is_used = |(other, connection): (usize, &Connection)| other != index && connection.state == State::Ready;
        let others = self.connections.iter().enumerate().any(is_used);
        match verdict {
            Verdict::Ours => self.connections[index].ready(&mut self.core, index),
            // What another connection has seen since is newer than what this one read.
            Verdict::Lost | Verdict::Claim if others => self.end(index, "the superblock changed"),
            Verdict::Lost | Verdict::Claim => {
                self.end_others(index);
                if verdict == Verdict::Lost {
                    self.core.lost("the server has lost its memory");
                }
                if let Err(why) = self.connections[index].claim(&self.core) {
                    self.end(index, &why);
                }
            }
            Verdict::Refused(refusal) => {
                if self.core.attach.is_attached() && !others && self.core.refusal.is_none() {
                    self.end_others(index);
                    self.core.lost("the export isn't ours any more");
                }
                self.core.refusal = Some(refusal);
                self.end(index, &format!("{refusal}"));
            }
        }
    }

    fn end(&mut self, index: usize, why: &str) {
        self.connections[index].end(&mut self.streams, index, &mut self.core, why);
    }

    fn end_others(&mut self, index: usize) {
        for other in (0..self.connections.len()).filter(|other| *other != index) {
            if !matches!(self.connections[other].state, State::Down { .. }) {
                self.end(other, "another connection takes the export anew");
            }
        }
    }

    /// The first connection that works takes what somebody waits for, the last the rest: so that a fault doesn't wait behind a page-out.
    fn send_jobs(&mut self) {
        let mut ready = self.connections.iter_mut().filter(|connection| connection.state == State::Ready);
        let Some(first) = ready.next() else { return };
        first.send_jobs(Class::Demand, &mut self.core);
        let last = ready.next_back();
        last.unwrap_or(first).send_jobs(Class::Background, &mut self.core);
    }

    const fn policy(&self) -> Policy {
        let run_pages = abi::policy::RUN_PAGES_MAX;
        let on_deadline = if self.deadline_ms == 0 { OnDeadline::Wait } else { OnDeadline::Error };
        Policy { return_requests: true, discards: true, run_pages, deadline_ms: self.deadline_ms, on_deadline }
    }

    /// All invariants.
    #[cfg(any(test, debug_assertions))]
    pub fn check(&self) {
        self.core.jobs.check();
    }
}

impl<S: Streams> Pager for Net<S> {
    fn create(&mut self, object: ObjectId, size: u64) -> Result<(), Code> {
        let extents = self.core.extents.as_mut().ok_or(Code::D_DEVICE_DOWN)?;
        self.core.objects.create(object, size, extents)
    }

    fn init(&mut self, _: &Control) -> Option<Attributes> {
        Some(Attributes { policy: Some(self.policy()), ..Attributes::default() })
    }

    fn adopt(&mut self, object: &Control, _: u64) {
        println!("net: this pager makes objects for clients; it can't be the default pager");
        object.destroy(Code::FAILURE);
    }

    fn data_request(&mut self, object: &Control, run: Run, _: Protection) {
        self.core.request(object, run);
        self.due_ns = Some(0);
    }

    fn return_request(&mut self, object: &Control, run: Run) {
        self.core.return_request(object, run);
        self.due_ns = Some(0);
    }

    fn data_return(&mut self, object: &Control, run: Run, pages: Pages, how: Returned) {
        if how.dirty {
            self.core.returned(object.object(), run, pages);
            self.due_ns = Some(0);
        }
    }

    fn discard(&mut self, object: &Control, run: Run) {
        self.core.discard(object.object(), run);
        self.due_ns = Some(0);
    }

    fn gone(&mut self, object: ObjectId) {
        self.core.gone(object);
        self.due_ns = Some(0);
    }

    fn event(&mut self, message: Received<'_>) {
        if message.id() != abi::ring::NEWS_ID {
            // A failure to answer means that the asker is gone.
            let _ = message.reply_bad_id();
        }
        self.due_ns = Some(0);
    }

    fn info(&mut self) -> Option<Info> {
        let extents = self.core.extents.as_ref()?;
        println!("net: {:?}, {} of {} extents free", self.core.counters, extents.free(), extents.total());
        let bytes = |extents: u32| u64::from(extents) * crate::extents::EXTENT_BYTES;
        Some(Info { total: bytes(extents.total()), free: bytes(extents.free()) })
    }

    fn deadline(&self) -> Option<u64> {
        self.due_ns
    }

    fn tick(&mut self) {
        self.turn();
    }
}
