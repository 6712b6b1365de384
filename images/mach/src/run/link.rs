//! The link between the guest's network card and netpager-host: user networking, passt, or a tap interface.
//!
//! User networking is inside QEMU and works for everybody; the others are faster where they are there. In each of them the
//! guest reaches the host's service at the gateway's address. A link owns what it started or made, and undoes it.

use super::child::Owned;
use crate::cli::LinkChoice;
use crate::image::variables::Variables;
use anyhow::{Context, Result, bail};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A link that is up.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) name: &'static str,
    /// QEMU's `-netdev`; its id is `net`.
    pub(crate) netdev: String,
    /// What the card tells the guest, if it is not Ethernet's 1500.
    pub(crate) mtu: Option<u32>,
    pub(crate) addresses: Addresses,
    /// Where netpager-host must listen.
    pub(crate) listen: IpAddr,
    /// What has to be undone in the end.
    _undo: Option<Undo>,
}

/// As the guest sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    ip: Ipv4Addr,
    prefix: u8,
    /// The way out, and the host.
    gateway: Ipv4Addr,
}

impl Addresses {
    /// Tells the guest its own address, the gateway's and the server's.
    pub(crate) fn set(&self, variables: &mut Variables, server: SocketAddrV4) {
        variables.set("ip", format!("{}/{}", self.ip, self.prefix));
        variables.set("gateway", self.gateway);
        variables.set("server", server);
    }

    /// A service of the host, listening at the link's `listen`, as the guest sees it.
    pub(crate) fn host(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.gateway, port)
    }
}

impl Link {
    /// An address of the host's world as the guest must write it: the host's loopback is behind the gateway, if anywhere.
    pub(crate) fn address_of(&self, server: SocketAddrV4) -> Result<SocketAddrV4> {
        if !server.ip().is_loopback() {
            return Ok(server);
        }
        if *server.ip() != Ipv4Addr::LOCALHOST || self.listen != IpAddr::V4(Ipv4Addr::LOCALHOST) {
            bail!("{server} cannot be reached by {}: of the host's loopback, --link user and passt reach 127.0.0.1", self.name);
        }
        Ok(self.addresses.host(server.port()))
    }
}

#[derive(Debug)]
enum Undo {
    /// passt ends with its child guard.
    Helper { _child: Owned },
    /// A tap that was made for this run.
    Tap(String),
}

impl Drop for Undo {
    fn drop(&mut self) {
        if let Self::Tap(name) = self {
            let _ = ip(&["link", "delete", name]);
        }
    }
}

/// QEMU's user networking, which can't fail to be there. Its network is QEMU's default.
pub(crate) fn user() -> Link {
    Link {
        name: "user networking",
        netdev: "user,id=net".to_owned(),
        mtu: None,
        addresses: user_addresses(),
        listen: Ipv4Addr::LOCALHOST.into(),
        _undo: None,
    }
}

fn user_addresses() -> Addresses {
    Addresses { ip: Ipv4Addr::new(10, 0, 2, 15), prefix: 24, gateway: Ipv4Addr::new(10, 0, 2, 2) }
}

/// Brings up the link that was asked for. `auto` takes the tap that is named, else passt, else user networking; it makes
/// no tap of its own, since a firewall that does not know the new interface would turn a slow run into none.
pub(crate) fn up(choice: LinkChoice, tap_name: Option<&str>, folder: &Path) -> Result<Link> {
    match (choice, tap_name) {
        (LinkChoice::User, _) => Ok(user()),
        (LinkChoice::Passt, _) => passt(folder).context("--link passt"),
        (LinkChoice::Tap | LinkChoice::Auto, Some(name)) => existing_tap(name).with_context(|| format!("the tap {name}")),
        (LinkChoice::Tap, None) => new_tap().context("--link tap"),
        (LinkChoice::Auto, None) => Ok(fastest_without_privileges(folder)),
    }
}

