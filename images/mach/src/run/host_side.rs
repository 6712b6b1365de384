//! The host's side of a run, brought up before the guest: the link, the servers, and what the guest must know to reach them.

use super::chaos::{Chaos, Victim};
use super::link::{self, Link};
use super::net::{Net, Running, Service};
use super::pki;
use super::plan::Plan;
use super::server::{Exports, Serve, Server};
use super::servers::Servers;
use crate::image::manifest::Manifest;
use crate::image::ramdisk::DataFile;
use crate::image::variables::Variables;
use anyhow::{Context, Result};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::Path;
use std::time::Duration;

/// How many netpager-hosts stand behind a mirror.
const MEMBERS: usize = 2;
/// How long a server that is said to be running may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is up.
#[derive(Debug)]
pub(crate) struct HostSide {
    pub(crate) link: Link,
    /// Those that the run has started; none if somebody else's is used.
    pub(crate) servers: Option<Servers>,
    /// The server's address as the guest sees it.
    pub(crate) address: SocketAddrV4,
    /// The guest's certificates.
    pub(crate) data: Vec<DataFile>,
    /// What it is, for people.
    pub(crate) description: String,
}

/// What has to be known to bring it up.
pub(crate) struct Wanted<'a> {
    pub(crate) net: &'a Net,
    pub(crate) manifest: &'a Manifest,
    pub(crate) plan: &'a Plan,
    pub(crate) chaos: &'a [Chaos],
    /// netpager-host, if it has been built.
    pub(crate) program: Option<&'a Path>,
    /// For stores, sockets, keys and logs.
    pub(crate) folder: &'a Path,
}

impl Wanted<'_> {
    pub(crate) fn up(&self, variables: &Variables) -> Result<HostSide> {
        let link = link::up(self.plan.link, self.plan.tap_name.as_deref(), self.folder)?;
        match &self.net.service {
            Service::Own { tls } => self.own(link, *tls, variables),
            Service::Running(running) => theirs(link, running),
        }
    }

    fn own(&self, link: Link, tls: bool, variables: &Variables) -> Result<HostSide> {
        let program = self.program.context("netpager-host has not been built")?;
        let bundles = if tls { Some(pki::make(program, *link.addresses.host(0).ip(), self.folder)?) } else { None };
        let data = bundles.as_ref().map_or(Ok(Vec::new()), |bundles| pki::guest_files(&bundles.guest))?;
        let members = self.members(program, variables)?;
        let exports = match &members[..] {
            [] if self.chaos.is_empty() => Exports::AsWritten(self.folder),
            [] => Exports::Durable(self.folder),
            members => Exports::Mirrored(members.iter().map(Server::address).collect()),
        };
        let serve =
            Serve { listen: link.listen, exports: exports.words(self.manifest, variables)?, tls: bundles.map(|bundles| bundles.host) };
        let host = Server::start("netpager-host", program, serve, self.folder)?;
        let address = link.addresses.host(host.address().port());
        let (secured, mirrored) = (if tls { ", TLS" } else { "" }, if members.is_empty() { "" } else { ", a mirror of two others" });
        let description = format!("netpager-host on port {}{secured}{mirrored}", address.port());
        Ok(HostSide { link, servers: Some(Servers::new(host, members)), address, data, description })
    }

    /// The hosts behind a mirror, if one of them is to be killed.
    fn members(&self, program: &Path, variables: &Variables) -> Result<Vec<Server>> {
        let count = if self.chaos.iter().any(|chaos| chaos.victim == Victim::Member) { MEMBERS } else { 0 };
        let start = |number: usize| {
            let exports = Exports::InMemory.words(self.manifest, variables)?;
            let serve = Serve { listen: Ipv4Addr::LOCALHOST.into(), exports, tls: None };
            Server::start(&format!("netpager-host-member-{number}"), program, serve, self.folder)
        };
        (1..=count).map(start).collect()
    }
}

/// A server that is running already: it is only looked at.
fn theirs(link: Link, running: &Running) -> Result<HostSide> {
    let address = link.address_of(running.address)?;
    let data = running.certificates.as_deref().map_or(Ok(Vec::new()), pki::guest_files).context("--certificates")?;
    TcpStream::connect_timeout(&running.address.into(), PATIENCE)
        .with_context(|| format!("--server: nobody answers at {}", running.address))?;
    let secured = if data.is_empty() { "" } else { ", TLS" };
    let description = format!("the server at {}{secured}", running.address);
    Ok(HostSide { link, servers: None, address, data, description })
}
