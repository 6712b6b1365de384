//! The two halves against a model: random requests, random fragmentation, answers in random order.

mod common;

use std::collections::HashMap;

use common::{NAME, SIZE, Server};
use nbd::client::{Client, ClientError, Event, RequestTable, Wishes};
use nbd::{Command, Framing, Request};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Ask(Request, u8),
    /// The server sends all answers it holds, last first, and the client receives them.
    Answer,
}

fn step() -> impl Strategy<Value = Step> {
    let range = (0..SIZE as u64, 1..3000u32).prop_map(|(offset, length)| (offset, length.min(SIZE as u32 - offset as u32)));
    let request = (range, 0..5u8).prop_map(|((offset, length), kind)| match kind {
        0 | 1 => Request::read(offset, length),
        2 => Request::write(offset, length),
        3 => Request::write_zeroes(offset, length.into()),
        _ => Request::flush(),
    });
    prop_oneof![5 => (request, 0..3u8).prop_map(|(request, fill)| Step::Ask(request, fill)), 2 => Just(Step::Answer)]
}

struct World {
    client: Client,
    server: Server,
    table: RequestTable<Read, 4>,
    /// The model. The server applies requests as it receives them, so a READ returns this as of its sending.
    memory: Vec<u8>,
    cuts: Box<dyn Iterator<Item = usize>>,
}

/// What a READ must return, and what it returned so far.
struct Read {
    expected: Vec<u8>,
    got: HashMap<u64, u8>,
}

impl World {
    fn new(cuts: Vec<usize>, chunk: usize, framing: Framing) -> Self {
        let mut server = Server::new();
        server.chunk = chunk;
        let cuts = Box::new(cuts.into_iter().cycle());
        let client = Client::with(NAME, &Wishes { framing, ..Wishes::DEFAULT }).unwrap();
        Self { client, server, table: RequestTable::new(), memory: vec![0; SIZE], cuts }
    }

    fn server_gets(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(self.cuts.next().unwrap().min(bytes.len()));
            self.server.receive(piece).unwrap();
            bytes = rest;
        }
    }

    fn client_gets(&mut self, mut bytes: &[u8]) -> Result<(), ClientError> {
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(self.cuts.next().unwrap().min(bytes.len()));
            self.events(piece)?;
            bytes = rest;
        }
        Ok(())
    }

    fn events(&mut self, mut input: &[u8]) -> Result<(), ClientError> {
        loop {
            let (used, event) = self.client.receive(input, &mut self.table)?;
            input = &input[used..];
            match event {
                None => return Ok(()),
                Some(Event::Ready(_) | Event::Chunk { .. }) => {}
                Some(Event::StartTls | Event::Extent { .. }) => unreachable!("not asked for"),
                Some(Event::Data { cookie, offset, bytes }) => self.got(cookie, offset, bytes.iter().copied()),
                Some(Event::Hole { cookie, offset, length }) => self.got(cookie, offset, std::iter::repeat_n(0, length as usize)),
                Some(Event::Done { cookie, result }) => {
                    assert_eq!(result, Ok(()));
                    self.done(cookie);
                }
            }
        }
    }

    fn got(&mut self, cookie: u64, offset: u64, bytes: impl Iterator<Item = u8>) {
        let read = &mut self.table.get_mut(cookie).unwrap().1;
        for (at, byte) in (offset..).zip(bytes) {
            assert_eq!(read.got.insert(at, byte), None, "byte {at} delivered twice");
        }
    }

    fn done(&mut self, cookie: u64) {
        let (request, read) = self.table.remove(cookie).unwrap();
        if request.command == Command::Read {
            let got: Vec<u8> = (request.offset..request.end()).map(|at| read.got[&at]).collect();
            assert_eq!(got, read.expected);
        }
    }

    fn handshake(&mut self) {
        while self.client.session().is_none() {
            let greeting = std::mem::take(&mut self.server.out);
            self.client_gets(&greeting).unwrap();
            let bytes = self.client.transmit().to_vec();
            self.client.transmitted(bytes.len());
            self.server_gets(&bytes);
        }
        self.server.hold = true;
    }

    fn ask(&mut self, request: Request, fill: u8) {
        let range = request.offset as usize..(request.offset as usize + request.length as usize);
        let read = Read { expected: self.memory[range.clone()].to_vec(), got: HashMap::new() };
        let Ok(cookie) = self.table.insert(request, read) else { return };
        let mut bytes = self.client.encode(cookie, &request).unwrap().to_vec();
        match request.command {
            Command::Write => {
                self.memory[range].fill(fill);
                bytes.extend(vec![fill; request.length as usize]);
            }
            Command::WriteZeroes => self.memory[range].fill(0),
            _ => {}
        }
        self.server_gets(&bytes);
    }

    fn answer(&mut self) {
        while let Some(reply) = self.server.held.pop() {
            self.client_gets(&reply).unwrap();
        }
        assert!(self.table.is_empty() && self.client.is_between_replies());
        assert_eq!(self.server.memory, self.memory);
    }
}

proptest! {
    #[test]
    fn memory_behind_the_wire_is_memory(
        steps in prop::collection::vec(step(), 0..40),
        cuts in prop::collection::vec(prop_oneof![3 => 1..8usize, 1 => 1..5000usize], 1..20),
        chunk in 400..SIZE,
        framing in prop::sample::select(vec![Framing::Simple, Framing::Structured, Framing::Extended]),
    ) {
        let mut world = World::new(cuts, chunk, framing);
        world.handshake();
        for step in steps.into_iter().chain([Step::Answer]) {
            match step {
                Step::Ask(request, fill) => world.ask(request, fill),
                Step::Answer => world.answer(),
            }
        }
    }
}
