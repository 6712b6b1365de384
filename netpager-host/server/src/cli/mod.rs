//! The command line, and the help that teaches it.

mod config;
mod export;
mod man;
mod serve;
mod verify;

use clap::{CommandFactory as _, Parser, Subcommand};

pub(crate) use config::ConfigCommand;
pub(crate) use export::ExportCommand;
pub(crate) use man::Man;
pub(crate) use serve::Serve;
#[cfg(test)]
pub(crate) use serve::serve_of;
pub(crate) use verify::Verify;

const LONG: &str = "\
Examples:
  Lend 256 MiB of this machine's memory to whoever is on it:
      netpager-host serve --export memory=256M

  Make certificates, and lend memory to other machines:
      netpager-host pki --help
      netpager-host serve --listen nbds://0.0.0.0:10809 --tls-certificates pki/host --pattern 'np1/*/*=4G'

  See what it does:
      netpager-host status

Every command has its own --help with more examples.";

/// Give memory to guests over the network.
///
/// netpager-host keeps the pages of guests that use more memory than they have. It speaks NBD, so everything that speaks
/// NBD can use it: the guest's network pager, qemu, nbd-client, nbdcopy.
#[derive(Debug, Parser)]
#[command(name = "netpager-host", version, after_help = LONG)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(Box<Serve>),
    #[command(subcommand)]
    Config(ConfigCommand),
    Pki(security::pki::Pki),
    Status(admin::client::StatusArgs),
    #[command(subcommand)]
    Export(ExportCommand),
    Check(admin::client::CheckArgs),
    Verify(Verify),
    Bench(bench::load::BenchArgs),
    Man(Man),
}

/// The whole command line, for what describes it.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

/// The command line this program was started with.
pub(crate) fn parse() -> Cli {
    Cli::parse()
}
