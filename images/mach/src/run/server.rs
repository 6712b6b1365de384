//! netpager-host as a part of a run: started before the guest, killed and started again when chaos asks for it.
//!
//! It listens on a port that the system picks; `listening on ADDRESS` on its output says which. A restart uses the same
//! port and the same stores, as the guest would find them after a crash of the host's service.

use super::child::Owned;
use crate::image::manifest::{Manifest, StoreKind};
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
    log: PathBuf,
    address: SocketAddr,
    /// `None` while it is away.
    child: Option<Owned>,
}

impl Server {
    /// Starts it with `exports` on a free port of `listen`, and waits until it says where it listens.
    pub(crate) fn start(program: &Path, exports: Vec<String>, listen: IpAddr, folder: &Path) -> Result<Self> {
        let log = folder.join("netpager-host.log");
        let mut server = Self { program: program.to_owned(), exports, log, address: SocketAddr::new(listen, 0), child: None };
        server.up().context("netpager-host does not start")?;
        Ok(server)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
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
        command.args(["serve", "--listen", &self.address.to_string()]);
        if !self.address.ip().is_loopback() {
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

/// The `--export` words of a manifest. `durable` makes every store a file, so that it outlives a kill.
pub(crate) fn exports(manifest: &Manifest, variables: &Variables, durable: bool, folder: &Path) -> Result<Vec<String>> {
    let mut words = Vec::new();
    for export in &manifest.exports {
        let name = &export.export;
        let size = crate::size::parse(&variables.expand(&export.size)?).with_context(|| format!("the export `{name}`"))?;
        let store = match export.store {
            StoreKind::Ram if !durable => "ram".to_owned(),
            StoreKind::Ram | StoreKind::File => format!("file:{}", folder.join(format!("{name}.store")).display()),
        };
        words.push(format!("{name}={size},store={store}"));
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::super::fakes::script;
    use super::*;
    use std::net::Ipv4Addr;

    const LISTEN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn the_real_port_is_read_and_used_again_after_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("calls");
        let body = format!("echo \"$@\" >> '{}'\necho hello\necho listening on 127.0.0.1:4711\nexec sleep 60\n", log.display());
        let program = script(folder.path(), "netpager-host", &body);
        let mut server = Server::start(&program, vec!["m=1".into()], LISTEN, folder.path()).unwrap();
        assert_eq!(server.port(), 4711);
        server.kill();
        assert!(!server.died());
        server.restart().unwrap();
        server.stop();
        let calls = std::fs::read_to_string(log).unwrap();
        assert_eq!(calls, "serve --listen 127.0.0.1:0 --export m=1\nserve --listen 127.0.0.1:4711 --export m=1\n");
    }

    #[test]
    fn a_server_that_ends_at_once_is_an_error_with_its_own_words() {
        let folder = tempfile::tempdir().unwrap();
        let program = script(folder.path(), "netpager-host", "echo no such export >&2\nexit 1\n");
        let error = Server::start(&program, Vec::new(), LISTEN, folder.path()).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("does not start") && error.contains("no such export"), "{error}");
    }

    #[test]
    fn stores_become_files_when_they_must_outlive_a_kill() {
        let text = "summary='s'\n[[host]]\nexport='m'\nsize='2M'\n[[run]]\nprogram='p'\n";
        let manifest = Manifest::parse(text).unwrap();
        let words = |durable| exports(&manifest, &Variables::default(), durable, Path::new("run")).unwrap();
        assert_eq!(words(false), ["m=2097152,store=ram"]);
        assert_eq!(words(true), ["m=2097152,store=file:run/m.store"]);
    }
}
