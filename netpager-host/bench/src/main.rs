//! `netpager-bench`: what measures and torments netpager-host, for those who develop it.
//!
//! Users have `netpager-host bench`, which is the same load generator; here are also the comparison with other servers
//! and the soak. `./mach bench host` and `./mach bench soak` build the server and call this.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use bench::BenchError;
use bench::compare::CompareArgs;
use bench::load::BenchArgs;
use bench::soak::SoakArgs;
use clap::{Parser, Subcommand};

/// Loads NBD servers, measures them side by side, and checks what they promise.
#[derive(Debug, Parser)]
#[command(name = "netpager-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Load(BenchArgs),
    Compare(CompareArgs),
    Soak(SoakArgs),
}

fn main() -> ExitCode {
    let result: Result<bool, BenchError> = match Cli::parse().command {
        Command::Load(load) => load.run(),
        Command::Compare(compare) => compare.run(),
        Command::Soak(soak) => soak.run(),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("netpager-bench: {error}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
