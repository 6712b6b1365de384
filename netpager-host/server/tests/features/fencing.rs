//! Exclusive exports: whoever takes one over waits for the last write of whoever had it, and nothing of that comes later.

use std::time::{Duration, Instant};

use nbd::client::ClientError;
use nbd::wire::option_reply;
use nbd::{CommandFlags, Request, TransmissionFlags};

use crate::common::{Connection, Failure, Service};

#[test]
fn a_newcomer_ends_the_older_connection_of_the_same_client() {
    let service = Service::start(&["--export", "memory=1M,exclusive"]);
    let mut old = service.connect("memory");
    assert!(!old.session().export.can(TransmissionFlags::CAN_MULTI_CONN), "a second connection would end the first");
    old.write(0, b"old").unwrap();
    let mut new = service.connect("memory");
    assert_eq!(new.read(0, 3), b"old");
    let cookie = old.try_send(Request::write(0, 3), b"old");
    assert!(cookie.and_then(|cookie| old.try_wait(cookie)).is_err(), "its connection is closed");
    new.write(0, b"new").unwrap();
    assert_eq!(new.read(0, 3), b"new");
}

/// The zombie of NETPAGER.md 5.3: a write of the old connection is under way in a slow store while its client comes back.
#[test]
fn a_write_under_way_cannot_land_after_the_newcomers() {
    let service = Service::start(&["--export", "slow=1M,exclusive,delay=700"]);
    let mut old = service.connect("slow");
    let start = Instant::now();
    for page in 0..8 {
        old.send(Request::write(page * 4096, 4096).with(CommandFlags::FUA), &[1; 4096]);
    }
    // They must have been begun, or there would be nothing to wait for.
    std::thread::sleep(Duration::from_millis(200));
    let mut new = service.connect("slow");
    assert!(start.elapsed() >= Duration::from_millis(1300), "GO was acknowledged before the old writes and flushes had ended");
    for page in 0..8 {
        new.send(Request::write(page * 4096, 4096), &[2; 4096]);
    }
    std::thread::sleep(Duration::from_millis(1000));
    for page in 0..8 {
        assert_eq!(new.read(page * 4096, 4096), [2; 4096], "an old write came after a new one");
    }
}

#[test]
fn an_export_that_goes_with_its_last_client_is_handed_over() {
    let service = Service::start(&["--pattern", "np1/*=1M,exclusive,lifetime=last-close"]);
    let mut clients = vec![service.connect("np1/x")];
    clients[0].write(0, b"page").unwrap();
    for _ in 0..10 {
        // The older connection ends because of the newer one: nobody has let go of the export.
        clients.push(service.connect("np1/x"));
        assert_eq!(clients.last_mut().unwrap().read(0, 4), b"page");
    }
}

/// A WRITE whose data has not all arrived is not done at all.
#[test]
fn half_a_write_of_the_old_connection_is_dropped() {
    let service = Service::start(&["--export", "memory=1M,exclusive"]);
    let mut old = service.connect("memory");
    let (_, bytes) = old.encode(Request::write(0, 4096), &[1; 4096]);
    old.send_raw(&bytes[..bytes.len() - 1]);
    let mut new = service.connect("memory");
    new.write(0, &[2; 4096]).unwrap();
    let _ = old.try_send_raw(&bytes[bytes.len() - 1..]);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(new.read(0, 4096), [2; 4096]);
}

#[test]
fn another_clients_exclusive_export_cannot_be_taken() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s").display().to_string();
    let service = Service::start_on(&["127.0.0.1:0", &format!("unix:{path}")], &["--export", "memory=1M,exclusive"]);
    // The kernel vouches for the one; the other is anybody on this machine.
    let mut unix = Connection::unix(&path, "memory");
    let Err(Failure::Client(ClientError::Refused(refused))) = Connection::open(service.tcp(), "memory") else { panic!("it was given") };
    assert!(refused.kind == option_reply::ERR_POLICY && refused.text.to_string().contains("another client"), "{refused}");
    assert_eq!(unix.read(0, 1), [0], "whoever has it keeps it");
    drop(unix);
    crate::eventually("it is never free", || Connection::open(service.tcp(), "memory").is_ok());
}

#[test]
fn clients_that_take_an_export_from_each_other_never_share_it() {
    let service = Service::start(&["--export", "memory=1M,exclusive", "--workers", "2"]);
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let service = &service;
            scope.spawn(move || {
                for round in 0..20u8 {
                    let Ok(mut client) = Connection::open(service.tcp(), "memory") else { continue };
                    let mark = [thread << 5 | round; 64];
                    // As long as nobody has cut us off, what we wrote is what we read.
                    let written = client.try_write(0, &mark);
                    if let Ok(read) = written.and_then(|()| client.try_read(0, 64)) {
                        assert_eq!(read, mark);
                    }
                }
            });
        }
    });
}
