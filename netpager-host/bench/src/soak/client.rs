//! One client of the soak: requests of all kinds on sectors of its own, each answer compared with the model.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use nbd::{Command, CommandFlags, NbdError, Request};

use super::model::{Model, SECTOR};
use crate::connection::{Connection, Done};
use crate::error::BenchError;
use crate::random::Random;
use crate::target::Target;

/// Requests in flight.
const DEPTH: usize = 16;
/// The longest request, in sectors: 64 KiB.
const LONGEST: u64 = 128;
/// One of so many requests is the last one of its connection.
const RECONNECT: u64 = 4_000;
/// The piece in which everything is read after a restart, in sectors.
const PIECE: u64 = 2048;

/// What a request was about.
#[derive(Clone, Debug)]
struct Tag {
    sectors: Range<u64>,
    /// What its sectors hold afterwards, if it changes them.
    version: Option<u32>,
}

/// Requests that all clients have made so far, and errors they were answered with.
#[derive(Debug, Default)]
pub(super) struct Count {
    pub(super) answered: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) verified: AtomicU64,
    pub(super) connections: AtomicU64,
}

/// A client outlives its connections and the server's lives.
#[derive(Debug)]
pub(super) struct Client {
    model: Model,
    random: Random,
    /// Sectors of requests in flight; no two overlap.
    busy: Vec<Range<u64>>,
    /// The server said that it is about to end.
    is_shutdown: bool,
}

/// How a client's part of a server's life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All its requests are answered.
    Finished,
    /// The server went away.
    Lost,
}

impl Client {
    pub(super) fn new(seed: u64, number: u64, sectors: u64) -> Self {
        Self {
            model: Model::new(seed, number * sectors, sectors),
            random: Random::fork(seed, number),
            busy: Vec::new(),
            is_shutdown: false,
        }
    }

    /// Makes so many requests, over as many connections as it likes.
    pub(super) fn run(&mut self, target: &Target, requests: u64, count: &Count) -> Result<End, BenchError> {
        self.is_shutdown = false;
        let mut left = requests;
        while left > 0 {
            let part = left.min(1 + self.random.below(2 * RECONNECT));
            match self.connect_and_run(target, part, count) {
                Ok(()) if self.is_shutdown => return Ok(End::Lost),
                Ok(()) => left -= part,
                Err(error) if error.is_disconnect() => return Ok(End::Lost),
                Err(error) => return Err(error),
            }
        }
        Ok(End::Finished)
    }

    /// Reads all it has, in order, and compares.
    pub(super) fn verify(&mut self, target: &Target, count: &Count) -> Result<(), BenchError> {
        let mut connection = Connection::open(target)?;
        for first in (0..self.model.sectors()).step_by(PIECE as usize) {
            let sectors = first..(first + PIECE).min(self.model.sectors());
            // Injected errors pass; a lasting one does not.
            for attempt in 0.. {
                let done = connection.ask(self.request(Command::Read, &sectors), (), &[])?;
                match (done.result, done.data) {
                    (Ok(()), Some(data)) => {
                        self.model.read(&sectors, &data).map_err(BenchError::Wrong)?;
                        break;
                    }
                    (Err(error), _) if attempt == 50 => {
                        return Err(BenchError::Wrong(format!("sectors {sectors:?} cannot be read: {error}")));
                    }
                    _ => {}
                }
            }
            count.verified.fetch_add(sectors.end - sectors.start, Ordering::Relaxed);
        }
        connection.disconnect();
        Ok(())
    }

    /// Writes all it has, so that a store that grows with its content has grown.
    pub(super) fn write_all(&mut self, target: &Target) -> Result<(), BenchError> {
        let mut connection = Connection::open(target)?;
        for first in (0..self.model.sectors()).step_by(PIECE as usize) {
            let sectors = first..(first + PIECE).min(self.model.sectors());
            let version = self.model.new_version();
            let mut bytes = vec![0; (sectors.end - sectors.start) as usize * SECTOR];
            self.model.fill(&sectors, version, &mut bytes);
            if let Err(error) = connection.ask(self.request(Command::Write, &sectors), (), &bytes)?.result {
                return Err(BenchError::Wrong(format!("sectors {sectors:?} cannot be written: {error}")));
            }
            self.model.wrote(&sectors, version);
        }
        connection.disconnect();
        Ok(())
    }

    fn connect_and_run(&mut self, target: &Target, requests: u64, count: &Count) -> Result<(), BenchError> {
        let mut connection = Connection::open(target)?;
        count.connections.fetch_add(1, Ordering::Relaxed);
        let result = self.converse(&mut connection, requests, count);
        if result.is_err() {
            // What was in flight may have been done.
            for (_, tag) in connection.lost() {
                self.doubt(&tag);
            }
            self.busy.clear();
        } else if self.random.percent(50) {
            connection.disconnect();
        }
        result
    }

