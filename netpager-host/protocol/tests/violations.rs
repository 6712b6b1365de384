//! Replies that break the protocol: each must end the connection with the rule it broke, and none may look like success.

use nbd::client::{Client, ClientError, Event, RequestTable, Violation, Wishes};
use nbd::server::Reply;
use nbd::wire::chunk;
use nbd::{CommandFlags, Framing, NbdError, Request};

const COOKIE: u64 = 1 << 32;
const REPLY: Reply = Reply::new(Framing::Structured, COOKIE, 512);

/// A client with `request` in flight as [`COOKIE`].
fn client(structured: bool, request: Request) -> (Client, RequestTable<(), 2>) {
    let wishes = Wishes { framing: Framing::Structured, ..Wishes::DEFAULT };
    let mut client = Client::with("", &wishes).unwrap();
    let mut table = RequestTable::new();
    let reply = |option: u32, kind: u32, data: &[u8]| {
        let magic = 0x0003_e889_0455_65a9_u64.to_be_bytes();
        [&magic[..], &option.to_be_bytes(), &kind.to_be_bytes(), &(data.len() as u32).to_be_bytes(), data].concat()
    };
    let script = [
        b"NBDMAGICIHAVEOPT\0\x03".to_vec(),
        reply(8, if structured { 1 } else { (1 << 31) + 1 }, b""),
        reply(7, 3, &[&[0, 0][..], &(1u64 << 20).to_be_bytes(), &0xfffdu16.to_be_bytes()].concat()),
        reply(7, 1, b""),
    ];
    let script = script.concat();
    let (_, event) = client.receive(&script, &mut table).unwrap();
    assert!(matches!(event, Some(Event::Ready(_))));
    assert_eq!(table.insert(request, ()), Ok(COOKIE));
    (client, table)
}

/// Feeds `bytes`; returns the violation, or how the request ended.
fn ends(structured: bool, request: Request, bytes: &[u8]) -> Result<Option<Result<(), NbdError>>, Violation> {
    let (mut client, mut table) = client(structured, request);
    let (mut rest, mut end) = (bytes, None);
    loop {
        match client.receive(rest, &mut table) {
            Ok((used, event)) => {
                rest = &rest[used..];
                match event {
                    None => return Ok(end),
                    Some(Event::Done { cookie: COOKIE, result }) => end = Some(result),
                    Some(_) => {}
                }
            }
            Err(ClientError::Violation(violation)) => return Err(violation),
            Err(other) => panic!("{other}"),
        }
    }
}

fn build(parts: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    parts(&mut bytes);
    bytes
}

fn data(offset: u64, length: u32, last: bool) -> Vec<u8> {
    build(|out| {
        REPLY.data(out, offset, length, last);
        out.extend(vec![7; length as usize]);
    })
}

fn hole(offset: u64, length: u32) -> Vec<u8> {
    build(|out| REPLY.hole(out, offset, length, false))
}

fn raw_chunk(flags: u16, kind: u16, body: &[u8]) -> Vec<u8> {
    let magic = 0x668e_33ef_u32.to_be_bytes();
    [&magic[..], &flags.to_be_bytes(), &kind.to_be_bytes(), &COOKIE.to_be_bytes(), &(body.len() as u32).to_be_bytes(), body].concat()
}

const READ: Request = Request::read(512, 1024);

#[test]
fn honest_answers_pass_in_any_order() {
    let none = build(|out| REPLY.none(out));
    assert_eq!(ends(true, READ, &data(512, 1024, true)), Ok(Some(Ok(()))));
    assert_eq!(ends(true, READ, &[data(1024, 512, false), hole(512, 512), none].concat()), Ok(Some(Ok(()))));
    let plain = build(|out| {
        REPLY.done(out);
        out.extend([1; 1024]);
    });
    assert_eq!(ends(false, READ, &plain), Ok(Some(Ok(()))));
    let failed = build(|out| REPLY.error(out, NbdError::Io, "bad disk"));
    assert_eq!(ends(true, READ, &[data(512, 3, false), failed].concat()), Ok(Some(Err(NbdError::Io))));
}

