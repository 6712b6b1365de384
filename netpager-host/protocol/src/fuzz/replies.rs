//! The client's half of the transmission phase.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::corpus::{self, Script};
use super::{choice, pieces};
use crate::client::{Client, ClientError, Event, Outstanding, Pending, RequestTable};
use crate::flags::CommandFlags;
use crate::framing::Framing;
use crate::request::{Command, Request};
use crate::{ContextSet, NbdError};

/// Requests in flight; a request's cookie is its place.
pub(super) const REQUESTS: [Request; 7] = [
    Request::read(4096, 64),
    Request::read(0, 48).with(CommandFlags::DF),
    Request::write(512, 16),
    Request::flush(),
    Request::block_status(0, 8192),
    Request::block_status(4096, 512).with(CommandFlags::REQ_ONE).about(ContextSet::one(1)),
    Request::read(8192, 1),
];

/// What is known of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Answer {
    /// Which bytes of a READ have come, and what they are.
    bytes: Vec<Option<u8>>,
    /// Extents told by each context, and where the next one begins.
    told: [(u64, u64); 2],
    result: Option<Result<(), NbdError>>,
}

struct Table {
    pending: Vec<Pending>,
    answers: Vec<Answer>,
}

impl Outstanding for Table {
    fn pending(&mut self, cookie: u64) -> Option<&mut Pending> {
        self.pending.get_mut(usize::try_from(cookie).ok()?)
    }
}

impl Table {
    fn new() -> Self {
        let answer = |request: &Request| {
            let length = if request.command == Command::Read { request.length as usize } else { 0 };
            Answer { bytes: alloc::vec![None; length], told: [(0, request.offset); 2], result: None }
        };
        Self { pending: REQUESTS.iter().map(|&request| Pending::new(request)).collect(), answers: REQUESTS.iter().map(answer).collect() }
    }

    fn take(&mut self, event: Event<'_>, granted: ContextSet) {
        let cookie = match event {
            Event::Chunk { cookie, .. } | Event::Data { cookie, .. } | Event::Hole { cookie, .. } => cookie,
            Event::Extent { cookie, .. } | Event::Done { cookie, .. } => cookie,
            Event::Ready(_) | Event::StartTls => panic!("{event:?} after the handshake"),
        };
        let (request, answer) = (&REQUESTS[cookie as usize], &mut self.answers[cookie as usize]);
        assert_eq!(answer.result, None, "something comes after the end");
        match event {
            Event::Data { offset, bytes, .. } => answer.place(request, offset, bytes.iter().copied()),
            Event::Hole { offset, length, .. } => answer.place(request, offset, core::iter::repeat_n(0, length as usize)),
            Event::Extent { context, offset, length, .. } => {
                let (count, next) = &mut answer.told[context];
                assert!(length > 0 && offset == *next && offset + length <= request.end());
                (*count, *next) = (*count + 1, offset + length);
            }
            Event::Done { result, .. } => {
                if result.is_ok() {
                    answer.check(request, granted);
                }
                answer.result = Some(result);
            }
            _ => {}
        }
    }
}

impl Answer {
    fn place(&mut self, request: &Request, offset: u64, bytes: impl Iterator<Item = u8>) {
        for (at, byte) in ((offset - request.offset) as usize..).zip(bytes) {
            assert_eq!(self.bytes[at].replace(byte), None, "a byte comes twice");
        }
    }

    /// Success must mean that everything is there.
    fn check(&self, request: &Request, granted: ContextSet) {
        assert!(self.bytes.iter().all(Option::is_some), "a READ succeeds without its data");
        if request.command == Command::BlockStatus {
            let asked = if request.contexts.is_empty() { granted } else { request.contexts };
            for (index, &(count, _)) in self.told.iter().enumerate() {
                assert_eq!(count > 0, asked.contains(index));
                assert!(count <= 1 || !request.flags.contains(CommandFlags::REQ_ONE));
            }
        }
    }
}

fn run<'d>(script: &Script, pieces: impl Iterator<Item = &'d [u8]>) -> (Vec<Answer>, Option<String>) {
    let mut client = Client::with("x", &script.wishes).expect("a short name");
    let (_, ready) = client.receive(&script.bytes, &mut RequestTable::<(), 1>::new()).expect("a handshake as it should be");
    let Some(Event::Ready(session)) = ready else { panic!("{ready:?}") };
    let mut table = Table::new();
    for mut piece in pieces {
        loop {
            let (used, event) = match client.receive(piece, &mut table) {
                Ok(progress) => progress,
                Err(error) => {
                    assert_eq!(client.receive(b"", &mut table), Err(ClientError::AlreadyFailed));
                    return (table.answers, Some(error.to_string()));
                }
            };
            piece = &piece[used..];
            match event {
                Some(event) => table.take(event, session.contexts),
                None => break assert!(piece.is_empty()),
            }
        }
    }
    (table.answers, None)
}

/// Also promises: on success every byte of a READ has come exactly once and every context was told from the beginning on, all of it
/// within what was asked, and nothing comes after the end.
pub fn client_replies(mut data: &[u8]) {
    let chosen = choice(&mut data);
    let seed = choice(&mut data);
    let script = corpus::session([Framing::Simple, Framing::Structured, Framing::Extended][usize::from(chosen) % 3]);
    assert_eq!(run(&script, core::iter::once(data)), run(&script, pieces(data, seed)));
}
