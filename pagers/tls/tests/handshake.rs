//! The client against rustls' own server half with other primitives (ring): who gets in, who doesn't, and what is said in between.

mod server;

use proptest::prelude::*;
use tls::{BadCredentials, Credentials, Files, Session};

use server::{Authority, NOW, Options, Server, pump, ready, seed};

fn credentials(authority: &Authority, server: &str) -> Credentials {
    let (chain, key) = authority.issue("guest", false);
    let files = Files { ca: authority.pem.as_bytes(), crl: None, client: Some((chain.as_bytes(), key.as_bytes())) };
    Credentials::new(&files, server, || NOW).unwrap()
}

/// Both ends until nothing moves; what ended it.
fn meet(credentials: &Credentials, options: &Options<'_>) -> Result<(Session, Server), String> {
    let (mut session, mut server) = (Session::new(credentials).unwrap(), Server::new(options));
    ready(&mut session, &mut server).map(|()| (session, server))
}

#[test]
fn both_suites_and_both_kinds_of_key_work() {
    seed();
    for suite in [rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256] {
        for is_ed25519 in [false, true] {
            let authority = Authority::new(is_ed25519);
            let options = Options { suite: Some(suite), ..Options::of(&authority, "host") };
            let (mut session, mut server) = meet(&credentials(&authority, "host"), &options).unwrap();
            assert_eq!(server.suite(), Some(suite));
            assert!(server.has_client_certificate());
            assert_eq!(session.write(b"to the server").unwrap(), 13);
            server.write(b"to the client");
            pump(&mut session, &mut server).unwrap();
            assert_eq!((session.plain(), server.plain.as_slice()), (&b"to the client"[..], &b"to the server"[..]));
        }
    }
}

#[test]
fn an_address_is_a_name_too() {
    seed();
    let authority = Authority::new(false);
    assert!(meet(&credentials(&authority, "10.0.2.2"), &Options::of(&authority, "10.0.2.2")).is_ok());
    assert_eq!(Credentials::new(&Files::default(), "no name", || NOW).unwrap_err(), BadCredentials::Name("no name".into()));
}

#[test]
fn servers_that_aren_t_the_one_are_refused() {
    seed();
    let (authority, other) = (Authority::new(false), Authority::new(false));
    let refused = |options: &Options<'_>, expected: &str| {
        let error = meet(&credentials(&authority, "host"), options).err().expect("it isn't the one");
        assert!(error.contains(expected), "{error}");
    };
    refused(&Options::of(&authority, "another"), "not valid for name");
    refused(&Options { trusts: authority.pem.clone(), ..Options::of(&other, "host") }, "BadSignature");
    refused(&Options { from_day: -20, to_day: -1, ..Options::of(&authority, "host") }, "expired");
    refused(&Options { from_day: 1, to_day: 20, ..Options::of(&authority, "host") }, "not valid yet");
}

#[test]
fn a_revoked_server_is_refused_and_others_aren_t() {
    seed();
    let authority = Authority::new(false);
    let with_list = |serial| {
        let list = authority.revoke(serial);
        let files = Files { ca: authority.pem.as_bytes(), crl: Some(list.as_bytes()), client: None };
        let credentials = Credentials::new(&files, "host", || NOW).unwrap();
        meet(&credentials, &Options { asks_client: false, serial: 7, ..Options::of(&authority, "host") }).map(drop)
    };
    assert_eq!(with_list(8), Ok(()));
    assert!(with_list(7).unwrap_err().contains("Revoked"));
}

#[test]
fn a_client_without_a_certificate_is_refused_by_a_server_that_wants_one() {
    seed();
    let authority = Authority::new(false);
    let files = Files { ca: authority.pem.as_bytes(), ..Files::default() };
    let credentials = Credentials::new(&files, "host", || NOW).unwrap();
    let error = meet(&credentials, &Options::of(&authority, "host")).err().expect("who are you?");
    assert!(error.contains("CertificateRequired"), "{error}");
    assert!(meet(&credentials, &Options { asks_client: false, ..Options::of(&authority, "host") }).is_ok());
}

#[test]
fn files_that_are_of_no_use_are_named() {
    let (authority, other) = (Authority::new(false), Authority::new(true));
    let (chain, key) = authority.issue("guest", false);
    let (_, other_key) = other.issue("guest", false);
    let of = |ca: &str, chain: &str, key: &str| {
        let files = Files { ca: ca.as_bytes(), crl: None, client: Some((chain.as_bytes(), key.as_bytes())) };
        Credentials::new(&files, "host", || NOW).map(drop)
    };
    assert_eq!(of(&authority.pem, &chain, &key), Ok(()));
    assert_eq!(of("", &chain, &key), Err(BadCredentials::Empty("ca-cert.pem")));
    assert_eq!(of(&authority.pem, &key, &key), Err(BadCredentials::Empty("client-cert.pem")));
    assert!(matches!(of(&authority.pem, &chain, "hello"), Err(BadCredentials::Pem("client-key.pem", _))));
    assert!(matches!(of(&authority.pem, &chain, &other_key), Err(BadCredentials::Client(_))), "it isn't the certificate's key");
}

