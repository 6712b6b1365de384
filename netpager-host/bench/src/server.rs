//! Servers started for a measurement or a test: ours, and the three that everybody has.
//!
//! All listen on a free loopback port and serve one export of the same size from memory. Who starts one owns it: it is
//! killed, and its files removed, when the value is dropped.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::connection::Connection;
use crate::error::BenchError;
use crate::process::Process;
use crate::target::Target;

/// A server that does not serve after this long never will.
const START: Duration = Duration::from_secs(60);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// netpager-host with its RAM store.
    Ours,
    /// nbdkit with its memory plugin.
    Nbdkit,
    /// qemu-nbd with a raw file on a tmpfs.
    QemuNbd,
    /// nbd-server with a file on a tmpfs.
    NbdServer,
}

impl Kind {
    /// All of them, ours first.
    pub const ALL: [Self; 4] = [Self::Ours, Self::Nbdkit, Self::QemuNbd, Self::NbdServer];

    /// What it is called in a table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "netpager-host",
            Self::Nbdkit => "nbdkit",
            Self::QemuNbd => "qemu-nbd",
            Self::NbdServer => "nbd-server",
        }
    }

    /// The Debian package it is in.
    #[must_use]
    pub const fn package(self) -> &'static str {
        match self {
            Self::Ours => "netpager-host",
            Self::Nbdkit => "nbdkit",
            Self::QemuNbd => "qemu-utils",
            Self::NbdServer => "nbd-server",
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// nbd-server serves from a daemon of its own.
    daemon: Option<Pid>,
    target: Target,
    /// What it keeps outside of its own memory.
    file: Option<PathBuf>,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Starts a server with one export of `size` bytes and waits until it serves. `ours` is netpager-host's binary.
    ///
    /// # Errors
    /// It is not installed, or does not serve.
    pub fn start(kind: Kind, ours: &Path, size: u64) -> Result<Self, BenchError> {
        match kind {
            Kind::Ours => Self::ours(ours, &[&format!("memory={size}")], &[]),
            Kind::Nbdkit => {
                Self::foreign(kind, size, |port, _| command("nbdkit", &["-f", "-i", "127.0.0.1", "-p", port, "memory", &size.to_string()]))
            }
            Kind::QemuNbd => Self::foreign(kind, size, |port, file| {
                let mut command = command("qemu-nbd", &["-f", "raw", "-t", "-e", "10000", "-b", "127.0.0.1", "-p", port, "-x", "memory"]);
                command.args(["--cache=writeback", "--discard=unmap"]).arg(file);
                command
            }),
            Kind::NbdServer => Self::foreign(kind, size, |port, file| {
                let folder = file.parent().unwrap_or(file);
                let text = format!(
                    "[generic]\nport = {port}\nlistenaddr = 127.0.0.1\nallowlist = true\n[memory]\nexportname = {}\nflush = true\nfua = true\ntrim = true\n",
                    file.display()
                );
                let configuration = folder.join("nbd-server.conf");
                // A file that could not be written is what the server complains about.
                let _ = fs::write(&configuration, text);
                let mut command = command("nbd-server", &[]);
                command.arg("-C").arg(configuration).arg("-p").arg(folder.join("pid"));
                command
            }),
        }
    }

    /// Starts netpager-host with these `--export`s and more arguments; the target is the first export.
    ///
    /// # Errors
    /// It does not serve.
    pub fn ours(binary: &Path, exports: &[&str], more: &[&str]) -> Result<Self, BenchError> {
        let name = exports.first().and_then(|export| export.split('=').next()).unwrap_or_default();
        let folder = folder()?;
        let port = free_port()?;
        let target = Target::loopback(port, name);
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", &address]).args(exports.iter().flat_map(|export| ["--export", export])).args(more);
        Self::spawn(command, folder, target, None, None)
    }

    fn foreign(kind: Kind, size: u64, command: impl FnOnce(&str, &Path) -> Command) -> Result<Self, BenchError> {
        let folder = folder()?;
        let file = folder.path().join("image");
        File::create(&file)?.set_len(size)?;
        let port = free_port()?;
        let target = Target::loopback(port, "memory");
        let daemon = (kind == Kind::NbdServer).then(|| folder.path().join("pid"));
        let kept = (kind != Kind::Nbdkit).then(|| file.clone());
        let result = Self::spawn(command(&port.to_string(), &file), folder, target, kept, daemon);
        result.map_err(|error| match error {
            BenchError::Io(io) if io.kind() == io::ErrorKind::NotFound => {
                BenchError::Usage(format!("{} is missing: install the package {}", kind.name(), kind.package()))
            }
            other => other,
        })
    }

    fn spawn(
        mut command: Command,
        folder: tempfile::TempDir,
        target: Target,
        file: Option<PathBuf>,
        pid_file: Option<PathBuf>,
    ) -> Result<Self, BenchError> {
        let log = folder.path().join("log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let mut server = Self { child: command.spawn()?, daemon: None, target, file, _folder: folder };
        let start = Instant::now();
        while Connection::<()>::open(&server.target).is_err() {
            // A daemon's parent ends at once, and well.
            let failed = server.child.try_wait()?.is_some_and(|status| pid_file.is_none() || !status.success());
            if failed || start.elapsed() > START {
                let words = fs::read_to_string(&log).unwrap_or_default();
                return Err(BenchError::Usage(format!("{:?} does not serve: {}", command.get_program(), words.trim())));
            }
            thread::sleep(Duration::from_millis(10));
        }
        server.daemon = pid_file.and_then(|file| Pid::from_raw(fs::read_to_string(file).ok()?.trim().parse().ok()?));
        Ok(server)
    }

    /// Its export.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> Process {
        Process::new(self.daemon.map_or_else(|| self.child.id(), |pid| pid.as_raw_nonzero().get().unsigned_abs()))
    }

    /// Bytes of memory it uses, in its own name or in a file on a tmpfs.
    #[must_use]
    pub fn memory(&self) -> Option<u64> {
        use std::os::unix::fs::MetadataExt as _;
        let file = self.file.as_ref().and_then(|file| fs::metadata(file).ok()).map_or(0, |metadata| metadata.blocks() * 512);
        self.process().memory().map(|memory| memory + file)
    }

    /// Kills it the hard way.
    ///
    /// # Errors
    /// It could not be waited for.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// It does not end, or says that it failed.
    pub fn stop(&mut self) -> Result<(), BenchError> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).map_err(io::Error::from)?;
        let start = Instant::now();
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(BenchError::Wrong(format!("the server ended with {status}"))),
                None if start.elapsed() > START => return Err(BenchError::Wrong("the server does not end".into())),
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Each may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(pid) = self.daemon {
            let _ = kill_process(pid, Signal::TERM);
            let start = Instant::now();
            while test_kill_process(pid).is_ok() && start.elapsed() < Duration::from_secs(5) {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// A folder in memory where there is one, so that no server is measured with a disk.
fn folder() -> io::Result<tempfile::TempDir> {
    const PREFIX: &str = "netpager-bench-";
    tempfile::Builder::new().prefix(PREFIX).tempdir_in("/dev/shm").or_else(|_| tempfile::Builder::new().prefix(PREFIX).tempdir())
}

/// A port that nobody uses at this moment.
fn free_port() -> io::Result<u16> {
    TcpListener::bind("127.0.0.1:0")?.local_addr().map(|address| address.port())
}
