//! An NBD server in memory: what one connection asks, done when the test says so and in the order that the test likes.

use std::cell::RefCell;
use std::rc::Rc;

use nbd::context::CAPABILITY_FENCE;
use nbd::server::{Export, ExportRefusal, Exports, Found, Handshake, Incoming, Outcome, Purpose, Reply, Requests, TlsMode};
use nbd::{BlockSizes, Command, ExportInfo, NbdError, Request, TransmissionFlags};

pub(crate) const NAME: &str = "memory";

/// What all connections share, and what outlives them.
pub(crate) struct Store {
    pub(crate) bytes: Vec<u8>,
    pub(crate) flags: TransmissionFlags,
    /// It ends older connections before it lets a new one in, and says so.
    pub(crate) fences: bool,
    /// It says nothing of its exports before TLS runs.
    pub(crate) requires_tls: bool,
    /// How reads and writes of pages fail, while they do.
    pub(crate) read_error: Option<NbdError>,
    pub(crate) write_error: Option<NbdError>,
    pub(crate) writes: u64,
    pub(crate) reads: u64,
    pub(crate) zeroes: u64,
}

pub(crate) type Shared = Rc<RefCell<Store>>;

impl Store {
    pub(crate) fn new(bytes: usize) -> Shared {
        let flags = TransmissionFlags::all() - TransmissionFlags::READ_ONLY;
        let store = Self {
            bytes: vec![0; bytes],
            flags,
            fences: false,
            requires_tls: false,
            read_error: None,
            write_error: None,
            writes: 0,
            reads: 0,
            zeroes: 0,
        };
        Rc::new(RefCell::new(store))
    }
}

struct One(ExportInfo, bool);

impl Exports for One {
    fn find(&self, name: &str, _: Purpose) -> Found<'_> {
        if name != NAME {
            return Found::Refused(ExportRefusal::unknown());
        }
        let (description, contexts, capabilities): (_, &[&str], &[&str]) = ("a test", &[], if self.1 { &[CAPABILITY_FENCE] } else { &[] });
        Found::Export(Export { id: 0, name: NAME, description, info: self.0, contexts, capabilities, needs_block_sizes: true })
    }

    fn list(&self, each: &mut dyn FnMut(&str)) {
        each(NAME);
    }
}

enum State {
    Handshake(Box<Handshake>),
    Transmission(Box<Requests>),
}

/// A request that came and isn't done.
pub(crate) struct Pending {
    reply: Reply,
    request: Request,
    data: Vec<u8>,
}

/// One connection.
pub(crate) struct Server {
    store: Shared,
    state: State,
    /// What it sends.
    pub(crate) out: Vec<u8>,
    pub(crate) pending: Vec<Pending>,
    write: Option<Pending>,
    starts_tls: bool,
}

impl Server {
    pub(crate) fn new(store: &Shared) -> Self {
        let mut out = Vec::new();
        let mode = if store.borrow().requires_tls { TlsMode::Required } else { TlsMode::None };
        let state = State::Handshake(Box::new(Handshake::new(&mut out, mode)));
        Self { store: Rc::clone(store), state, out, pending: Vec::new(), write: None, starts_tls: false }
    }

    fn exports(&self) -> One {
        let store = self.store.borrow();
        let block = BlockSizes { minimum: 512, preferred: 4096, maximum: 1 << 20 };
        One(ExportInfo { size: store.bytes.len() as u64, flags: store.flags, block }, store.fences)
    }

    /// Takes what the client sent; the client must keep to the protocol.
    pub(crate) fn receive(&mut self, mut input: &[u8]) {
        loop {
            let exports = self.exports();
            match &mut self.state {
                State::Handshake(handshake) => {
                    let (used, outcome) = handshake.receive(input, &exports, &mut self.out).expect("a client that shakes hands well");
                    input = &input[used..];
                    match outcome {
                        Some(Outcome::Transmission(negotiated)) => self.state = State::Transmission(Box::new(Requests::new(negotiated))),
                        Some(Outcome::StartTls) => {
                            self.starts_tls = true;
                            return;
                        }
                        Some(Outcome::Aborted | Outcome::Wait) | None => return,
                    }
                }
                State::Transmission(requests) => {
                    let (used, incoming) = requests.receive(input).expect("a client that asks well");
                    input = &input[used..];
                    match incoming {
                        Some(incoming) => self.take(incoming),
                        None => return,
                    }
                }
            }
        }
    }

