//! The command line, and the help that teaches it.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::spec::{ExportSpec, ListenSpec, parse_size};

/// Give memory to guests over the network.
///
/// netpager-host keeps the pages of guests that use more memory than they have. It speaks NBD, so everything that speaks
/// NBD can use it: the guest's network pager, qemu, nbd-client, nbdcopy.
#[derive(Debug, Parser)]
#[command(name = "netpager-host", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(Serve),
}

const EXAMPLES: &str = "\
Examples:
  Lend a guest 256 MiB of this machine's memory:
      netpager-host serve --export memory=256M

  Lend it a terabyte of addresses, but never more than 2 GiB of memory:
      netpager-host serve --export memory=1T,quota=2G

  Keep pages in a file, so that they survive a restart once the guest has flushed them:
      netpager-host serve --export disk=1G,store=file:/var/tmp/pages.img

  Listen on a Unix socket, and on a free TCP port as well:
      netpager-host serve --listen unix:/tmp/pages.sock --listen 127.0.0.1:0 --export memory=256M

  See how a guest behaves when its memory is slow and sometimes fails:
      netpager-host serve --export memory=256M,delay=5,error=10

Try it:
  qemu-io -f raw nbd://127.0.0.1:10809/memory -c 'write -P 0xab 0 64k' -c 'read -P 0xab 0 64k'

Output:
  One line `listening on ADDRESS` on standard output for each --listen, once it accepts
  connections; port 0 is replaced by the port that was chosen. The log goes to standard error.

Ending it:
  SIGTERM or SIGINT: no new connections; requests in flight are finished, new ones get
  ESHUTDOWN; clients have two seconds to leave; file stores are flushed. The exit code is 0
  unless something could not be flushed. A second signal ends it at once.

Safety:
  There is no encryption and no access control: whoever reaches the address can read and
  write every export. That is why only loopback addresses and Unix sockets are accepted
  unless you insist.";

/// Serve exports until a signal ends it.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Serve {
    /// An export: its name (may be empty), its size, and how it is kept.
    ///
    /// Sizes are bytes or have a suffix K, M, G or T (powers of 1024). After the size may follow, separated by commas:
    /// `store=ram` (the default) or `store=file:PATH` (the path may not hold a comma);
    /// `quota=SIZE`, the most memory a RAM export may cost, tables included (by default, enough for all of it);
    /// `ro`, to refuse writes; and for tests `delay=MILLISECONDS` and `error=PER_MILLE` for every request.
    /// A client that asks for the empty name gets the first export. May be repeated.
    #[arg(long = "export", value_name = "NAME=SIZE[,OPTION]...", required = true)]
    pub(crate) exports: Vec<ExportSpec>,

    /// Where to listen: HOST:PORT or unix:PATH. May be repeated.
    #[arg(long = "listen", value_name = "ADDRESS", default_value = "127.0.0.1:10809")]
    pub(crate) listen: Vec<ListenSpec>,

    /// Listen on addresses that other machines can reach, without any protection.
    #[arg(long)]
    pub(crate) insecure_any_address: bool,

    /// The most memory all RAM exports may use together [default: what they need, but at most half of this machine's].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) ram: Option<u64>,

    /// How many threads serve requests; all connections of an export share one [default: one per processor].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,

    /// How many clients may be connected at a time.
    #[arg(long, value_name = "COUNT", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_connections: u32,

    /// How long a client may take to choose an export, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub(crate) handshake_timeout: Duration,

    /// Log more.
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|time| !time.is_zero()).ok_or_else(|| "expected a number of seconds greater than 0".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn every_example_in_the_help_is_accepted() {
        let examples = EXAMPLES.lines().filter_map(|line| line.trim().strip_prefix("netpager-host "));
        let parsed = examples.map(|line| Cli::try_parse_from(format!("netpager-host {line}").split(' ')).map(drop));
        assert_eq!(parsed.collect::<Result<Vec<_>, _>>().unwrap().len(), 5);
    }

    #[test]
    fn times_that_make_no_sense_are_refused() {
        for text in ["0", "-1", "nan", "inf", "ten"] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
    }
}
