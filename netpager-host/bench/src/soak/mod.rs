//! The soak: a day's requests in minutes, through many lives of the server, with faults, kills and restarts.
//!
//! Clients with sectors of their own make requests of every kind and compare every answer with a model ([`model`]). The
//! server lives and dies meanwhile: killed at a random moment or asked to end; with errors and delays injected; in memory,
//! which must be empty afterwards, or in a file, which must hold all that was acknowledged. Half of the requests go to one
//! long life in memory, whose descriptors and memory must not grow.

mod client;
mod life;
mod model;

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::error::BenchError;
use crate::random::Random;
use client::{Client, Count};
use life::{Life, Store};

/// A guest that pages all the time makes so many requests in an hour: a hundred a second, as a busy disk does.
const REQUESTS_PER_HOUR: f64 = 360_000.0;
/// Requests between two deaths, on the average.
const LIFE: u64 = 25_000;
const LIVES: std::ops::RangeInclusive<u64> = 5..=200;

/// Torment netpager-host and check that nothing is lost.
#[derive(Args, Clone, Debug)]
pub struct SoakArgs {
    /// netpager-host's binary.
    #[arg(long, value_name = "PATH")]
    pub server: PathBuf,

    /// How many hours of a busy guest's requests (100 a second) to make.
    #[arg(long, value_name = "HOURS", default_value_t = 24.0)]
    pub hours_worth: f64,

    /// How many clients.
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub clients: u64,

    /// What requests, faults and restarts depend on.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Requests answered.
    pub answered: u64,
    /// Of these, with an error that was injected or allowed.
    pub refused: u64,
    /// Sectors compared with the model.
    pub verified: u64,
    /// Connections made.
    pub connections: u64,
    /// The server's lives.
    pub lives: u64,
    /// Those that ended by SIGKILL.
    pub kills: u64,
}

impl SoakArgs {
    /// Soaks, and prints what came of it.
    ///
    /// # Errors
    /// Something was lost, or the server misbehaved; the text has the seed.
    pub fn run(&self) -> Result<bool, BenchError> {
        let (start, bar) = (Instant::now(), bar(self.requests()?));
        let outcome = self.soak(|answered, life| {
            bar.set_position(answered);
            bar.set_message(life.to_owned());
        });
        bar.finish_and_clear();
        let Outcome { answered, refused, verified, connections, lives, kills } = outcome?;
        println!(
            "{answered} requests ({refused} refused) on {connections} connections in {lives} lives ({kills} killed): {verified} sectors \
             compared, nothing lost; {:.0} s, seed {}",
            start.elapsed().as_secs_f64(),
            self.seed
        );
        Ok(true)
    }

    /// The same without words; `watch` gets the requests so far and what the present life is like.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn soak(&self, mut watch: impl FnMut(u64, &str)) -> Result<Outcome, BenchError> {
        let requests = self.requests()?;
        let folder = tempfile::Builder::new().prefix("netpager-soak-").tempdir()?;
        let lives = (requests / 2 / LIFE).clamp(*LIVES.start(), *LIVES.end());
        let mut random = Random::new(self.seed);
        let mut outcome = Outcome { lives: lives + 1, ..Outcome::default() };
        let count = Count::default();
        let mut on_disk = self.clients();
        for number in 0..=lives {
            let life = if number == lives { Life::long(requests / 2) } else { Life::short(number, requests / 2 / lives, &mut random) };
            let mut in_memory;
            let clients = match life.store {
                Store::File => &mut on_disk,
                Store::Ram | Store::Compressed => {
                    in_memory = self.clients();
                    &mut in_memory
                }
            };
            outcome.kills += u64::from(life.is_killed());
            life.live(&self.server, folder.path(), clients, &count, &mut watch).map_err(|error| self.name(number, &life, &error))?;
        }
        let Count { answered, refused, verified, connections } = count;
        outcome.answered = answered.into_inner();
        outcome.refused = refused.into_inner();
        outcome.verified = verified.into_inner();
        outcome.connections = connections.into_inner();
        Ok(outcome)
    }

    fn requests(&self) -> Result<u64, BenchError> {
        let requests = self.hours_worth * REQUESTS_PER_HOUR;
        if !(1.0..1e12).contains(&requests) {
            return Err(BenchError::Usage(format!("{} hours cannot be soaked", self.hours_worth)));
        }
        Ok(requests as u64)
    }

    fn clients(&self) -> Vec<Client> {
        (0..self.clients).map(|number| Client::new(self.seed, number, life::SECTORS / self.clients)).collect()
    }

    fn name(&self, number: u64, life: &Life, error: &BenchError) -> BenchError {
        BenchError::Wrong(format!("{error}\n(seed {}, life {number}: {life})", self.seed))
    }
}

fn bar(requests: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{elapsed_precise} [{bar:40}] {human_pos}/{human_len} requests, {msg}")
        .expect("the template is right");
    ProgressBar::new(requests).with_style(style.progress_chars("=> "))
}
