//! The server's half of the transmission phase.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{choice, pieces};
use crate::export::{BlockSizes, ExportInfo};
use crate::flags::TransmissionFlags;
use crate::framing::Framing;
use crate::request::{Command, Request};
use crate::server::{Incoming, Negotiated, Requests};
use crate::{CommandFlags, ContextSet};

/// What came out, with the pieces of each payload joined.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Request(u64, Request),
    Payload(Vec<u8>),
    Refused(u64),
    Disconnect,
    Failed(String),
}

fn see<'d>(negotiated: Negotiated, pieces: impl Iterator<Item = &'d [u8]>) -> Vec<Seen> {
    let mut requests = Requests::new(negotiated);
    let mut seen = Vec::new();
    let mut owed = 0;
    for mut piece in pieces {
        loop {
            let (used, incoming) = match requests.receive(piece) {
                Ok(progress) => progress,
                Err(error) => {
                    seen.push(Seen::Failed(error.to_string()));
                    return seen;
                }
            };
            piece = &piece[used..];
            let Some(incoming) = incoming else { break assert!(piece.is_empty()) };
            let is_payload = matches!(incoming, Incoming::Payload { .. });
            assert_eq!(owed > 0, is_payload, "data comes right behind its WRITE and nowhere else");
            match incoming {
                Incoming::Request { reply, request } => {
                    check(&negotiated, &request);
                    owed = request.payload_length();
                    seen.push(Seen::Request(reply.cookie(), request));
                }
                Incoming::Payload { bytes, last } => {
                    assert!(!bytes.is_empty());
                    owed -= bytes.len() as u64;
                    assert_eq!(last, owed == 0);
                    match seen.last_mut() {
                        Some(Seen::Payload(payload)) => payload.extend_from_slice(bytes),
                        _ => seen.push(Seen::Payload(bytes.to_vec())),
                    }
                }
                Incoming::Refused { reply, refusal } => {
                    assert_ne!(refusal.error.code(), 0);
                    seen.push(Seen::Refused(reply.cookie()));
                }
                Incoming::Disconnect => {
                    seen.push(Seen::Disconnect);
                    return seen;
                }
            }
        }
    }
    seen
}

/// What a service relies on without looking again.
fn check(negotiated: &Negotiated, request: &Request) {
    let info = &negotiated.info;
    assert_eq!(request.check(info), Ok(()));
    assert!(request.end() <= info.size && request.offset.checked_add(request.length).is_some());
    assert!(!request.flags.contains(CommandFlags::PAYLOAD_LEN) && CommandFlags::all().contains(request.flags));
    assert!(request.command == Command::Flush || request.length > 0);
    assert!(!matches!(request.command, Command::Read | Command::Write) || request.length <= u64::from(info.block.maximum));
    assert_eq!(request.command == Command::BlockStatus, !request.contexts.is_empty());
    assert!(negotiated.contexts.contains_all(request.contexts));
}

/// Also promises: whatever comes out is in bounds, with flags and contexts that were agreed on, and the data of a WRITE is as long as
/// it said.
pub fn server_requests(mut data: &[u8]) {
    let chosen = choice(&mut data);
    let seed = choice(&mut data);
    let framing = [Framing::Simple, Framing::Structured, Framing::Extended][usize::from(chosen) % 3];
    let contexts = if chosen & 0x80 != 0 && framing.has_chunks() { ContextSet::one(0).with(3).with(31) } else { ContextSet::EMPTY };
    let mut flags = TransmissionFlags::all();
    flags.set(TransmissionFlags::READ_ONLY, chosen & 0x40 != 0);
    flags.set(TransmissionFlags::SEND_DF, framing.has_chunks());
    let minimum = if chosen & 0x20 != 0 { 512 } else { 1 };
    let block = BlockSizes { minimum, preferred: 4096, maximum: 4096 };
    let info = ExportInfo { size: if chosen & 0x10 != 0 { i64::MAX as u64 } else { 1 << 20 }, flags, block };
    let negotiated = Negotiated { export: 0, info, framing, contexts, is_secure: false };
    assert_eq!(see(negotiated, core::iter::once(data)), see(negotiated, pieces(data, seed)));
}
