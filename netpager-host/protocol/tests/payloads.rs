//! Requests as the server's half takes them apart: lengths of 64 bits, payloads where they belong and where they do not.

mod common;

use common::NAME;
use common::pair::Pair;
use nbd::client::Wishes;
use nbd::server::{Incoming, Negotiated, Requests, ServerError};
use nbd::{BlockSizes, CommandFlags, ContextSet, ExportInfo, Framing, NbdError, Request, TransmissionFlags};

fn requests(framing: Framing, size: u64) -> Requests {
    let block = BlockSizes { minimum: 1, preferred: 4096, maximum: 1 << 20 };
    let info = ExportInfo { size, flags: common::all_flags(), block };
    Requests::new(Negotiated { export: 0, info, framing, contexts: ContextSet::EMPTY, is_secure: false })
}

/// What becomes of the request that `bytes` begin with.
fn first(framing: Framing, size: u64, bytes: &[u8]) -> Result<Result<Request, NbdError>, ServerError> {
    Ok(match requests(framing, size).receive(bytes)?.1 {
        Some(Incoming::Request { request, .. }) => Ok(request),
        Some(Incoming::Refused { refusal, .. }) => Err(refusal.error),
        other => panic!("{other:?}"),
    })
}

/// An extended header with everything chosen freely.
fn header(flags: u16, command: u16, offset: u64, length: u64) -> Vec<u8> {
    let magic = 0x21e4_1c71_u32.to_be_bytes();
    [&magic[..], &flags.to_be_bytes(), &command.to_be_bytes(), &9u64.to_be_bytes(), &offset.to_be_bytes(), &length.to_be_bytes()].concat()
}

const PAYLOAD: u16 = CommandFlags::PAYLOAD_LEN.bits();

#[test]
fn ranges_of_64_bits_are_taken() {
    let end = i64::MAX as u64;
    for request in [Request::trim(4096, end - 4096), Request::write_zeroes(0, end), Request::cache(1, 1 << 40)] {
        assert_eq!(first(Framing::Extended, end, &request.encode(Framing::Extended, 9)), Ok(Ok(request)));
    }
    for past in [Request::trim(1, end), Request::trim(u64::MAX, 1), Request::trim(1, u64::MAX), Request::trim(0, end + 1)] {
        assert_eq!(first(Framing::Extended, end, &past.encode(Framing::Extended, 9)), Ok(Err(NbdError::Invalid)));
    }
}

#[test]
fn a_client_sends_what_its_framing_has_room_for() {
    for framing in [Framing::Simple, Framing::Structured] {
        let mut pair = Pair::with(NAME, &Wishes { framing, ..Wishes::DEFAULT }, common::Server::new());
        pair.server.exports.info.size = 1 << 40;
        pair.run().unwrap();
        assert_eq!(pair.client.check(&Request::trim(0, 1 << 32)).unwrap_err().error, NbdError::Overflow);
        assert!(pair.client.check(&Request::trim(0, (1 << 32) - 1)).is_ok());
        assert_eq!(pair.client.check(&Request::read(0, 1).with(CommandFlags::DF)).is_ok(), framing == Framing::Structured);
    }
    let mut pair = Pair::with(NAME, &Wishes::DEFAULT, common::Server::new());
    pair.server.exports.info.size = 1 << 40;
    pair.run().unwrap();
    assert!(pair.client.check(&Request::trim(0, 1 << 40)).is_ok());
    assert!(pair.client.check(&Request::read(0, 1).with(CommandFlags::PAYLOAD_LEN)).is_err(), "the header's own business");
}

#[test]
fn data_follows_a_write_whether_it_says_so_or_not() {
    for flags in [0, PAYLOAD] {
        let mut requests = requests(Framing::Extended, 4096);
        let (used, incoming) = requests.receive(&header(flags, 1, 0, 4)).map(|(used, incoming)| (used, format!("{incoming:?}"))).unwrap();
        assert!(used == 32 && incoming.contains("Write"), "{incoming}");
        assert_eq!(requests.receive(b"data"), Ok((4, Some(Incoming::Payload { bytes: b"data", last: true }))));
    }
    let compact = Request::write(0, 4).with(CommandFlags::PAYLOAD_LEN).encode(Framing::Structured, 9);
    let mut requests = requests(Framing::Structured, 4096);
    let (_, incoming) = requests.receive(&compact).unwrap();
    assert!(matches!(incoming, Some(Incoming::Refused { .. })), "unknown without extended headers");
    assert_eq!(requests.receive(b"data"), Ok((4, None)), "but the data is skipped as ever");
}

#[test]
fn payloads_that_are_too_long_end_the_connection() {
    let most = u64::from(nbd::limits::PAYLOAD_MAX);
    for command in [0, 1, 7, 99] {
        for length in [most + 1, 1 << 32, u64::MAX] {
            let result = first(Framing::Extended, 1 << 40, &header(PAYLOAD, command, 0, length));
            assert_eq!(result, Err(ServerError::PayloadLength(length)));
        }
    }
}

#[test]
fn payloads_where_none_belong_are_skipped() {
    for (flags, command, length) in
        [(PAYLOAD, 0, 5), (PAYLOAD, 4, 5), (PAYLOAD, 7, 12), (PAYLOAD, 99, 5), (PAYLOAD | 8, 1, 5), (PAYLOAD, 1, 1 << 21)]
    {
        let mut requests = requests(Framing::Extended, 1 << 30);
        let bytes = [header(flags, command, 0, length), vec![0x25; length as usize], header(0, 3, 0, 0)].concat();
        let mut seen = Vec::new();
        for piece in bytes.chunks(7) {
            let mut rest = piece;
            loop {
                let (used, incoming) = requests.receive(rest).unwrap();
                rest = &rest[used..];
                match incoming {
                    Some(Incoming::Refused { reply, refusal }) => seen.push((reply.cookie(), Some(refusal.error))),
                    Some(Incoming::Request { reply, .. }) => seen.push((reply.cookie(), None)),
                    Some(other) => panic!("{other:?}"),
                    None => break,
                }
            }
        }
        assert_eq!(seen, [(9, Some(NbdError::Invalid)), (9, None)], "command {command}");
    }
}

#[test]
fn the_headers_of_one_framing_are_no_headers_of_another() {
    let extended = Request::flush().encode(Framing::Extended, 1);
    let compact = [&*Request::flush().encode(Framing::Structured, 1), &[0; 4]].concat();
    assert_eq!(first(Framing::Structured, 1, &extended), Err(ServerError::RequestMagic(0x21e4_1c71)));
    assert_eq!(first(Framing::Extended, 1, &compact), Err(ServerError::RequestMagic(0x2560_9513)));
}

#[test]
fn fast_zeroes_are_for_exports_that_announce_them() {
    let fast = Request::write_zeroes(0, 4).with(CommandFlags::FAST_ZERO | CommandFlags::NO_HOLE | CommandFlags::FUA);
    let mut pair = Pair::ready(NAME, &Wishes::DEFAULT);
    assert_eq!(pair.ask(fast, b"").0, Ok(()));
    let mut pair = Pair::with(NAME, &Wishes::DEFAULT, common::Server::new());
    pair.server.exports.info.flags.remove(TransmissionFlags::SEND_FAST_ZERO);
    pair.run().unwrap();
    assert!(pair.client.check(&fast).is_err());
    assert_eq!(pair.force(fast, b"").0, Err(NbdError::Invalid));
}
