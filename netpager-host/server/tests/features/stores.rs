//! Stores that are not simply memory or a file: other services, several of them, compressed ones.

use std::time::{Duration, Instant};

use nbd::{NbdError, Request};

use crate::common::Service;
use crate::eventually;

fn page(number: u64, round: u64) -> Vec<u8> {
    (0..512u64).flat_map(|word| (number << 40 | round << 20 | word).to_be_bytes()).collect()
}

fn uri(service: &Service, export: &str) -> String {
    format!("nbd://127.0.0.1:{}/{export}", service.port())
}

#[test]
fn another_service_is_a_store_like_any_other() {
    let behind = Service::start(&["--export", "x=4M"]);
    let front = Service::start(&["--export", &format!("far=4M,store={}", uri(&behind, "x"))]);
    let mut client = front.connect("far");
    (0..64).for_each(|number| client.write(number * 4096, &page(number, 1)).unwrap());
    assert_eq!(client.ask(Request::flush(), &[]).result, Ok(()));
    let mut direct = behind.connect("x");
    (0..64).for_each(|number| assert_eq!(direct.read(number * 4096, 4096), page(number, 1)));
    assert_eq!(client.ask(Request::write_zeroes(0, 1 << 20), &[]).result, Ok(()));
    assert_eq!(direct.read(0, 4096), [0; 4096]);
}

#[test]
fn an_upstream_that_is_too_small_is_told_at_the_start() {
    let behind = Service::start(&["--export", "x=1M"]);
    let export = format!("far=4M,store={}", uri(&behind, "x"));
    let (status, _, stderr) = crate::common::output(&["serve", "--listen", "127.0.0.1:0", "--export", &export]);
    assert!(!status.success() && stderr.contains("less than the 4MiB"), "{stderr}");
}

#[test]
fn one_of_two_mirrored_services_dies_and_clients_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().display().to_string();
    let (one, two) = (Service::start(&["--export", "x=4M"]), Service::start(&["--export", "x=4M"]));
    let mirror = format!("safe=4M,store=mirror:({};{})", uri(&one, "x"), uri(&two, "x"));
    let front = Service::start(&["--state", &state, "--export", &mirror]);
    let mut client = front.connect("safe");
    (0..32).for_each(|number| client.write(number * 4096, &page(number, 1)).unwrap());
    one.kill();
    let start = Instant::now();
    (0..32).for_each(|number| client.write(number * 4096, &page(number, 2)).unwrap());
    (0..32).for_each(|number| assert_eq!(client.read(number * 4096, 4096), page(number, 2)));
    // The mirror's own deadline is two seconds, and one of them may be met before the dead member is given up.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(client.ask(Request::flush(), &[]).result, Ok(()));
    let mut survivor = two.connect("x");
    (0..32).for_each(|number| assert_eq!(survivor.read(number * 4096, 4096), page(number, 2)));
}

#[test]
fn another_service_may_ask_for_certificates() {
    let directory = tempfile::tempdir().unwrap();
    let pki = directory.path().join("pki").display().to_string();
    for arguments in [&["init"][..], &["issue", "localhost", "--server"], &["issue", "front"]] {
        let (status, _, stderr) = crate::common::output(&[&["pki", "--directory", &pki], arguments].concat());
        assert!(status.success(), "{arguments:?}: {stderr}");
    }
    let behind = Service::start_on(&["nbds://127.0.0.1:0"], &["--export", "x=4M", "--tls-certificates", &format!("{pki}/localhost")]);
    let store = format!("nbds://localhost:{}/x?tls-certificates={pki}/front", behind.port());
    let front = Service::start(&["--export", &format!("far=4M,store={store}")]);
    let mut client = front.connect("far");
    client.write(4096, &page(1, 1)).unwrap();
    assert_eq!(client.read(4096, 4096), page(1, 1));
    let bare = format!("far=4M,store=nbds://localhost:{}/x", behind.port());
    let (status, _, stderr) = crate::common::output(&["serve", "--listen", "127.0.0.1:0", "--export", &bare]);
    assert!(!status.success() && stderr.contains("tls-certificates="), "{stderr}");
}

#[test]
fn stripes_lie_on_several_services() {
    let (one, two) = (Service::start(&["--export", "x=2M"]), Service::start(&["--export", "x=2M"]));
    let front = Service::start(&["--export", &format!("wide=4M,store=stripe:64K:({};{})", uri(&one, "x"), uri(&two, "x"))]);
    let mut client = front.connect("wide");
    let data: Vec<u8> = (0..4u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    client.write(0, &data).unwrap();
    assert!(client.read(0, 4 << 20) == data);
    assert!(one.connect("x").read(0, 64 << 10) == data[..64 << 10] && two.connect("x").read(0, 64 << 10) == data[64 << 10..128 << 10]);
}

#[test]
fn compressed_exports_give_back_what_they_took() {
    let service = Service::start(&["--export", "c=64M,store=compressed,quota=4M", "--memory", "4M"]);
    let mut client = service.connect("c");
    let compressible = |number: u64| (0..4096u64).map(|at| if at % 64 < 4 { (at ^ number) as u8 | 1 } else { 7 }).collect::<Vec<u8>>();
    // Twice as many pages as there is memory.
    for number in 0..2048 {
        eventually("there is no room for a page", || match client.write(number * 4096, &compressible(number)) {
            Ok(()) => true,
            Err(NbdError::NoSpace) => false,
            Err(error) => panic!("{error:?}"),
        });
    }
    (0..2048).step_by(37).for_each(|number| assert_eq!(client.read(number * 4096, 4096), compressible(number), "page {number}"));
}