    fn converse(&mut self, connection: &mut Connection<Tag>, requests: u64, count: &Count) -> Result<(), BenchError> {
        let mut asked = 0;
        while (asked < requests && !self.is_shutdown) || connection.in_flight() > 0 {
            while asked < requests && !self.is_shutdown && connection.in_flight() < DEPTH {
                self.ask(connection)?;
                asked += 1;
            }
            let (mut wrong, mut kept) = (None, Vec::new());
            connection.turn(|mut done| {
                wrong = self.take(&done, count).err().or_else(|| wrong.take());
                kept.extend(done.data.take());
            })?;
            kept.into_iter().for_each(|buffer| connection.recycle(buffer));
            if let Some(text) = wrong {
                return Err(BenchError::Wrong(text));
            }
        }
        Ok(())
    }

    fn ask(&mut self, connection: &mut Connection<Tag>) -> Result<(), BenchError> {
        let (command, flags) = self.choose();
        let sectors = if command == Command::Flush { 0..0 } else { self.place() };
        let version = match command {
            Command::Write => Some(self.model.new_version()),
            Command::WriteZeroes | Command::Trim => Some(0),
            _ => None,
        };
        let request = self.request(command, &sectors).with(flags);
        let (model, tag) = (&self.model, Tag { sectors: sectors.clone(), version });
        connection.submit(request, true, tag, |bytes| model.fill(&sectors, version.unwrap_or_default(), bytes))?;
        if command != Command::Flush {
            self.busy.push(sectors);
        }
        Ok(())
    }

    /// The mixture: mostly paging, some of everything else.
    fn choose(&mut self) -> (Command, CommandFlags) {
        let none = CommandFlags::empty();
        match self.random.below(1000) {
            0..480 => (Command::Read, none),
            480..860 => (Command::Write, none),
            860..870 => (Command::Write, CommandFlags::FUA),
            870..920 => (Command::WriteZeroes, none),
            920..940 => (Command::WriteZeroes, CommandFlags::NO_HOLE),
            940..970 => (Command::Trim, none),
            970..990 => (Command::Cache, none),
            _ => (Command::Flush, none),
        }
    }

    /// Sectors that no request in flight is about.
    fn place(&mut self) -> Range<u64> {
        loop {
            let longest = if self.random.percent(80) { 8 } else { LONGEST };
            let length = 1 + self.random.below(longest);
            let start = self.random.below(self.model.sectors() - length + 1);
            let sectors = start..start + length;
            if self.busy.iter().all(|busy| busy.end <= sectors.start || sectors.end <= busy.start) {
                return sectors;
            }
        }
    }

    fn request(&self, command: Command, sectors: &Range<u64>) -> Request {
        let (offset, length) = (self.model.offset(sectors.start), (sectors.end - sectors.start) * SECTOR as u64);
        match command {
            Command::Read => Request::read(offset, length as u32),
            Command::Write => Request::write(offset, length as u32),
            Command::WriteZeroes => Request::write_zeroes(offset, length),
            Command::Trim => Request::trim(offset, length),
            Command::Cache => Request::cache(offset, length),
            _ => Request::flush(),
        }
    }

    fn take(&mut self, done: &Done<Tag>, count: &Count) -> Result<(), String> {
        count.answered.fetch_add(1, Ordering::Relaxed);
        self.busy.retain(|busy| *busy != done.tag.sectors);
        let Tag { sectors, version } = &done.tag;
        match (done.result, version, &done.data) {
            (Err(error), ..) => {
                count.refused.fetch_add(1, Ordering::Relaxed);
                self.doubt(&done.tag);
                self.is_shutdown |= error == NbdError::Shutdown;
                allowed(error).then_some(()).ok_or_else(|| format!("{:?} was answered with {error}", done.request))
            }
            (Ok(()), Some(0), _) if done.request.command == Command::Trim => {
                self.model.may_have_written(sectors, 0);
                Ok(())
            }
            (Ok(()), Some(version), _) => {
                self.model.wrote(sectors, *version);
                Ok(())
            }
            (Ok(()), None, Some(data)) => {
                count.verified.fetch_add(sectors.end - sectors.start, Ordering::Relaxed);
                self.model.read(sectors, data)
            }
            (Ok(()), None, None) => Ok(()),
        }
    }

    fn doubt(&mut self, tag: &Tag) {
        if let Some(version) = tag.version {
            self.model.may_have_written(&tag.sectors, version);
        }
    }
}

/// Errors that a server in trouble may give; anything else is a mistake, its or ours.
const fn allowed(error: NbdError) -> bool {
    matches!(error, NbdError::Io | NbdError::NoSpace | NbdError::Shutdown)
}
