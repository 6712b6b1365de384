//! A whole server in memory, driven by bytes, for the tests of both halves against each other.
#![allow(dead_code, reason = "each test uses its own part")]

use nbd::server::{
    Export, Exports, Handshake, Incoming, Negotiated, Outcome, Requests, ServerError, put_data_header, put_error, put_hole, put_none,
    put_simple,
};
use nbd::{BlockSizes, Command, ExportInfo, Request, TransmissionFlags};

pub(crate) const SIZE: usize = 8192;
pub(crate) const NAME: &str = "memory";

/// Everything an export can announce, except being read-only.
pub(crate) fn all_flags() -> TransmissionFlags {
    TransmissionFlags::all() - TransmissionFlags::READ_ONLY
}

/// One export called [`NAME`], which is also the default.
pub(crate) struct OneExport(pub(crate) ExportInfo);

impl Default for OneExport {
    fn default() -> Self {
        let block = BlockSizes { minimum: 1, preferred: 4096, maximum: 1 << 20 };
        Self(ExportInfo { size: SIZE as u64, flags: all_flags(), block })
    }
}

impl Exports for OneExport {
    fn find(&self, name: &str) -> Option<Export<'_>> {
        let found = Export { id: 3, name: NAME, description: "a test", info: self.0 };
        ["", NAME].contains(&name).then_some(found)
    }

    fn list(&self, each: &mut dyn FnMut(&str)) {
        each(NAME);
    }
}

enum State {
    Handshake(Box<Handshake>),
    Transmission(Requests, Negotiated),
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
    write: Option<(u64, Request, Vec<u8>)>,
}

impl Server {
    pub(crate) fn new() -> Self {
        let mut out = Vec::new();
        let handshake = Handshake::new(&mut out);
        Self {
            exports: OneExport::default(),
            memory: vec![0; SIZE],
            out,
            held: Vec::new(),
            hold: false,
            chunk: SIZE,
            state: State::Handshake(Box::new(handshake)),
            write: None,
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

    pub(crate) fn receive(&mut self, mut input: &[u8]) -> Result<(), ServerError> {
        loop {
            match &mut self.state {
                State::Over => return Ok(()),
                State::Handshake(handshake) => {
                    let (used, outcome) = handshake.receive(input, &self.exports, &mut self.out)?;
                    input = &input[used..];
                    match outcome {
                        None => return Ok(()),
                        Some(Outcome::Aborted) => self.state = State::Over,
                        Some(Outcome::Transmission(negotiated)) => self.state = State::Transmission(Requests::new(negotiated), negotiated),
                    }
                }
                State::Transmission(requests, negotiated) => {
                    let structured = negotiated.structured;
                    let (used, incoming) = requests.receive(input)?;
                    input = &input[used..];
                    match incoming {
                        None => return Ok(()),
                        Some(incoming) => self.serve(incoming, structured),
                    }
                }
            }
        }
    }

    fn serve(&mut self, incoming: Incoming<'_>, structured: bool) {
        let mut reply = Vec::new();
        match incoming {
            Incoming::Request { cookie, request } if request.command == Command::Write => self.write = Some((cookie, request, Vec::new())),
            Incoming::Request { cookie, request } => self.answer(cookie, &request, structured, &mut reply),
            Incoming::Payload { bytes, last } => {
                let (cookie, request, data) = self.write.as_mut().expect("payload follows a WRITE");
                data.extend_from_slice(bytes);
                assert_eq!(last, data.len() == request.length as usize);
                if last {
                    self.memory[request.offset as usize..][..data.len()].copy_from_slice(data);
                    put_simple(&mut reply, *cookie, Ok(()));
                }
            }
            Incoming::Refused { cookie, refusal } => put_error(&mut reply, structured, cookie, refusal.error, refusal.reason),
            Incoming::Disconnect => self.state = State::Over,
        }
        match self.hold {
            true if !reply.is_empty() => self.held.push(reply),
            _ => self.out.extend(reply),
        }
    }

    fn answer(&mut self, cookie: u64, request: &Request, structured: bool, reply: &mut Vec<u8>) {
        let range = request.offset as usize..request.offset as usize + request.length as usize;
        match request.command {
            Command::Read if structured => self.read_chunks(cookie, range, reply),
            Command::Read => {
                put_simple(reply, cookie, Ok(()));
                reply.extend(&self.memory[range]);
            }
            Command::Trim | Command::WriteZeroes => {
                self.memory[range].fill(0);
                put_simple(reply, cookie, Ok(()));
            }
            Command::BlockStatus => put_none(reply, cookie),
            Command::Flush | Command::Cache => put_simple(reply, cookie, Ok(())),
            Command::Write => unreachable!("answered when its payload is complete"),
        }
    }

    fn read_chunks(&self, cookie: u64, range: std::ops::Range<usize>, reply: &mut Vec<u8>) {
        for start in range.clone().step_by(self.chunk) {
            let data = &self.memory[start..range.end.min(start + self.chunk)];
            if data.iter().all(|&byte| byte == 0) {
                put_hole(reply, cookie, start as u64, data.len() as u32, false);
            } else {
                put_data_header(reply, cookie, start as u64, data.len() as u32, false);
                reply.extend(data);
            }
        }
        put_none(reply, cookie);
    }
}
