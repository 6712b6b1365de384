//! What clients may take of the service: who takes more is stopped, and nobody else notices.

use std::time::{Duration, Instant};

use nbd::Request;

use crate::common::{Connection, Service};
use crate::eventually;

fn start(directory: &tempfile::TempDir, limits: &str) -> Service {
    let file = directory.path().join("c.toml");
    std::fs::write(&file, format!("[limits]\n{limits}\n[[export]]\nname = \"memory\"\nsize = \"64M\"\n")).unwrap();
    Service::start(&["--config", &file.display().to_string()])
}

/// A client that asks for 32 MiB and takes nothing of it.
fn glutton(service: &Service) -> Connection {
    let mut client = service.connect("memory");
    client.send(Request::read(0, 32 << 20), &[]);
    client
}

fn filled(service: &Service) -> Connection {
    let mut client = service.connect("memory");
    client.write(0, &vec![1; 32 << 20]).unwrap();
    client
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let service = start(&directory, "stall = \"300ms\"");
    let _witness = filled(&service);
    let mut glutton = glutton(&service);
    std::thread::sleep(Duration::from_millis(1000));
    let mut end = false;
    // What is in the sockets' buffers still arrives; then comes the end, and not the rest.
    eventually("it is still here", || {
        end |= glutton.try_read(0, 1).is_err();
        end
    });
}

#[test]
fn large_requests_share_a_bounded_room_and_small_ones_need_none() {
    let directory = tempfile::tempdir().unwrap();
    let service = start(&directory, "bytes = \"64MiB\"\nstall = \"1500ms\"");
    let mut witness = filled(&service);
    let _gluttons = [glutton(&service), glutton(&service)];
    std::thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    (0..100).for_each(|page| assert_eq!(witness.read(page * 4096, 4096), [1; 4096]));
    assert!(start.elapsed() < Duration::from_millis(1000), "small requests do not wait");
    assert!(witness.read(0, 32 << 20).iter().all(|&byte| byte == 1));
    assert!(start.elapsed() > Duration::from_millis(500), "a large one waited until the gluttons were gone");
}

#[test]
fn a_large_write_that_never_ends_gives_its_room_back() {
    let directory = tempfile::tempdir().unwrap();
    let service = start(&directory, "stall = \"300ms\"");
    let mut slow = service.connect("memory");
    let (_, bytes) = slow.encode(Request::write(0, 1 << 20), &vec![1; 1 << 20]);
    // Something arrives all the time, but far too little.
    let start = Instant::now();
    let mut sent = 0;
    eventually("it is still here", || {
        let end = (sent + 100).min(bytes.len());
        let is_closed = slow.try_send_raw(&bytes[sent..end]).is_err();
        sent = end;
        is_closed
    });
    assert!(start.elapsed() > Duration::from_millis(1200), "it had its time");
    assert_eq!(service.connect("memory").read(0, 1), [0], "half a write is no write");
}

#[test]
fn connections_are_counted_by_identity() {
    let directory = tempfile::tempdir().unwrap();
    let service = start(&directory, "connections-per-identity = 2");
    let (first, mut second) = (service.connect("memory"), service.connect("memory"));
    let third = Connection::open(service.tcp(), "memory");
    assert!(format!("{:?}", third.err().unwrap()).contains("may have 2"));
    drop(first);
    eventually("its place is never free", || Connection::open(service.tcp(), "memory").is_ok());
    assert_eq!(second.read(0, 1), [0]);
}
