//! One connection to the server: from the first attempt to the requests that it carries, and over again when it drops.
//!
//! It may be down, connecting, shaking hands, looking at the superblock, or of use. When it ends, whatever ends it, what it had not finished
//! goes back to the jobs, and it waits a while before it tries again.

mod stall;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use core::fmt::Write;

use nbd::client::{Client, Event, RequestTable, TlsWish, Wishes};
use nbd::context::CAPABILITY_FENCE;
use nbd::superblock::{SUPERBLOCK_BYTES, SuperblockPage};
use nbd::{CommandFlags, NbdError, Request, TransmissionFlags};
use runtime::println;

use crate::attach::Verdict;
use crate::backoff::Backoff;
use crate::core_state::Core;
use crate::jobs::{Class, Job, Work};
use crate::outgoing::{Outgoing, Payload};
use crate::stream::{Phase, Streams};
use stall::Asked;

/// Requests under way on one connection.
pub(crate) const SLOTS: usize = 64;
/// Requests that wait to be sent: few, so that one that somebody waits for doesn't wait behind many.
const OUTGOING_MAX: usize = 4;
/// How long it may take to become of use.
const SETUP_NS: u64 = 10_000_000_000;
/// How long the server may say nothing while requests are open.
const SILENCE_NS: u64 = 20_000_000_000;
/// How long one request may take while others are answered: less than the kernel waits for a page.
const REQUEST_NS: u64 = 25_000_000_000;

#[derive(Clone, Copy, Debug)]
enum Tag {
    Superblock,
    Claim,
    Job(Asked),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Down {
        until_ns: u64,
    },
    Connecting,
    /// Shaking hands, or reading or writing the superblock.
    Attaching,
    Ready,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) state: State,
    client: Box<Client>,
    table: Box<RequestTable<Tag, SLOTS>>,
    outgoing: VecDeque<Outgoing>,
    superblock: Box<SuperblockPage>,
    /// What the superblock said, until it has been acted upon.
    pub(crate) verdict: Option<Verdict>,
    backoff: Backoff,
    /// When it began to connect, or last heard from the server.
    heard_ns: u64,
    /// The last reason to give up, so that the same one isn't printed again and again.
    said: String,
    export: String,
    wishes: Wishes,
    /// The server agreed to TLS, which is to be started once what it said is out of the way.
    wants_tls: bool,
}

/// Why a connection ends.
pub(crate) type End = String;

impl Connection {
    /// Down, to be connected at once. None if the export's name is too long.
    pub(crate) fn new(export: &str, tls: TlsWish, seed: u64) -> Option<Self> {
        let wishes = Wishes { tls, capabilities: &[CAPABILITY_FENCE], ..Wishes::DEFAULT };
        Some(Self {
            state: State::Down { until_ns: 0 },
            client: Box::new(Client::with(export, &wishes)?),
            table: Box::new(RequestTable::new()),
            outgoing: VecDeque::with_capacity(OUTGOING_MAX + 2),
            superblock: Box::new([0; SUPERBLOCK_BYTES]),
            verdict: None,
            backoff: Backoff::new(seed),
            heard_ns: 0,
            said: String::new(),
            export: String::from(export),
            wishes,
            wants_tls: false,
        })
    }

    /// What the server said it can do.
    pub(crate) fn can(&self, flags: TransmissionFlags) -> bool {
        self.client.can(flags)
    }

    /// When something is due: an attempt, or giving up.
    pub(crate) fn due_ns(&self) -> Option<u64> {
        match self.state {
            State::Down { until_ns } => Some(until_ns),
            State::Connecting | State::Attaching => Some(self.heard_ns + SETUP_NS),
            State::Ready => {
                let oldest = self.asked().map(|asked| asked.since_ns + REQUEST_NS).min();
                let silence = (!self.table.is_empty()).then_some(self.heard_ns + SILENCE_NS);
                oldest.into_iter().chain(silence).min()
            }
        }
    }

    /// Begins to connect, goes on, or gives up, as time and the stream say.
    pub(crate) fn advance(&mut self, streams: &mut impl Streams, index: usize, core: &mut Core) {
        let is_due = self.due_ns().is_some_and(|due| due <= core.now_ns);
        match (self.state, streams.phase(index)) {
            (State::Down { .. }, _) if !is_due => {}
            (State::Down { .. }, Phase::Closed) => {
                self.wants_tls = false;
                if let Some(client) = Client::with(&self.export, &self.wishes) {
                    *self.client = client;
                }
                self.state = State::Connecting;
                self.heard_ns = core.now_ns;
                streams.connect(index);
                if streams.phase(index) == Phase::Closed {
                    self.end(streams, index, core, "no way to the server");
                }
            }
            (State::Down { .. }, _) => streams.abort(index),
            (State::Connecting, Phase::Open) => self.state = State::Attaching,
            (State::Connecting, Phase::Closed) => self.end(streams, index, core, "no answer"),
            (State::Attaching | State::Ready, Phase::Closed) => {
                let why = streams.trouble(index).unwrap_or_else(|| String::from("the connection was closed"));
                self.end(streams, index, core, &why);
            }
            _ if is_due => self.end(streams, index, core, "the server doesn't answer"),
            _ => {}
        }
    }

