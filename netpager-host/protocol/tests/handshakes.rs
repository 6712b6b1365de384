//! Handshakes byte by byte: servers less able than ours for the client, clients less able than ours for the server.

mod common;

use common::script::{self, GREETING, export_info, go_info, option_bytes, reply_bytes, wishful_client_hears};
use common::{NAME, Server};
use nbd::client::{Client, ClientError, RequestTable, Session, TlsWish, Violation, Wishes};
use nbd::server::{RefusalKind, ServerError, TlsMode};
use nbd::wire::{info, option, option_reply};
use nbd::{BlockSizes, Framing, TransmissionFlags};

/// A client of before there were extended headers.
const STRUCTURED: Wishes = Wishes { framing: Framing::Structured, ..Wishes::DEFAULT };

fn client_hears(script: &[Vec<u8>]) -> (Client, Result<Option<Session>, ClientError>) {
    wishful_client_hears(&STRUCTURED, script)
}

fn server_answers(flags: u32, options: &[Vec<u8>]) -> Result<(Server, Vec<u8>), ServerError> {
    script::server_answers(TlsMode::None, flags, options)
}

fn no_structured() -> Vec<u8> {
    reply_bytes(option::STRUCTURED_REPLY, option_reply::ERR_UNSUP, b"what?")
}

#[test]
fn the_client_says_exactly_this() {
    let (client, result) = client_hears(&[GREETING.to_vec(), no_structured()]);
    assert_eq!(result, Ok(None));
    let go = [&[0, 0, 0, 1][..], b"x", &[0, 1], &[0, 3]].concat();
    let expected = [vec![0, 0, 0, 3], option_bytes(option::STRUCTURED_REPLY, b""), option_bytes(option::GO, &go)].concat();
    assert_eq!(client.transmit(), expected);
}

#[test]
fn a_server_is_asked_for_the_best_framing_first() {
    let no = |option| reply_bytes(option, option_reply::ERR_UNSUP, b"what?");
    let (client, result) = wishful_client_hears(&Wishes::DEFAULT, &[GREETING.to_vec(), no(option::EXTENDED_HEADERS)]);
    assert_eq!(result, Ok(None));
    let asked = [vec![0, 0, 0, 3], option_bytes(option::EXTENDED_HEADERS, b""), option_bytes(option::STRUCTURED_REPLY, b"")].concat();
    assert_eq!(client.transmit(), asked);
    let infos = [go_info(info::EXPORT, &export_info(4096, 1)), reply_bytes(option::GO, option_reply::ACK, b"")].concat();
    for (answers, framing) in [
        (vec![reply_bytes(option::EXTENDED_HEADERS, option_reply::ACK, b"")], Framing::Extended),
        (vec![no(option::EXTENDED_HEADERS), reply_bytes(option::STRUCTURED_REPLY, option_reply::ACK, b"")], Framing::Structured),
        (vec![no(option::EXTENDED_HEADERS), no(option::STRUCTURED_REPLY)], Framing::Simple),
    ] {
        let (_, result) = wishful_client_hears(&Wishes::DEFAULT, &[GREETING.to_vec(), answers.concat(), infos.clone()]);
        assert_eq!(result.unwrap().unwrap().framing, framing);
    }
}

#[test]
fn all_that_can_be_asked_has_room_even_if_nothing_is_sent() {
    const NAME: &str = "a:345678901234567890123456789012";
    let lists: &[&str] = &[NAME; nbd::limits::CLIENT_CONTEXTS_MAX];
    let wishes = Wishes { tls: TlsWish::Prefer, framing: Framing::Extended, contexts: lists, capabilities: lists };
    let name = "n".repeat(nbd::limits::CLIENT_NAME_MAX);
    let mut client = Client::with(&name, &wishes).unwrap();
    let no = |option| reply_bytes(option, option_reply::ERR_UNSUP, b"no");
    let script = [
        GREETING.to_vec(),
        no(option::STARTTLS),
        no(option::EXTENDED_HEADERS),
        reply_bytes(option::STRUCTURED_REPLY, option_reply::ACK, b""),
        no(option::LIST_META_CONTEXT),
        no(option::SET_META_CONTEXT),
        no(option::GO),
    ];
    let mut table = RequestTable::<(), 1>::new();
    assert_eq!(client.receive(&script.concat(), &mut table), Ok((script.concat().len(), None)));
    assert!(client.transmit().ends_with(&option_bytes(option::EXPORT_NAME, name.as_bytes())));
    let options = client.transmit().windows(8).filter(|bytes| bytes == b"IHAVEOPT").count();
    assert_eq!(options, 7);
}

