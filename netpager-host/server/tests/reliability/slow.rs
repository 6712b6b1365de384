//! Clients that take ages to say or to take a byte: they cost little memory, and the others hardly notice.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bench::load::{Load, run};
use bench::{Connection, Server};
use nbd::Request;
use nbd::uri::Transport;

use crate::service;

const MIB: u64 = 1 << 20;
/// Clients that send one byte of their handshake now and then.
const TALKERS: usize = 200;
/// Clients that ask for much and take nothing.
const TAKERS: u64 = 50;
const ASKED: u64 = 16;
/// What the service may keep for one of them: a few replies, not all that it asked for.
const KEPT: u64 = 4 * MIB;
/// Below this the machine's own noise decides.
const NOISE: Duration = Duration::from_millis(2);

/// How often the disturbed p99 is looked at: other programs disturb too, but not every time.
const TRIES: usize = 12;

/// The p99 of a well-behaved client.
fn p99(service: &Server) -> Duration {
    let load = Load { depth: 1, time: Duration::from_millis(300), ..Load::default() };
    run(service.target(), &load, None, |_, _| {}).unwrap().reads.quantile(0.99)
}

#[test]
fn slow_clients_cost_little_and_the_others_hardly_notice() {
    let service = service(&["memory=64M"], &["--handshake-timeout", "60"]);
    let mut filler = Connection::open(service.target()).unwrap();
    for page in 0..16 {
        assert_eq!(filler.ask(Request::write(page * MIB, MIB as u32), (), &vec![0x5a; MIB as usize]).unwrap().result, Ok(()));
    }
    let quiet = (0..4).map(|_| p99(&service)).min().unwrap();
    let bound = (2 * quiet).max(NOISE);
    let before = service.process().memory();
    let Transport::Tcp { host, port } = service.target().transport() else { panic!("it listens on TCP") };
    let mut talkers: Vec<TcpStream> = (0..TALKERS).map(|_| TcpStream::connect((host.as_str(), *port)).unwrap()).collect();
    let takers: Vec<Connection<()>> = (0..TAKERS)
        .map(|_| {
            let mut taker = Connection::open(service.target()).unwrap();
            for page in 0..ASKED {
                taker.submit(Request::read(page * MIB, MIB as u32), false, (), |_| ()).unwrap();
            }
            // It sends its requests and takes some of the first answer, and nothing ever after.
            taker.turn(|_| ()).unwrap();
            taker
        })
        .collect();
    let over = AtomicBool::new(false);
    let disturbed = thread::scope(|scope| {
        scope.spawn(|| {
            // The client's flags and the beginning of an option with a name that takes all day.
            let words = [&[0, 0, 0, 3][..], b"IHAVEOPT\0\0\0\x07\0\0\x10\0"].concat();
            for byte in words.into_iter().chain(std::iter::repeat(b'x')) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                // One that was cut off stays so.
                talkers.iter_mut().for_each(|talker| drop(talker.write_all(&[byte])));
                thread::sleep(Duration::from_millis(20));
            }
        });
        // The first that is within the bound will do; if none is, the best.
        let mut disturbed = Duration::MAX;
        for _ in 0..TRIES {
            if disturbed >= bound {
                disturbed = disturbed.min(p99(&service));
            }
        }
        over.store(true, Ordering::Relaxed);
        disturbed
    });
    assert!(disturbed < bound, "p99 was {quiet:?} and became {disturbed:?}");
    if let Some(grown) = service.process().memory().zip(before).map(|(after, before)| after.saturating_sub(before)) {
        assert!(grown < TAKERS * KEPT, "{} KiB for {TAKERS} clients that do not read", grown >> 10);
    }
    drop(takers);
    assert_eq!(filler.ask(Request::read(0, 4096), (), &[]).unwrap().data, Some(vec![0x5a; 4096]));
}
