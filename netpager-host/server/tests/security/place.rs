//! A service with certificates and rules, in a directory that goes with the test.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use security::TlsClient;
use tempfile::TempDir;

use crate::raw::{Raw, Secure};

/// Nothing here takes longer than this unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Guests have places of their own; all may read `shared`; only guest-b knows of `secret`.
pub(crate) const RULES: &str = r#"
    [[export]]
    name = "secret"
    size = "1M"

    [[export]]
    name = "shared"
    size = "1M"

    [[pattern]]
    match = "np1/*/*"
    size = "1M"
    lifetime = "idle 10m"

    [[acl]]
    identity = "dns:guest-*"
    export = "np1/{name}/**"
    access = "read-write"
    may-create = true
    max-bytes = "2MiB"
    max-connections = 3

    [[acl]]
    identity = "dns:guest-*"
    export = "shared"
    access = "read-only"

    [[acl]]
    identity = "dns:guest-b"
    export = "secret"
    access = "read-write"
"#;

/// A running service; it is killed when dropped.
pub(crate) struct Place {
    directory: TempDir,
    child: Child,
    pub(crate) address: String,
}

impl Place {
    /// A service that wants TLS on a loopback port, with rules, a server's certificate and those of two guests.
    pub(crate) fn new() -> Self {
        Self::listening("nbds://127.0.0.1:0", RULES)
    }

    pub(crate) fn listening(listen: &str, rules: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        pki(path, &["init"]);
        pki(path, &["issue", "localhost", "--server"]);
        pki(path, &["issue", "guest-a"]);
        pki(path, &["issue", "guest-b"]);
        let config = path.join("service.toml");
        let text = format!("[tls]\ncertificates = {:?}\n{rules}", path.join("pki/localhost"));
        fs::write(&config, text).unwrap();
        let log = File::create(path.join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_netpager-host"));
        command.args(["serve", "--verbose", "--listen", listen, "--config"]).arg(&config);
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on ").map(str::to_owned);
        let mut place = Self { directory, child, address: String::new() };
        place.address = address.unwrap_or_else(|| panic!("it does not start: {}", place.log()));
        place
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A directory of certificates.
    pub(crate) fn bundle(&self, name: &str) -> PathBuf {
        self.path().join("pki").join(name)
    }

    pub(crate) fn pki(&self, arguments: &[&str]) {
        pki(self.path(), arguments);
    }

    pub(crate) fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A client that has just been greeted.
    pub(crate) fn plain(&self) -> Raw<TcpStream> {
        Raw::greeted(self.tcp())
    }

    /// A client that has started TLS with the certificate in `bundle`.
    pub(crate) fn secure(&self, bundle: &Path) -> Raw<Secure> {
        let mut plain = self.plain();
        assert!(plain.start_tls());
        let stream = TlsClient::load(bundle).unwrap().connect(plain.stream, "localhost").unwrap();
        Raw { stream }
    }

    /// A guest that has started TLS.
    pub(crate) fn guest(&self, name: &str) -> Raw<Secure> {
        self.secure(&self.bundle(name))
    }

    /// The address for other people's tools.
    pub(crate) fn uri(&self, guest: &str, export: &str) -> String {
        let port = self.address.rsplit_once(':').unwrap().1;
        format!("nbds://localhost:{port}/{export}?tls-certificates={}", self.bundle(guest).display())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap()
    }

    /// Waits until the log says something.
    pub(crate) fn wait_for(&self, words: &str) {
        let start = Instant::now();
        while !self.log().contains(words) {
            assert!(start.elapsed() < PATIENCE, "the log does not say `{words}`: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Has the service read its files again, and waits until it has.
    pub(crate) fn reload(&self) {
        let before = self.log().matches("were read again").count();
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
        let start = Instant::now();
        while self.log().matches("were read again").count() == before {
            assert!(start.elapsed() < PATIENCE, "it does not reload: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pki(path: &Path, arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netpager-host"));
    let output = command.current_dir(path).arg("pki").args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
