//! TLS from the client's side: it starts first, it is not prevented unnoticed, and nothing sent ahead of it counts.

mod common;

use common::pair::Pair;
use common::script::{GREETING, option_bytes, reply_bytes};
use common::{NAME, Server};
use nbd::client::{Client, ClientError, Event, RequestTable, TlsWish, Violation, Wishes};
use nbd::server::TlsMode;
use nbd::wire::{option, option_reply};
use nbd::{Framing, Request};

const PREFER: Wishes = Wishes { tls: TlsWish::Prefer, ..Wishes::DEFAULT };
const REQUIRE: Wishes = Wishes { tls: TlsWish::Require, contexts: &[nbd::context::ALLOCATION], ..Wishes::DEFAULT };

fn ends(wishes: &Wishes, mode: TlsMode) -> (Pair, Result<(), ClientError>) {
    let mut pair = Pair::with(NAME, wishes, Server::with_tls(mode));
    let result = pair.run();
    (pair, result)
}

#[test]
fn tls_is_started_where_both_have_it() {
    for (wishes, mode, is_secure) in [
        (PREFER, TlsMode::None, false),
        (PREFER, TlsMode::Offered, true),
        (PREFER, TlsMode::Required, true),
        (REQUIRE, TlsMode::Offered, true),
        (REQUIRE, TlsMode::Required, true),
        (Wishes::DEFAULT, TlsMode::Offered, false),
    ] {
        let (mut pair, result) = ends(&wishes, mode);
        assert_eq!(result, Ok(()));
        let session = pair.ready.unwrap();
        assert_eq!((session.is_secure, session.framing), (is_secure, Framing::Extended));
        assert_eq!(pair.server.negotiated().unwrap().is_secure, is_secure);
        assert_eq!(session.contexts.len(), wishes.contexts.len(), "chosen after TLS was started");
        assert_eq!(pair.ask(Request::write(0, 4), b"page").0, Ok(()));
    }
}

#[test]
fn a_server_without_tls_is_left_when_tls_is_required() {
    let (mut pair, result) = ends(&REQUIRE, TlsMode::None);
    let Err(ClientError::Refused(refused)) = result else { panic!("{result:?}") };
    assert_eq!((refused.option, refused.kind), (option::STARTTLS, option_reply::ERR_UNSUP));
    pair.server.receive(pair.client.transmit()).unwrap();
    assert!(pair.server.is_over() && pair.server.exports.asked.take().is_empty(), "the export's name was not even said");
}

#[test]
fn a_client_without_tls_is_told_what_is_missing() {
    let (_, result) = ends(&Wishes::DEFAULT, TlsMode::Required);
    let Err(ClientError::Refused(refused)) = result else { panic!("{result:?}") };
    assert_eq!(refused.kind, option_reply::ERR_TLS_REQD);
    assert!(refused.to_string().contains("TLS is required"));
}

/// A client that has just asked for TLS, and whose question has left.
fn asking(wishes: &Wishes) -> (Client, RequestTable<(), 1>) {
    let (mut client, mut table) = (Client::with("x", wishes).unwrap(), RequestTable::new());
    assert_eq!(client.receive(GREETING, &mut table), Ok((GREETING.len(), None)));
    assert!(client.transmit().ends_with(&option_bytes(option::STARTTLS, b"")));
    client.transmitted(client.transmit().len());
    (client, table)
}

#[test]
fn nothing_that_comes_between_the_yes_and_tls_is_taken() {
    let yes = reply_bytes(option::STARTTLS, option_reply::ACK, b"");
    let injected = reply_bytes(option::EXTENDED_HEADERS, option_reply::ERR_UNSUP, b"");
    let violation = Err(ClientError::Violation(Violation::Unsolicited));
    let (mut client, mut table) = asking(&PREFER);
    assert_eq!(client.receive(&[&yes[..], &injected].concat(), &mut table), violation);
    let (mut client, mut table) = asking(&PREFER);
    assert_eq!(client.receive(&yes, &mut table), Ok((yes.len(), Some(Event::StartTls))));
    assert_eq!(client.receive(b"", &mut table), Ok((0, None)));
    assert!(client.disconnect().is_empty(), "nothing is said in plaintext either");
    assert_eq!(client.receive(&injected, &mut table), violation);
    client.secured();
    assert!(client.transmit().is_empty(), "a connection that failed stays so");
}

#[test]
fn a_yes_before_the_question_is_not_believed() {
    let (mut client, mut table) = (Client::with("x", &REQUIRE).unwrap(), RequestTable::<(), 1>::new());
    let ahead = [GREETING.to_vec(), reply_bytes(option::STARTTLS, option_reply::ACK, b"")].concat();
    assert_eq!(client.receive(&ahead, &mut table), Err(ClientError::Violation(Violation::Unsolicited)));
}

#[test]
fn after_tls_everything_is_asked_from_the_beginning() {
    let (mut client, mut table) = asking(&REQUIRE);
    client.secured();
    assert!(client.transmit().is_empty(), "not before the server said yes");
    client.receive(&reply_bytes(option::STARTTLS, option_reply::ACK, b""), &mut table).unwrap();
    client.secured();
    assert_eq!(client.transmit(), option_bytes(option::EXTENDED_HEADERS, b""));
    assert_eq!(client.session(), None);
}

#[test]
fn a_no_from_somebody_in_between_does_not_weaken_a_client_that_requires_tls() {
    for kind in [option_reply::ERR_UNSUP, option_reply::ERR_POLICY, option_reply::ERR_INVALID, option_reply::ERROR_BIT | 999] {
        let no = reply_bytes(option::STARTTLS, kind, b"no");
        let (mut client, mut table) = asking(&REQUIRE);
        let result = client.receive(&no, &mut table);
        assert!(matches!(result, Err(ClientError::Refused(refused)) if refused.kind == kind));
        assert_eq!(client.transmit(), option_bytes(option::ABORT, b""));
        let (mut client, mut table) = asking(&PREFER);
        assert!(client.receive(&no, &mut table).is_ok());
        assert_eq!(client.transmit(), option_bytes(option::EXTENDED_HEADERS, b""));
    }
}
