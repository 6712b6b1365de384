//! `netpager-host pki` on the command line.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use time::{Duration, OffsetDateTime};

use super::PkiError;
use super::authority::{Authority, Issued, Standing, default_bundle};
use super::request::{Alternative, Request, Role};

const EXAMPLES: &str = "\
Examples:
  Make an authority, a server and a guest, and use them:
      netpager-host pki init
      netpager-host pki issue localhost --server
      netpager-host pki issue guest-a
      netpager-host serve --tls-certificates pki/localhost --export memory=256M
      nbdinfo 'nbds://localhost/memory?tls-certificates=pki/guest-a'

  A server with several names and addresses:
      netpager-host pki issue host1.example --server --san 192.0.2.1 --san host1

  Take a guest's certificate back, then have the service read the list again:
      netpager-host pki revoke guest-a
      kill -HUP $(pidof netpager-host)

Files:
  Every bundle is a directory with the names that nbdkit, qemu and libnbd expect:
  ca-cert.pem, server-cert.pem and server-key.pem or client-cert.pem and client-key.pem,
  and for servers ca-crl.pem. Keys have mode 0600. Nothing is ever overwritten.

Safety:
  Whoever holds ca-key.pem can be any guest and any server. The service does not need it:
  copy bundles to where they are used, and keep this directory elsewhere.";

/// Make the certificates for TLS: an authority, servers, guests.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Pki {
    /// The authority's directory.
    #[arg(long, value_name = "DIRECTORY", default_value = "pki", global = true)]
    pub directory: PathBuf,

    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Make an authority.
    Init {
        /// What it calls itself.
        #[arg(long, default_value = "netpager-host authority")]
        name: String,
        /// How long it lasts.
        #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36500))]
        days: u32,
    },
    /// Issue a certificate with a new key.
    Issue {
        /// Who it is for: a guest's name, or a server's host name or address.
        ///
        /// Clients verify that the server's name is the one they connect to; access rules know a guest as `dns:NAME`.
        name: String,
        /// Another name: dns:NAME, uri:URI or ip:ADDRESS. May be repeated.
        #[arg(long = "san", value_name = "NAME")]
        san: Vec<Alternative>,
        /// For a server instead of a client.
        #[arg(long)]
        server: bool,
        /// How long it lasts; never longer than the authority.
        #[arg(long, default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=36500))]
        days: u32,
        /// Where the bundle goes [default: a directory of that name beside the authority's files].
        #[arg(long, value_name = "DIRECTORY")]
        out: Option<PathBuf>,
    },
    /// Take certificates back.
    Revoke {
        /// The name they were issued for, or the number of one of them.
        #[arg(value_name = "NAME|NUMBER")]
        name: String,
    },
    /// List what was issued.
    List,
}

/// Does what the command line says; what it did is written to `out`.
///
/// # Errors
/// It could not; what was there before is still there.
pub fn run(pki: &Pki, out: &mut dyn Write) -> Result<(), PkiError> {
    let now = now();
    let lines = match &pki.command {
        Command::Init { name, days } => init(pki, name, *days, now)?,
        Command::Issue { name, san, server, days, out } => {
            let role = if *server { Role::Server } else { Role::Client };
            let lifetime = Duration::days((*days).into());
            let bundle = out.clone().map_or_else(|| default_bundle(&pki.directory, name), Ok)?;
            let request = Request { name: name.clone(), role, alternatives: san.clone(), now, lifetime };
            issue(pki, &request, &bundle)?
        }
        Command::Revoke { name } => revoke(pki, name, now)?,
        Command::List => list(&Authority::open(&pki.directory)?.list(now)?),
    };
    lines.iter().try_for_each(|line| writeln!(out, "{line}")).map_err(PkiError::Output)
}

/// Certificates count whole seconds.
fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap_or(now)
}

fn init(pki: &Pki, name: &str, days: u32, now: OffsetDateTime) -> Result<Vec<String>, PkiError> {
    let authority = Authority::create(&pki.directory, name, now, Duration::days(days.into()))?;
    let until = authority.facts().not_after.date();
    Ok(vec![
        format!("{}: authority `{name}` until {until}", pki.directory.display()),
        "next: netpager-host pki issue HOST --server; netpager-host pki issue GUEST".into(),
    ])
}

fn issue(pki: &Pki, request: &Request, bundle: &std::path::Path) -> Result<Vec<String>, PkiError> {
    let facts = Authority::open(&pki.directory)?.issue(request, bundle)?;
    let role = if request.role == Role::Server { "server" } else { "client" };
    let (names, until) = (facts.describe_names(), facts.not_after.date());
    let mut lines = vec![format!("{}: {role} {names} until {until}, number {}", bundle.display(), facts.serial)];
    if facts.not_after < request.now + request.lifetime {
        lines.push("it ends with its authority, earlier than you asked".into());
    }
    Ok(lines)
}

fn revoke(pki: &Pki, name: &str, now: OffsetDateTime) -> Result<Vec<String>, PkiError> {
    let done = Authority::open(&pki.directory)?.revoke(name, now)?;
    let revoked = done.revoked.iter().map(|facts| format!("revoked: number {} ({})", facts.serial, facts.describe_names()));
    let written = done.written.iter().map(|path| format!("written: {}", path.display()));
    let failed = done.failed.iter().map(|error| format!("NOT written, copy it yourself: {error}"));
    let last = "copy the list to servers elsewhere, and have each service read it again (SIGHUP)";
    Ok(revoked.chain(written).chain(failed).chain([last.into()]).collect())
}

fn list(all: &[Issued]) -> Vec<String> {
    let header = format!("{:<32}  {:<6}  {:<7}  {:<10}  {}", "NUMBER", "FOR", "IS", "UNTIL", "NAMES");
    let line = |issued: &Issued| {
        let facts = &issued.facts;
        let role = if facts.for_server { "server" } else { "client" };
        let standing = match issued.standing {
            Standing::Good => "good",
            Standing::Expired => "expired",
            Standing::Revoked => "revoked",
        };
        format!("{:<32}  {role:<6}  {standing:<7}  {:<10}  {}", facts.serial, facts.not_after.date(), facts.describe_names())
    };
    std::iter::once(header).chain(all.iter().map(line)).collect()
}
