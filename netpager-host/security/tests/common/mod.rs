//! An authority for a test, in a directory that goes with it.
#![allow(dead_code, reason = "each test uses some of it")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use security::pki::{Authority, Request, Role};
use tempfile::TempDir;
use time::OffsetDateTime;

pub(crate) struct Certificates {
    pub(crate) directory: TempDir,
    pub(crate) authority: Authority,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::create(directory.path(), "test authority", now(), time::Duration::days(30)).unwrap();
        Self { directory, authority }
    }

    /// An authority, a server called `localhost` and a client called `guest-a`.
    pub(crate) fn with_pair() -> Self {
        let certificates = Self::new();
        certificates.issue("localhost", Role::Server);
        certificates.issue("guest-a", Role::Client);
        certificates
    }

    pub(crate) fn issue(&self, name: &str, role: Role) -> PathBuf {
        self.issue_at(name, role, now(), time::Duration::days(7))
    }

    pub(crate) fn issue_at(&self, name: &str, role: Role, now: OffsetDateTime, lifetime: time::Duration) -> PathBuf {
        let bundle = self.path(name);
        let request = Request { name: name.into(), role, alternatives: Vec::new(), now, lifetime };
        self.authority.issue(&request, &bundle).unwrap();
        bundle
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc().replace_nanosecond(0).unwrap()
}

/// A command of a Debian package; not having it is a failure, and says what to install.
pub(crate) fn tool(program: &str, package: &str) -> Command {
    let found = std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|path| path.join(program).exists()));
    assert!(found, "`{program}` is missing; apt-get install {package}");
    Command::new(program)
}

/// A process that ends with the test.
pub(crate) struct Server(Child);

impl Server {
    /// Starts it, and waits until its socket is there.
    pub(crate) fn start(command: &mut Command, socket: &Path) -> Self {
        let mut server = Self(command.stdin(Stdio::null()).spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(20);
        while !socket.exists() {
            assert_eq!(server.0.try_wait().unwrap(), None, "it ended at once");
            assert!(Instant::now() < deadline, "it made no socket");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
