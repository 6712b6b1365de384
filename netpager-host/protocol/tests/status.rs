//! BLOCK_STATUS between the two halves: contexts, 64-bit extents, requests about some contexts only, and answers that break the rules.

mod common;

use common::pair::Pair;
use common::{NAME, SIZE};
use nbd::client::{Client, ClientError, Event, RequestTable, Violation, Wishes};
use nbd::server::{Extent, Incoming, Negotiated, Reply, Requests};
use nbd::wire::{chunk, option, option_reply};
use nbd::{BlockSizes, CommandFlags, ContextSet, ExportInfo, Framing, NbdError, Request, TransmissionFlags, context};

const HOLE: u64 = 3;
const KEPT: u64 = 1 | 16;

/// The server's contexts in another order, and one that it does not have.
const WISHES: Wishes = Wishes {
    contexts: &[context::STATE, "qemu:dirty-bitmap:x", context::ALLOCATION],
    capabilities: &["x-netpager:cap-events", context::CAPABILITY_FENCE],
    ..Wishes::DEFAULT
};

fn pair(framing: Framing) -> Pair {
    let mut pair = Pair::ready(NAME, &Wishes { framing, ..WISHES });
    assert_eq!(pair.ask(Request::write(1000, 24), &[7; 24]).0, Ok(()));
    pair
}

#[test]
fn contexts_and_capabilities_are_agreed_on_by_name() {
    for framing in [Framing::Structured, Framing::Extended] {
        let session = pair(framing).ready.unwrap();
        assert_eq!(session.contexts, ContextSet::one(0).with(2));
        assert_eq!(session.capabilities, ContextSet::one(1));
        assert_eq!(session.export.can(TransmissionFlags::BLOCK_STATUS_PAYLOAD), framing == Framing::Extended);
    }
    let session = pair(Framing::Simple).ready.unwrap();
    assert!(session.contexts.is_empty() && session.capabilities.is_empty());
}

#[test]
fn every_context_tells_its_extents() {
    for framing in [Framing::Structured, Framing::Extended] {
        let mut pair = pair(framing);
        let (result, answer) = pair.ask(Request::block_status(900, 1000), b"");
        let state = [(0, 900, 100, 0), (0, 1000, 24, KEPT), (0, 1024, 876, 0)];
        let allocation = [(2, 900, 100, HOLE), (2, 1000, 24, 0), (2, 1024, 876, HOLE)];
        assert_eq!((result, answer.extents), (Ok(()), [allocation, state].concat()));
        let (result, answer) = pair.ask(Request::block_status(1000, 1000).with(CommandFlags::REQ_ONE), b"");
        assert_eq!((result, answer.extents), (Ok(()), vec![(2, 1000, 24, 0), (0, 1000, 24, KEPT)]));
    }
}

#[test]
fn one_context_alone_can_be_asked_about_with_extended_headers() {
    let mut pair = pair(Framing::Extended);
    let request = Request::block_status(0, SIZE as u64).about(ContextSet::one(0));
    let (result, answer) = pair.ask(request, b"");
    assert_eq!((result, answer.extents), (Ok(()), vec![(0, 0, 1000, 0), (0, 1000, 24, KEPT), (0, 1024, 7168, 0)]));
    let both = Request::block_status(0, SIZE as u64).about(ContextSet::one(0).with(2));
    assert_eq!(pair.client.encode(1, &both).unwrap().len(), 32, "all contexts need not be named");
    let missing = Request::block_status(0, SIZE as u64).about(ContextSet::one(1));
    assert_eq!(pair.client.check(&missing).unwrap_err().error, NbdError::Invalid);
    let structured = self::pair(Framing::Structured);
    assert_eq!(structured.client.check(&request).unwrap_err().reason, "the server cannot be asked about some contexts only");
}

