//! Whole sessions between the two halves, cut into single bytes: handshake, requests, goodbye.

mod common;

use common::{NAME, Server, all_flags};
use nbd::client::{Client, ClientError, EncodedRequest, Event, RequestTable, Session};
use nbd::server::ServerError;
use nbd::wire::{option, option_reply};
use nbd::{CommandFlags, NbdError, Request, TransmissionFlags};

/// A client and a server, and the READ buffers by cookie.
struct Pair {
    client: Client,
    server: Server,
    table: RequestTable<Vec<u8>, 8>,
    done: Vec<(u64, Result<(), NbdError>, Vec<u8>)>,
    ready: Option<Session>,
}

impl Pair {
    fn new(name: &str) -> Self {
        Self { client: Client::new(name).unwrap(), server: Server::new(), table: RequestTable::new(), done: Vec::new(), ready: None }
    }

    fn ready(name: &str) -> Self {
        let mut pair = Self::new(name);
        pair.run().unwrap();
        assert!(pair.ready.is_some());
        pair
    }

    /// Lets single bytes travel both ways until nothing moves.
    fn run(&mut self) -> Result<(), ClientError> {
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
                Some(Event::Ready(session)) => self.ready = Some(session),
                Some(Event::Chunk { .. }) => {}
                Some(Event::Hole { cookie, offset, length }) => self.place(cookie, offset, &vec![0; length as usize]),
                Some(Event::Data { cookie, offset, bytes }) => self.place(cookie, offset, bytes),
                Some(Event::Done { cookie, result }) => {
                    let (_, buffer) = self.table.remove(cookie).unwrap();
                    self.done.push((cookie, result, buffer));
                }
            }
        }
    }

    fn place(&mut self, cookie: u64, offset: u64, bytes: &[u8]) {
        let (pending, buffer) = self.table.get_mut(cookie).unwrap();
        let start = (offset - pending.request().offset) as usize;
        buffer[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Sends one request past the client's own check, and returns its result and what it read.
    fn force(&mut self, request: Request, payload: &[u8]) -> (Result<(), NbdError>, Vec<u8>) {
        let cookie = self.table.insert(request, vec![0xee; common::SIZE.min(request.length as usize)]).unwrap();
        let header: EncodedRequest = zerocopy::IntoBytes::as_bytes(&request.header(cookie)).try_into().unwrap();
        header.iter().chain(payload).for_each(|&byte| self.server.receive(&[byte]).unwrap());
        self.run().unwrap();
        let (done, result, buffer) = self.done.pop().unwrap();
        assert_eq!(done, cookie);
        (result, buffer)
    }

    fn ask(&mut self, request: Request, payload: &[u8]) -> (Result<(), NbdError>, Vec<u8>) {
        self.client.encode(0, &request).unwrap();
        self.force(request, payload)
    }
}

#[test]
fn the_handshake_agrees_on_everything() {
    let pair = Pair::ready(NAME);
    let session = pair.ready.unwrap();
    assert!(session.structured);
    assert_eq!(session.export, pair.server.exports.0);
    let negotiated = pair.server.negotiated().unwrap();
    assert_eq!((negotiated.export, negotiated.structured, negotiated.allocation), (3, true, false));
    assert_eq!(negotiated.info, session.export);
}

#[test]
fn what_is_written_is_read_back() {
    let mut pair = Pair::ready(NAME);
    assert_eq!(pair.ask(Request::write(100, 5).with(CommandFlags::FUA), b"pages").0, Ok(()));
    assert_eq!(pair.ask(Request::read(99, 7), b""), (Ok(()), b"\0pages\0".to_vec()));
    assert_eq!(pair.ask(Request::write_zeroes(102, 1), b"").0, Ok(()));
    assert_eq!(pair.ask(Request::flush(), b"").0, Ok(()));
    assert_eq!(pair.ask(Request::read(100, 5), b""), (Ok(()), b"pa\0es".to_vec()));
}

#[test]
fn goodbye_ends_the_session() {
    let mut pair = Pair::ready(NAME);
    pair.server.receive(&Client::disconnect()).unwrap();
    assert!(pair.server.is_over());
}

#[test]
fn an_unknown_export_is_refused_in_words_and_aborted() {
    let mut pair = Pair::new("nothing");
    let Err(ClientError::Refused(refused)) = pair.run() else { panic!("the server has no such export") };
    assert_eq!((refused.option, refused.kind), (option::GO, option_reply::ERR_UNKNOWN));
    assert_eq!(refused.to_string(), "option 7: no such export: no such export");
    pair.server.receive(pair.client.transmit()).unwrap();
    assert!(pair.server.is_over());
    assert_eq!(pair.client.receive(b"x", &mut pair.table), Err(ClientError::AlreadyFailed));
}

#[test]
fn a_name_that_is_too_long_makes_no_client() {
    assert!(Client::new(&"n".repeat(nbd::limits::CLIENT_NAME_MAX)).is_some());
    assert!(Client::new(&"n".repeat(nbd::limits::CLIENT_NAME_MAX + 1)).is_none());
}

#[test]
fn requests_the_export_does_not_take_fail_the_same_way_on_both_sides() {
    let mut pair = Pair::new(NAME);
    pair.server.exports.0.block.maximum = 4096;
    pair.run().unwrap();
    let size = common::SIZE as u64;
    for (request, error) in [
        (Request::read(size - 1, 2), NbdError::Invalid),
        (Request::read(u64::MAX, 2), NbdError::Invalid),
        (Request::write(size, 1), NbdError::NoSpace),
        (Request::write_zeroes(size, 1), NbdError::NoSpace),
        (Request::trim(size, u32::MAX), NbdError::Invalid),
        (Request::read(0, 0), NbdError::Invalid),
        (Request { length: 1, ..Request::flush() }, NbdError::Invalid),
        (Request::read(0, 1).with(CommandFlags::NO_HOLE), NbdError::Invalid),
        (Request::read(0, 1).with(CommandFlags::from_bits_retain(0x8000)), NbdError::Invalid),
        (Request::write(0, 4097), NbdError::Invalid),
    ] {
        let refusal = pair.client.encode(1, &request).unwrap_err();
        assert_eq!(refusal.error, error, "{request:?}");
        let payload = vec![1; request.payload_length() as usize];
        assert_eq!(pair.force(request, &payload).0, Err(error), "{request:?}");
        assert_eq!(pair.client.error_text().to_string(), refusal.reason);
    }
    assert_eq!(pair.ask(Request::read(0, 2), b"").0, Ok(()), "the connection lives");
}

#[test]
fn a_read_only_export_is_not_written() {
    let mut pair = Pair::new(NAME);
    pair.server.exports.0.flags = all_flags() | TransmissionFlags::READ_ONLY;
    pair.run().unwrap();
    for request in [Request::write(0, 1), Request::trim(0, 1), Request::write_zeroes(0, 1)] {
        assert_eq!(pair.client.encode(1, &request).unwrap_err().error, NbdError::NotPermitted);
        assert_eq!(pair.force(request, &[7][..request.payload_length() as usize]).0, Err(NbdError::NotPermitted));
    }
    assert_eq!(pair.server.memory[0], 0);
}

#[test]
fn abilities_that_were_not_announced_are_not_used() {
    let mut pair = Pair::new(NAME);
    pair.server.exports.0.flags = TransmissionFlags::HAS_FLAGS;
    pair.run().unwrap();
    for request in [Request::flush(), Request::trim(0, 1), Request::write_zeroes(0, 1), Request::cache(0, 1)] {
        assert_eq!(pair.client.encode(1, &request).unwrap_err().error, NbdError::Invalid);
    }
    assert!(pair.client.encode(1, &Request::write(0, 1).with(CommandFlags::FUA)).is_err());
    assert!(pair.client.encode(1, &Request::read(0, 1).with(CommandFlags::DF)).is_err());
}

#[test]
fn a_client_that_never_chooses_is_hung_up_on() {
    let mut server = Server::new();
    server.receive(&[0, 0, 0, 3]).unwrap();
    let list = [&b"IHAVEOPT"[..], &[0, 0, 0, 3], &[0; 4]].concat();
    for _ in 0..nbd::limits::OPTIONS_MAX {
        server.receive(&list).unwrap();
    }
    assert_eq!(server.receive(&list), Err(ServerError::TooManyOptions));
}