#[test]
fn a_changed_record_ends_the_connection() {
    seed();
    let authority = Authority::new(false);
    let (mut session, mut server) = meet(&credentials(&authority, "host"), &Options::of(&authority, "host")).unwrap();
    server.write(b"four thousand and ninety-six bytes");
    let mut bytes = server.take_outgoing();
    let last = bytes.len() - 20;
    bytes[last] ^= 1;
    assert_eq!(session.receive(&bytes), bytes.len());
    assert!(session.advance().unwrap_err().to_string().contains("decrypt"));
    assert!(session.plain().is_empty() && !session.is_open());
    assert_eq!(session.write(b"more").unwrap(), 0);
    assert!(!session.outgoing().is_empty(), "it says why");
}

#[test]
fn the_end_is_said_and_a_cut_is_none() {
    seed();
    let authority = Authority::new(false);
    let (mut session, mut server) = meet(&credentials(&authority, "host"), &Options::of(&authority, "host")).unwrap();
    assert!(!session.is_closed());
    server.close();
    pump(&mut session, &mut server).unwrap();
    assert!(session.is_closed());
}

#[test]
fn the_server_may_change_its_key() {
    seed();
    let authority = Authority::new(false);
    let (mut session, mut server) = meet(&credentials(&authority, "host"), &Options::of(&authority, "host")).unwrap();
    for round in 0..5_u8 {
        server.change_key();
        server.write(&[round; 100]);
        session.write(&[round; 200]).unwrap();
        pump(&mut session, &mut server).unwrap();
    }
    assert_eq!((session.plain().len(), server.plain.len()), (500, 1000));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the pieces, each side reads what the other wrote, and no buffer grows without end.
    #[test]
    fn bytes_come_through_in_any_pieces(pieces in proptest::collection::vec((0..40_000_usize, 1..9_000_usize, any::<bool>()), 1..20)) {
        seed();
        let authority = Authority::new(false);
        let (mut session, mut server) = meet(&credentials(&authority, "host"), &Options::of(&authority, "host")).unwrap();
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        let (mut expected, mut byte) = (Vec::new(), 0_u8);
        for (length, piece, is_flushed) in pieces {
            let bytes: Vec<u8> = (0..length).map(|_| { byte = byte.wrapping_mul(5).wrapping_add(1); byte }).collect();
            let taken = session.write(&bytes).unwrap();
            sent.extend_from_slice(&bytes[..taken]);
            if is_flushed { session.flush().unwrap(); }
            server.write(&bytes);
            expected.extend_from_slice(&bytes);
            let coming = server.take_outgoing();
            for part in coming.chunks(piece) {
                let mut rest = part;
                while !rest.is_empty() {
                    let count = session.receive(rest);
                    rest = &rest[count..];
                    session.advance().unwrap();
                    received.extend_from_slice(session.plain());
                    let used = session.plain().len();
                    prop_assert!(count > 0 || used > 0, "it goes on");
                    session.used(used);
                }
            }
            while !session.outgoing().is_empty() {
                let count = session.outgoing().len().min(piece);
                server.receive(&session.outgoing()[..count]).unwrap();
                session.sent(count);
            }
        }
        session.flush().unwrap();
        pump(&mut session, &mut server).unwrap();
        received.extend_from_slice(session.plain());
        prop_assert!(received == expected, "{} of {} bytes came", received.len(), expected.len());
        prop_assert!(server.plain == sent, "{} of {} bytes went", server.plain.len(), sent.len());
    }

    /// Whatever a server says, nothing panics, and no plaintext comes of it.
    #[test]
    fn noise_is_an_error_or_waits_for_more(noise in proptest::collection::vec(any::<u8>(), 0..2000), head in prop::option::of(any::<[u8; 3]>())) {
        seed();
        let authority = Authority::new(false);
        let mut session = Session::new(&credentials(&authority, "host")).unwrap();
        session.advance().unwrap();
        let head = head.map_or([22, 3, 3], |head| head);
        session.receive(&head);
        session.receive(&noise);
        let _ = session.advance();
        prop_assert!(session.plain().is_empty() && !session.is_open());
    }
}
