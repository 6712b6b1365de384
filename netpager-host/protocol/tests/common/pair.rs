//! A client and a server, joined byte by byte.

use nbd::client::{Client, ClientError, Event, RequestTable, Session, Wishes};
use nbd::{NbdError, Request};

use super::{SIZE, Server};

/// What an answer consisted of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    /// Context, offset, length and flags.
    pub(crate) extents: Vec<(usize, u64, u64, u64)>,
}

pub(crate) struct Pair {
    pub(crate) client: Client,
    pub(crate) server: Server,
    pub(crate) table: RequestTable<Answer, 8>,
    pub(crate) ready: Option<Session>,
    done: Vec<(u64, Result<(), NbdError>, Answer)>,
}

impl Pair {
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, &Wishes::DEFAULT, Server::new())
    }

    pub(crate) fn with(name: &str, wishes: &Wishes, server: Server) -> Self {
        let client = Client::with(name, wishes).unwrap();
        Self { client, server, table: RequestTable::new(), ready: None, done: Vec::new() }
    }

    /// A pair whose handshake is over.
    pub(crate) fn ready(name: &str, wishes: &Wishes) -> Self {
        let mut pair = Self::with(name, wishes, Server::new());
        pair.run().unwrap();
        assert!(pair.ready.is_some());
        pair
    }

    /// Lets single bytes travel both ways until nothing moves.
    pub(crate) fn run(&mut self) -> Result<(), ClientError> {
        loop {
            let to_server = self.client.transmit().to_vec();
            self.client.transmitted(to_server.len());
            to_server.chunks(1).for_each(|byte| self.server.receive(byte).unwrap());
            let to_client = std::mem::take(&mut self.server.out);
            if to_server.is_empty() && to_client.is_empty() {
                return Ok(());
            }
            to_client.chunks(1).try_for_each(|byte| self.feed(byte))?;
        }
    }

    fn feed(&mut self, mut input: &[u8]) -> Result<(), ClientError> {
        loop {
            let (used, event) = self.client.receive(input, &mut self.table)?;
            input = &input[used..];
            match event {
                None => {
                    assert!(input.is_empty());
                    return Ok(());
                }
                // Both sides are told; there is no real TLS between them.
                Some(Event::StartTls) => {
                    assert!(self.server.starts_tls && input.is_empty() && self.client.transmit().is_empty());
                    self.server.secured();
                    self.client.secured();
                }
                Some(Event::Ready(session)) => self.ready = Some(session),
                Some(Event::Chunk { .. }) => {}
                Some(Event::Hole { cookie, offset, length }) => self.place(cookie, offset, &vec![0; length as usize]),
                Some(Event::Data { cookie, offset, bytes }) => self.place(cookie, offset, bytes),
                Some(Event::Extent { cookie, context, offset, length, flags }) => {
                    self.table.get_mut(cookie).unwrap().1.extents.push((context, offset, length, flags));
                }
                Some(Event::Done { cookie, result }) => {
                    let (_, answer) = self.table.remove(cookie).unwrap();
                    self.done.push((cookie, result, answer));
                }
            }
        }
    }

    fn place(&mut self, cookie: u64, offset: u64, bytes: &[u8]) {
        let (pending, answer) = self.table.get_mut(cookie).unwrap();
        let start = (offset - pending.request().offset) as usize;
        answer.bytes[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Sends one request past the client's own check, and returns its result and its answer.
    pub(crate) fn force(&mut self, request: Request, payload: &[u8]) -> (Result<(), NbdError>, Answer) {
        let framing = self.ready.unwrap().framing;
        self.send(request, payload, |cookie| request.encode(framing, cookie).to_vec())
    }

    /// Sends a request whose header is made by `encode`.
    pub(crate) fn send(&mut self, request: Request, payload: &[u8], encode: impl FnOnce(u64) -> Vec<u8>) -> (Result<(), NbdError>, Answer) {
        let answer = Answer { bytes: vec![0xee; SIZE.min(request.length as usize)], extents: Vec::new() };
        let cookie = self.table.insert(request, answer).unwrap();
        encode(cookie).iter().chain(payload).for_each(|&byte| self.server.receive(&[byte]).unwrap());
        self.run().unwrap();
        let (done, result, answer) = self.done.pop().unwrap();
        assert_eq!(done, cookie);
        assert!(self.done.is_empty() && self.client.is_between_replies());
        (result, answer)
    }

    /// Sends a request as a client must.
    pub(crate) fn ask(&mut self, request: Request, payload: &[u8]) -> (Result<(), NbdError>, Answer) {
        let header = |cookie| self.client.encode(cookie, &request).unwrap().to_vec();
        // The cookie is chosen by the table: encode with a stand-in, and put the right one in.
        let mut bytes = header(0);
        self.send(request, payload, |cookie| {
            bytes[8..16].copy_from_slice(&cookie.to_be_bytes());
            bytes
        })
    }

    pub(crate) fn read(&mut self, offset: u64, length: u32) -> Vec<u8> {
        let (result, answer) = self.ask(Request::read(offset, length), b"");
        assert_eq!(result, Ok(()));
        answer.bytes
    }
}
