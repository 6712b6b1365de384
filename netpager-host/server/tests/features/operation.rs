//! Operating the service: its commands, its admin side, its log, and how it is started by systemd.

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{Service, output};
use crate::eventually;

const PROGRAM: &str = env!("CARGO_BIN_EXE_netpager-host");

fn good(arguments: &[&str]) -> String {
    let (status, stdout, stderr) = output(arguments);
    assert!(status.success(), "{arguments:?}: {stderr}");
    stdout
}

#[test]
fn the_example_checks_and_prints() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.toml").display().to_string();
    std::fs::write(&file, good(&["config", "example"])).unwrap();
    assert!(good(&["config", "check", &file]).contains("5 exports, 1 patterns, 2 rules"));
    let printed = good(&["config", "print", "--config", &file, "--workers", "7"]);
    assert!(printed.contains("workers = 7") && printed.contains("name = \"disk\""), "{printed}");
    std::fs::write(&file, "[[export]]\nname = \"a\"\nsise = \"1M\"\n").unwrap();
    let (status, _, stderr) = output(&["config", "check", &file]);
    assert!(!status.success() && stderr.contains("line 3") && stderr.contains("did you mean `size`?"), "{stderr}");
}

#[test]
fn the_environment_comes_before_the_file_and_after_the_command_line() {
    let printed = |arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(["config", "print", "--export", "m=1M"]).args(arguments).env("NETPAGER_WORKERS", "3");
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.toml").display().to_string();
    std::fs::write(&file, "workers = 2\n").unwrap();
    assert!(printed(&["--config", &file]).contains("workers = 3"));
    assert!(printed(&["--config", &file, "--workers", "4"]).contains("workers = 4"));
}

#[test]
fn every_command_has_a_manual_page() {
    assert!(good(&["man"]).contains("netpager\\-host"));
    let serve = good(&["man", "serve"]);
    assert!(serve.contains("\\-\\-export") && serve.contains("SIGHUP"), "{serve}");
    assert!(!output(&["man", "nonsense"]).0.success());
}

/// A service with an admin address on a Unix socket.
fn operated(directory: &tempfile::TempDir, arguments: &[&str]) -> (Service, String) {
    let admin = format!("unix:{}", directory.path().join("admin").display());
    let arguments = [&["--admin", &admin][..], arguments].concat();
    (Service::start(&arguments), admin)
}

#[test]
fn exports_are_listed_made_and_removed_while_clients_use_others() {
    let directory = tempfile::tempdir().unwrap();
    let (service, admin) = operated(&directory, &["--export", "fixed=1M"]);
    eventually("the admin side is not there", || output(&["status", "--admin", &admin]).0.success());
    let mut witness = service.connect("fixed");
    good(&["export", "create", "extra", "2M", "--admin", &admin]);
    let list = good(&["export", "list", "--admin", &admin]);
    assert!(list.contains("fixed") && list.contains("extra"), "{list}");
    let mut client = service.connect("extra");
    client.write(0, b"page").unwrap();
    let (status, _, stderr) = output(&["export", "rm", "extra", "--admin", &admin]);
    assert!(!status.success() && stderr.contains("used by clients"), "{stderr}");
    good(&["export", "rm", "extra", "--force", "--admin", &admin]);
    assert!(client.try_read(0, 1).is_err(), "its client is disconnected");
    let (status, _, stderr) = output(&["export", "rm", "fixed", "--admin", &admin]);
    assert!(!status.success() && stderr.contains("configuration"), "{stderr}");
    assert!(good(&["status", "--admin", &admin]).contains("fixed"));
    good(&["check", "fixed", "--quiet", "--admin", &admin]);
    assert_eq!(witness.read(0, 1), [0]);
}

#[test]
fn a_check_finds_what_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let (_service, admin) = operated(&directory, &["--export", "bad=1M,error=1000"]);
    eventually("the admin side is not there", || output(&["status", "--admin", &admin]).0.success());
    let (status, _, stderr) = output(&["check", "bad", "--quiet", "--admin", &admin]);
    assert!(!status.success() && stderr.contains("4 faults"), "{stderr}");
}

#[test]
fn exports_are_saved_to_images_and_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(&["--export", "a=4M", "--export", "b=4M"]);
    let (from, to) = (service.connect("a"), service.connect("b"));
    let (mut from, mut to) = (from, to);
    let data: Vec<u8> = (0..1u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    from.write(1 << 20, &data).unwrap();
    to.write(3 << 20, &[9; 4096]).unwrap();
    let image = directory.path().join("image").display().to_string();
    let uri = |export| format!("nbd://127.0.0.1:{}/{export}", service.port());
    good(&["export", "save", &uri("a"), &image, "--quiet"]);
    assert!(!output(&["export", "save", &uri("a"), &image, "--quiet"]).0.success(), "it must not be overwritten");
    good(&["export", "load", &uri("b"), &image, "--quiet"]);
    assert!(to.read(1 << 20, 1 << 20) == data && to.read(3 << 20, 4096) == [0; 4096]);
    assert!(good(&["verify", &format!("file:{image}"), "4M", "--quiet"]).contains("no damage"));
}

#[test]
fn each_connection_has_two_lines_in_the_log_which_may_be_json() {
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--listen", "127.0.0.1:0", "--export", "memory=1M", "--log-format", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let address = first.trim().strip_prefix("listening on ").unwrap().to_owned();
    let mut client = crate::common::Connection::open(std::net::TcpStream::connect(address).unwrap(), "memory").unwrap();
    client.write(0, &[1; 4096]).unwrap();
    client.read(0, 8192);
    client.disconnect();
    drop(client);
    let log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut lines = log.map(|line| line.parse::<serde_json::Value>().unwrap_or_else(|error| panic!("{line}: {error}")));
    let connected = lines.find(|line| line["message"] == "connected").unwrap();
    assert_eq!((connected["export"].as_str(), connected["identity"].as_str()), (Some("memory"), Some("loopback")));
    let left = lines.find(|line| line["message"] == "left").unwrap();
    assert_eq!((left["requests"].as_u64(), left["written_bytes"].as_u64(), left["read_bytes"].as_u64()), (Some(2), Some(4096), Some(8192)));
    assert_eq!(left["client"], connected["client"]);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn systemd_is_told_and_may_pass_sockets() {
    let directory = tempfile::tempdir().unwrap();
    let notified = UnixDatagram::bind(directory.path().join("notify")).unwrap();
    notified.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    let hear = || {
        let mut heard = [0; 256];
        let count = notified.recv(&mut heard).unwrap();
        String::from_utf8_lossy(&heard[..count]).into_owned()
    };
    // What systemd does before it starts the program, in a shell: a listening socket as descriptor 3.
    let script = r#"
import os, socket, sys
listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1]); listener.listen()
os.dup2(listener.fileno(), 3); os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), NOTIFY_SOCKET=sys.argv[2])
os.execv(sys.argv[3], [sys.argv[3], "serve", "--export", "memory=1M"])
"#;
    let path = directory.path().join("s").display().to_string();
    let mut command = Command::new("python3");
    command.args(["-c", script, &path]).arg(directory.path().join("notify")).arg(PROGRAM);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(hear(), "READY=1");
    assert_eq!(crate::common::Connection::unix(&path, "memory").read(0, 1), [0]);
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::HUP).unwrap();
    assert!(hear().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(hear(), "READY=1");
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    assert_eq!(hear(), "STOPPING=1");
    assert!(child.wait().unwrap().success());
    assert!(std::path::Path::new(&path).exists(), "the socket is systemd's");
}
