//! A process that writes is killed at any moment, and what it was told is stored is there afterwards.
//!
//! `STORE_KILL_ROUNDS` says how often; a few times by default.

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::random::Random;
use store::vfs::HostVfs;
use store::{FileStore, LogStore, Store};

const PAGES: u64 = 24;
const PAGE: usize = 4096;
const SIZE: u64 = PAGES * PAGE as u64;

fn open(kind: &str, directory: &Path) -> Box<dyn Store> {
    match kind {
        "file" => Box::new(FileStore::open(&directory.join("image"), SIZE).unwrap()),
        // Small segments, so that the process is also killed while it cleans.
        _ => Box::new(LogStore::open_in(Arc::new(HostVfs), &directory.join("log"), SIZE, 64 << 10).unwrap()),
    }
}

/// Not a test: the process that is killed. Says which version of which page it has stored.
#[test]
#[ignore = "is started, and killed, by the test below"]
fn writer() {
    let (Ok(kind), Ok(directory)) = (std::env::var("STORE_KILL_KIND"), std::env::var("STORE_KILL_DIRECTORY")) else { return };
    let first: u64 = std::env::var("STORE_KILL_VERSION").unwrap().parse().unwrap();
    let store = open(&kind, Path::new(&directory));
    let mut out = std::io::stdout();
    for version in first..first + 1_000_000 {
        for page in (0..PAGES).map(|page| page * 7 % PAGES) {
            store.write_at(page * PAGE as u64, &version.to_le_bytes().repeat(PAGE / 8)).unwrap();
            writeln!(out, "stored {page} {version}").unwrap();
            out.flush().unwrap();
        }
        if version % 4 == 0 {
            store.flush().unwrap();
        }
    }
}

/// Runs the writer for a while; returns the last version of each page that it said was stored.
fn run(kind: &str, directory: &Path, version: u64, time: Duration) -> BTreeMap<u64, u64> {
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer", "--ignored", "--nocapture", "--test-threads=1"])
        .env("STORE_KILL_KIND", kind)
        .env("STORE_KILL_DIRECTORY", directory)
        .env("STORE_KILL_VERSION", version.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(writer.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let (mut stored, mut line) = (BTreeMap::new(), String::new());
        while lines.read_line(&mut line).unwrap() > 0 {
            // The last line may have been cut.
            let words: Vec<&str> = line.trim_end_matches('\n').split(' ').collect();
            if let (["stored", page, version], true) = (&words[..], line.ends_with('\n')) {
                stored.insert(page.parse().unwrap(), version.parse().unwrap());
            }
            line.clear();
        }
        stored
    });
    std::thread::sleep(time);
    // SIGKILL: nothing of it runs any more.
    writer.kill().unwrap();
    writer.wait().unwrap();
    reader.join().unwrap()
}

#[test]
fn all_that_was_acknowledged_survives_a_kill() {
    let rounds: usize = std::env::var("STORE_KILL_ROUNDS").map_or(5, |rounds| rounds.parse().unwrap());
    let mut random = Random(11);
    for kind in ["file", "log"] {
        let directory = tempfile::tempdir().unwrap();
        let (mut known, mut next) = (BTreeMap::new(), 1);
        for round in 0..rounds {
            known.append(&mut run(kind, directory.path(), next, Duration::from_millis(20 + random.below(200) as u64)));
            let store = open(kind, directory.path());
            for page in 0..PAGES {
                let mut bytes = [0; PAGE];
                store.read_at(page * PAGE as u64, &mut bytes).unwrap();
                let stored = known.get(&page).copied().unwrap_or(0);
                for word in bytes.chunks_exact(8) {
                    let version = u64::from_le_bytes(word.try_into().unwrap());
                    // Or what was being written.
                    let is_next = version > stored && version < next + 1_000_000;
                    assert!(version == stored || is_next, "{kind}, round {round}: page {page} is {version}, not {stored}");
                    next = next.max(version + 1);
                }
                let version = u64::from_le_bytes(bytes[..8].try_into().unwrap());
                known.insert(page, version);
            }
        }
        assert!(next > 2, "{kind}: the writer never wrote");
    }
}
