//! The service as clients see it, over loopback and Unix sockets.

mod common;

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use common::{Connection, Failure, Service, output};
use nbd::client::ClientError;
use nbd::wire::option_reply;
use nbd::{CommandFlags, Framing, NbdError, Request, TransmissionFlags};
use rustix::process::Signal;

const MIB: u32 = 1 << 20;

#[test]
fn pages_come_back_over_tcp_and_unix_sockets_alike() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket").display().to_string();
    let service = Service::start_on(&["127.0.0.1:0", &format!("unix:{path}")], &["--export", "memory=16M"]);
    assert_eq!(service.addresses[1], format!("unix:{path}"));
    let (mut tcp, mut unix) = (service.connect("memory"), Connection::unix(&path, "memory"));
    assert_eq!(tcp.session().export.size, 16 << 20);
    assert!(tcp.session().framing == Framing::Extended && tcp.session().export.can(TransmissionFlags::CAN_MULTI_CONN));
    assert_eq!(tcp.write(4096, &[7; 4096]), Ok(()));
    assert_eq!(unix.read(4095, 4098), [&[0][..], &[7; 4096], &[0]].concat());
    assert_eq!(unix.ask(Request::trim(4096, 4096), &[]).result, Ok(()));
    assert_eq!(tcp.read(4096, 4096), [0; 4096]);
}

#[test]
fn exports_are_separate_and_the_first_is_the_default() {
    let service = Service::start(&["--export", "a=1M", "--export", "b=1M", "--workers", "2"]);
    let (mut a, mut b, mut default) = (service.connect("a"), service.connect("b"), service.connect(""));
    assert_eq!(a.write(0, b"aaaa"), Ok(()));
    assert_eq!(b.write(0, b"bbbb"), Ok(()));
    assert_eq!((default.read(0, 4), b.read(0, 4)), (b"aaaa".to_vec(), b"bbbb".to_vec()));
    let Err(Failure::Client(ClientError::Refused(refused))) = Connection::open(service.tcp(), "c") else { panic!("there is no c") };
    assert_eq!(refused.kind, option_reply::ERR_UNKNOWN);
}

#[test]
fn requests_may_follow_the_handshake_without_waiting() {
    let service = Service::start(&["--export", "memory=1M"]);
    service.connect("memory").write(0, b"page").unwrap();
    let choice = [&[0, 0, 0, 3][..], b"IHAVEOPT\0\0\0\x01\0\0\0\x06memory"].concat();
    let read = b"\x25\x60\x95\x13\0\0\0\0\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\x04".to_vec();
    let goodbye = b"\x25\x60\x95\x13\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    let mut stream = service.tcp();
    stream.write_all(&[choice, read, goodbye].concat()).unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    assert_eq!(heard.len(), 18 + 10 + 16 + 4, "greeting, export, reply, data");
    assert!(heard.ends_with(b"\x67\x44\x66\x98\0\0\0\0\0\0\0\0\0\0\0\x09page"));
}

#[test]
fn zeroes_are_not_sent() {
    let service = Service::start(&["--export", "memory=1M"]);
    let mut client = service.connect("memory");
    client.write(65536, &[1; 4096]).unwrap();
    let done = client.ask(Request::read(0, MIB), &[]);
    assert_eq!((done.result, done.hole_bytes), (Ok(()), u64::from(MIB) - 4096));
    assert_eq!(done.data.iter().filter(|&&byte| byte == 1).count(), 4096);
    let whole = client.ask(Request::read(0, MIB).with(CommandFlags::DF), &[]);
    assert!(whole.hole_bytes == 0 && whole.data == done.data);
}

#[test]
fn a_quota_is_no_space_with_words_and_zeroes_give_it_back() {
    let service = Service::start(&["--export", "thin=1T,quota=64K", "--export", "other=1M"]);
    let mut client = service.connect("thin");
    let far = 512 << 30;
    let refused = (0..16).find(|page| client.write(far + page * 4096, &[1; 4096]).is_err()).expect("64 KiB are not 64 KiB");
    assert!(refused > 4, "tables must not eat a whole quota");
    assert_eq!(client.write(far + refused * 4096, &[1; 4096]), Err(NbdError::NoSpace));
    assert!(client.error_text().contains("65536 bytes"), "{}", client.error_text());
    assert_eq!(service.connect("other").write(0, &[1; 4096]), Ok(()), "only the greedy one is refused");
    assert_eq!(client.ask(Request::write_zeroes(far, 4096), &[]).result, Ok(()));
    assert_eq!(client.write(far + refused * 4096, &[1; 4096]), Ok(()));
}

