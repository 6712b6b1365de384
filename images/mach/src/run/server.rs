//! netpager-host as a part of a run: started before the guest, killed and started again when chaos asks for it.
//!
//! It listens on a port that the system picks; `listening on ADDRESS` on its output says which. A restart uses the same
//! port and the same stores, as the guest would find them after a crash of the host's service.

use super::child::Owned;
use crate::image::manifest::{Export, Manifest, StoreKind};
use crate::image::variables::Variables;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// How long it may take to say where it listens.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running netpager-host.
#[derive(Debug)]
pub(crate) struct Server {
    program: PathBuf,
    exports: Vec<String>,
    /// The bundle of certificates, if clients must speak TLS.
    tls: Option<PathBuf>,
    log: PathBuf,
    address: SocketAddr,
    /// `None` while it is away.
    child: Option<Owned>,
}

/// What one serves.
#[derive(Debug)]
pub(crate) struct Serve {
    /// A free port of this address is taken.
    pub(crate) listen: IpAddr,
    /// The `--export` words.
    pub(crate) exports: Vec<String>,
    /// A bundle of certificates; nobody is served without TLS then.
    pub(crate) tls: Option<PathBuf>,
}

impl Server {
    /// Starts it, and waits until it says where it listens. `name` is for its log.
    pub(crate) fn start(name: &str, program: &Path, serve: Serve, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let Serve { listen, exports, tls } = serve;
        let mut server = Self { program: program.to_owned(), exports, tls, log, address: SocketAddr::new(listen, 0), child: None };
        server.up().with_context(|| format!("{name} does not start"))?;
        Ok(server)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it as a crash would (SIGKILL).
    pub(crate) fn kill(&mut self) {
        self.child = None;
    }

    /// Starts it again where it was.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.up().context("netpager-host does not start again")
    }

    /// Has it ended although nobody killed it?
    pub(crate) fn died(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.ended().is_some())
    }

    /// Asks it to end, and helps after a while.
    pub(crate) fn stop(mut self) {
        if let Some(child) = &mut self.child {
            child.terminate();
            child.wait(Duration::from_secs(5));
        }
    }

    /// What it has logged.
    pub(crate) fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn up(&mut self) -> Result<()> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        match &self.tls {
            Some(bundle) => command.args(["serve", "--listen", &format!("nbds://{}", self.address), "--tls-certificates"]).arg(bundle),
            None => command.args(["serve", "--listen", &self.address.to_string()]),
        };
        if self.tls.is_none() && !self.address.ip().is_loopback() {
            // A tap's own network: nobody but the guest is on it.
            command.arg("--insecure-any-address");
        }
        command.args(self.exports.iter().flat_map(|export| ["--export", export]));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = Owned::spawn(&mut command)?;
        let output = child.stdout().context("it has no output")?;
        self.address = listening(output).map_err(|error| error.context(self.logged().trim().to_owned()))?;
        self.child = Some(child);
        Ok(())
    }
}

/// Waits for the line that says where it listens, and goes on reading so that it never blocks on its output.
fn listening(output: ChildStdout) -> Result<SocketAddr> {
    let (said, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(address) = line.strip_prefix("listening on ") {
                let _ = said.send(address.to_owned());
            }
        }
    });
    match heard.recv_timeout(PATIENCE) {
        Ok(address) => address.trim().parse().with_context(|| format!("`{address}` is not an address")),
        Err(RecvTimeoutError::Timeout) => bail!("it does not say where it listens"),
        Err(RecvTimeoutError::Disconnected) => bail!("it ended at once"),
    }
}

