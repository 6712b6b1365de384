//! `netpager-host`: the service on the host that gives memory to guests, over NBD.
//!
//! One thread accepts connections and does their handshakes; each connection then moves to the worker that serves its
//! export. A worker is a single-threaded runtime: what a RAM store answers, it answers at once and many replies leave in
//! one write; what must wait for a disk goes to a pool of threads and is answered when it is done, in any order.
//!
//! | module | what it does |
//! |---|---|
//! | [`cli`], [`spec`] | what the user asked for |
//! | [`catalogue`] | the exports and their stores |
//! | [`listener`], [`socket`], [`handshake`] | from a bound address to a client that has chosen an export |
//! | [`worker`], [`connection`], [`answer`] | from a request to its reply |
//! | [`service`] | starts all of this, and ends it |
//!
//! Not here yet: TLS, access control (any local user who reaches the socket may use every export), metrics.
#![forbid(unsafe_code)]

mod answer;
mod catalogue;
mod cli;
mod connection;
mod handshake;
mod listener;
mod service;
mod socket;
mod spec;
mod worker;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::filter::LevelFilter;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let Cli { command: Command::Serve(serve) } = Cli::parse();
    let level = if serve.verbose { LevelFilter::DEBUG } else { LevelFilter::INFO };
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colours).with_max_level(level).with_target(false).init();
    match service::run(&serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("netpager-host: {error}");
            ExitCode::FAILURE
        }
    }
}