#[test]
fn a_server_with_extended_headers_must_know_go() {
    let answers = [reply_bytes(option::EXTENDED_HEADERS, option_reply::ACK, b""), reply_bytes(option::GO, option_reply::ERR_UNSUP, b"")];
    let (_, result) = wishful_client_hears(&Wishes::DEFAULT, &[GREETING.to_vec(), answers.concat()]);
    assert!(matches!(result, Err(ClientError::Refused(refused)) if refused.option == option::GO));
}

#[test]
fn a_server_without_go_is_asked_the_old_way() {
    for (greeting, padding) in [(GREETING, 0), (b"NBDMAGICIHAVEOPT\0\x01", 124)] {
        let go = reply_bytes(option::GO, option_reply::ERR_UNSUP, b"");
        let (client, result) = client_hears(&[greeting.to_vec(), no_structured(), go, export_info(4096, 1), vec![0; padding]]);
        let session = result.unwrap().unwrap();
        assert_eq!((session.framing, session.export.size, session.export.block), (Framing::Simple, 4096, BlockSizes::ASSUMED));
        assert!(client.transmit().ends_with(&option_bytes(option::EXPORT_NAME, b"x")));
    }
}

#[test]
fn block_sizes_are_taken_and_capped() {
    let sizes: Vec<u8> = [512u32, 4096, u32::MAX].iter().flat_map(|size| size.to_be_bytes()).collect();
    let script = [
        GREETING.to_vec(),
        no_structured(),
        go_info(info::EXPORT, &export_info(1 << 20, 1)),
        go_info(info::DESCRIPTION, b"ignored"),
        go_info(info::BLOCK_SIZE, &sizes),
        reply_bytes(option::GO, option_reply::ACK, b""),
    ];
    let block = client_hears(&script).1.unwrap().unwrap().export.block;
    assert_eq!(block, BlockSizes { minimum: 512, preferred: 4096, maximum: nbd::limits::PAYLOAD_MAX });
}

#[test]
fn servers_that_break_the_handshake_are_left() {
    let (ack, sr) = (option_reply::ACK, option::STRUCTURED_REPLY);
    let go = |replies: &[Vec<u8>]| [GREETING.to_vec(), no_structured(), replies.concat()].concat();
    let mut other_magic = reply_bytes(sr, ack, b"");
    other_magic[7] ^= 1;
    let cases = [
        (b"NBDMAGIX__________".to_vec(), Violation::NotNbd),
        (b"NBDMAGIC\0\0\x42\x02\x81\x86\x12\x53\0\0".to_vec(), Violation::Oldstyle),
        (b"NBDMAGICIHAVEOPT\0\x02".to_vec(), Violation::NotFixedNewstyle),
        ([GREETING, &other_magic].concat(), Violation::OptionReplyMagic(0x0003_e889_0455_65a8)),
        ([GREETING, &reply_bytes(7, ack, b"")].concat(), Violation::OptionMismatch { expected: 8, got: 7 }),
        ([GREETING, &reply_bytes(sr, ack, b"x")].concat(), Violation::OptionReplyLength(1)),
        ([GREETING, &reply_bytes(sr, 77, b"")].concat(), Violation::OptionReplyKind(77)),
        (go(&[reply_bytes(option::GO, ack, b"")]), Violation::NoExportInfo),
        (go(&[go_info(info::EXPORT, b"short")]), Violation::OptionReplyLength(7)),
        (go(&[reply_bytes(option::GO, option_reply::INFO, b"\0")]), Violation::OptionReplyLength(1)),
        (go(&vec![go_info(9, b""); nbd::limits::INFO_REPLIES_MAX + 1]), Violation::TooManyInfos),
    ];
    for (script, violation) in cases {
        assert_eq!(client_hears(&[script]).1, Err(ClientError::Violation(violation)));
    }
    let mut long = reply_bytes(sr, option_reply::ERR_UNSUP, b"");
    long[16..].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(client_hears(&[GREETING.to_vec(), long]).1, Err(ClientError::Violation(Violation::OptionReplyLength(u32::MAX))));
}

#[test]
fn exports_that_make_no_sense_are_left() {
    let sizes = |sizes: [u32; 3]| go_info(info::BLOCK_SIZE, &sizes.map(u32::to_be_bytes).concat());
    let good = go_info(info::EXPORT, &export_info(4096, 1));
    for infos in [
        go_info(info::EXPORT, &export_info(4096, 0)),
        go_info(info::EXPORT, &export_info(1 << 63, 1)),
        [good.clone(), sizes([3, 4096, 4096])].concat(),
        [good.clone(), sizes([0, 4096, 4096])].concat(),
        [good.clone(), sizes([1 << 17, 1 << 17, 1 << 17])].concat(),
        [good.clone(), sizes([4096, 512, 4096])].concat(),
        [good.clone(), sizes([512, 512, 100])].concat(),
        [good.clone(), sizes([512, 512, 1000])].concat(),
    ] {
        let script = [GREETING.to_vec(), no_structured(), infos, reply_bytes(option::GO, option_reply::ACK, b"")];
        assert!(matches!(client_hears(&script).1, Err(ClientError::Violation(Violation::BadExport(_)))));
    }
}