fn fastest_without_privileges(folder: &Path) -> Link {
    if on_path("passt").is_none() {
        return user();
    }
    passt(folder).unwrap_or_else(|error| {
        eprintln!("mach: passt is installed but does not start ({error:#}); using user networking");
        user()
    })
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// As large as IPv4 allows: passt then needs no segmentation offload.
const PASST_MTU: u32 = 65_520;
const PASST_PATIENCE: Duration = Duration::from_secs(5);

/// passt on a Unix socket, with user networking's addresses; its gateway address is the host's loopback.
fn passt(folder: &Path) -> Result<Link> {
    let program = on_path("passt").context("passt is not installed")?;
    let socket = folder.join("passt.sock");
    let log = std::fs::File::create(folder.join("passt.log"))?;
    let Addresses { ip, prefix, gateway } = user_addresses();
    let mut command = Command::new(program);
    command.args(["--foreground", "--one-off", "--ipv4-only", "--no-dhcp"]);
    command.args(["--mtu", &PASST_MTU.to_string(), "--address", &ip.to_string(), "--netmask", &prefix.to_string()]);
    if rustix::process::geteuid().is_root() {
        // It would become `nobody`, who may not make a socket in the run's folder.
        command.args(["--runas", "0"]);
    }
    command.args(["--gateway", &gateway.to_string(), "--socket"]).arg(&socket);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let mut child = Owned::spawn(&mut command)?;
    let start = Instant::now();
    while !socket.exists() {
        if let Some(status) = child.ended() {
            let said = std::fs::read_to_string(folder.join("passt.log")).unwrap_or_default();
            bail!("passt ended with {status}: {}", said.lines().last().unwrap_or_default());
        }
        if start.elapsed() > PASST_PATIENCE {
            bail!("passt does not make its socket");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let path = socket.display().to_string().replace(',', ",,");
    Ok(Link {
        name: "passt",
        netdev: format!("stream,id=net,server=off,addr.type=unix,addr.path={path}"),
        mtu: Some(PASST_MTU),
        addresses: user_addresses(),
        listen: Ipv4Addr::LOCALHOST.into(),
        _undo: Some(Undo::Helper { _child: child }),
    })
}

/// A tap that somebody has set up: its address on the host is the guest's gateway, the guest gets a neighbour's.
fn existing_tap(name: &str) -> Result<Link> {
    let listing = ip(&["-4", "-o", "address", "show", "dev", name])?;
    let (host, prefix) = address_in(&listing).context("has no IPv4 address on the host")?;
    tap(name, host, prefix, None)
}

/// A tap of our own on a network of two addresses.
fn new_tap() -> Result<Link> {
    let number = std::process::id();
    let name = format!("pvmach{}", number % 100_000);
    let host = Ipv4Addr::new(10, 213, u8::try_from(number >> 6 & 0xff)?, u8::try_from((number & 0x3f) << 2)? + 1);
    ip(&["tuntap", "add", "dev", &name, "mode", "tap"]).context("cannot be made (it needs CAP_NET_ADMIN)")?;
    let undo = Undo::Tap(name.clone());
    ip(&["address", "add", &format!("{host}/30"), "dev", &name])?;
    ip(&["link", "set", "dev", &name, "up"])?;
    tap(&name, host, 30, Some(undo))
}

fn tap(name: &str, host: Ipv4Addr, prefix: u8, undo: Option<Undo>) -> Result<Link> {
    Ok(Link {
        name: "tap",
        netdev: format!("tap,id=net,ifname={name},script=no,downscript=no"),
        mtu: None,
        addresses: Addresses { ip: neighbour(host, prefix)?, prefix, gateway: host },
        listen: host.into(),
        _undo: undo,
    })
}

/// The address after `host`, or the one before it at the end of the network.
fn neighbour(host: Ipv4Addr, prefix: u8) -> Result<Ipv4Addr> {
    if !(1..=30).contains(&prefix) {
        bail!("a network of /{prefix} has no room for a guest");
    }
    let mask = u32::MAX >> prefix;
    let bits = u32::from(host);
    let next = if (bits + 1) & mask == mask { bits - 1 } else { bits + 1 };
    Ok(Ipv4Addr::from(next))
}

/// `… inet 10.1.2.1/24 …` in the words of `ip -o address`.
fn address_in(listing: &str) -> Option<(Ipv4Addr, u8)> {
    let mut words = listing.split_whitespace().skip_while(|word| *word != "inet");
    let (address, prefix) = words.nth(1)?.split_once('/')?;
    Some((address.parse().ok()?, prefix.parse().ok()?))
}

fn ip(arguments: &[&str]) -> Result<String> {
    let output = Command::new("ip").args(arguments).output().context("cannot run ip (Debian package iproute2)")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_learns_the_hosts_address_and_the_real_port() {
        let mut variables = Variables::default();
        let link = user();
        link.addresses.set(&mut variables, link.addresses.host(4711));
        let text = variables.expand("ip=${ip} gw=${gateway} server=${server}").unwrap();
        assert_eq!(text, "ip=10.0.2.15/24 gw=10.0.2.2 server=10.0.2.2:4711");
    }

    #[test]
    fn the_hosts_loopback_is_behind_the_gateway() {
        let seen = |link: &Link, text: &str| link.address_of(text.parse().unwrap()).map(|address| address.to_string());
        assert_eq!(seen(&user(), "127.0.0.1:9").unwrap(), "10.0.2.2:9");
        assert_eq!(seen(&user(), "192.0.2.7:9").unwrap(), "192.0.2.7:9");
        assert!(seen(&user(), "127.0.0.2:9").is_err());
        let tap = tap("tap0", Ipv4Addr::new(192, 0, 2, 1), 30, None).unwrap();
        assert_eq!(seen(&tap, "192.0.2.1:9").unwrap(), "192.0.2.1:9");
        assert!(seen(&tap, "127.0.0.1:9").unwrap_err().to_string().contains("--link user"));
    }

    #[test]
    fn a_taps_address_is_found_in_ips_words() {
        let listing = "7: tap0    inet 192.0.2.1/30 brd 192.0.2.3 scope global tap0\\       valid_lft forever";
        assert_eq!(address_in(listing), Some((Ipv4Addr::new(192, 0, 2, 1), 30)));
        assert_eq!(address_in("7: tap0    inet6 fe80::1/64"), None);
        assert_eq!(address_in(""), None);
    }

    #[test]
    fn the_guest_gets_a_neighbour_inside_the_network() {
        let next = |text: &str, prefix| neighbour(text.parse().unwrap(), prefix).map(|ip| ip.to_string()).ok();
        assert_eq!(next("192.0.2.1", 30).as_deref(), Some("192.0.2.2"));
        assert_eq!(next("192.0.2.2", 30).as_deref(), Some("192.0.2.1"));
        assert_eq!(next("10.0.0.254", 24).as_deref(), Some("10.0.0.253"));
        assert_eq!(next("10.0.0.1", 31), None);
        assert_eq!(next("10.0.0.1", 0), None);
    }

    #[test]
    fn a_tap_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(up(LinkChoice::Tap, Some("no-such-tap"), folder.path()).is_err());
    }
}