#[test]
fn without_contexts_there_is_nothing_to_ask() {
    let mut pair = Pair::ready(NAME, &Wishes::DEFAULT);
    let request = Request::block_status(0, 512);
    assert_eq!(pair.client.check(&request).unwrap_err().error, NbdError::Invalid);
    assert_eq!(pair.force(request, b"").0, Err(NbdError::Invalid));
    assert_eq!(pair.read(0, 1), [0], "the connection lives");
}

#[test]
fn filters_that_make_no_sense_are_refused_and_skipped() {
    let mut pair = pair(Framing::Extended);
    let ids = |ids: &[u32]| ids.iter().flat_map(|id| id.to_be_bytes()).collect::<Vec<u8>>();
    let length = (SIZE as u64).to_be_bytes();
    for payload in [
        vec![],
        length.to_vec(),
        [&length[..], &ids(&[1])[..3]].concat(),
        [&length[..], &ids(&[3])].concat(),
        [&length[..], &ids(&[0])].concat(),
        [&length[..], &ids(&[u32::MAX])].concat(),
        [&length[..], &ids(&[1, 2, 1])].concat(),
        [&length[..], &ids(&[1; 33])].concat(),
        [&(SIZE as u64 + 1).to_be_bytes()[..], &ids(&[1])].concat(),
        [&u64::MAX.to_be_bytes()[..], &ids(&[1])].concat(),
    ] {
        let request = Request::block_status(0, payload.len() as u64);
        let (result, _) = pair.send(request, &payload, |cookie| {
            let mut header = request.encode(Framing::Extended, cookie).to_vec();
            header[5] |= CommandFlags::PAYLOAD_LEN.bits() as u8;
            header
        });
        assert_eq!(result, Err(NbdError::Invalid), "{payload:?}");
    }
    let (result, answer) = pair.ask(Request::block_status(0, 1), b"");
    assert_eq!((result, answer.extents.len()), (Ok(()), 2), "the connection lives");
}

fn huge() -> Negotiated {
    let flags = TransmissionFlags::HAS_FLAGS | TransmissionFlags::SEND_TRIM | TransmissionFlags::BLOCK_STATUS_PAYLOAD;
    let info = ExportInfo { size: 1 << 60, flags, block: BlockSizes { minimum: 4096, ..BlockSizes::ASSUMED } };
    let contexts = ContextSet::one(0).with(5);
    Negotiated { export: 0, info, framing: Framing::Extended, contexts, is_secure: false }
}

#[test]
fn extents_of_more_than_32_bits_cross_the_wire_with_extended_headers_only() {
    let request = Request::block_status(1 << 40, 1 << 50).about(ContextSet::one(0).with(5));
    let encoded = Request { contexts: ContextSet::EMPTY, ..request }.encode(Framing::Extended, 7);
    let (used, incoming) = Requests::new(huge()).receive(&encoded).unwrap();
    let reply = Reply::new(Framing::Extended, 7, 1 << 40);
    assert_eq!((used, incoming), (32, Some(Incoming::Request { reply, request })));
    let mut out = Vec::new();
    reply.block_status(&mut out, 5, &[Extent { length: 1 << 50, flags: u64::MAX }], true);
    let expected = [6u32.to_be_bytes(), 1u32.to_be_bytes()].concat();
    assert_eq!(out[32..], [&expected[..], &(1u64 << 50).to_be_bytes(), &u64::MAX.to_be_bytes()].concat());
    let mut out = Vec::new();
    let extents = [Extent { length: 4096, flags: 1 }, Extent { length: 1 << 50, flags: 2 }, Extent { length: 4096, flags: 3 }];
    Reply::new(Framing::Structured, 7, 1 << 40).block_status(&mut out, 0, &extents, true);
    let expected: Vec<u8> = [1, 4096, 1, 0xffff_0000, 2].iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
    assert_eq!(out[20..], expected, "cut to a multiple of every block size, and the rest left out");
}