#[test]
fn the_old_way_in_works_with_and_without_padding() {
    for (flags, padding) in [(0, 124), (1, 124), (3, 0)] {
        let (server, out) = server_answers(flags, &[option_bytes(option::EXPORT_NAME, NAME.as_bytes())]).unwrap();
        let visible = (common::all_flags() - TransmissionFlags::SEND_DF).bits();
        assert_eq!(out, [export_info(common::SIZE as u64, visible), vec![0; padding]].concat());
        assert!(server.negotiated().is_some_and(|negotiated| negotiated.framing == Framing::Simple));
    }
    assert_eq!(server_answers(3, &[option_bytes(option::EXPORT_NAME, b"no")]).err(), Some(ServerError::ExportName(RefusalKind::Unknown)));
}

#[test]
fn options_are_refused_and_the_handshake_goes_on() {
    let refusals = [
        (option_bytes(option::STARTTLS, b""), option::STARTTLS, option_reply::ERR_UNSUP),
        (option_bytes(0x4e50_0001, b"data"), 0x4e50_0001, option_reply::ERR_UNSUP),
        (option_bytes(option::LIST, b"x"), option::LIST, option_reply::ERR_INVALID),
        (option_bytes(option::GO, b"\0\0\0\x01n"), option::GO, option_reply::ERR_INVALID),
        (option_bytes(option::GO, b"\0\0\0\x01n\0\x02\0\x03"), option::GO, option_reply::ERR_INVALID),
        (option_bytes(option::GO, b"\xff\xff\xff\xffn"), option::GO, option_reply::ERR_INVALID),
        (option_bytes(option::INFO, b"\0\0\0\x01n\0\0"), option::INFO, option_reply::ERR_UNKNOWN),
        (option_bytes(option::GO, &vec![0; 20_000]), option::GO, option_reply::ERR_TOO_BIG),
        (option_bytes(option::SET_META_CONTEXT, b"\0\0\0\0\0\0\0\0"), option::SET_META_CONTEXT, option_reply::ERR_INVALID),
    ];
    for (bytes, option, kind) in refusals {
        let (_, out) = server_answers(3, &[bytes, option_bytes(option::LIST, b"")]).unwrap();
        assert_eq!(out[8..16], [option.to_be_bytes(), kind.to_be_bytes()].concat());
        assert!(out.ends_with(&reply_bytes(option::LIST, option_reply::ACK, b"")));
    }
}

#[test]
fn exports_are_listed_and_described() {
    let (_, out) = server_answers(3, &[option_bytes(option::LIST, b"")]).unwrap();
    let entry = [&(NAME.len() as u32).to_be_bytes()[..], NAME.as_bytes()].concat();
    assert_eq!(out, [reply_bytes(3, option_reply::SERVER, &entry), reply_bytes(3, option_reply::ACK, b"")].concat());
    let (_, out) = server_answers(3, &[option_bytes(option::INFO, b"\0\0\0\0\0\x03\0\x01\0\x02\0\x03")]).unwrap();
    let informs = |kind: u16, body: &[u8]| reply_bytes(6, option_reply::INFO, &[&kind.to_be_bytes()[..], body].concat());
    assert!(
        out.ends_with(
            &[
                informs(info::NAME, NAME.as_bytes()),
                informs(info::DESCRIPTION, b"a test"),
                informs(info::BLOCK_SIZE, &[1, 4096, 1u32 << 20].map(u32::to_be_bytes).concat()),
                reply_bytes(6, option_reply::ACK, b""),
            ]
            .concat()
        )
    );
}

#[test]
fn clients_that_cannot_be_answered_are_left() {
    assert_eq!(server_answers(7, &[]).err(), Some(ServerError::ClientFlags(7)));
    assert_eq!(server_answers(0, &[option_bytes(option::LIST, b"")]).err(), Some(ServerError::NotFixedNewstyle(3)));
    assert_eq!(server_answers(3, &[vec![0; 16]]).err(), Some(ServerError::OptionMagic(0)));
    let long = [b"IHAVEOPT", &option::GO.to_be_bytes()[..], &u32::MAX.to_be_bytes()].concat();
    assert_eq!(server_answers(3, &[long]).err(), Some(ServerError::OptionLength(u32::MAX)));
}
