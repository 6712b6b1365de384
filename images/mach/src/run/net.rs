//! What the options for the network pager come to: who keeps the pages, and the words that the pager is told.
//!
//! Combinations that make no sense are refused here, before anything is built. `host_side` brings about what is left.

use super::chaos::{Chaos, Victim};
use super::pki;
use crate::cli::{NetOptions, SealChoice};
use crate::image::manifest::Manifest;
use crate::image::variables::NET_OPTIONS;
use anyhow::{Context, Result, bail};
use std::net::{SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::path::PathBuf;

/// The choice for one run.
#[derive(Clone, Debug)]
pub(crate) struct Net {
    pub(crate) service: Service,
    seal: Option<SealChoice>,
}

/// Who keeps the pages.
#[derive(Clone, Debug)]
pub(crate) enum Service {
    /// A netpager-host that the run starts and ends.
    Own { tls: bool },
    /// Somebody else's server.
    Running(Running),
}

/// A server that is there before the run and after it.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) address: SocketAddrV4,
    /// The host as it was written: what a certificate must name.
    pub(crate) host: String,
    /// Whom to trust, if it speaks TLS.
    pub(crate) certificates: Option<PathBuf>,
    take_foreign: bool,
}

impl Default for Net {
    fn default() -> Self {
        Self { service: Service::Own { tls: false }, seal: None }
    }
}

impl Net {
    pub(crate) fn new(options: &NetOptions, manifest: &Manifest, chaos: &[Chaos]) -> Result<Self> {
        refuse(options, manifest, chaos)?;
        let service = match &options.server {
            Some(server) => Service::Running(Running::new(server, options)?),
            None => Service::Own { tls: options.tls },
        };
        Ok(Self { service, seal: options.seal })
    }

    /// The pager's words for all of it.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let certificates = format!("tls-certificates={}", pki::RAMDISK_FOLDER);
        match &self.service {
            // The certificate names the address that the guest sees.
            Service::Own { tls } => words.extend(tls.then_some(certificates)),
            Service::Running(running) => {
                if running.certificates.is_some() {
                    words.extend([certificates, format!("tls-hostname={}", running.host)]);
                }
                words.extend(running.take_foreign.then(|| "foreign=take".to_owned()));
            }
        }
        words.extend(self.seal.map(|seal| seal.word().to_owned()));
        words
    }

    /// Has the run to start a netpager-host?
    pub(crate) fn starts_host(&self) -> bool {
        matches!(self.service, Service::Own { .. })
    }
}

impl Running {
    fn new(server: &str, options: &NetOptions) -> Result<Self> {
        let (host, _) = server.rsplit_once(':').with_context(|| format!("--server {server}: write ADDRESS:PORT, as 127.0.0.1:10809"))?;
        let mut found = server.to_socket_addrs().with_context(|| format!("--server {server}"))?;
        let address = found.find_map(|address| match address {
            SocketAddr::V4(address) => Some(address),
            SocketAddr::V6(_) => None,
        });
        let address = address.with_context(|| format!("--server {server}: the guest speaks IPv4 only"))?;
        if address.ip().is_unspecified() || address.port() == 0 {
            bail!("--server {server}: where it listens is not yet where it is reached: write an address and a port");
        }
        let (certificates, take_foreign) = (options.certificates.clone(), options.take_foreign);
        Ok(Self { address, host: host.to_owned(), certificates, take_foreign })
    }
}