#[test]
fn reserved_memory_cannot_run_out() {
    let service = Service::start(&["--export", "a=1M", "--export", "b=1M", "--ram", "64K"]);
    let (mut a, mut b) = (service.connect("a"), service.connect("b"));
    assert_eq!(a.ask(Request::write_zeroes(0, 32768).with(CommandFlags::NO_HOLE), &[]).result, Ok(()));
    (0..8).for_each(|page| assert_eq!(b.write(page * 4096, &[1; 4096]), Ok(())));
    assert_eq!(b.write(8 * 4096, &[1; 4096]), Err(NbdError::NoSpace));
    assert_eq!(a.write(0, &[1; 32768]), Ok(()));
}

#[test]
fn a_read_only_export_says_so() {
    let service = Service::start(&["--export", "rom=1M,ro"]);
    let mut client = service.connect("rom");
    assert!(client.session().export.can(TransmissionFlags::READ_ONLY));
    assert_eq!(client.read(0, 10), [0; 10]);
}

#[test]
fn thousands_of_requests_in_one_write_are_all_answered() {
    let service = Service::start(&["--export", "memory=4M"]);
    let mut client = service.connect("memory");
    for round in 0..10u8 {
        let mut bytes = Vec::new();
        let mut cookies = Vec::new();
        for page in 0..250u64 {
            let (cookie, write) = client.encode(Request::write(page * 4096, 4096), &[round + 1; 4096]);
            cookies.push(cookie);
            bytes.extend(write);
        }
        for page in 0..250u64 {
            let (cookie, read) = client.encode(Request::read(page * 4096, 4096), &[]);
            cookies.push(cookie);
            bytes.extend(read);
        }
        client.send_raw(&bytes);
        for (index, cookie) in cookies.into_iter().enumerate() {
            let done = client.wait(cookie);
            assert_eq!(done.result, Ok(()));
            assert!(index < 250 || done.data == [round + 1; 4096]);
        }
    }
}

#[test]
fn the_largest_requests_pass_and_do_not_disturb_small_ones() {
    let service = Service::start(&["--export", "memory=64M"]);
    let mut client = service.connect("memory");
    let large: Vec<u8> = (0..32 * MIB).map(|at| (at % 251) as u8 + 1).collect();
    assert_eq!(client.write(MIB.into(), &large), Ok(()));
    let (read, small) = (client.send(Request::read(MIB.into(), 32 * MIB), &[]), client.send(Request::read(0, 1), &[]));
    assert_eq!(client.wait(small).data, [0]);
    assert!(client.wait(read).data == large);
}

#[test]
fn slow_requests_wait_side_by_side_and_are_overtaken() {
    let service = Service::start(&["--export", "slow=1M,delay=100"]);
    let mut client = service.connect("slow");
    let start = Instant::now();
    let cookies: Vec<u64> = (0..16).map(|page| client.send(Request::read(page * 4096, 4096), &[])).collect();
    cookies.iter().for_each(|&cookie| assert_eq!(client.wait(cookie).result, Ok(())));
    assert!(start.elapsed() >= Duration::from_millis(100), "the delay is real");
    assert!(start.elapsed() < Duration::from_millis(1200), "sixteen waits in a row would take 1.6 s");
    // FUA waits twice as long as the READ sent after it.
    let slow = client.send(Request::write(0, 1).with(CommandFlags::FUA), &[1]);
    let fast = client.send(Request::read(4096, 1), &[]);
    assert_eq!(client.wait(slow).result, Ok(()));
    assert_eq!(client.wait(fast).result, Ok(()));
    assert!(client.order().ends_with(&[fast, slow]));
}

#[test]
fn injected_errors_reach_the_client_in_words() {
    let service = Service::start(&["--export", "bad=1M,error=1000"]);
    let mut client = service.connect("bad");
    assert_eq!(client.write(0, &[1]), Err(NbdError::Io));
    assert_eq!(client.error_text(), "an injected error");
    for flags in [CommandFlags::empty(), CommandFlags::DF] {
        assert_eq!(client.ask(Request::read(0, 1).with(flags), &[]).result, Err(NbdError::Io));
    }
}

