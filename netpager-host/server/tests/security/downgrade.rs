//! Before TLS: nothing is told, nothing said there counts afterwards, and nobody is talked out of it.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use security::TlsClient;

use crate::place::{PATIENCE, Place, RULES};
use crate::raw::*;

#[test]
fn nothing_is_told_before_tls() {
    let place = Place::new();
    for name in ["shared", "secret", "no-such-export", "np1/guest-a/x"] {
        let mut plain = place.plain();
        for number in [OPT_INFO, OPT_GO] {
            assert_eq!(plain.last(number, &named(name)).kind, ERR_TLS_REQD, "{name}");
        }
        assert_eq!(plain.last(OPT_STRUCTURED_REPLY, &[]).kind, ERR_TLS_REQD);
        let listed = plain.ask(OPT_LIST, &[]);
        assert_eq!(listed.iter().map(|reply| reply.kind).collect::<Vec<_>>(), [ERR_TLS_REQD]);
        plain.send(&option(OPT_EXPORT_NAME, name.as_bytes()));
        assert_eq!(plain.rest(), [], "EXPORT_NAME cannot be refused, only hung up on");
    }
    let mut plain = place.plain();
    assert_eq!(plain.last(OPT_ABORT, &[]).kind, REP_ACK);
}

#[test]
fn what_is_slipped_in_behind_starttls_is_forgotten() {
    let place = Place::new();
    for injected in [option(OPT_LIST, &[]), option(OPT_STRUCTURED_REPLY, &[]), vec![0; 100], option(OPT_GO, &named("shared"))] {
        let mut plain = place.plain();
        // In one segment, so that the service has it before it begins TLS.
        plain.send(&[option(OPT_STARTTLS, &[]), injected].concat());
        assert_eq!(plain.replies(OPT_STARTTLS).pop().unwrap().kind, REP_ACK);
        let stream = TlsClient::load(&place.bundle("guest-a")).unwrap().connect(plain.stream, "localhost");
        // The rest may also be taken for TLS, which it is not; but it must never be answered.
        let Ok(stream) = stream else { continue };
        let mut secure = Raw { stream };
        // `replies` insists that the first answer is to this very question.
        assert_eq!(secure.list(), ["shared"]);
    }
}

#[test]
fn what_was_agreed_before_tls_no_longer_counts() {
    let place = Place::listening("nbd://127.0.0.1:0", "[[export]]\nname = \"x\"\nsize = \"1M\"\n");
    let mut plain = place.plain();
    assert_eq!(plain.last(OPT_STRUCTURED_REPLY, &[]).kind, REP_ACK);
    assert!(plain.start_tls());
    let mut secure = Raw { stream: TlsClient::load(&place.bundle("guest-a")).unwrap().connect(plain.stream, "localhost").unwrap() };
    assert_eq!(secure.go("x").kind, REP_ACK);
    // Insists on simple replies.
    assert_eq!(secure.write(4096, &[7; 4096]), 0);
    assert_eq!(secure.read(4096, 4096), Ok(vec![7; 4096]));
}

#[test]
fn tls_within_tls_is_refused() {
    let place = Place::new();
    let mut guest = place.guest("guest-a");
    assert!(guest.last(OPT_STARTTLS, &[]).kind >= 1 << 31);
    assert_eq!(guest.list(), ["shared"], "and does no harm");
}

#[test]
fn our_client_is_not_talked_out_of_tls() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Somebody in the middle, who would rather not have it.
    let middle = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"NBDMAGICIHAVEOPT\0\x03").unwrap();
        let mut hello = [0; 4 + 16];
        stream.read_exact(&mut hello).unwrap();
        assert_eq!(hello[12..16], OPT_STARTTLS.to_be_bytes());
        let unsupported = (1_u32 << 31) + 1;
        let words = [OPT_STARTTLS, unsupported, 0].map(u32::to_be_bytes).concat();
        stream.write_all(&[&0x0003_e889_0455_65a9_u64.to_be_bytes()[..], &words].concat()).unwrap();
        let mut rest = Vec::new();
        // Reset or closed: what counts is what it said before.
        let _ = stream.read_to_end(&mut rest);
        rest
    });
    let uri = format!("nbds://127.0.0.1:{port}/secret?tls-certificates={}", place.bundle("guest-a").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_netpager-host"));
    let output = command.args(["bench", "--seconds", "1", &uri]).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    let said = middle.join().unwrap();
    assert!(!said.windows(6).any(|word| word == b"secret"), "the export's name was told in the clear");
    assert!(said.is_empty() || said == option(OPT_ABORT, &[]), "{said:?}");
}

#[test]
fn a_handshake_that_stalls_is_ended() {
    let place = Place::listening("nbds://127.0.0.1:0", &format!("[limits]\nhandshake = \"3s\"\n{RULES}"));
    let mut plain = place.plain();
    assert!(plain.start_tls());
    // The beginning of a TLS record, and no more.
    plain.send(&[0x16, 3, 1, 2, 0, 1]);
    let start = Instant::now();
    plain.rest();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(place.guest("guest-a").list(), ["shared"], "others are served meanwhile");
}

#[test]
fn strangers_get_no_byte_of_nbd() {
    let place = Place::new();
    let other = Place::new();
    let ours = place.bundle("stranger");
    std::fs::create_dir(&ours).unwrap();
    std::fs::copy(place.bundle("guest-a").join("ca-cert.pem"), ours.join("ca-cert.pem")).unwrap();
    for with_certificate in [false, true] {
        if with_certificate {
            for name in ["client-cert.pem", "client-key.pem"] {
                std::fs::copy(other.bundle("guest-a").join(name), ours.join(name)).unwrap();
            }
        }
        let mut plain = place.plain();
        assert!(plain.start_tls());
        let stream = TlsClient::load(&ours).unwrap().connect(plain.stream, "localhost");
        // With TLS 1.3 a client learns only by reading that it is not wanted.
        if let Ok(mut stream) = stream {
            let _ = stream.write_all(&option(OPT_LIST, &[]));
            assert_eq!(Raw { stream }.rest(), []);
        }
    }
    place.wait_for("the client showed no certificate");
    place.wait_for("not signed by an authority that is trusted here");
}