/// The combinations that make no sense.
fn refuse(options: &NetOptions, manifest: &Manifest, chaos: &[Chaos]) -> Result<()> {
    let NetOptions { tls, seal, server, certificates, take_foreign } = options;
    let (running, words) = (server.is_some(), *tls || seal.is_some() || certificates.is_some() || *take_foreign);
    let victims = |victim| chaos.iter().filter(|chaos| chaos.victim == victim).count();
    let rules = [
        (
            *tls && running,
            "--tls makes certificates for a netpager-host of the run's own; for a --server that is running, say --certificates FOLDER",
        ),
        (certificates.is_some() && !running, "--certificates belongs to --server; for the run's own netpager-host, --tls makes them"),
        (*take_foreign && !running, "--take-foreign belongs to --server: the run's own netpager-host starts empty"),
        (running && !chaos.is_empty(), "--chaos kills what the run has started: not a --server"),
        (
            (running || words) && manifest.exports.is_empty(),
            "this manifest has no network pager for --tls, --seal and --server (`net` has one)",
        ),
        (
            words && !manifest.takes(NET_OPTIONS),
            "this manifest's network pager takes no options: put \"${net_options}\" into its args, as images/manifests/net.toml does",
        ),
        (!chaos.is_empty() && manifest.exports.is_empty(), "--chaos: this manifest does not use netpager-host"),
        (victims(Victim::Member) > 1, "--chaos kill-member: once; there is no third copy"),
        (
            victims(Victim::Member) > 0 && victims(Victim::Host) > 0,
            "--chaos: either kill-host, with its store in files, or kill-member, with its store in two other hosts' memory",
        ),
    ];
    match rules.iter().find(|(broken, _)| *broken) {
        Some((_, why)) => bail!("{why}"),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    const NET: &str = "summary='s'\n[[host]]\nexport='m'\nsize='1M'\n[[pager]]\nname='net'\nprogram='n'\nargs=['${net_options}']\n\
        [[run]]\nprogram='p'\n";
    const DEAF: &str = "summary='s'\n[[host]]\nexport='m'\nsize='1M'\n[[run]]\nprogram='p'\n";
    const SWAP: &str = "summary='s'\n[[run]]\nprogram='p'\n";

    pub(crate) fn net(line: &str, manifest: &str) -> Result<Net> {
        let words = ["mach", "run"].into_iter().chain(line.split_whitespace());
        let Command::Run(options) = Cli::try_parse_from(words).unwrap().command else { panic!("not run") };
        Net::new(&options.net, &Manifest::parse(manifest).unwrap(), &options.chaos)
    }

    #[test]
    fn the_pager_is_told() {
        let words = |line| net(line, NET).unwrap().words().join(" ");
        assert_eq!(words(""), "");
        assert_eq!(words("--seal full"), "seal=full");
        assert_eq!(words("--tls --seal yes"), "tls-certificates=tls seal=yes");
        assert_eq!(words("--server 127.0.0.1:9"), "");
        assert_eq!(words("--server 127.0.0.1:9 --take-foreign"), "foreign=take");
        assert_eq!(words("--server localhost:9 --certificates pki"), "tls-certificates=tls tls-hostname=localhost");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_does() {
        for (line, manifest, why) in [
            ("--tls --server 127.0.0.1:9", NET, "--certificates FOLDER"),
            ("--certificates pki", NET, "--tls makes them"),
            ("--take-foreign", NET, "starts empty"),
            ("--server 127.0.0.1:9 --chaos kill-host@1", NET, "not a --server"),
            ("--server 127.0.0.1:9", SWAP, "`net` has one"),
            ("--tls", SWAP, "`net` has one"),
            ("--seal yes", DEAF, "${net_options}"),
            ("--chaos kill-host@1", SWAP, "does not use netpager-host"),
            ("--chaos kill-member@1 --chaos kill-member@2", NET, "no third copy"),
            ("--chaos kill-member@1 --chaos kill-host@2", NET, "either"),
            ("--server 127.0.0.1", NET, "ADDRESS:PORT"),
            ("--server [::1]:9", NET, "IPv4"),
            ("--server 0.0.0.0:9", NET, "reached"),
            ("--server 127.0.0.1:0", NET, "reached"),
        ] {
            let error = format!("{:#}", net(line, manifest).unwrap_err());
            assert!(error.contains(why), "{line}: {error}");
        }
        assert!(net("--server 127.0.0.1:9", DEAF).is_ok(), "it needs no words");
    }
}
