//! A whole server in memory, driven by bytes, for the tests of both halves against each other.
#![allow(dead_code, reason = "each test uses its own part")]

pub(crate) mod pair;
pub(crate) mod script;

use nbd::server::{
    Export, ExportRefusal, Exports, Extent, Found, Handshake, Incoming, Negotiated, Outcome, Purpose, RefusalKind, Reply, Requests,
    ServerError, TlsMode,
};
use nbd::{AllocationFlags, BlockSizes, Command, CommandFlags, ExportInfo, Request, StateFlags, TransmissionFlags, context};

pub(crate) const SIZE: usize = 8192;
pub(crate) const NAME: &str = "memory";

/// Another one, over the same memory.
pub(crate) const OTHER: &str = "other";

/// The contexts of the export, in the order of their indices.
pub(crate) const CONTEXTS: &[&str] = &[context::ALLOCATION, context::STATE];

/// Everything an export can announce, except being read-only.
pub(crate) fn all_flags() -> TransmissionFlags {
    TransmissionFlags::all() - TransmissionFlags::READ_ONLY - TransmissionFlags::BLOCK_STATUS_PAYLOAD
}

/// An export called [`NAME`], which is also the default, and one called [`OTHER`].
pub(crate) struct OneExport {
    pub(crate) info: ExportInfo,
    pub(crate) needs_block_sizes: bool,
    /// How often the export is not ready yet when it is to be entered.
    pub(crate) waits: std::cell::Cell<usize>,
    /// What was looked for.
    pub(crate) asked: std::cell::RefCell<Vec<(String, Purpose)>>,
}

impl Default for OneExport {
    fn default() -> Self {
        let block = BlockSizes { minimum: 1, preferred: 4096, maximum: 1 << 20 };
        let info = ExportInfo { size: SIZE as u64, flags: all_flags(), block };
        Self { info, needs_block_sizes: false, waits: 0.into(), asked: Vec::new().into() }
    }
}

impl Exports for OneExport {
    fn find(&self, name: &str, purpose: Purpose) -> Found<'_> {
        self.asked.borrow_mut().push((name.to_owned(), purpose));
        if purpose == Purpose::Enter && self.waits.get() > 0 {
            self.waits.set(self.waits.get() - 1);
            return Found::Wait;
        }
        match name {
            "" | NAME | OTHER => Found::Export(Export {
                id: if name == OTHER { 4 } else { 3 },
                name: if name == OTHER { OTHER } else { NAME },
                description: "a test",
                info: self.info,
                contexts: CONTEXTS,
                capabilities: &[context::CAPABILITY_FENCE],
                needs_block_sizes: self.needs_block_sizes,
            }),
            "secret" => Found::Refused(ExportRefusal::new(RefusalKind::TlsRequired, format_args!("`{name}` is served over TLS only"))),
            "quota" => Found::Refused(ExportRefusal::new(RefusalKind::Policy, format_args!("{} of {} GiB used", 7, 8))),
            "late" => Found::Refused(ExportRefusal::new(RefusalKind::Shutdown, format_args!("going away"))),
            _ => Found::Refused(ExportRefusal::unknown()),
        }
    }

    fn list(&self, each: &mut dyn FnMut(&str)) {
        each(NAME);
    }
}

enum State {
    Handshake(Box<Handshake>),
    Transmission(Box<Requests>, Negotiated),
    Over,
}