    /// Ends the connection; what it had open goes back. The next attempt is made after a while.
    pub(crate) fn end(&mut self, streams: &mut impl Streams, index: usize, core: &mut Core, why: &str) {
        streams.abort(index);
        let mut open = 0;
        // The newest first: each goes to the front of the line.
        let mut jobs: alloc::vec::Vec<_> = self.asked().map(|asked| asked.id).collect();
        jobs.sort_unstable();
        for id in jobs.into_iter().rev() {
            core.jobs.cut_off(id, core.now_ns);
            open += 1;
        }
        while self.table.pop().is_some() {}
        self.outgoing.clear();
        self.verdict = None;
        if self.state == State::Ready {
            core.counters.reconnects += 1;
            core.counters.resent += open;
            self.said.clear();
        }
        if self.said != why {
            println!("net: connection {index}: {why}; {open} requests wait for the next");
            self.said.clear();
            self.said.push_str(why);
        }
        self.state = State::Down { until_ns: core.now_ns + self.backoff.delay() };
    }

    /// Takes what came. The connection must be ended on an error.
    pub(crate) fn receive(&mut self, streams: &mut impl Streams, index: usize, core: &mut Core) -> Result<(), End> {
        let mut result = Ok(());
        while result.is_ok() {
            let came = streams.receive(index, &mut |bytes| {
                let (used, outcome) = self.take(bytes, core);
                result = outcome;
                used
            });
            if !came {
                break;
            }
            self.heard_ns = core.now_ns;
            if result.is_ok() && core::mem::take(&mut self.wants_tls) {
                result = self.start_tls(streams, index);
            }
        }
        result
    }

