//! Other people's NBD servers, each started on loopback for one test: the network pager must get along with them.

use crate::image::manifest::Manifest;
use crate::run::child::Owned;
use crate::run::pki;
use crate::run::plan::Plan;
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long one may take until it accepts a connection.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often another port is tried: between our choice and the server's use of it, somebody else may take it.
const ATTEMPTS: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// nbdkit with its memory plugin.
    Nbdkit,
    /// The same, over GnuTLS, for clients with a certificate.
    NbdkitTls,
    /// qemu-nbd with a raw file.
    QemuNbd,
}

/// One that is up; dropped, it is gone.
#[derive(Debug)]
pub(crate) struct RunningPeer {
    pub(crate) address: SocketAddr,
    /// The guest's bundle of certificates, if TLS is spoken.
    pub(crate) certificates: Option<PathBuf>,
    /// Where the pages are kept, and stay: trims are not taken.
    pub(crate) image: Option<PathBuf>,
    _child: Owned,
}

impl Peer {
    /// The program, and the Debian package that has it.
    fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::Nbdkit | Self::NbdkitTls => ("nbdkit", "nbdkit"),
            Self::QemuNbd => ("qemu-nbd", "qemu-utils"),
        }
    }

    /// Starts it with the manifest's first export. `host` is netpager-host: it makes the certificates.
    pub(crate) fn start(self, manifest: &Manifest, plan: &Plan, host: Option<&Path>, folder: &Path) -> Result<RunningPeer> {
        let export = manifest.exports.first().context("the manifest has no export")?;
        let size = crate::size::parse(&plan.variables().expand(&export.size)?)?;
        let bundles = match self {
            Self::NbdkitTls => Some(pki::make(host.context("netpager-host has not been built")?, Ipv4Addr::LOCALHOST, folder)?),
            Self::Nbdkit | Self::QemuNbd => None,
        };
        let image = folder.join("peer.img");
        let has_image = self == Self::QemuNbd;
        if has_image {
            File::create(&image).and_then(|file| file.set_len(size)).with_context(|| format!("cannot make {}", image.display()))?;
        }
        let mut tried = 0;
        loop {
            let address = free_port()?;
            let mut command = Command::new(self.program().0);
            self.arguments(&mut command, address, &export.export, size, &image);
            if let Some(bundles) = &bundles {
                command.args(["--tls=require", "--tls-verify-peer"]).arg(option("--tls-certificates=", &bundles.host));
            }
            tried += 1;
            match self.up(command, address, folder) {
                Ok(child) => {
                    let certificates = bundles.map(|bundles| bundles.guest);
                    return Ok(RunningPeer { address, certificates, image: has_image.then_some(image), _child: child });
                }
                Err(error) if tried == ATTEMPTS => return Err(error),
                Err(_) => {}
            }
        }
    }

    fn arguments(self, command: &mut Command, address: SocketAddr, export: &str, size: u64, image: &Path) {
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        match self {
            Self::Nbdkit | Self::NbdkitTls => {
                command.args(["-f", "-i", &ip, "-p", &port, "memory", &size.to_string()]);
            }
            Self::QemuNbd => {
                command
                    .args(["--persistent", "--shared=8", "--discard=ignore", "-b", &ip, "-p", &port, "-x", export, "-f", "raw"])
                    .arg(image);
            }
        }
    }

    /// Starts it and waits until it accepts connections.
    fn up(self, mut command: Command, address: SocketAddr, folder: &Path) -> Result<Owned> {
        let (program, package) = self.program();
        let log = folder.join("peer.log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let mut child = Owned::spawn(&mut command).with_context(|| format!("no {program} (Debian package {package})"))?;
        let start = Instant::now();
        loop {
            if let Some(status) = child.ended() {
                bail!("{program} ended with {status}: {}", std::fs::read_to_string(&log).unwrap_or_default().trim());
            }
            if TcpStream::connect(address).is_ok() {
                return Ok(child);
            }
            if start.elapsed() > PATIENCE {
                bail!("{program} does not listen at {address}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn option(name: &str, path: &Path) -> std::ffi::OsString {
    [OsStr::new(name), path.as_os_str()].into_iter().collect()
}

fn free_port() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::guest::GuestTest;

    #[test]
    fn each_peer_starts_listens_and_ends() {
        let manifest = Manifest::parse("summary='s'\n[[host]]\nexport='m'\nsize='1M'\n[[run]]\nprogram='p'\n").unwrap();
        let plan = Plan::new(&GuestTest::options_of("net").unwrap().guest, &manifest).unwrap();
        for peer in [Peer::Nbdkit, Peer::QemuNbd] {
            let (program, _) = peer.program();
            if Command::new(program).arg("--version").stdout(Stdio::null()).status().is_err() {
                eprintln!("skipped: no {program}");
                continue;
            }
            let folder = tempfile::tempdir().unwrap();
            let running = peer.start(&manifest, &plan, None, folder.path()).unwrap();
            let address = running.address;
            assert!(TcpStream::connect(address).is_ok(), "{peer:?}");
            drop(running);
            assert!(TcpStream::connect(address).is_err(), "{peer:?}");
        }
    }
}