    fn take(&mut self, incoming: Incoming<'_>) {
        match incoming {
            Incoming::Request { reply, request } => {
                let pending = Pending { reply, request, data: Vec::new() };
                if request.command == Command::Write { self.write = Some(pending) } else { self.pending.push(pending) }
            }
            Incoming::Payload { bytes, last } => {
                self.write.as_mut().expect("a write before its payload").data.extend_from_slice(bytes);
                if last {
                    self.pending.extend(self.write.take());
                }
            }
            Incoming::Refused { refusal, .. } => panic!("the client asked for what it can't have: {refusal}"),
            Incoming::Disconnect => {}
        }
    }

    /// Whether the client was just told that TLS may begin: what is in `out` is the last in the clear.
    pub(crate) fn take_start_tls(&mut self) -> bool {
        if let (State::Handshake(handshake), true) = (&mut self.state, self.starts_tls) {
            handshake.secured();
        }
        std::mem::take(&mut self.starts_tls)
    }

    /// Whether the handshake is over.
    pub(crate) const fn is_ready(&self) -> bool {
        matches!(self.state, State::Transmission(_))
    }

    /// Whether any two requests that came and aren't done touch the same bytes, and don't both read.
    pub(crate) fn conflicts<'a>(all: impl Iterator<Item = &'a Pending> + Clone) -> bool {
        let range = |one: &Pending| (one.request.offset, one.request.end());
        let clash = |one: &Pending, two: &Pending| {
            let ((from, to), (start, end)) = (range(one), range(two));
            from < end && start < to && !(one.request.command == Command::Read && two.request.command == Command::Read)
        };
        let numbered = all.enumerate();
        numbered.clone().any(|(at, one)| numbered.clone().skip(at + 1).any(|(_, two)| clash(one, two)))
    }

    /// Does one request; the answer is sent if there is still somebody to send it to.
    pub(crate) fn finish(&mut self, index: usize, is_answered: bool) {
        let Pending { reply, request, data } = self.pending.remove(index);
        let result = self.perform(&request, &data);
        if !is_answered {
            return;
        }
        match (request.command, result) {
            (_, Err(error)) => reply.error(&mut self.out, error, "as the test wants it"),
            (Command::Read, Ok(())) => self.put_read(reply, &request),
            (_, Ok(())) => reply.done(&mut self.out),
        }
    }

    fn perform(&self, request: &Request, data: &[u8]) -> Result<(), NbdError> {
        let mut store = self.store.borrow_mut();
        let range = request.offset as usize..request.offset as usize + request.length as usize;
        let is_superblock = range.start == 0;
        match request.command {
            Command::Write => {
                if let Some(error) = store.write_error.filter(|_| !is_superblock) {
                    return Err(error);
                }
                store.writes += 1;
                store.bytes[range].copy_from_slice(data);
            }
            // Whatever is there afterwards must not be seen: make it visible if it is.
            Command::Trim => store.bytes[range].fill(0xdd),
            Command::WriteZeroes => {
                store.zeroes += 1;
                store.bytes[range].fill(0);
            }
            Command::Read => {
                store.reads += 1;
                return store.read_error.filter(|_| !is_superblock).map_or(Ok(()), Err);
            }
            Command::Flush | Command::Cache | Command::BlockStatus => {}
        }
        Ok(())
    }

    /// In chunks of a page and a half, the last first, zeroes as holes.
    fn put_read(&mut self, reply: Reply, request: &Request) {
        let store = self.store.borrow();
        let (start, end) = (request.offset, request.end());
        let step = (request.length / 7).next_multiple_of(512).max(6144);
        let chunks: Vec<u64> = (start..end).step_by(step as usize).collect();
        for from in chunks.into_iter().rev() {
            let to = end.min(from + step);
            let bytes = &store.bytes[from as usize..to as usize];
            if bytes.iter().all(|byte| *byte == 0) {
                reply.hole(&mut self.out, from, bytes.len() as u32, false);
            } else {
                reply.data(&mut self.out, from, bytes.len() as u32, false);
                self.out.extend(bytes);
            }
        }
        reply.none(&mut self.out);
    }
}
