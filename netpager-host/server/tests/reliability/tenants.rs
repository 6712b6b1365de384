//! Several tenants of one memory: the greedy one is refused, the others notice nothing, and the whole stays below its cap.

use std::thread;

use bench::{Connection, Target, content};
use nbd::{NbdError, Request};

use crate::service;

const MIB: u64 = 1 << 20;
const PAGE: u64 = 4096;
/// What the program itself and its buffers may take beside the pages it was lent.
const ITSELF: u64 = 48 * MIB;

/// Writes and reads all pages, some times over.
fn live_modestly(target: &Target, pages: u64) {
    let mut connection = Connection::open(target).unwrap();
    let mut bytes = [0; PAGE as usize];
    for round in 1..=3 {
        for page in 0..pages {
            content::fill(&mut bytes, 5, page, round);
            assert_eq!(connection.ask(Request::write(page * PAGE, PAGE as u32), (), &bytes).unwrap().result, Ok(()), "page {page}");
        }
        for page in 0..pages {
            let done = connection.ask(Request::read(page * PAGE, PAGE as u32), (), &[]).unwrap();
            assert!(content::is(&done.data.unwrap(), 5, page, round), "page {page} in round {round}");
        }
    }
}

/// Writes new pages whatever the answers; how many were taken, and how many refused.
fn live_greedily(target: &Target, pages: u64) -> (u64, u64) {
    let mut connection = Connection::open(target).unwrap();
    let (mut taken, mut refused) = (0, 0);
    for page in 0..pages {
        connection.submit(Request::write(page * PAGE, PAGE as u32), false, (), |bytes| content::fill(bytes, 6, page, 1)).unwrap();
        while connection.in_flight() >= 16 || (page + 1 == pages && connection.in_flight() > 0) {
            connection
                .turn(|done| match done.result {
                    Ok(()) => taken += 1,
                    Err(NbdError::NoSpace) => refused += 1,
                    Err(other) => panic!("{other}"),
                })
                .unwrap();
        }
    }
    (taken, refused)
}

#[test]
fn only_the_greedy_tenant_is_refused_and_the_cap_holds() {
    let service = service(&["greedy=1T,quota=16M", "a=12M", "b=12M"], &["--ram", "48M"]);
    let (taken, refused) = thread::scope(|scope| {
        let greedy = scope.spawn(|| live_greedily(&service.target().with_export("greedy"), 16 * MIB / PAGE * 4));
        let modest = ["a", "b"].map(|name| service.target().with_export(name));
        let modest = modest.map(|target| scope.spawn(move || live_modestly(&target, 12 * MIB / PAGE)));
        modest.into_iter().for_each(|tenant| tenant.join().unwrap());
        greedy.join().unwrap()
    });
    assert!(refused > 0 && taken * PAGE <= 16 * MIB && taken * PAGE > 15 * MIB, "{taken} taken, {refused} refused");
    if let Some(memory) = service.process().memory() {
        assert!(memory < 48 * MIB + ITSELF, "{} MiB", memory / MIB);
    }
}
