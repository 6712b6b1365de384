//! TLS under the pager: pages cross it, connections come back through it, and nothing is said to the wrong server.

use std::sync::Once;

use net_pager::Settings;
use net_pager::seal::SealKey;

use crate::bench::{Bench, MIB, page, run, settings};
use crate::pipes::Pipes;
use crate::tls_end::Authority;

fn seed() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tls::random::seed(&[8; 32]));
}

/// A pager of `guests` at a server called `name` of `servers`, not attached yet.
fn bench(guests: &Authority, servers: &Authority, name: &str, random: u64) -> Bench {
    seed();
    let pipes = Pipes::with_store(2, 8 * MIB, random);
    pipes.secure(servers.server(name));
    let settings = Settings { requires_tls: true, seal: Some((SealKey([1; 32]), false)), ..settings() };
    Bench::secure(pipes, Some(guests.guest("host")), &settings)
}

#[test]
fn pages_cross_tls_in_whatever_pieces_and_come_back_after_a_cut() {
    let authority = Authority::new();
    let mut bench = bench(&authority, &authority, "host", 51).attach();
    let object = bench.object(4);
    for version in 1..=4 {
        bench.give(&object, run(200, 120), version);
        bench.pass_ms(3 * version);
        bench.pipes.0.borrow_mut().cut();
        bench.settle();
        let expected: Vec<_> = (200..320).map(|number| Some(page(number, version))).collect();
        assert!(bench.fetch(&object, run(200, 120)) == expected, "version {version}");
    }
    assert!(bench.harness.server.pager().counters().reconnects >= 4);
}

#[test]
fn the_wrong_server_is_told_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    for (servers, name, why) in [(&other, "host", "invalid peer certificate"), (&authority, "another", "not valid for name")] {
        let mut bench = bench(&authority, servers, name, 52);
        bench.pass_ms(500);
        let console = bench.harness.kernel.console();
        assert!(console.contains(why), "{console}");
        assert!(!bench.harness.server.pager().is_attached());
        let world = bench.pipes.0.borrow();
        let store = world.store.borrow();
        assert_eq!((store.reads, store.writes), (0, 0));
    }
}

#[test]
fn a_server_without_tls_is_given_up() {
    seed();
    let authority = Authority::new();
    let pipes = Pipes::with_store(1, 8 * MIB, 53);
    let mut bench = Bench::secure(pipes, Some(authority.guest("host")), &Settings { requires_tls: true, ..settings() });
    bench.pass_ms(500);
    assert!(!bench.harness.server.pager().is_attached());
    assert_eq!(bench.pipes.0.borrow().store.borrow().reads, 0);
}
