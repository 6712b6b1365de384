//! Rules end to end: what a client may see, enter, make and write.

use std::fs;

use crate::place::Place;
use crate::raw::*;

#[test]
fn a_guest_sees_what_is_for_it() {
    let place = Place::new();
    assert_eq!(place.guest("guest-a").list(), ["shared"]);
    let mut both = place.guest("guest-b").list();
    both.sort();
    assert_eq!(both, ["secret", "shared"]);
}

#[test]
fn what_is_not_for_a_guest_does_not_exist() {
    let place = Place::new();
    let mut guest = place.guest("guest-a");
    // The last two have the name of nothing at all; the empty name means the first export, which is secret.
    let names = ["secret", "secret@1M", "np1/guest-b/heap", "np1/guest-a", "", "nothing", "nothing@1M"];
    for name in names {
        for number in [OPT_INFO, OPT_GO] {
            let reply = guest.last(number, &named(name));
            let expected = security::no_such_export(name);
            assert_eq!((reply.kind, reply.text()), (ERR_UNKNOWN, expected), "{name:?}");
        }
    }
    place.wait_for("dns:guest-a: none of the 3 acl rules matches");
    let mut by_old_name = place.guest("guest-a");
    by_old_name.send(&option(OPT_EXPORT_NAME, b"secret"));
    assert_eq!(by_old_name.rest(), []);
}

#[test]
fn a_guest_makes_what_it_may_in_its_own_place() {
    let place = Place::new();
    let mut one = place.guest("guest-a");
    let info = one.ask(OPT_INFO, &named("np1/guest-a/one"));
    assert_eq!(info[0].kind, REP_INFO, "{info:?}");
    assert_eq!(one.go("np1/guest-a/one").kind, REP_ACK);
    assert_eq!(one.write(0, b"mine"), 0);
    let mut two = place.guest("guest-a");
    let too_much = two.go("np1/guest-a/two@2M");
    // The pattern's own limit may be met first; either way it says which.
    assert_eq!(too_much.kind, ERR_POLICY, "{}", too_much.text());
    let two_more = two.go("np1/guest-a/two");
    let refused = match two_more.kind {
        // Two of one MiB each, and what their tables cost: as the service counts.
        REP_ACK => place.guest("guest-a").go("np1/guest-a/three"),
        _ => two_more,
    };
    let text = refused.text();
    assert_eq!(refused.kind, ERR_POLICY, "{text}");
    assert!(text.contains("dns:guest-a may create at most 2 MiB") && text.contains("acl rule 1"), "{text}");
    assert_eq!(place.guest("guest-b").go("np1/guest-b/one").kind, REP_ACK, "its neighbour is not concerned");
}

#[test]
fn reading_is_not_writing() {
    let place = Place::new();
    let mut guest = place.guest("guest-a");
    assert_eq!(guest.go("shared").kind, REP_ACK);
    assert_eq!(guest.read(0, 4), Ok(vec![0; 4]));
    assert_eq!(guest.write(0, b"mine"), 1, "EPERM");
    assert_eq!(guest.request(4, 0, 4096, &[]), 1, "TRIM");
    assert_eq!(guest.request(6, 0, 4096, &[]), 1, "WRITE_ZEROES");
    assert_eq!(guest.read(0, 4), Ok(vec![0; 4]));
}

#[test]
fn connections_are_counted_for_each_guest() {
    let place = Place::new();
    let enter = |name: &str| {
        let mut guest = place.guest(name);
        let reply = guest.go(&format!("np1/{name}/heap"));
        (guest, reply)
    };
    let held: Vec<_> = (0..3).map(|_| enter("guest-a")).collect();
    assert!(held.iter().all(|(_, reply)| reply.kind == REP_ACK));
    let (_, reply) = enter("guest-a");
    assert_eq!(reply.kind, ERR_POLICY);
    assert!(reply.text().contains("dns:guest-a may have at most 3 connections"), "{}", reply.text());
    assert_eq!(enter("guest-b").1.kind, REP_ACK);
}

#[test]
fn unix_users_are_who_the_kernel_says() {
    let directory = tempfile::tempdir().unwrap();
    let us = rustix::process::geteuid().as_raw();
    let rules = format!(
        "[[export]]\nname = \"ours\"\nsize = \"1M\"\n[[export]]\nname = \"theirs\"\nsize = \"1M\"\n\
         [[acl]]\nidentity = \"uid:{us}\"\nexport = \"ours\"\naccess = \"read-write\"\n\
         [[acl]]\nidentity = \"uid:{}\"\nexport = \"theirs\"\naccess = \"read-write\"\n",
        us + 1
    );
    let path = directory.path().join("socket");
    let place = Place::listening(&format!("unix:{}", path.display()), &rules);
    let mut client = Raw::greeted(std::os::unix::net::UnixStream::connect(&path).unwrap());
    assert_eq!(client.list(), ["ours"]);
    assert_eq!(client.go("theirs").kind, ERR_UNKNOWN);
    assert_eq!(client.go("ours").kind, REP_ACK);
    drop(place);
}

#[test]
fn nothing_secret_is_logged() {
    let place = Place::new();
    let mut guest = place.guest("guest-a");
    assert_eq!(guest.go("np1/guest-a/heap").kind, REP_ACK);
    assert_eq!(guest.write(0, b"the content of a page of memory"), 0);
    drop(guest);
    place.reload();
    place.wait_for("written_bytes=31");
    let log = place.log();
    for key in ["pki/ca-key.pem", "pki/localhost/server-key.pem", "pki/guest-a/client-key.pem"] {
        let key = fs::read_to_string(place.path().join(key)).unwrap();
        for line in key.lines().filter(|line| !line.starts_with('-')) {
            assert!(!log.contains(&line[..16]), "{log}");
        }
    }
    assert!(!log.contains("the content of a page") && log.contains("dns:guest-a"), "{log}");
}
