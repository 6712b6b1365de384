//! Clients that disappear in the middle of a byte-exact session: nothing of them stays.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use bench::{Connection, Server};
use nbd::client::{Client, Event, RequestTable};
use nbd::uri::Transport;
use nbd::{CommandFlags, Request};
use rustix::net::sockopt::set_socket_linger;

use crate::{eventually, service};

fn connect(service: &Server) -> TcpStream {
    let Transport::Tcp { host, port } = service.target().transport() else { panic!("it listens on TCP") };
    let stream = TcpStream::connect((host.as_str(), *port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// What a client sends in a whole session: handshake, a request of each kind, the polite end. Also where the handshake ends.
fn recorded(service: &Server) -> (Vec<u8>, usize) {
    let mut stream = connect(service);
    let (mut client, mut table) = (Client::new("memory").unwrap(), RequestTable::<(), 8>::new());
    let (mut sent, mut buffer) = (Vec::new(), [0; 4096]);
    while client.session().is_none() {
        let count = stream.read(&mut buffer).unwrap();
        let mut input = &buffer[..count];
        while let (used, Some(_)) = client.receive(input, &mut table).unwrap() {
            input = &input[used..];
        }
        stream.write_all(client.transmit()).unwrap();
        sent.extend_from_slice(client.transmit());
        client.transmitted(client.transmit().len());
    }
    let handshake = sent.len();
    let requests = [
        Request::write(0, 4096),
        Request::read(0, 4096),
        Request::flush(),
        Request::write_zeroes(4096, 4096),
        Request::trim(8192, 4096),
        Request::read(0, 65536).with(CommandFlags::DF),
    ];
    for request in requests {
        let cookie = table.insert(request, ()).unwrap();
        sent.extend_from_slice(&client.encode(cookie, &request).unwrap());
        sent.resize(sent.len() + request.payload_length() as usize, 0xa5);
    }
    sent.extend_from_slice(&client.disconnect());
    stream.write_all(&sent[handshake..]).unwrap();
    // That the recording is a good one: all requests are answered.
    let mut finished = 0;
    loop {
        let count = stream.read(&mut buffer).unwrap();
        let mut input = &buffer[..count];
        while let (used, Some(event)) = client.receive(input, &mut table).unwrap() {
            input = &input[used..];
            if let Event::Done { result, .. } = event {
                assert_eq!(result, Ok(()));
                finished += 1;
            }
        }
        if count == 0 {
            assert_eq!(finished, requests.len());
            return (sent, handshake);
        }
    }
}

#[test]
fn a_client_that_vanishes_at_any_byte_leaves_nothing_behind() {
    let service = service(&["memory=1M", "slow=1M,delay=20"], &["--handshake-timeout", "1", "--max-connections", "64"]);
    let (session, handshake) = recorded(&service);
    let mut witness = Connection::open(service.target()).unwrap();
    let mut check = |page: u64| {
        assert_eq!(witness.ask(Request::write(65536 + page * 4096, 4096), (), &[7; 4096]).unwrap().result, Ok(()));
        let read = witness.ask(Request::read(65536 + page * 4096, 4096), (), &[]).unwrap();
        assert!(read.result == Ok(()) && read.data.as_deref() == Some(&[7; 4096]));
    };
    check(0);
    let process = service.process();
    let before = (process.descriptors(), process.threads(), process.memory());
    // Every byte of what has a structure, some of what is only data.
    let payload = handshake + 64..handshake + 4000;
    let cuts = (0..=session.len()).filter(|cut| !payload.contains(cut) || cut % 97 == 0);
    for (index, cut) in cuts.enumerate() {
        let mut stream = connect(&service);
        // It may have been cut off already: then there is nobody to write to.
        let _ = stream.write_all(&session[..cut]);
        match index % 3 {
            // A reset, while replies are on their way.
            0 => set_socket_linger(&stream, Some(Duration::ZERO)).unwrap(),
            // Half a goodbye, and then a whole one.
            1 => drop(stream.shutdown(std::net::Shutdown::Write)),
            _ => {}
        }
        drop(stream);
        if index % 50 == 0 {
            // A place is free as soon as the service notices, so there is always one for the next.
            check(index as u64 % 16);
        }
    }
    let Some(descriptors) = before.0 else { return };
    eventually("all descriptors are closed", || process.descriptors().unwrap() <= descriptors);
    assert!(process.threads() <= before.1.map(|threads| threads + 8), "only threads of a pool may be more");
    let grown = process.memory().unwrap().saturating_sub(before.2.unwrap());
    assert!(grown < 16 << 20, "{} KiB stay behind", grown >> 10);
    check(0);
}