/// How the exports of a manifest are kept.
#[derive(Debug)]
pub(crate) enum Exports<'a> {
    /// As it says; files are in this folder.
    AsWritten(&'a Path),
    /// In files of this folder, so that they outlive a kill.
    Durable(&'a Path),
    /// In memory, for another host that mirrors to it.
    InMemory,
    /// In each of the hosts at these addresses.
    Mirrored(Vec<SocketAddr>),
}

impl Exports<'_> {
    /// The `--export` words.
    pub(crate) fn words(&self, manifest: &Manifest, variables: &Variables) -> Result<Vec<String>> {
        manifest.exports.iter().map(|export| self.word(export, variables)).collect()
    }

    fn word(&self, export: &Export, variables: &Variables) -> Result<String> {
        let name = &export.export;
        let size = crate::size::parse(&variables.expand(&export.size)?).with_context(|| format!("the export `{name}`"))?;
        let store = match self {
            Self::AsWritten(_) if export.store == StoreKind::Ram => "ram".to_owned(),
            Self::InMemory => "ram".to_owned(),
            Self::AsWritten(folder) | Self::Durable(folder) => format!("file:{}", folder.join(format!("{name}.store")).display()),
            Self::Mirrored(members) => {
                let members: Vec<String> = members.iter().map(|member| format!("nbd://{member}/{name}")).collect();
                format!("mirror:({})", members.join(";"))
            }
        };
        // A member has one client anyway, which may open several connections.
        let exclusive = if export.exclusive && !matches!(self, Self::InMemory) { ",exclusive" } else { "" };
        Ok(format!("{name}={size}{exclusive},store={store}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fakes::script;
    use super::*;
    use std::net::Ipv4Addr;

    fn serve(tls: Option<PathBuf>) -> Serve {
        Serve { listen: Ipv4Addr::LOCALHOST.into(), exports: vec!["m=1".into()], tls }
    }

    #[test]
    fn the_real_port_is_read_and_used_again_after_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("calls");
        let body = format!("echo \"$@\" >> '{}'\necho hello\necho listening on 127.0.0.1:4711\nexec sleep 60\n", log.display());
        let program = script(folder.path(), "netpager-host", &body);
        let mut server = Server::start("host", &program, serve(None), folder.path()).unwrap();
        assert_eq!(server.address().port(), 4711);
        server.kill();
        assert!(!server.died());
        server.restart().unwrap();
        server.stop();
        let calls = std::fs::read_to_string(log).unwrap();
        assert_eq!(calls, "serve --listen 127.0.0.1:0 --export m=1\nserve --listen 127.0.0.1:4711 --export m=1\n");
    }

    #[test]
    fn with_certificates_nobody_is_served_without_tls() {
        let folder = tempfile::tempdir().unwrap();
        let body = format!("echo \"$@\" > '{}/calls'\necho listening on 127.0.0.1:4711\nexec sleep 60\n", folder.path().display());
        let program = script(folder.path(), "netpager-host", &body);
        Server::start("host", &program, serve(Some("pki/host".into())), folder.path()).unwrap().stop();
        let calls = std::fs::read_to_string(folder.path().join("calls")).unwrap();
        assert_eq!(calls, "serve --listen nbds://127.0.0.1:0 --tls-certificates pki/host --export m=1\n");
    }

    #[test]
    fn a_server_that_ends_at_once_is_an_error_with_its_own_words() {
        let folder = tempfile::tempdir().unwrap();
        let program = script(folder.path(), "netpager-host", "echo no such export >&2\nexit 1\n");
        let error = Server::start("netpager-host", &program, serve(None), folder.path()).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("does not start") && error.contains("no such export"), "{error}");
    }

    #[test]
    fn the_store_is_as_durable_as_the_disturbance_asks() {
        let text = "summary='s'\n[[host]]\nexport='m'\nsize='2M'\nexclusive=true\n[[host]]\nexport='f'\nsize='1M'\nstore='file'\n\
            [[run]]\nprogram='p'\n";
        let manifest = Manifest::parse(text).unwrap();
        let words = |exports: Exports| exports.words(&manifest, &Variables::default()).unwrap();
        let run = Path::new("run");
        assert_eq!(words(Exports::AsWritten(run)), ["m=2097152,exclusive,store=ram", "f=1048576,store=file:run/f.store"]);
        assert_eq!(words(Exports::Durable(run)), ["m=2097152,exclusive,store=file:run/m.store", "f=1048576,store=file:run/f.store"]);
        assert_eq!(words(Exports::InMemory), ["m=2097152,store=ram", "f=1048576,store=ram"]);
        let members = ["127.0.0.1:1", "127.0.0.1:2"].map(|address| address.parse().unwrap()).to_vec();
        let mirrored = words(Exports::Mirrored(members));
        assert_eq!(mirrored[0], "m=2097152,exclusive,store=mirror:(nbd://127.0.0.1:1/m;nbd://127.0.0.1:2/m)");
    }
}
