//! The command line of a load, for whoever offers it as a subcommand: `netpager-host bench`, `netpager-bench load`.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Load, Report, run};
use crate::error::BenchError;
use crate::process::Process;
use crate::target::Target;

const EXAMPLES: &str = "\
Examples:
  How fast are random reads of 4 KiB, 32 at a time?
      netpager-host bench nbd://127.0.0.1:10809/memory --prefill

  The latency of a single one, and what it costs the server:
      netpager-host bench nbd://127.0.0.1:10809/memory --depth 1 --pid $(pidof netpager-host)

  Four clients write and read for a minute, and every byte read is compared:
      netpager-host bench nbd://127.0.0.1:10809/memory --read-percent 50 --connections 4 --seconds 60 --verify

  Large requests in order, figures for a program:
      netpager-host bench nbd+unix:///memory?socket=/tmp/pages.sock --block 1M --depth 8 --sequential --json

  The same over TLS:
      netpager-host bench nbds://pages.example.org/memory?tls-certificates=/etc/pki/netpager

Careful:
  --prefill, --verify and --read-percent below 100 overwrite what the export holds.
  A READ of a page never written is cheaper than one with data; --prefill makes the figures honest.";

/// Load an NBD server and measure it.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// The export: nbd://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=PATH, or nbds://… with tls-certificates=DIRECTORY.
    #[arg(value_name = "URI")]
    pub target: Target,

    /// How many of a hundred requests read; the others write.
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub read_percent: u8,

    /// Bytes of one request; K and M after the number are powers of 1024.
    #[arg(long, value_name = "SIZE", default_value = "4K", value_parser = parse_block)]
    pub block: u32,

    /// Requests in flight on each connection.
    #[arg(long, value_name = "COUNT", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub depth: u32,

    /// How many connections; the server must keep their caches coherent.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,

    /// How long to measure.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = parse_seconds)]
    pub seconds: Duration,

    /// How much of the export to use, from its beginning [default: all, but at most 1 GiB].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub span: Option<u64>,

    /// Go through the span in order instead of at random.
    #[arg(long)]
    pub sequential: bool,

    /// Write the whole span before measuring.
    #[arg(long)]
    pub prefill: bool,

    /// Compare everything that is read with what was written; stop at the first byte that is wrong.
    #[arg(long)]
    pub verify: bool,

    /// What the places and the data depend on.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,

    /// The server's process, to measure its processor time per request.
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,

    /// Print the figures as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Unless told otherwise, a load does not fill terabytes.
const SPAN_MAX: u64 = 1 << 30;

impl BenchArgs {
    /// Runs the load and prints its figures. Whether no request failed.
    ///
    /// # Errors
    /// See [`run`].
    pub fn run(&self) -> Result<bool, BenchError> {
        let bar = self.bar();
        let mut seen = 0;
        let result = run(&self.target, &self.load()?, self.pid.map(Process::new), |fraction, requests| {
            bar.set_position((fraction * 1000.0) as u64);
            bar.set_message(format!("{} requests (+{})", requests, requests - seen));
            seen = requests;
        });
        bar.finish_and_clear();
        let report = result?;
        self.print(&report).map(|()| report.refused == 0)
    }

    fn print(&self, report: &Report) -> Result<(), BenchError> {
        let text = if self.json { format!("{:#}\n", report.json()) } else { report.to_string() };
        Ok(io::stdout().lock().write_all(text.as_bytes())?)
    }

    fn load(&self) -> Result<Load, BenchError> {
        // The size is known only once connected; a short visit asks for it.
        let size = match self.span {
            Some(span) => span,
            None => crate::Connection::<()>::open(&self.target)?.size().min(SPAN_MAX),
        };
        Ok(Load {
            read_percent: self.read_percent,
            block: self.block,
            depth: self.depth as usize,
            connections: self.connections as usize,
            time: self.seconds,
            warm_up: self.seconds.min(Duration::from_secs(1)) / 4,
            span: Some(size),
            sequential: self.sequential,
            prefill: self.prefill,
            verify: self.verify,
            seed: self.seed,
        })
    }

    fn bar(&self) -> ProgressBar {
        if !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{elapsed_precise} [{bar:40}] {percent:>3} % {msg}").expect("the template is right");
        ProgressBar::new(1000).with_style(style.progress_chars("=> "))
    }
}

/// Reads a number of bytes with an optional suffix.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match &text[digits.len()..].to_ascii_uppercase()[..] {
        "" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        "T" | "TIB" => 40,
        _ => return Err(format!("`{text}` is no size; expected a number of bytes, or one with K, M, G or T after it")),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    bytes.filter(|&bytes| bytes > 0).ok_or_else(|| format!("`{text}` is no size, or too large a one"))
}

fn parse_block(text: &str) -> Result<u32, String> {
    parse_size(text)?.try_into().map_err(|_| format!("`{text}` is too large for one request"))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|time| !time.is_zero()).ok_or_else(|| "expected a number of seconds greater than 0".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: BenchArgs,
    }

    #[test]
    fn every_example_in_the_help_is_accepted() {
        let lines = EXAMPLES.lines().filter_map(|line| line.trim().strip_prefix("netpager-host "));
        let lines: Vec<String> = lines.map(|line| line.replace("$(pidof netpager-host)", "1")).collect();
        lines.iter().for_each(|line| drop(Cli::try_parse_from(line.split(' ')).unwrap()));
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn nonsense_is_refused() {
        for line in
            ["", "x", "nbd://h --depth 0", "nbd://h --block 5G", "nbd://h --block 1Q", "nbd://h --seconds 0", "nbd://h --read-percent 101"]
        {
            assert!(Cli::try_parse_from(format!("bench {line}").split(' ')).is_err(), "{line}");
        }
        assert_eq!(parse_size("4KiB"), Ok(4096));
        assert!(parse_size("0").is_err() && parse_size("99999999999T").is_err());
    }
}
