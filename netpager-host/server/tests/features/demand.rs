//! Exports made because a client asks for them.

use nbd::client::ClientError;
use nbd::wire::option_reply;

use crate::common::{Connection, Failure, Service};
use crate::eventually;

fn refused(service: &Service, export: &str) -> (u32, String) {
    match Connection::open(service.tcp(), export) {
        Err(Failure::Client(ClientError::Refused(refused))) => (refused.kind, refused.text.to_string()),
        Err(other) => panic!("{export}: {other:?}"),
        Ok(_) => panic!("{export} was given"),
    }
}

/// The names that a client is shown.
fn listed(service: &Service) -> Vec<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = service.tcp();
    let mut greeting = [0; 18];
    stream.read_exact(&mut greeting).unwrap();
    stream.write_all(b"\0\0\0\x03IHAVEOPT\0\0\0\x03\0\0\0\0").unwrap();
    let mut names = Vec::new();
    loop {
        let mut header = [0; 20];
        stream.read_exact(&mut header).unwrap();
        let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        let mut data = vec![0; number(16) as usize];
        stream.read_exact(&mut data).unwrap();
        match number(12) {
            option_reply::ACK => return names,
            _ => names.push(String::from_utf8(data[4..].to_vec()).unwrap()),
        }
    }
}

/// Asks INFO about an export and leaves.
fn look_at(service: &Service, export: &str) -> u32 {
    use std::io::{Read as _, Write as _};
    let mut stream = service.tcp();
    let mut greeting = [0; 18];
    stream.read_exact(&mut greeting).unwrap();
    let data = [&(export.len() as u32).to_be_bytes()[..], export.as_bytes(), b"\0\0"].concat();
    let option = [b"\0\0\0\x03IHAVEOPT\0\0\0\x06", &(data.len() as u32).to_be_bytes()[..], &data].concat();
    stream.write_all(&option).unwrap();
    let mut header = [0; 20];
    stream.read_exact(&mut header).unwrap();
    u32::from_be_bytes(header[12..16].try_into().unwrap())
}

#[test]
fn an_export_is_made_by_those_who_enter_it_and_goes_with_its_last_client() {
    let service = Service::start(&["--export", "fixed=1M", "--pattern", "np1/*/*=1M,max-size=4M"]);
    assert_eq!(look_at(&service, "np1/guest/heap"), option_reply::INFO, "it can be looked at");
    assert_eq!(listed(&service), ["fixed"], "and is not made by that");
    let mut first = service.connect("np1/guest/heap");
    assert_eq!(first.session().export.size, 1 << 20);
    first.write(0, b"page").unwrap();
    let mut second = service.connect("np1/guest/heap");
    assert_eq!(second.read(0, 4), b"page", "the same name is the same export");
    assert_eq!(listed(&service), ["fixed", "np1/guest/heap"]);
    drop(first);
    assert_eq!(second.read(0, 4), b"page");
    drop(second);
    eventually("the export stays", || listed(&service) == ["fixed"]);
    assert_eq!(service.connect("np1/guest/heap").read(0, 4), [0; 4], "nothing is left of it");
}

#[test]
fn a_client_may_say_how_large_up_to_a_limit() {
    let service = Service::start(&["--pattern", "np1/*/*=1M,max-size=4M,lifetime=keep"]);
    assert_eq!(service.connect("np1/a/b@4M").session().export.size, 4 << 20);
    assert_eq!(service.connect("np1/a/b").session().export.size, 4 << 20, "it is there already");
    assert_eq!(service.connect("np1/a/b@4096K").session().export.size, 4 << 20);
    let (kind, text) = refused(&service, "np1/a/b@2M");
    assert!(kind == option_reply::ERR_POLICY && text.contains("has 4MiB"), "{text}");
    let (kind, text) = refused(&service, "np1/a/c@5M");
    assert!(kind == option_reply::ERR_POLICY && text.contains("4MiB"), "{text}");
    assert_eq!(refused(&service, "np1/a").0, option_reply::ERR_UNKNOWN, "no pattern has such names");
    assert_eq!(refused(&service, "np1/a/b/c").0, option_reply::ERR_UNKNOWN);
}

#[test]
fn one_identity_may_have_so_many() {
    let service = Service::start(&["--pattern", "np1/*/*=1M,max-per-identity=2"]);
    let _held = (service.connect("np1/a/1"), service.connect("np1/a/2"));
    let (kind, text) = refused(&service, "np1/a/3");
    assert!(kind == option_reply::ERR_POLICY && text.contains("may have 2"), "{text}");
    assert_eq!(service.connect("np1/a/1").read(0, 1), [0], "those it has are still its own");
}

#[test]
fn clients_that_come_at_once_get_one_export() {
    let service = Service::start(&["--pattern", "np1/*/*=1M,lifetime=keep,max-per-identity=1"]);
    std::thread::scope(|scope| {
        let come = |number: u64| {
            let service = &service;
            scope.spawn(move || service.connect("np1/a/b").write(number * 4096, &[number as u8 + 1; 4096]).unwrap())
        };
        (0..8).map(come).collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
    });
    let mut client = service.connect("np1/a/b");
    (0..8).for_each(|number| assert_eq!(client.read(number * 4096, 4096), [number as u8 + 1; 4096]));
}

#[test]
fn what_is_kept_outlives_the_service_and_what_is_not_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state").display().to_string();
    let pattern = format!("keep/*=1M,lifetime=keep,store=file:{}/{{name}}.img", directory.path().display());
    let arguments = ["--state", &state, "--pattern", &pattern, "--pattern", "gone/*=1M,lifetime=idle:1h"];
    let service = Service::start(&arguments);
    let mut client = service.connect("keep/a");
    client.write(0, b"kept").unwrap();
    client.ask(nbd::Request::flush(), &[]).result.unwrap();
    service.connect("gone/a").write(0, b"gone").unwrap();
    assert_eq!(listed(&service), ["gone/a", "keep/a"]);
    service.kill();
    let service = Service::start(&arguments);
    assert_eq!(listed(&service), ["keep/a"]);
    assert_eq!(service.connect("keep/a").read(0, 4), b"kept");
}

#[test]
fn idle_exports_are_given_up_with_their_files() {
    let directory = tempfile::tempdir().unwrap();
    let pattern = format!("np1/*=1M,lifetime=idle:300ms,store=file:{}/{{name}}.img", directory.path().display());
    let service = Service::start(&["--pattern", &pattern]);
    let mut client = service.connect("np1/x");
    client.write(0, b"page").unwrap();
    let file = directory.path().join("np1%2fx.img");
    std::thread::sleep(std::time::Duration::from_millis(1600));
    assert!(file.exists() && client.read(0, 4) == b"page", "it is in use");
    drop(client);
    eventually("the file stays", || !file.exists() && listed(&service).is_empty());
}