#[test]
fn read_data_must_cover_the_range_exactly_once() {
    let none = build(|out| REPLY.none(out));
    for (bytes, violation) in [
        (data(512, 1023, true), Violation::Incomplete),
        (none.clone(), Violation::Incomplete),
        ([data(512, 512, false), none].concat(), Violation::Incomplete),
        (data(511, 1, false), Violation::OutOfRange),
        (data(1000, 1024, false), Violation::OutOfRange),
        (data(u64::MAX, 1024, false), Violation::OutOfRange),
        (hole(512, u32::MAX), Violation::OutOfRange),
        ([data(512, 2, false), hole(513, 1)].concat(), Violation::Overlap),
        (data(512, 1025, false), Violation::ChunkLength { kind: chunk::OFFSET_DATA, length: 1033 }),
        ((0..9).flat_map(|piece| hole(512 + 2 * piece, 1)).collect(), Violation::TooManyPieces),
    ] {
        assert_eq!(ends(true, READ, &bytes), Err(violation));
    }
    let whole = READ.with(CommandFlags::DF);
    assert_eq!(ends(true, whole, &[data(512, 512, false), data(1024, 512, true)].concat()), Err(Violation::Fragmented));
}

#[test]
fn replies_must_answer_something() {
    let simple = |cookie| build(|out| Reply::new(Framing::Simple, cookie, 0).done(out));
    assert_eq!(ends(true, READ, &simple(COOKIE)), Err(Violation::SimpleRead));
    assert_eq!(ends(true, Request::flush(), &simple(7)), Err(Violation::UnknownCookie(7)));
    let twice = simple(COOKIE).repeat(2);
    assert_eq!(ends(true, Request::flush(), &twice), Err(Violation::UnknownCookie(COOKIE)), "even before it leaves the table");
    assert_eq!(ends(true, Request::flush(), &data(0, 1, true)), Err(Violation::ChunkLength { kind: 1, length: 9 }));
    assert_eq!(ends(true, Request::trim(0, 512), &data(0, 1, true)), Err(Violation::DataWithoutRead));
    assert_eq!(ends(true, Request::trim(0, 512), &hole(0, 1)), Err(Violation::DataWithoutRead));
    assert_eq!(ends(true, Request::block_status(512, 512), &simple(COOKIE)), Err(Violation::Incomplete), "success must tell something");
    assert_eq!(ends(false, READ, &data(512, 1024, true)), Err(Violation::NotNegotiated));
    assert_eq!(ends(true, READ, &[0; 16]), Err(Violation::ReplyMagic(0)));
}

#[test]
fn chunks_must_be_well_formed() {
    let error = |code: u32, text_length: u16, rest: &[u8]| [&code.to_be_bytes()[..], &text_length.to_be_bytes(), rest].concat();
    for (bytes, violation) in [
        (raw_chunk(2, chunk::NONE, b""), Violation::ChunkFlags(2)),
        (raw_chunk(0, chunk::NONE, b""), Violation::ChunkLength { kind: 0, length: 0 }),
        (raw_chunk(1, chunk::NONE, b"x"), Violation::ChunkLength { kind: 0, length: 1 }),
        (raw_chunk(1, chunk::OFFSET_DATA, &[0; 8]), Violation::ChunkLength { kind: 1, length: 8 }),
        (raw_chunk(1, chunk::OFFSET_HOLE, &[0; 11]), Violation::ChunkLength { kind: 2, length: 11 }),
        (raw_chunk(1, chunk::OFFSET_HOLE, &[0; 12]), Violation::EmptyHole),
        (raw_chunk(1, chunk::BLOCK_STATUS, &[0; 12]), Violation::ExtentsWithoutStatus),
        (raw_chunk(1, chunk::BLOCK_STATUS_EXT, &[0; 24]), Violation::ChunkKind(6)),
        (raw_chunk(1, 77, b""), Violation::ChunkKind(77)),
        (raw_chunk(1, chunk::ERROR, &[0; 5]), Violation::ChunkLength { kind: chunk::ERROR, length: 5 }),
        (raw_chunk(1, chunk::ERROR, &error(5, 3, b"ab")), Violation::ChunkLength { kind: chunk::ERROR, length: 8 }),
        (raw_chunk(1, chunk::ERROR, &error(0, 0, b"")), Violation::NoError),
        (raw_chunk(0, chunk::ERROR, &error(5, 0, b"")).repeat(17), Violation::TooManyErrors),
    ] {
        assert_eq!(ends(true, READ, &bytes), Err(violation));
    }
}

#[test]
fn errors_of_kinds_nobody_knows_are_still_errors() {
    let body = [&28u32.to_be_bytes()[..], &4u16.to_be_bytes(), b"full", &[9; 8]].concat();
    for kind in [chunk::ERROR, chunk::ERROR_OFFSET, 0xbeef] {
        let (mut client, mut table) = client(true, READ);
        let bytes = raw_chunk(1, kind, &body);
        let (_, event) = client.receive(&bytes, &mut table).unwrap();
        assert_eq!(event, Some(Event::Done { cookie: COOKIE, result: Err(NbdError::NoSpace) }));
        assert_eq!(client.error_text().to_string(), "full");
        assert!(client.is_between_replies());
    }
}