#[test]
fn no_more_extents_are_sent_than_a_client_must_take() {
    let most = nbd::limits::EXTENTS_MAX;
    for (framing, head, each) in [(Framing::Structured, 20 + 4, 8), (Framing::Extended, 32 + 8, 16)] {
        for (count, told) in [(1, 1), (most, most), (most + 1, most), (2 * most, most)] {
            let mut out = Vec::new();
            Reply::new(framing, 1, 0).block_status(&mut out, 0, &vec![Extent { length: 1, flags: 0 }; count], true);
            assert_eq!(out.len(), head + told * each);
        }
    }
}

#[test]
fn the_longest_request_of_32_bits_is_taken_and_told_in_two() {
    let length = u64::from(u32::MAX);
    let compact = Negotiated { framing: Framing::Structured, contexts: ContextSet::one(0), ..huge() };
    let at_bytes = ExportInfo { block: BlockSizes { minimum: 1, ..compact.info.block }, ..compact.info };
    for (info, is_taken) in [(compact.info, false), (at_bytes, true)] {
        let bytes = Request::block_status(1, length).encode(Framing::Structured, 7);
        let (_, incoming) =
            Requests::new(Negotiated { info, ..compact }).receive(&bytes).map(|(used, incoming)| (used, format!("{incoming:?}"))).unwrap();
        assert_eq!(incoming.contains("Refused"), !is_taken, "{incoming}");
    }
    let mut out = Vec::new();
    Reply::new(Framing::Structured, 7, 1).block_status(&mut out, 0, &[Extent { length, flags: 3 }], true);
    assert_eq!(out[24..28], 0xffff_0000_u32.to_be_bytes(), "the client asks for the rest");
}

const COOKIE: u64 = 1 << 32;

/// A client with `request` in flight whose contexts have the numbers 70 and 90, and an export of 1 MiB.
fn client(framing: Framing, request: Request) -> (Client, RequestTable<(), 2>) {
    let wishes = Wishes { framing, contexts: &["a:x", "a:y"], ..Wishes::DEFAULT };
    let mut client = Client::with("", &wishes).unwrap();
    let mut table = RequestTable::new();
    let chosen = if framing == Framing::Extended { option::EXTENDED_HEADERS } else { option::STRUCTURED_REPLY };
    let reply = common::script::reply_bytes;
    let context = |id: u32, name: &[u8]| reply(option::SET_META_CONTEXT, option_reply::META_CONTEXT, &[&id.to_be_bytes(), name].concat());
    let script = [
        common::script::GREETING.to_vec(),
        reply(chosen, option_reply::ACK, b""),
        context(90, b"a:y"),
        context(70, b"a:x"),
        reply(option::SET_META_CONTEXT, option_reply::ACK, b""),
        common::script::go_info(0, &common::script::export_info(1 << 20, 0xfffd)),
        reply(option::GO, option_reply::ACK, b""),
    ];
    let script = script.concat();
    let (_, event) = client.receive(&script, &mut table).unwrap();
    let Some(Event::Ready(session)) = event else { panic!("{event:?}") };
    assert_eq!(session.contexts, ContextSet::one(0).with(1));
    assert_eq!(table.insert(request, ()), Ok(COOKIE));
    (client, table)
}

/// A chunk of extents as a server may send it, whatever it says.
fn extents(framing: Framing, id: u32, extents: &[(u64, u64)], last: bool) -> Vec<u8> {
    let (is_extended, count) = (framing == Framing::Extended, extents.len() as u32);
    let kind = if is_extended { chunk::BLOCK_STATUS_EXT } else { chunk::BLOCK_STATUS };
    let mut body = id.to_be_bytes().to_vec();
    match is_extended {
        true => {
            body.extend(count.to_be_bytes());
            extents.iter().for_each(|extent| body.extend([extent.0.to_be_bytes(), extent.1.to_be_bytes()].concat()));
        }
        false => extents.iter().for_each(|extent| body.extend([(extent.0 as u32).to_be_bytes(), (extent.1 as u32).to_be_bytes()].concat())),
    }
    raw(framing, kind, last, &body)
}

