//! Many clients on the same few pages at once, with faults; afterwards every sector's history must have an explanation.
//!
//! Each client keeps several requests in flight and takes notes: what it called when, what was answered when. A sector
//! carries the number of the write that wrote it, and bytes that only this write can have put there, so a torn or foreign
//! sector is noticed at once and an old one by [`history`].

pub mod history;

use std::collections::HashMap;
use std::thread;
use std::time::Instant;

use nbd::{Command, Request};

use crate::connection::{Connection, Done};
use crate::content;
use crate::error::BenchError;
use crate::random::Random;
use crate::target::Target;
use history::{INITIAL, Moment, Operation, explain};

const SECTOR: usize = 512;
/// The longest request, in sectors.
const LONGEST: u64 = 8;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Torture {
    /// How many clients.
    pub clients: u64,
    /// Requests in flight of each.
    pub depth: usize,
    /// Requests of each.
    pub requests: u64,
    /// The sectors they quarrel about, from the beginning of the export; at least 8.
    pub sectors: u64,
    /// What places, lengths and data depend on.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Requests answered well.
    pub answered: u64,
    /// Requests answered with an error.
    pub refused: u64,
    /// Notes about sectors, all explained.
    pub explained: u64,
}

/// One client's notes: what it did to which sector.
#[derive(Default)]
struct Notes {
    operations: Vec<(u64, Operation)>,
    outcome: Outcome,
}

#[derive(Clone, Copy)]
struct Tag {
    call: Moment,
    /// What a WRITE writes; a READ has none.
    value: u64,
}

/// Runs it.
///
/// # Errors
/// A connection was lost, or the server showed something that cannot be.
///
/// # Panics
/// If a client's thread did.
pub fn run(target: &Target, torture: &Torture) -> Result<Outcome, BenchError> {
    let epoch = Instant::now();
    let notes = thread::scope(|scope| {
        let clients: Vec<_> = (0..torture.clients).map(|client| scope.spawn(move || work(target, torture, client, epoch))).collect();
        clients.into_iter().map(|client| client.join().expect("a client panicked")).collect::<Result<Vec<_>, _>>()
    })?;
    let mut outcome = Outcome::default();
    let mut sectors: HashMap<u64, Vec<Operation>> = HashMap::new();
    for note in notes {
        outcome.answered += note.outcome.answered;
        outcome.refused += note.outcome.refused;
        outcome.explained += note.operations.len() as u64;
        note.operations.into_iter().for_each(|(sector, operation)| sectors.entry(sector).or_default().push(operation));
    }
    for (sector, operations) in sectors {
        explain(&operations)
            .map_err(|inconsistency| BenchError::Wrong(format!("sector {sector}: {inconsistency} (seed {})", torture.seed)))?;
    }
    Ok(outcome)
}

fn work(target: &Target, torture: &Torture, client: u64, epoch: Instant) -> Result<Notes, BenchError> {
    let mut connection = Connection::open(target)?;
    let mut random = Random::fork(torture.seed, client);
    let (mut notes, mut asked) = (Notes::default(), 0);
    while asked < torture.requests || connection.in_flight() > 0 {
        while asked < torture.requests && connection.in_flight() < torture.depth {
            asked += 1;
            let value = (client + 1) << 32 | asked;
            ask(&mut connection, &mut random, torture.sectors, value, now(epoch))?;
        }
        let mut wrong = None;
        connection.turn(|done| wrong = notes.take(&done, now(epoch)).err().or_else(|| wrong.take()))?;
        if let Some(text) = wrong {
            return Err(BenchError::Wrong(format!("{text} (seed {})", torture.seed)));
        }
    }
    connection.disconnect();
    Ok(notes)
}

fn ask(connection: &mut Connection<Tag>, random: &mut Random, sectors: u64, value: u64, call: Moment) -> Result<(), BenchError> {
    let length = 1 + random.below(LONGEST.min(sectors));
    let first = random.below(sectors - length + 1);
    let (offset, bytes) = (first * SECTOR as u64, (length * SECTOR as u64) as u32);
    if random.percent(50) {
        return connection.submit(Request::read(offset, bytes), true, Tag { call, value: INITIAL }, |_| ());
    }
    connection.submit(Request::write(offset, bytes), false, Tag { call, value }, |bytes| {
        bytes.chunks_mut(SECTOR).zip(first..).for_each(|(bytes, sector)| fill(bytes, sector, value));
    })
}

impl Notes {
    fn take(&mut self, done: &Done<Tag>, answer: Moment) -> Result<(), String> {
        let Tag { call, value } = done.tag;
        let sectors = done.request.offset / SECTOR as u64..done.request.end() / SECTOR as u64;
        let is_write = done.request.command == Command::Write;
        let good = done.result.is_ok();
        *if good { &mut self.outcome.answered } else { &mut self.outcome.refused } += 1;
        match &done.data {
            Some(data) if good => {
                for (bytes, sector) in data.chunks(SECTOR).zip(sectors) {
                    let value = value_of(bytes, sector)?;
                    self.operations.push((sector, Operation { is_write, value, call, answer }));
                }
            }
            Some(_) => {}
            None => {
                let answer = if good { answer } else { Moment::MAX };
                self.operations.extend(sectors.map(|sector| (sector, Operation { is_write, value, call, answer })));
            }
        }
        Ok(())
    }
}

fn now(epoch: Instant) -> Moment {
    // The initial value was written at moment 0.
    epoch.elapsed().as_nanos() as Moment + 1
}

/// A sector that says who wrote it.
fn fill(bytes: &mut [u8], sector: u64, value: u64) {
    let (number, rest) = bytes.split_at_mut(8);
    number.copy_from_slice(&value.to_le_bytes());
    content::fill(rest, value, sector, 1);
}

/// Who wrote a sector, if it is all of one write.
fn value_of(bytes: &[u8], sector: u64) -> Result<u64, String> {
    let (number, rest) = bytes.split_at(8);
    let value = u64::from_le_bytes(number.try_into().unwrap_or_default());
    let whole = if value == INITIAL { rest.iter().all(|&byte| byte == 0) } else { content::is(rest, value, sector, 1) };
    if whole { Ok(value) } else { Err(format!("sector {sector} begins like value {value:#x} and goes on differently")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_names_its_writer_and_a_torn_one_does_not() {
        let (mut one, mut two) = ([0; SECTOR], [0; SECTOR]);
        assert_eq!(value_of(&one, 5), Ok(INITIAL));
        fill(&mut one, 5, 7);
        fill(&mut two, 5, 8);
        assert_eq!(value_of(&one, 5), Ok(7));
        assert!(value_of(&one, 6).is_err(), "it belongs elsewhere");
        one[256..].copy_from_slice(&two[256..]);
        assert!(value_of(&one, 5).is_err());
    }
}
