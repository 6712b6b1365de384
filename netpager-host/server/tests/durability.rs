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
