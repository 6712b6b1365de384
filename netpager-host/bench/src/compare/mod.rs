//! The comparison: the same client against ours and the three peers in turns, and a verdict on every goal.
//!
//! Machines change their speed from second to second, so no server is measured twice in a row: a round runs every row on
//! every server, one after the other, and a figure is the median over the rounds. All servers run the whole time; those
//! that are not measured wait.

mod figures;
mod goals;
mod memory;
mod rows;
mod table;

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::error::BenchError;
use crate::load::{parse_size, run};
use crate::server::{Kind, Server};
use figures::{Figures, median};
use goals::Verdict;
use memory::Memory;
use rows::{ROWS, Row};

/// Measure netpager-host beside nbdkit, qemu-nbd and nbd-server.
#[derive(Args, Clone, Debug)]
pub struct CompareArgs {
    /// netpager-host's binary.
    #[arg(long, value_name = "PATH")]
    pub server: PathBuf,

    /// How often each row is measured on each server.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,

    /// How long one measurement takes.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    pub seconds: f64,

    /// The size of the export; all of it is written before anything is measured.
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = parse_size)]
    pub size: u64,

    /// Connections that do nothing, to see what one costs.
    #[arg(long, value_name = "COUNT", default_value_t = 250, value_parser = clap::value_parser!(u32).range(1..))]
    pub idle: u32,

    /// Only rows whose name contains this.
    #[arg(long, value_name = "WORDS", default_value = "")]
    pub only: String,

    /// Write all figures to a file as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Exit with an error if a goal is missed.
    #[arg(long)]
    pub strict: bool,
}

/// One server and what was measured of it.
#[derive(Debug)]
struct Contestant {
    kind: Kind,
    server: Server,
    /// For each row, one for each round.
    figures: Vec<Vec<Figures>>,
    memory: Memory,
}

impl CompareArgs {
    /// Measures, prints the table and the verdicts. Whether all is well (all goals are met, if that was asked for).
    ///
    /// # Errors
    /// A server is missing or fails.
    pub fn run(&self) -> Result<bool, BenchError> {
        let rows: Vec<Row> = ROWS.iter().copied().filter(|row| row.name.contains(&self.only)).collect();
        if rows.is_empty() {
            return Err(BenchError::Usage(format!("no row is called `{}`", self.only)));
        }
        let time = Duration::try_from_secs_f64(self.seconds).map_err(|error| BenchError::Usage(error.to_string()))?;
        let bar = self.bar(rows.len());
        let mut contestants = self.start(rows.len(), &bar)?;
        for round in 0..self.rounds {
            for (index, row) in rows.iter().enumerate() {
                for contestant in &mut contestants {
                    bar.set_message(format!("{}: {}", contestant.kind.name(), row.name));
                    let load = row.load(time, self.size, u64::from(round));
                    let report = run(contestant.server.target(), &load, Some(contestant.server.process()), |_, _| {})?;
                    if let Some(error) = &report.error {
                        return Err(BenchError::Wrong(format!("{} answered with errors: {error}", contestant.kind.name())));
                    }
                    contestant.figures[index].push(Figures::of(&report));
                    bar.inc(1);
                }
            }
        }
        bar.finish_and_clear();
        self.conclude(&rows, &contestants)
    }

    fn start(&self, rows: usize, bar: &ProgressBar) -> Result<Vec<Contestant>, BenchError> {
        Kind::ALL
            .iter()
            .map(|&kind| {
                bar.set_message(format!("{}: filling {} MiB", kind.name(), self.size >> 20));
                let server = Server::start(kind, &self.server, self.size)?;
                let memory = Memory::measure(&server, self.size, self.idle)?;
                Ok(Contestant { kind, server, figures: vec![Vec::new(); rows], memory })
            })
            .collect()
    }

    fn conclude(&self, rows: &[Row], contestants: &[Contestant]) -> Result<bool, BenchError> {
        let medians: Vec<Vec<Figures>> =
            contestants.iter().map(|contestant| contestant.figures.iter().map(|figures| median(figures)).collect()).collect();
        let names: Vec<&str> = contestants.iter().map(|contestant| contestant.kind.name()).collect();
        let memories: Vec<Memory> = contestants.iter().map(|contestant| contestant.memory).collect();
        let reach = memory::compressed_reach(&self.server)?;
        let verdicts = goals::judge(rows, &medians, &memories, reach);
        println!("{}", table::rows(rows, &names, &medians));
        println!("{}", table::memory(&names, &memories));
        println!("{}", table::verdicts(&verdicts));
        if let Some(path) = &self.json {
            let all = self.json(rows, contestants, &medians, &verdicts);
            std::fs::write(path, format!("{all:#}\n"))?;
        }
        Ok(!self.strict || verdicts.iter().all(Verdict::is_met))
    }

    fn json(&self, rows: &[Row], contestants: &[Contestant], medians: &[Vec<Figures>], verdicts: &[Verdict]) -> Value {
        let of_rows = |index: usize, contestant: &Contestant| -> Value {
            let figures = rows.iter().enumerate().map(|(row, _)| {
                json!({
                    "row": rows[row].name, "median": medians[index][row].json(),
                    "rounds": contestant.figures[row].iter().map(Figures::json).collect::<Vec<_>>(),
                })
            });
            figures.collect()
        };
        let servers = contestants.iter().enumerate().map(|(index, contestant)| {
            json!({ "name": contestant.kind.name(), "rows": of_rows(index, contestant), "memory": contestant.memory.json() })
        });
        json!({
            "rounds": self.rounds, "seconds": self.seconds, "size": self.size,
            "servers": servers.collect::<Vec<_>>(),
            "goals": verdicts.iter().map(Verdict::json).collect::<Vec<_>>(),
        })
    }

    fn bar(&self, rows: usize) -> ProgressBar {
        if !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{elapsed_precise} [{bar:40}] {pos}/{len} {msg}").expect("the template is right");
        ProgressBar::new(rows as u64 * Kind::ALL.len() as u64 * u64::from(self.rounds)).with_style(style.progress_chars("=> "))
    }
}