/// The server. `out` is what it sends.
pub(crate) struct Server {
    pub(crate) exports: OneExport,
    pub(crate) memory: Vec<u8>,
    pub(crate) out: Vec<u8>,
    /// Complete replies that wait in place of being sent, when `hold` is set; to test any order.
    pub(crate) held: Vec<Vec<u8>>,
    pub(crate) hold: bool,
    /// READs are cut into chunks of this many bytes.
    pub(crate) chunk: usize,
    state: State,
    write: Option<(Reply, Request, Vec<u8>)>,
    /// Whether the server waits for TLS to be started.
    pub(crate) starts_tls: bool,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::with_tls(TlsMode::None)
    }

    pub(crate) fn with_tls(tls: TlsMode) -> Self {
        let mut out = Vec::new();
        let handshake = Handshake::new(&mut out, tls);
        Self {
            exports: OneExport::default(),
            memory: vec![0; SIZE],
            out,
            held: Vec::new(),
            hold: false,
            chunk: SIZE,
            state: State::Handshake(Box::new(handshake)),
            write: None,
            starts_tls: false,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    pub(crate) fn negotiated(&self) -> Option<Negotiated> {
        match &self.state {
            State::Transmission(_, negotiated) => Some(*negotiated),
            _ => None,
        }
    }

    pub(crate) fn secured(&mut self) {
        let State::Handshake(handshake) = &mut self.state else { panic!("the handshake is over") };
        handshake.secured();
        self.starts_tls = false;
    }

    pub(crate) fn receive(&mut self, mut input: &[u8]) -> Result<(), ServerError> {
        loop {
            match &mut self.state {
                State::Over => return Ok(()),
                State::Handshake(handshake) => {
                    let (used, outcome) = handshake.receive(input, &self.exports, &mut self.out)?;
                    input = &input[used..];
                    match outcome {
                        None => return Ok(()),
                        // Done at once, and asked again.
                        Some(Outcome::Wait) => {}
                        Some(Outcome::StartTls) => {
                            self.starts_tls = true;
                            return Ok(());
                        }
                        Some(Outcome::Aborted) => self.state = State::Over,
                        Some(Outcome::Transmission(negotiated)) => {
                            self.state = State::Transmission(Box::new(Requests::new(negotiated)), negotiated)
                        }
                    }
                }
                State::Transmission(requests, _) => {
                    let (used, incoming) = requests.receive(input)?;
                    input = &input[used..];
                    match incoming {
                        None => return Ok(()),
                        Some(incoming) => self.serve(incoming),
                    }
                }
            }
        }
    }

    fn serve(&mut self, incoming: Incoming<'_>) {
        let mut out = Vec::new();
        match incoming {
            Incoming::Request { reply, request } if request.command == Command::Write => self.write = Some((reply, request, Vec::new())),
            Incoming::Request { reply, request } => self.answer(reply, &request, &mut out),
            Incoming::Payload { bytes, last } => {
                let (reply, request, data) = self.write.as_mut().expect("payload follows a WRITE");
                data.extend_from_slice(bytes);
                assert_eq!(last, data.len() == request.length as usize);
                if last {
                    self.memory[request.offset as usize..][..data.len()].copy_from_slice(data);
                    reply.done(&mut out);
                }
            }
            Incoming::Refused { reply, refusal } => reply.error(&mut out, refusal.error, refusal.reason),
            Incoming::Disconnect => self.state = State::Over,
        }
        match self.hold {
            true if !out.is_empty() => self.held.push(out),
            _ => self.out.extend(out),
        }
    }

    fn answer(&mut self, reply: Reply, request: &Request, out: &mut Vec<u8>) {
        let range = request.offset as usize..request.end() as usize;
        match request.command {
            Command::Read if reply.framing().has_chunks() => self.read_chunks(reply, range, out),
            Command::Read => {
                reply.done(out);
                out.extend(&self.memory[range]);
            }
            Command::Trim | Command::WriteZeroes => {
                self.memory[range].fill(0);
                reply.done(out);
            }
            Command::BlockStatus => self.status(reply, request, out),
            Command::Flush | Command::Cache => reply.done(out),
            Command::Write => unreachable!("answered when its payload is complete"),
        }
    }

    fn read_chunks(&self, reply: Reply, range: std::ops::Range<usize>, out: &mut Vec<u8>) {
        for start in range.clone().step_by(self.chunk) {
            let data = &self.memory[start..range.end.min(start + self.chunk)];
            if data.iter().all(|&byte| byte == 0) {
                reply.hole(out, start as u64, data.len() as u32, false);
            } else {
                reply.data(out, start as u64, data.len() as u32, false);
                out.extend(data);
            }
        }
        reply.none(out);
    }

    /// Runs of zeroes and of other bytes, in each context that is asked about.
    fn status(&self, reply: Reply, request: &Request, out: &mut Vec<u8>) {
        let bytes = &self.memory[request.offset as usize..request.end() as usize];
        let runs = bytes.chunk_by(|one, two| (*one == 0) == (*two == 0));
        let wanted = if request.flags.contains(CommandFlags::REQ_ONE) { 1 } else { usize::MAX };
        let runs: Vec<(u64, bool)> = runs.map(|run| (run.len() as u64, run[0] == 0)).take(wanted).collect();
        let contexts: Vec<usize> = request.contexts.iter().collect();
        for (place, &index) in contexts.iter().enumerate() {
            let extent = |&(length, is_zero): &(u64, bool)| match (CONTEXTS[index], is_zero) {
                (context::ALLOCATION, true) => Extent::allocation(length, AllocationFlags::HOLE | AllocationFlags::ZERO),
                (context::ALLOCATION, false) => Extent::allocation(length, AllocationFlags::empty()),
                (_, true) => Extent::state(length, StateFlags::empty()),
                (_, false) => Extent::state(length, StateFlags::RESIDENT | StateFlags::DIRTY),
            };
            let extents: Vec<Extent> = runs.iter().map(extent).collect();
            reply.block_status(out, index, &extents, place + 1 == contexts.len());
        }
    }
}