    /// The server waits for TLS; all that follows goes through it.
    fn start_tls(&mut self, streams: &mut impl Streams, index: usize) -> Result<(), End> {
        if !streams.start_tls(index) {
            return Err(String::from("there is no TLS here"));
        }
        self.client.secured();
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], core: &mut Core) -> (usize, Result<(), End>) {
        let mut used = 0;
        loop {
            match self.client.receive(&bytes[used..], &mut *self.table) {
                Err(error) => return (bytes.len(), Err(error.to_string())),
                Ok((count, event)) => {
                    used += count;
                    match event.map_or(Ok(false), |event| self.event(event, core).map(|()| true)) {
                        Ok(true) => {}
                        Ok(false) => return (used, Ok(())),
                        Err(end) => return (used, Err(end)),
                    }
                }
            }
        }
    }

    fn event(&mut self, event: Event<'_>, core: &mut Core) -> Result<(), End> {
        match event {
            Event::Ready(session) => {
                core.accepts(&session.export).map_err(|refusal| {
                    core.refusal = Some(refusal);
                    refusal.to_string()
                })?;
                // Such a server lets nobody else in, not even ourselves twice, and has let nobody in before those who were there had ended.
                if session.capabilities.contains(0) && !session.export.can(TransmissionFlags::CAN_MULTI_CONN) {
                    core.jobs.fenced();
                }
                self.ask(Request::read(0, SUPERBLOCK_BYTES as u32), Tag::Superblock, Payload::Nothing)
            }
            Event::StartTls => {
                self.wants_tls = true;
                Ok(())
            }
            // Extents are not asked for.
            Event::Chunk { .. } | Event::Extent { .. } => Ok(()),
            Event::Data { cookie, offset, bytes } => {
                self.place(cookie, offset, bytes.len(), core, |room| room.copy_from_slice(bytes));
                Ok(())
            }
            Event::Hole { cookie, offset, length } => {
                self.place(cookie, offset, length as usize, core, |room| room.fill(0));
                Ok(())
            }
            Event::Done { cookie, result } => self.done(cookie, result, core),
        }
    }

    /// Bytes of an answer go where they belong. The protocol's half has checked that they are inside of what was asked for.
    fn place(&mut self, cookie: u64, offset: u64, length: usize, core: &mut Core, fill: impl FnOnce(&mut [u8])) {
        let Some((pending, tag)) = self.table.get_mut(cookie) else { return };
        let from = (offset - pending.request().offset) as usize;
        let room: Option<&mut [u8]> = match *tag {
            Tag::Superblock => Some(&mut self.superblock[..]),
            Tag::Claim => None,
            Tag::Job(Asked { id, .. }) => match core.jobs.get_mut(id) {
                Some(Job { work: Work::Read { pages: Some(pages), .. }, .. }) => Some(&mut pages[..]),
                _ => None,
            },
        };
        if let Some(room) = room.and_then(|room| room.get_mut(from..from + length)) {
            fill(room);
        }
    }

    fn done(&mut self, cookie: u64, result: Result<(), NbdError>, core: &mut Core) -> Result<(), End> {
        let Some((_, tag)) = self.table.remove(cookie) else { return Ok(()) };
        if result == Err(NbdError::Shutdown) {
            if let Tag::Job(asked) = tag {
                // It was refused, so it won't come late.
                core.jobs.again(asked.id);
            }
            return Err(String::from("the server is shutting down"));
        }
        match (tag, result) {
            (Tag::Superblock, Ok(())) => self.verdict = Some(core.attach.judge(&self.superblock)),
            (Tag::Claim, Ok(())) => {
                core.attach.claimed();
                self.verdict = Some(Verdict::Ours);
            }
            (Tag::Superblock | Tag::Claim, Err(error)) => {
                let mut why = String::from("the superblock: ");
                // Writing to a string doesn't fail.
                let _ = write!(why, "{error}");
                return Err(why);
            }
            (Tag::Job(Asked { id, .. }), result) => {
                let mut text = String::new();
                if result.is_err() {
                    let _ = write!(text, "({})", self.client.error_text());
                }
                core.done(id, result, &text);
            }
        }
        Ok(())
    }

    /// Sends a request of this connection's own.
    fn ask(&mut self, request: Request, tag: Tag, payload: Payload) -> Result<(), End> {
        let refused = |refusal: nbd::Refusal| String::from(refusal.reason);
        self.client.check(&request).map_err(refused)?;
        let cookie = self.table.insert(request, tag).map_err(|_| String::from("no slot is free"))?;
        let header = self.client.encode(cookie, &request).map_err(refused)?;
        self.outgoing.push_back(Outgoing::new(header, payload));
        Ok(())
    }

    /// Writes the superblock.
    pub(crate) fn claim(&mut self, core: &Core) -> Result<(), End> {
        let mut page = Box::new([0; SUPERBLOCK_BYTES]);
        core.attach.claim(&mut page);
        let request = Request::write(0, SUPERBLOCK_BYTES as u32);
        let durable = if self.can(TransmissionFlags::SEND_FUA) { request.with(CommandFlags::FUA) } else { request };
        self.ask(durable, Tag::Claim, Payload::Superblock(page))
    }

    /// The export is ours: requests may be sent.
    pub(crate) fn ready(&mut self, core: &mut Core, index: usize) {
        if let Some(session) = self.client.session() {
            let export = session.export;
            core.attached(&export);
            println!("net: connection {index}: attached to `{}`, {} MiB", self.export, export.size >> 20);
        }
        self.backoff.reset();
        self.said.clear();
        self.state = State::Ready;
    }

    /// Sends jobs of a class while there is room for them.
    pub(crate) fn send_jobs(&mut self, class: Class, core: &mut Core) {
        while self.outgoing.len() < OUTGOING_MAX && !self.table.is_full() {
            let Some(id) = core.jobs.peek(class) else { return };
            let Some(job) = core.jobs.get_mut(id) else { return };
            let request = job.request();
            let Some(request) = self.possible(request) else {
                // A server that can't forget is none the worse.
                core.jobs.sent(id);
                core.succeeded(id);
                continue;
            };
            let Some(payload) = Payload::of(job, &mut core.read_bytes) else { return };
            core.jobs.sent(id);
            self.heard_ns = if self.table.is_empty() { core.now_ns } else { self.heard_ns };
            let asked = Asked { id, since_ns: core.now_ns, is_shared: false };
            if self.ask(request, Tag::Job(asked), payload).is_err() {
                core.done(id, Err(NbdError::Invalid), "");
            }
        }
    }

    /// The request as this server takes it; none if it takes no such request and need not.
    fn possible(&self, request: Request) -> Option<Request> {
        if !matches!(request.command, nbd::Command::WriteZeroes | nbd::Command::Trim) || self.client.check(&request).is_ok() {
            return Some(request);
        }
        let other = match request.command {
            nbd::Command::Trim => Request::write_zeroes(request.offset, request.length),
            _ => Request::trim(request.offset, request.length),
        };
        self.client.check(&other).is_ok().then_some(other)
    }

    /// Gives the stream what it takes. Says how many requests were sent to their end.
    pub(crate) fn transmit(&mut self, streams: &mut impl Streams, index: usize) -> usize {
        loop {
            let handshake = self.client.transmit();
            if handshake.is_empty() {
                break;
            }
            match streams.send(index, handshake) {
                0 => return 0,
                count => self.client.transmitted(count),
            }
        }
        let mut sent = 0;
        while let Some(first) = self.outgoing.front_mut() {
            if !first.send(streams, index) {
                break;
            }
            self.outgoing.pop_front();
            sent += 1;
        }
        sent
    }
}
