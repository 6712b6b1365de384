//! The fuzz targets, as far as that takes seconds: over their corpus, over inputs that once broke something, and over both with damage
//! at random. Longer runs, with coverage, are cargo-fuzz's: see `fuzz/`.
//!
//! `NBD_FUZZ_ROUNDS` says how many damaged inputs each target gets, `NBD_FUZZ_SEED` where they begin.

use std::path::PathBuf;

use nbd::fuzz::{TARGETS, Target};

const ROUNDS: u64 = 20_000;

fn setting(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not `{text}`")),
        Err(_) => otherwise,
    }
}

/// Numbers that look random (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end.max(1)
    }
}

/// Damages an input somewhere: bits, numbers that are edges, parts that are missing, doubled or another input's.
fn damage(input: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(input.len());
        let end = (at + random.below(40)).min(input.len());
        match random.below(8) {
            0 if !input.is_empty() => input[at] ^= 1 << random.below(8),
            1 if !input.is_empty() => input[at] = random.next() as u8,
            2 if input.len() >= at + 4 => input[at..at + 4].copy_from_slice(&[0, 1, u32::MAX, 1 << 25][random.below(4)].to_be_bytes()),
            3 if input.len() >= at + 8 => input[at..at + 8].copy_from_slice(&[0, 1, u64::MAX, 1 << 63][random.below(4)].to_be_bytes()),
            4 => drop(input.drain(at..end)),
            5 => input.truncate(at),
            6 => input.splice(at..at, input[at..end].to_vec()).for_each(drop),
            _ => {
                let other = &others[random.below(others.len())];
                let from = random.below(other.len());
                input.splice(at..end, other[from..(from + random.below(60)).min(other.len())].iter().copied()).for_each(drop);
            }
        }
    }
}

/// Inputs that once broke something.
fn regressions(target: &Target) -> Vec<Vec<u8>> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions").join(target.name);
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect()
}

/// Says which input it was, should a target panic.
struct Culprit<'i>(&'static str, &'i [u8]);

impl Drop for Culprit<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} broke a promise over {:?}", self.0, self.1);
        }
    }
}

fn run(target: &Target, input: &[u8]) {
    let culprit = Culprit(target.name, input);
    (target.run)(input);
    drop(culprit);
}

fn fuzz(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let mut inputs = (target.corpus)();
    inputs.extend(regressions(target));
    inputs.iter().for_each(|input| run(target, input));
    let mut random = Random(setting("NBD_FUZZ_SEED", 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for _ in 0..setting("NBD_FUZZ_ROUNDS", ROUNDS) {
        let mut input = inputs[random.below(inputs.len())].clone();
        damage(&mut input, &inputs, &mut random);
        run(target, &input);
    }
}

#[test]
fn clients_of_all_kinds_shake_hands_with_the_server() {
    fuzz("server_handshake");
}

#[test]
fn clients_of_all_kinds_ask_the_server() {
    fuzz("server_requests");
}

#[test]
fn servers_of_all_kinds_shake_hands_with_the_client() {
    fuzz("client_handshake");
}

#[test]
fn servers_of_all_kinds_answer_the_client() {
    fuzz("client_replies");
}

#[test]
fn addresses_of_all_kinds_are_read() {
    fuzz("uri");
}

#[test]
fn pages_of_all_kinds_are_looked_at() {
    fuzz("superblock");
}

#[test]
fn every_target_has_a_test_and_a_corpus_that_makes_sense() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, ["server_handshake", "server_requests", "client_handshake", "client_replies", "uri", "superblock"]);
    assert!(TARGETS.iter().all(|target| !(target.corpus)().is_empty()));
}
