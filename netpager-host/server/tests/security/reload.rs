//! Certificates and rules that change while clients are connected.

use std::fs;

use crate::place::Place;
use crate::raw::*;

#[test]
fn who_is_revoked_is_shut_out_and_nobody_else() {
    let place = Place::new();
    let (mut a, mut b) = (place.guest("guest-a"), place.guest("guest-b"));
    assert_eq!(a.go("np1/guest-a/heap").kind, REP_ACK);
    assert_eq!(b.go("np1/guest-b/heap").kind, REP_ACK);
    assert_eq!((a.write(0, b"a"), b.write(0, b"b")), (0, 0));
    place.pki(&["revoke", "guest-a"]);
    assert_eq!(a.read(0, 1), Ok(b"a".to_vec()), "not before the service knows");
    place.reload();
    assert_eq!(a.rest(), []);
    place.wait_for("was revoked");
    assert_eq!(b.read(0, 1), Ok(b"b".to_vec()));
    assert_eq!(place.guest("guest-b").list().len(), 3, "and comes as before");
    let mut plain = place.plain();
    assert!(plain.start_tls());
    let stream = security::TlsClient::load(&place.bundle("guest-a")).unwrap().connect(plain.stream, "localhost");
    if let Ok(stream) = stream {
        assert_eq!(Raw { stream }.rest(), []);
    }
}

#[test]
fn a_rule_that_is_taken_away_holds_at_once() {
    let place = Place::new();
    let (mut a, mut b) = (place.guest("guest-a"), place.guest("guest-b"));
    assert_eq!(a.go("shared").kind, REP_ACK);
    assert_eq!(b.go("secret").kind, REP_ACK);
    let config = place.path().join("service.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("identity = \"dns:guest-b\"", "identity = \"dns:guest-c\"")).unwrap();
    place.reload();
    assert_eq!(b.rest(), []);
    assert_eq!(a.read(0, 1), Ok(vec![0]));
    assert_eq!(place.guest("guest-b").go("secret").kind, ERR_UNKNOWN);
}

#[test]
fn a_new_server_certificate_is_shown_to_those_who_come() {
    let place = Place::new();
    let mut a = place.guest("guest-a");
    assert_eq!(a.go("shared").kind, REP_ACK);
    let serial = |guest: &Raw<Secure>| guest.stream.conn.peer_certificates().unwrap()[0].to_vec();
    let old = serial(&a);
    place.pki(&["issue", "localhost", "--server", "--out", "renewed"]);
    for name in ["server-key.pem", "server-cert.pem"] {
        fs::rename(place.path().join("renewed").join(name), place.bundle("localhost").join(name)).unwrap();
    }
    place.reload();
    assert_ne!(serial(&place.guest("guest-a")), old);
    assert_eq!(a.read(0, 1), Ok(vec![0]), "those who are there stay");
}

#[test]
fn a_mistake_in_the_files_changes_nothing() {
    let place = Place::new();
    fs::write(place.bundle("localhost/server-cert.pem"), "nonsense").unwrap();
    place.reload();
    place.wait_for("the certificates stay as they were");
    assert_eq!(place.guest("guest-a").list(), ["shared"]);
}
