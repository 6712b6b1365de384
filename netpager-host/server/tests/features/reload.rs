//! SIGHUP: rules and exports change, and nobody is disconnected but those who may no longer be here.

use std::path::PathBuf;

use nbd::client::ClientError;
use nbd::wire::option_reply;
use rustix::process::Signal;

use crate::common::{Connection, Failure, Service};
use crate::eventually;

/// A service with a file that can be changed.
struct Configured {
    directory: tempfile::TempDir,
    service: Service,
}

impl Configured {
    fn start(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("c.toml"), text).unwrap();
        let socket = format!("unix:{}", directory.path().join("s").display());
        let file = directory.path().join("c.toml").display().to_string();
        let service = Service::start_on(&["127.0.0.1:0", &socket], &["--config", &file]);
        Self { directory, service }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("c.toml")
    }

    fn unix(&self, export: &str) -> Result<Connection, Failure> {
        Connection::open(std::os::unix::net::UnixStream::connect(self.directory.path().join("s")).unwrap(), export)
    }

    fn reload(&self, text: &str) {
        std::fs::write(self.file(), text).unwrap();
        self.service.signal(Signal::HUP);
    }
}

const EXPORT: &str = "[[export]]\nname = \"a\"\nsize = \"1M\"\n";

fn rule(identity: &str, access: &str) -> String {
    format!("[[acl]]\nidentity = \"{identity}\"\nexport = \"**\"\naccess = \"{access}\"\n")
}

#[test]
fn a_new_export_appears_and_clients_stay() {
    let configured = Configured::start(EXPORT);
    let mut client = configured.service.connect("a");
    client.write(0, b"page").unwrap();
    configured.reload(&format!("{EXPORT}[[export]]\nname = \"b\"\nsize = \"2M\"\n"));
    eventually("the new export is not there", || Connection::open(configured.service.tcp(), "b").is_ok());
    assert_eq!(client.read(0, 4), b"page");
    configured.reload("[[export]]\nname = \"b\"\nsize = \"2M\"\n");
    // In use, it stays; the reload after it was left takes it away.
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(client.read(0, 4), b"page");
    drop(client);
    eventually("the old export stays", || {
        configured.service.signal(Signal::HUP);
        std::thread::sleep(std::time::Duration::from_millis(50));
        Connection::open(configured.service.tcp(), "a").is_err()
    });
}

#[test]
fn a_mistake_changes_nothing() {
    let configured = Configured::start(EXPORT);
    let mut client = configured.service.connect("a");
    configured.reload("[[export]]\nname = \"b\"\nsise = \"2M\"\n");
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(client.read(0, 1), [0]);
    assert!(Connection::open(configured.service.tcp(), "a").is_ok() && Connection::open(configured.service.tcp(), "b").is_err());
}

#[test]
fn whoever_may_no_longer_be_here_is_disconnected_and_others_are_not() {
    let configured = Configured::start(&format!("{EXPORT}{}{}", rule("loopback", "read-write"), rule("uid:*", "read-write")));
    let (mut loopback, mut unix) = (configured.service.connect("a"), configured.unix("a").unwrap());
    unix.write(0, b"page").unwrap();
    configured.reload(&format!("{EXPORT}{}{}", rule("loopback", "none"), rule("uid:*", "read-write")));
    eventually("it is still here", || loopback.try_read(0, 1).is_err());
    assert_eq!(unix.read(0, 4), b"page");
    let Err(Failure::Client(ClientError::Refused(refused))) = Connection::open(configured.service.tcp(), "a") else {
        panic!("it was let in")
    };
    assert_eq!(refused.kind, option_reply::ERR_UNKNOWN, "it does not even learn that there is such an export");
    assert!(Connection::open(configured.service.tcp(), "").is_err(), "nor by the default name");
}

#[test]
fn rules_make_an_export_read_only_or_exclusive_for_some() {
    let configured = Configured::start(&format!("{EXPORT}{}{}", rule("loopback", "read-only"), rule("uid:*", "exclusive")));
    let mut unix = configured.unix("a").unwrap();
    unix.write(0, b"page").unwrap();
    assert!(Connection::open(configured.service.tcp(), "a").is_err(), "while one has it for himself, others wait");
    drop(unix);
    eventually("it is never free", || Connection::open(configured.service.tcp(), "a").is_ok());
    let mut reader = configured.service.connect("a");
    assert_eq!(reader.read(0, 4), b"page");
    assert!(reader.session().export.can(nbd::TransmissionFlags::READ_ONLY));
    assert_eq!(reader.force(nbd::Request::trim(0, 4096)).result, Err(nbd::NbdError::NotPermitted));
}

#[test]
fn rates_hold_over_all_connections_of_an_identity() {
    let class = "[class.slow]\niops = 50\nburst = \"20ms\"\n";
    let rule = "[[acl]]\nidentity = \"loopback\"\nexport = \"**\"\naccess = \"read-write\"\nclass = \"slow\"\n";
    let configured = Configured::start(&format!("{EXPORT}{class}{rule}"));
    let start = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = configured.service.connect("a");
                (0..20).for_each(|_| assert_eq!(client.read(0, 1), [0]));
            });
        }
    });
    let took = start.elapsed();
    assert!(took >= std::time::Duration::from_millis(650), "40 requests at 50 a second took {took:?}");
}
