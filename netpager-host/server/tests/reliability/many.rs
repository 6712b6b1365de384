//! Ten thousand clients that do nothing, and a thousand that work meanwhile.

use std::time::Duration;

use bench::Connection;
use bench::load::{Load, run};
use nbd::Request;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::service;

const IDLE: u64 = 10_000;
const BUSY: usize = 1_000;
/// Sockets and files that are no client's.
const OTHERS: u64 = 200;
/// What one may cost.
const IDLE_BYTES: u64 = 64 * 1024;

/// Lets this process, and those it starts, open as many descriptors as may be; how many that are.
fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX).min(1 << 20);
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum }).unwrap();
    most
}

#[test]
fn ten_thousand_idle_clients_are_cheap_and_a_thousand_others_can_work() {
    let limit = raise_limit();
    let idle = IDLE.min(limit.saturating_sub(BUSY as u64 + OTHERS));
    assert!(idle >= 1_000, "at most {limit} descriptors may be open here: raise the hard limit (ulimit -Hn)");
    let service = service(&["memory=64M"], &["--max-connections", "20000"]);
    let mut first = Connection::open(service.target()).unwrap();
    assert_eq!(first.ask(Request::write(0, 4096), (), &[1; 4096]).unwrap().result, Ok(()));
    let before = service.process().memory();
    let mut connections: Vec<Connection<()>> = (0..idle).map(|_| Connection::open(service.target()).unwrap()).collect();
    if let Some((after, before)) = service.process().memory().zip(before) {
        let each = after.saturating_sub(before) / idle;
        println!("{idle} idle connections cost {each} bytes each");
        assert!(each < IDLE_BYTES, "an idle connection costs {each} bytes");
    }
    let load = Load { connections: BUSY, depth: 1, read_percent: 70, time: Duration::from_secs(1), ..Load::default() };
    let report = run(service.target(), &load, Some(service.process()), |_, _| {}).unwrap();
    println!("{report}");
    assert!(report.error.is_none() && report.requests() > BUSY as u64, "{report}");
    for connection in connections.iter_mut().step_by(97) {
        assert_eq!(connection.ask(Request::read(0, 1), (), &[]).unwrap().result, Ok(()), "the idle ones are still served");
    }
}
