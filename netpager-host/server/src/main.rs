//! `netpager-host`: the service on the host that gives memory to guests, over NBD.
//!
//! One thread accepts connections; each goes to the worker that has the fewest and stays there. A worker is a single-threaded
//! runtime: what a RAM store answers, it answers at once and many replies leave in one write; what must wait for a disk or
//! another server goes to a pool of threads and is answered when it is done, in any order.
//!
//! | module | what it does |
//! |---|---|
//! | [`cli`], [`config`] | what the user asked for |
//! | [`exports`] | the exports, their stores, and who may use them |
//! | [`listener`], [`socket`], [`handshake`] | from a bound address to a client that has a seat at an export |
//! | [`worker`], [`connection`] | from a request to its reply |
//! | [`clients`] | who is connected |
//! | [`scan`] | reads all of a store, to find damage |
//! | [`service`] | starts all of this, reloads it, and ends it |
#![forbid(unsafe_code)]

mod cli;
mod clients;
mod config;
mod connection;
mod exports;
mod handshake;
mod listener;
mod scan;
mod service;
mod socket;
mod worker;

use std::error::Error;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use tracing_subscriber::filter::LevelFilter;

use cli::{Command, Serve};
use config::{Config, LogFormat};

fn main() -> ExitCode {
    match run(cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("netpager-host: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one command; says whether it found all well.
fn run(command: Command) -> Result<bool, Box<dyn Error>> {
    match command {
        Command::Serve(serve) => self::serve(&serve)?,
        Command::Config(config) => config.run()?,
        Command::Pki(pki) => security::pki::run(&pki, &mut std::io::stdout().lock())?,
        Command::Man(man) => man.run()?,
        Command::Status(status) => status.run()?,
        Command::Export(export) => export.run()?,
        Command::Check(check) => check.run()?,
        Command::Verify(verify) => return verify.run(),
        Command::Bench(bench) => return Ok(bench.run()?),
    }
    Ok(true)
}

fn serve(serve: &Serve) -> Result<(), Box<dyn Error>> {
    let config = Config::load(serve)?;
    log(&config);
    Ok(service::run(&config, || Config::load(serve))?)
}

/// The log goes to standard error, which is the journal's under systemd.
fn log(config: &Config) {
    let level = if config.verbose { LevelFilter::DEBUG } else { LevelFilter::INFO };
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level).with_target(false);
    match config.log {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).with_ansi(false).init(),
    }
}
