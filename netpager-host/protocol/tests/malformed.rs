//! Hostile bytes in both directions: nothing panics, no request succeeds that was not answered, and cutting the same
//! bytes differently changes nothing.

mod common;

use common::{NAME, Server};
use nbd::client::{Client, Event, RequestTable};
use nbd::server::Reply;
use nbd::{Framing, NbdError, Request};
use proptest::prelude::*;

/// A server's half of a good session, to be damaged: a handshake, a READ in two chunks, a WRITE.
fn good_server_bytes() -> Vec<u8> {
    let (mut client, mut server) = (Client::new(NAME).unwrap(), Server::new());
    (server.memory[0], server.chunk) = (1, 1000);
    let mut table = RequestTable::<(), 4>::new();
    let mut all = Vec::new();
    while client.session().is_none() {
        let bytes = std::mem::take(&mut server.out);
        client.receive(&bytes, &mut table).unwrap();
        all.extend(bytes);
        let bytes = client.transmit().to_vec();
        client.transmitted(bytes.len());
        server.receive(&bytes).unwrap();
    }
    for request in requests() {
        let cookie = table.insert(request, ()).unwrap();
        server.receive(&client.encode(cookie, &request).unwrap()).unwrap();
        server.receive(&vec![2; request.payload_length() as usize]).unwrap();
    }
    all.extend(std::mem::take(&mut server.out));
    all
}

fn requests() -> [Request; 2] {
    [Request::read(0, 1500), Request::write(0, 5)]
}

/// How requests ended, how many bytes were delivered, and the error at the end if there was one.
type Heard = (Vec<(u64, Result<(), NbdError>)>, usize, String);

/// Runs a client over `bytes` cut into `piece`s, with the requests of [`requests`] in flight once it is ready.
fn run_client(bytes: &[u8], piece: usize) -> Heard {
    let mut client = Client::new(NAME).unwrap();
    let mut table = RequestTable::<usize, 4>::new();
    let (mut done, mut delivered) = (Vec::new(), 0);
    for mut input in bytes.chunks(piece) {
        loop {
            let (used, event) = match client.receive(input, &mut table) {
                Ok(progress) => progress,
                Err(error) => return (done, delivered, error.to_string()),
            };
            input = &input[used..];
            match event {
                None => break,
                Some(Event::Ready(_)) => requests().iter().for_each(|request| assert!(table.insert(*request, 0).is_ok())),
                Some(Event::Data { cookie, bytes, .. }) => {
                    delivered += bytes.len();
                    table.get_mut(cookie).unwrap().1 += bytes.len();
                }
                Some(Event::Hole { cookie, length, .. }) => table.get_mut(cookie).unwrap().1 += length as usize,
                Some(Event::Chunk { .. }) => {}
                Some(Event::StartTls | Event::Extent { .. }) => unreachable!("not asked for"),
                Some(Event::Done { cookie, result }) => {
                    let (request, got) = table.remove(cookie).unwrap();
                    if result.is_ok() && request == requests()[0] {
                        assert_eq!(got, 1500, "a READ succeeded without its data");
                    }
                    done.push((cookie, result));
                }
            }
        }
        client.transmitted(client.transmit().len());
    }
    (done, delivered, String::new())
}

fn run_server(bytes: &[u8], piece: usize) -> (Vec<u8>, Vec<u8>, String) {
    let mut server = Server::new();
    let result = bytes.chunks(piece).try_for_each(|input| server.receive(input));
    (server.out, server.memory, result.err().map(|error| error.to_string()).unwrap_or_default())
}

fn good_client_bytes() -> Vec<u8> {
    let mut all = [&[0, 0, 0, 3][..], b"IHAVEOPT\0\0\0\x08\0\0\0\0", b"IHAVEOPT\0\0\0\x07\0\0\0\x08\0\0\0\0\0\x01\0\x03"].concat();
    for (cookie, request) in requests().iter().enumerate() {
        all.extend(&*request.encode(Framing::Structured, cookie as u64));
        all.extend(vec![3; request.payload_length() as usize]);
    }
    all.extend(b"\x25\x60\x95\x13\0\0\0\x02");
    all.extend([0; 20]);
    all
}

/// Damages `good` at some places.
fn damaged(good: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec((0..good.len(), any::<u8>()), 1..4).prop_map(move |edits| {
        let mut bytes = good.clone();
        edits.iter().for_each(|&(at, value)| bytes[at] = value);
        bytes
    })
}

#[test]
fn the_undamaged_sessions_are_good() {
    let (done, delivered, error) = run_client(&good_server_bytes(), 1);
    assert_eq!((done.len(), delivered, error.as_str()), (2, 1000, ""));
    assert!(done.iter().all(|(_, result)| result.is_ok()));
    let (_, memory, error) = run_server(&good_client_bytes(), 1);
    assert_eq!((&memory[..6], error.as_str()), (&[3, 3, 3, 3, 3, 0][..], ""));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_hostile_server_meets_an_unmoved_client(bytes in damaged(good_server_bytes()), piece in 1..64usize) {
        prop_assert_eq!(run_client(&bytes, piece), run_client(&bytes, bytes.len()));
    }

    #[test]
    fn a_hostile_client_meets_an_unmoved_server(bytes in damaged(good_client_bytes()), piece in 1..64usize) {
        prop_assert_eq!(run_server(&bytes, piece), run_server(&bytes, bytes.len()));
    }

    #[test]
    fn noise_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..600), keep in 0..200usize, piece in 1..64usize) {
        let after = |good: Vec<u8>| [&good[..keep.min(good.len())], &bytes].concat();
        run_client(&after(good_server_bytes()), piece);
        run_server(&after(good_client_bytes()), piece);
    }

    #[test]
    fn noise_after_a_handshake_answers_nothing(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut good = good_server_bytes();
        // Cut the good session where its first reply begins.
        let first = good.windows(4).position(|magic| magic == [0x6e, 0x8a, 0x27, 0x8c]).unwrap();
        good.truncate(first);
        let (done, _, _) = run_client(&[&good[..], &bytes].concat(), 7);
        prop_assert!(done.is_empty());
        let mut forged = Vec::new();
        Reply::new(Framing::Extended, 99, 0).done(&mut forged);
        let (done, _, error) = run_client(&[&good[..], &forged].concat(), 7);
        prop_assert!(done.is_empty() && error.contains("not outstanding"));
    }
}