#[test]
fn a_client_that_will_not_choose_is_cut_off() {
    let service = Service::start(&["--export", "memory=1M", "--handshake-timeout", "0.2"]);
    let mut silent = service.tcp();
    let mut heard = Vec::new();
    silent.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"NBDMAGICIHAVEOPT\0\x03");
    let mut client = service.connect("memory");
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(client.read(0, 1), [0], "those who chose are not");
}

#[test]
fn too_many_clients_are_turned_away_and_places_are_freed() {
    let service = Service::start(&["--export", "memory=1M", "--max-connections", "1"]);
    let first = service.connect("memory");
    let mut second = service.tcp();
    assert_eq!(second.read(&mut [0; 18]).unwrap_or(0), 0, "not even a greeting");
    drop(first);
    let start = Instant::now();
    while Connection::open(service.tcp(), "memory").is_err() {
        assert!(start.elapsed() < Duration::from_secs(10), "the place is never freed");
    }
}

#[test]
fn clients_that_vanish_or_talk_nonsense_harm_nobody() {
    let service = Service::start(&["--export", "memory=1M"]);
    let mut witness = service.connect("memory");
    let mut bytes = Vec::new();
    for request in [Request::read(0, 4096), Request::write(0, 4096)] {
        bytes.extend(service.connect("memory").encode(request, &[9; 4096][..request.payload_length() as usize]).1);
    }
    for cut in (0..bytes.len()).step_by(97) {
        service.connect("memory").send_raw(&bytes[..cut]);
    }
    service.connect("memory").send_raw(&[0xff; 100]);
    assert!(witness.read(0, 4096).iter().all(|&byte| byte == 0), "half a WRITE must not be written");
}

#[test]
fn a_signal_ends_the_service_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut service = Service::start(&["--export", "slow=1M,delay=300"]);
        let mut client = service.connect("slow");
        let early = client.send(Request::write(0, 1), &[1]);
        std::thread::sleep(Duration::from_millis(100));
        service.signal(signal);
        std::thread::sleep(Duration::from_millis(100));
        let late = client.send(Request::read(0, 1), &[]);
        assert_eq!(client.wait(late).result, Err(NbdError::Shutdown));
        assert_eq!(client.wait(early).result, Ok(()), "what was begun is finished");
        client.disconnect();
        assert!(service.wait().success());
    }
}

#[test]
fn a_client_that_stays_cannot_keep_the_service() {
    let mut service = Service::start(&["--export", "memory=64M"]);
    let mut client = service.connect("memory");
    client.write(0, &vec![1; 16 << 20]).unwrap();
    // It asks for much and takes nothing.
    for _ in 0..4 {
        client.send(Request::read(0, 16 * MIB), &[]);
    }
    std::thread::sleep(Duration::from_millis(100));
    service.signal(Signal::TERM);
    let start = Instant::now();
    assert!(service.wait().success());
    assert!(start.elapsed() < Duration::from_secs(6));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut service = Service::start(&["--export", "slow=1M,delay=60000"]);
    let mut client = service.connect("slow");
    client.send(Request::read(0, 1), &[]);
    std::thread::sleep(Duration::from_millis(100));
    service.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(100));
    service.signal(Signal::TERM);
    assert_eq!(service.wait().code(), Some(1));
}

#[test]
fn mistakes_on_the_command_line_are_explained() {
    for (arguments, words) in [
        (&["serve"][..], "nothing to serve"),
        (&["serve", "--export", "m=12Q"], "is no size"),
        (&["serve", "--export", "m=1M", "--listen", "0.0.0.0:0"], "--insecure-any-address"),
        (&["serve", "--export", "m=1M", "--export", "m=2M"], "two exports are called `m`"),
        (&["serve", "--export", "m=1M,store=file:/nonexistent/x"], "No such file"),
    ] {
        let (status, stdout, stderr) = output(arguments);
        assert!(!status.success() && stdout.is_empty() && stderr.contains(words), "{arguments:?}: {stderr}");
    }
}

#[test]
fn the_help_teaches() {
    let (status, stdout, _) = output(&["serve", "--help"]);
    assert!(status.success());
    for words in ["Examples:", "listening on ADDRESS", "SIGTERM", "no encryption", "qemu-io", "quota="] {
        assert!(stdout.contains(words), "{words}");
    }
}
