//! The commands that ask a running service, as the program runs them.

use crate::fake::{Fake, HOSTILE};
use crate::service::Service;
use admin::client::{CheckArgs, ClientError, ExportAction, StatusArgs};
use admin::observed::{Destiny, FaultKind, Lifetime};
use admin::{Observed as _, Registry};
use clap::Parser;

#[derive(Debug, Parser)]
enum Program {
    Status(StatusArgs),
    #[command(subcommand)]
    Export(ExportAction),
    Check(CheckArgs),
}

fn run(service: &Service, words: &[&str]) -> Result<(), ClientError> {
    let address = service.address.to_string();
    let words = [&["netpager-host"], words, &["--admin", &address]].concat();
    match Program::try_parse_from(words).unwrap() {
        Program::Status(status) => status.run(),
        Program::Export(action) => action.run(),
        Program::Check(check) => check.run(),
    }
}

#[test]
fn exports_come_and_go() {
    let fake = Fake::empty();
    let service = Service::start(fake.clone(), None);
    run(&service, &["export", "create", "np1/a b", "4GiB", "--quota", "1G", "--store", "compressed", "--idle", "60", "--read-only"])
        .unwrap();
    let made = fake.exports().remove(0);
    assert_eq!((made.name.as_str(), made.size, made.quota, made.store.as_str()), ("np1/a b", 4 << 30, Some(1 << 30), "compressed"));
    assert_eq!((made.read_only, made.lifetime), (true, Lifetime { until: Destiny::Idle, idle_seconds: Some(60) }));
    let twice = run(&service, &["export", "create", "np1/a b", "1"]).unwrap_err();
    assert!(matches!(twice, ClientError::Refused(fault) if fault.kind == FaultKind::Conflict));
    run(&service, &["export", "list"]).unwrap();
    run(&service, &["export", "stat", "np1/a b"]).unwrap();
    run(&service, &["export", "stat", "np1/a b", "--json"]).unwrap();
    run(&service, &["status"]).unwrap();
    run(&service, &["status", "--json"]).unwrap();
    run(&service, &["export", "rm", "np1/a b"]).unwrap();
    assert!(fake.exports().is_empty());
    let gone = run(&service, &["export", "rm", "np1/a b"]).unwrap_err();
    assert_eq!(gone.to_string(), "there is no export `np1/a b`");
}

#[test]
fn a_conflict_needs_force() {
    let fake = Fake::furnished();
    let service = Service::start(fake.clone(), None);
    assert!(run(&service, &["export", "rm", "disk"]).unwrap_err().to_string().contains("force"));
    run(&service, &["export", "rm", "disk", "--force"]).unwrap();
    run(&service, &["export", "rm", HOSTILE]).unwrap();
    assert_eq!(fake.exports().len(), 4);
}

#[test]
fn a_check_ends_as_it_was_found() {
    let fake = Fake::furnished();
    let service = Service::start(fake.clone(), None);
    let time = std::thread::spawn(move || {
        for second in 0..40 {
            fake.advance(second);
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    });
    run(&service, &["check", "disk", "--quiet"]).unwrap();
    let damaged = run(&service, &["check", "images/base", "--quiet"]).unwrap_err();
    assert_eq!(damaged.to_string(), "export `images/base`: 1 faults were found");
    time.join().unwrap();
}

#[test]
fn a_service_that_is_not_there_is_named() {
    let mut service = Service::start(Fake::empty(), None);
    service.stop();
    let error = run(&service, &["status"]).unwrap_err().to_string();
    assert!(error.contains(&service.address.to_string()) && error.contains("is it running"), "{error}");
    assert_eq!(Registry::default().connections(), 0);
}

#[test]
fn somebody_else_at_the_address_is_noticed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let other = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").unwrap();
    });
    let error = match Program::try_parse_from(["netpager-host", "status", "--admin", &address]).unwrap() {
        Program::Status(status) => status.run().unwrap_err(),
        _ => unreachable!("status was parsed"),
    };
    assert!(matches!(error, ClientError::Foreign { .. }), "{error}");
    other.join().unwrap();
}
