//! `netpager-host serve`.

use std::path::PathBuf;

use clap::Args;

use crate::config::{ExportSpec, ListenSpec, LogFormat, PatternSpec, Size, Span};

const EXAMPLES: &str = "\
Examples:
  Lend a guest 256 MiB of this machine's memory:
      netpager-host serve --export memory=256M

  Lend it a terabyte of addresses, but never more than 2 GiB of memory:
      netpager-host serve --export memory=1T,quota=2G

  Let clients make exports of their own, as many as they need, gone when they leave:
      netpager-host serve --pattern np1/*/*=4G,lifetime=last-close

  Keep pages in a file, so that they survive a restart once the guest has flushed them:
      netpager-host serve --export disk=1G,store=file:/var/tmp/pages.img

  Keep them on two other servers, of which either may die:
      netpager-host serve --export safe=1G,store=mirror:(nbd://a.example/x;nbd://b.example/x)

  Listen on a Unix socket, and on a free TCP port as well:
      netpager-host serve --listen unix:/tmp/pages.sock --listen 127.0.0.1:0 --export memory=256M

  Serve other machines, with encryption and certificates (see `netpager-host pki --help`):
      netpager-host serve --listen nbds://0.0.0.0:10809 --tls-certificates pki/host --export memory=256M

  See how a guest behaves when its memory is slow and sometimes fails:
      netpager-host serve --export memory=256M,delay=5,error=10

  Say all of this in a file:
      netpager-host serve --config /etc/netpager-host.toml

Try it:
  qemu-io -f raw nbd://127.0.0.1:10809/memory -c 'write -P 0xab 0 64k' -c 'read -P 0xab 0 64k'

Stores:
  ram              in memory (the default); pages of zeroes cost nothing
  compressed       in memory; what is cold is compressed in the background
  file:PATH        one sparse file; what was flushed survives kill -9 and power loss
  log:DIRECTORY    segments with checksums; notices torn writes and bit rot as well
  nbd://… nbds://… another NBD server
  valkey:HOST:PORT a Redis or Valkey cluster; it may lose acknowledged writes when a node fails
  mirror:(A;B)     the same in each; stripe:1M:(A;B) parts in each

Output:
  One line `listening on ADDRESS` on standard output for each --listen, once it accepts
  connections; port 0 is replaced by the port that was chosen. After each, one line for each
  export with the URI that clients use. The log goes to standard error.

Signals:
  SIGTERM or SIGINT: no new connections; requests in flight are finished, new ones get
  ESHUTDOWN; clients have two seconds to leave; stores are flushed. The exit code is 0
  unless something could not be flushed. A second signal ends it at once.
  SIGHUP: the file, rules and certificates are read again. Nobody is disconnected but those
  who may no longer be here.

Safety:
  Whoever reaches a Unix socket or a loopback address may use every export unless [[acl]]
  rules in the file say otherwise. Addresses that other machines can reach are refused
  without TLS and client certificates, unless you insist: then there is no encryption and
  no access control.";

/// Serve exports until a signal ends it.
#[derive(Args, Debug, Default)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Serve {
    /// Read this file first; what is said on the command line comes before it.
    ///
    /// `netpager-host config example` prints one that explains everything.
    #[arg(long, short, value_name = "FILE", env = "NETPAGER_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// An export: its name (may be empty), its size, and how it is kept. May be repeated.
    ///
    /// Sizes are bytes or have a suffix K, M, G or T (powers of 1024). After the size may follow, separated by commas:
    /// `store=STORE` (see below); `quota=SIZE`, the most memory an export in RAM may cost, tables included (by default,
    /// enough for all of it); `ro`, to refuse writes; `exclusive`, for one connection at a time; `description=TEXT`;
    /// and for tests `log`, `delay=MILLISECONDS` and `error=PER_MILLE` for every request.
    /// A client that asks for the empty name gets the first export.
    #[arg(long = "export", value_name = "NAME=SIZE[,OPTION]...")]
    pub(crate) exports: Vec<ExportSpec>,

    /// Exports made when a client asks for a name like this. May be repeated.
    ///
    /// `*` stands for any part without a slash, `**` for anything. The client may end the name in `@SIZE`. Options:
    /// `store=` (with `{name}` in a path), `quota=`, `max-size=`, `exclusive`, `max-per-identity=COUNT`, and
    /// `lifetime=last-close`, `lifetime=idle:10m` or `lifetime=keep`.
    #[arg(long = "pattern", value_name = "PATTERN=SIZE[,OPTION]...")]
    pub(crate) patterns: Vec<PatternSpec>,

    /// Where to listen: nbd://HOST:PORT, nbds://HOST:PORT, nbd+unix:///?socket=PATH, HOST:PORT or unix:PATH.
    ///
    /// May be repeated. By default nbd://127.0.0.1:10809, or the sockets systemd passes.
    #[arg(long = "listen", value_name = "ADDRESS", env = "NETPAGER_LISTEN", value_delimiter = ' ')]
    pub(crate) listen: Vec<ListenSpec>,

    /// Listen on addresses that other machines can reach, without any protection.
    #[arg(long)]
    pub(crate) insecure_any_address: bool,

    /// A directory with ca-cert.pem, server-cert.pem and server-key.pem: clients may use TLS, those from elsewhere must.
    #[arg(long, value_name = "DIRECTORY", env = "NETPAGER_TLS_CERTIFICATES")]
    pub(crate) tls_certificates: Option<PathBuf>,

    /// The most memory all exports in RAM may use together [default: what they need, but at most half of this machine's].
    #[arg(long, visible_alias = "ram", value_name = "SIZE", env = "NETPAGER_MEMORY")]
    pub(crate) memory: Option<Size>,

    /// A directory where the service remembers what it was told while it ran.
    #[arg(long, value_name = "DIRECTORY", env = "NETPAGER_STATE")]
    pub(crate) state: Option<PathBuf>,

    /// Serve metrics, a status page and the commands `status`, `export` and `check` here: HOST:PORT or unix:PATH.
    #[arg(long, value_name = "ADDRESS", env = "NETPAGER_ADMIN")]
    pub(crate) admin: Option<String>,

    /// Ask users of the admin address for the token in this file.
    #[arg(long, value_name = "FILE", env = "NETPAGER_ADMIN_TOKEN_FILE")]
    pub(crate) admin_token_file: Option<PathBuf>,

    /// How many threads serve requests [default: one per processor].
    #[arg(long, value_name = "COUNT", env = "NETPAGER_WORKERS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,

    /// How many clients may be connected at a time [default: 16384].
    #[arg(long, value_name = "COUNT", env = "NETPAGER_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_connections: Option<u32>,

    /// How long a client may take to choose an export [default: 10s].
    #[arg(long, value_name = "TIME", env = "NETPAGER_HANDSHAKE_TIMEOUT")]
    pub(crate) handshake_timeout: Option<Span>,

    /// The form of the log.
    #[arg(long, value_name = "FORMAT", env = "NETPAGER_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,

    /// Log more.
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

/// The options of a `serve` command line.
#[cfg(test)]
pub(crate) fn serve_of<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Serve {
    use clap::Parser as _;
    match super::Cli::try_parse_from(arguments).unwrap().command {
        super::Command::Serve(serve) => *serve,
        other => panic!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::Cli;
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        super::super::command().debug_assert();
    }

    #[test]
    fn every_example_in_the_help_is_accepted() {
        let examples = EXAMPLES.lines().filter_map(|line| line.trim().strip_prefix("netpager-host "));
        let parsed = examples.map(|line| Cli::try_parse_from(format!("netpager-host {line}").split(' ')).map(drop));
        assert_eq!(parsed.collect::<Result<Vec<_>, _>>().unwrap().len(), 9);
    }
}
