//! What a file store promises: data acknowledged before a FLUSH, or written with FUA, outlives the service's death.

mod common;

use common::Service;
use nbd::superblock::{Attachment, SUPERBLOCK_BYTES, Superblock};
use nbd::{CommandFlags, Request};
use rustix::process::Signal;

fn export(directory: &tempfile::TempDir) -> String {
    format!("disk=16M,store=file:{}", directory.path().join("image").display())
}

/// The content of page `page` in round `round`.
fn content(page: u64, round: u64) -> Vec<u8> {
    (0..512).flat_map(|word| (page << 40 | round << 20 | word).to_be_bytes()).collect()
}

#[test]
fn flushed_pages_survive_kill_and_others_are_old_or_new() {
    let directory = tempfile::tempdir().unwrap();
    let (pages, rounds) = (64u64, 5u64);
    for round in 1..=rounds {
        let service = Service::start(&["--export", &export(&directory)]);
        let mut client = service.connect("disk");
        for page in (0..pages).filter(|_| round > 1) {
            let read = client.read(page * 4096, 4096);
            let newer = content(page, (round - 1) << 1 | 1);
            assert!(read == content(page, (round - 1) << 1) || read == newer, "page {page} in round {round}");
        }
        for page in 0..pages {
            client.write(page * 4096, &content(page, round << 1)).unwrap();
        }
        assert_eq!(client.ask(Request::flush(), &[]).result, Ok(()));
        // These may be lost, but never mixed with others.
        for page in 0..pages {
            client.send(Request::write(page * 4096, 4096), &content(page, round << 1 | 1));
        }
        service.kill();
    }
}

/// Numbers that are the same in every run (xorshift, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Killed at random points, while writes and flushes are in flight: every page has at least the version that was flushed
/// last, and never anything that was not written to it. `NETPAGER_KILL_ROUNDS` makes it longer.
#[test]
fn whenever_it_is_killed_nothing_flushed_is_lost() {
    for kind in ["file", "log"] {
        kill_again_and_again(kind);
    }
}

fn kill_again_and_again(kind: &str) {
    let rounds = std::env::var("NETPAGER_KILL_ROUNDS").map_or(12, |rounds| rounds.parse().expect("a number of rounds"));
    let directory = tempfile::tempdir().unwrap();
    let export = format!("disk=16M,store={kind}:{}", directory.path().join("store").display());
    let (mut random, pages) = (Random(0x9e37_79b9_7f4a_7c15), 48u64);
    // For each page: the last version that a flush covered, and the last one sent.
    let (mut flushed, mut sent) = (vec![0u64; pages as usize], vec![0u64; pages as usize]);
    for round in 0..rounds {
        let service = Service::start(&["--export", &export]);
        let mut client = service.connect("disk");
        for page in 0..pages {
            let read = client.read(page * 4096, 4096);
            let (least, most) = (flushed[page as usize], sent[page as usize]);
            let found = (least..=most).find(|&version| read == if version == 0 { vec![0; 4096] } else { content(page, version) });
            let found = found.unwrap_or_else(|| panic!("{kind}, round {round}: page {page} is none of the versions {least} to {most}"));
            flushed[page as usize] = found;
            sent[page as usize] = found;
        }
        // What is there now was read, so the next crash must not take it away if it is flushed once more.
        assert_eq!(client.ask(Request::flush(), &[]).result, Ok(()));
        let killed_after = std::time::Duration::from_micros(random.below(40_000));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(killed_after);
                service.kill();
            });
            loop {
                let mut covered = Vec::new();
                let mut cookies = Vec::new();
                // Requests in flight together have no order, so no page is written twice among them.
                let first = random.below(pages);
                for page in (first..=first + random.below(20)).map(|page| page % pages) {
                    sent[page as usize] += 1;
                    let version = sent[page as usize];
                    match client.try_send(Request::write(page * 4096, 4096), &content(page, version)) {
                        Ok(cookie) => cookies.push(cookie),
                        Err(_) => return,
                    }
                    covered.push((page, version));
                }
                // A flush covers what was acknowledged before it was sent.
                if cookies.into_iter().any(|cookie| client.try_wait(cookie).is_err()) {
                    return;
                }
                let Ok(cookie) = client.try_send(Request::flush(), &[]) else { return };
                match client.try_wait(cookie) {
                    Ok(done) if done.result.is_ok() => {}
                    _ => return,
                }
                for (page, version) in covered {
                    flushed[page as usize] = flushed[page as usize].max(version);
                }
            }
        });
    }
}

#[test]
fn a_pager_recognizes_its_memory_after_a_restart_of_a_file_but_not_of_ram() {
    let directory = tempfile::tempdir().unwrap();
    for (spec, expected_to_survive) in [(export(&directory), true), ("disk=16M".into(), false)] {
        let superblock = Superblock { boot_id: [3; 16], epoch: 1, extent_bytes: 1 << 20 };
        let mut page = [0; SUPERBLOCK_BYTES];
        superblock.encode(&mut page);
        let service = Service::start(&["--export", &spec]);
        let durable = Request::write(0, SUPERBLOCK_BYTES as u32).with(CommandFlags::FUA);
        assert_eq!(service.connect("disk").ask(durable, &page).result, Ok(()));
        service.kill();
        let service = Service::start(&["--export", &spec]);
        let read = service.connect("disk").read(0, SUPERBLOCK_BYTES as u32);
        let found = Superblock::attach(&read.try_into().unwrap(), &[3; 16]).unwrap();
        assert_eq!(found, if expected_to_survive { Attachment::Ours(superblock) } else { Attachment::Empty });
    }
}

#[test]
fn an_orderly_end_keeps_what_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut service = Service::start(&["--export", &export(&directory)]);
    service.connect("disk").write(12345, b"pages").unwrap();
    service.signal(Signal::TERM);
    assert!(service.wait().success());
    let service = Service::start(&["--export", &export(&directory)]);
    assert_eq!(service.connect("disk").read(12345, 5), b"pages");
}

#[test]
fn a_file_is_served_by_one_service_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let _service = Service::start(&["--export", &export(&directory)]);
    let (status, _, stderr) = common::output(&["serve", "--listen", "127.0.0.1:0", "--export", &export(&directory)]);
    assert!(!status.success() && stderr.contains("used by another process"), "{stderr}");
}