fn raw(framing: Framing, kind: u16, last: bool, body: &[u8]) -> Vec<u8> {
    let flags = u16::from(last).to_be_bytes();
    let head = [&flags[..], &kind.to_be_bytes(), &COOKIE.to_be_bytes()].concat();
    match framing {
        Framing::Extended => {
            [&0x6e8a_278c_u32.to_be_bytes()[..], &head, &512u64.to_be_bytes(), &(body.len() as u64).to_be_bytes(), body].concat()
        }
        _ => [&0x668e_33ef_u32.to_be_bytes()[..], &head, &(body.len() as u32).to_be_bytes(), body].concat(),
    }
}

fn ends(framing: Framing, request: Request, bytes: &[u8]) -> Result<Vec<(usize, u64, u64, u64)>, Violation> {
    let (mut client, mut table) = client(framing, request);
    let (mut rest, mut told) = (bytes, Vec::new());
    loop {
        match client.receive(rest, &mut table) {
            Ok((used, event)) => {
                rest = &rest[used..];
                match event {
                    Some(Event::Extent { cookie: COOKIE, context, offset, length, flags }) => told.push((context, offset, length, flags)),
                    Some(Event::Done { result: Ok(()), .. }) => return Ok(told),
                    other => panic!("{other:?}"),
                }
            }
            Err(ClientError::Violation(violation)) => return Err(violation),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn answers_about_extents_must_keep_to_the_rules() {
    let ask = Request::block_status(512, 1024);
    for framing in [Framing::Structured, Framing::Extended] {
        let tell = |id, told: &[(u64, u64)]| extents(framing, id, told, false);
        let done = |id, told: &[(u64, u64)]| extents(framing, id, told, true);
        let none = raw(framing, chunk::NONE, true, b"");
        let (one, whole) = (&[(1024, 0)][..], &[(512, 0), (512, 1)][..]);
        let ends = |request, parts: &[Vec<u8>]| ends(framing, request, &parts.concat());
        assert_eq!(ends(ask, &[tell(90, one), done(70, whole)]), Ok(vec![(1, 512, 1024, 0), (0, 512, 512, 0), (0, 1024, 512, 1)]));
        assert_eq!(ends(ask, &[tell(70, &[(100, 5)]), tell(90, one), none.clone()]).map(|told| told[0]), Ok((0, 512, 100, 5)));
        let beyond = ends(ask, &[tell(70, &[(1000, 5), (1 << 20, 6)]), done(90, one)]);
        assert_eq!(beyond.map(|told| told[1]), Ok((0, 1512, 24, 6)), "cut to what was asked about");
        for (parts, violation) in [
            (vec![done(70, one)], Violation::Incomplete),
            (vec![none.clone()], Violation::Incomplete),
            (vec![tell(70, one), tell(70, one)], Violation::UnknownContext(70)),
            (vec![tell(1, one)], Violation::UnknownContext(1)),
            (vec![tell(70, &[(0, 0)])], Violation::EmptyExtent),
            (vec![tell(70, &[(1025, 0), (1, 0)])], Violation::ExtentOutOfRange),
            (vec![tell(70, &[(1024, 0), (1, 0)])], Violation::ExtentOutOfRange),
        ] {
            assert_eq!(ends(ask, &parts), Err(violation), "{framing:?}");
        }
        let first = ask.with(CommandFlags::REQ_ONE);
        assert!(ends(first, &[tell(70, one), done(90, &[(1, 0)])]).is_ok());
        assert_eq!(ends(first, &[tell(70, whole)]), Err(Violation::ExtentOutOfRange));
        assert_eq!(ends(first, &[tell(70, &[(1025, 0)])]), Err(Violation::ExtentOutOfRange));
        assert_eq!(ends(Request::read(512, 1024), &[tell(70, one)]), Err(Violation::ExtentsWithoutStatus));
        assert_eq!(ends(ask.about(ContextSet::one(1)), &[tell(70, one)]), Err(Violation::UnknownContext(70)));
        assert!(ends(ask.about(ContextSet::one(1)), &[done(90, one)]).is_ok());
    }
}

#[test]
fn chunks_of_extents_must_be_well_formed() {
    let ask = Request::block_status(512, 1024);
    for (framing, kind, body, violation) in [
        (Framing::Structured, chunk::BLOCK_STATUS, vec![0; 4], Violation::ChunkLength { kind: 5, length: 4 }),
        (Framing::Structured, chunk::BLOCK_STATUS, vec![0; 13], Violation::ChunkLength { kind: 5, length: 13 }),
        (Framing::Structured, chunk::BLOCK_STATUS_EXT, vec![0; 24], Violation::ChunkKind(6)),
        (Framing::Extended, chunk::BLOCK_STATUS, vec![0; 12], Violation::ChunkKind(5)),
        (Framing::Extended, chunk::BLOCK_STATUS_EXT, vec![0; 8], Violation::ChunkLength { kind: 6, length: 8 }),
        (Framing::Extended, chunk::BLOCK_STATUS_EXT, vec![0; 25], Violation::ChunkLength { kind: 6, length: 25 }),
        (Framing::Extended, chunk::BLOCK_STATUS_EXT, vec![0; 24], Violation::ExtentCount { count: 0, length: 24 }),
    ] {
        assert_eq!(ends(framing, ask, &raw(framing, kind, true, &body)), Err(violation));
    }
    let mut other_offset = extents(Framing::Extended, 70, &[(1024, 0)], true);
    other_offset[23] ^= 1;
    assert_eq!(ends(Framing::Extended, ask, &other_offset), Err(Violation::ReplyOffset));
    let mut long = extents(Framing::Extended, 70, &[(1024, 0)], true);
    long[24] = 1;
    assert_eq!(ends(Framing::Extended, ask, &long), Err(Violation::ChunkLength { kind: 6, length: (1 << 56) + 24 }));
    let simple = [&0x6744_6698_u32.to_be_bytes()[..], &[0; 4], &COOKIE.to_be_bytes(), &[0; 16]].concat();
    assert_eq!(ends(Framing::Extended, ask, &simple), Err(Violation::ReplyMagic(0x6744_6698)));
    let many = vec![0; 4 + 8 * (nbd::limits::STATUS_EXTENTS_MAX as usize + 1)];
    let too_many = Violation::ChunkLength { kind: 5, length: many.len() as u64 };
    assert_eq!(ends(Framing::Structured, ask, &raw(Framing::Structured, chunk::BLOCK_STATUS, true, &many)), Err(too_many));
}

#[test]
fn a_server_that_grants_what_nobody_asked_for_is_left() {
    let wishes = Wishes { contexts: &["a:x"], ..Wishes::DEFAULT };
    let context =
        |name: &[u8]| common::script::reply_bytes(option::SET_META_CONTEXT, option_reply::META_CONTEXT, &[&[0, 0, 0, 9], name].concat());
    let ack = common::script::reply_bytes(option::EXTENDED_HEADERS, option_reply::ACK, b"");
    for contexts in [vec![context(b"a:y")], vec![context(b"a:x"), context(b"a:x")], vec![context(&[b'a'; 500])]] {
        let script = [common::script::GREETING.to_vec(), ack.clone(), contexts.concat()];
        let (_, result) = common::script::wishful_client_hears(&wishes, &script);
        assert_eq!(result, Err(ClientError::Violation(Violation::ContextNotAsked)));
    }
}

#[test]
fn more_wishes_than_the_handshake_has_room_for_make_no_client() {
    let with = |contexts| Client::with("x", &Wishes { contexts, ..Wishes::DEFAULT });
    assert!(with(&["a:b"; nbd::limits::CLIENT_CONTEXTS_MAX]).is_some());
    assert!(with(&["a:b"; nbd::limits::CLIENT_CONTEXTS_MAX + 1]).is_none());
    const LONG: &str = "a:23456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123";
    assert!(with(&[LONG]).is_none());
}
