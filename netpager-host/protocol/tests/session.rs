//! Whole sessions between the two halves, cut into single bytes: handshake, requests, goodbye.

mod common;

use common::pair::Pair;
use common::{NAME, Server, all_flags};
use nbd::client::{Client, ClientError, Wishes};
use nbd::server::ServerError;
use nbd::wire::{option, option_reply};
use nbd::{CommandFlags, ContextSet, Framing, NbdError, Request, TransmissionFlags};

#[test]
fn the_handshake_agrees_on_everything() {
    let pair = Pair::ready(NAME, &Wishes::DEFAULT);
    let session = pair.ready.unwrap();
    assert_eq!(session.framing, Framing::Extended);
    assert_eq!(session.export, pair.server.exports.info);
    let negotiated = pair.server.negotiated().unwrap();
    assert_eq!((negotiated.export, negotiated.framing, negotiated.contexts), (3, Framing::Extended, ContextSet::EMPTY));
    assert_eq!(negotiated.info, session.export);
}

#[test]
fn what_is_written_is_read_back() {
    for framing in [Framing::Simple, Framing::Structured, Framing::Extended] {
        let mut pair = Pair::ready(NAME, &Wishes { framing, ..Wishes::DEFAULT });
        assert_eq!((pair.ready.unwrap().framing, pair.server.negotiated().unwrap().framing), (framing, framing));
        assert_eq!(pair.ask(Request::write(100, 5).with(CommandFlags::FUA), b"pages").0, Ok(()));
        assert_eq!(pair.read(99, 7), b"\0pages\0");
        assert_eq!(pair.ask(Request::write_zeroes(102, 1), b"").0, Ok(()));
        assert_eq!(pair.ask(Request::flush(), b"").0, Ok(()));
        assert_eq!(pair.read(100, 5), b"pa\0es");
        assert_eq!(pair.ask(Request::cache(0, 8192), b"").0, Ok(()));
    }
}

#[test]
fn goodbye_ends_the_session() {
    for framing in [Framing::Structured, Framing::Extended] {
        let mut pair = Pair::ready(NAME, &Wishes { framing, ..Wishes::DEFAULT });
        pair.server.receive(&pair.client.disconnect()).unwrap();
        assert!(pair.server.is_over());
    }
}

#[test]
fn goodbye_in_the_middle_of_the_handshake_ends_it() {
    let mut pair = Pair::new(NAME);
    assert!(pair.client.disconnect().is_empty(), "nothing can be said before the greeting");
    pair.client.receive(&std::mem::take(&mut pair.server.out), &mut pair.table).unwrap();
    let bytes = [pair.client.transmit(), &pair.client.disconnect()].concat();
    pair.server.receive(&bytes).unwrap();
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
    pair.server.exports.info.block.maximum = 4096;
    pair.run().unwrap();
    let size = common::SIZE as u64;
    for (request, error) in [
        (Request::read(size - 1, 2), NbdError::Invalid),
        (Request::read(u64::MAX, 2), NbdError::Invalid),
        (Request::write(size, 1), NbdError::NoSpace),
        (Request::write_zeroes(size, 1), NbdError::NoSpace),
        (Request::trim(size, u64::MAX), NbdError::Invalid),
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
    assert_eq!(pair.read(0, 2), [0, 0], "the connection lives");
}

#[test]
fn a_read_only_export_is_not_written() {
    let mut pair = Pair::new(NAME);
    pair.server.exports.info.flags = all_flags() | TransmissionFlags::READ_ONLY;
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
    pair.server.exports.info.flags = TransmissionFlags::HAS_FLAGS;
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
