//! Our two halves against others': the service against qemu-io and qemu-img, our client against qemu-nbd. Where these are
//! not installed, the tests say so and pass.

mod common;

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use common::{Connection, Failure, Service};
use nbd::client::ClientError;
use nbd::{CommandFlags, NbdError, Request};

/// Runs a program; `None` if it is not installed, which is said.
fn run(program: &str, arguments: &[&str]) -> Option<(bool, String)> {
    match Command::new(program).args(arguments).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: no {program}");
            None
        }
        output => {
            let output = output.unwrap();
            let text = [output.stdout, output.stderr].concat();
            Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
        }
    }
}

fn qemu_io(uri: &str, commands: &[&str]) -> Option<(bool, String)> {
    let commands = commands.iter().flat_map(|command| ["-c", command]);
    run("qemu-io", &["-f", "raw", uri].into_iter().chain(commands).collect::<Vec<_>>())
}

fn good(result: Option<(bool, String)>) -> Option<String> {
    let (success, text) = result?;
    assert!(success && !text.contains("failed"), "{text}");
    Some(text)
}

#[test]
fn qemu_reads_what_qemu_wrote() {
    let directory = tempfile::tempdir().unwrap();
    let file = format!("disk=64M,store=file:{}", directory.path().join("image").display());
    let service = Service::start(&["--export", "memory=64M", "--export", &file]);
    for export in ["memory", "disk"] {
        let uri = format!("nbd://127.0.0.1:{}/{export}", service.port());
        let written =
            qemu_io(&uri, &["write -P 0xab 0 64k", "write -z 4k 8k", "write -P 1 1M 9M", "discard 2M 1M", "write -f -P 2 63M 1M", "flush"]);
        if good(written).is_none() {
            return;
        }
        let checks = ["read -P 0xab 0 4k", "read -P 0 4k 8k", "read -P 0xab 12k 52k", "read -P 1 3M 7M", "read -P 2 63M 1M"];
        let text = good(qemu_io(&uri, &checks)).unwrap();
        assert!(!text.contains("verification failed"), "{text}");
        let map = good(run("qemu-img", &["map", "-f", "raw", "--output=json", &uri])).unwrap();
        let hole = r#""start": 10485760, "length": 55574528, "depth": 0, "present": true, "zero": true, "data": false"#;
        assert!(map.contains(hole), "{map}");
        let (_, wrong) = qemu_io(&uri, &["read -P 9 0 4k"]).unwrap();
        assert!(wrong.contains("verification failed"), "the checks above can fail: {wrong}");
    }
}

#[test]
fn qemu_img_copies_an_image_and_finds_it_equal() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image").display().to_string();
    let data: Vec<u8> =
        (0..8 << 20).map(|at: u32| if at >> 20 & 1 == 0 { (at.wrapping_mul(2_654_435_761) >> 24) as u8 } else { 0 }).collect();
    std::fs::write(&image, &data).unwrap();
    let service = Service::start(&["--export", "memory=8M"]);
    let uri = format!("nbd://127.0.0.1:{}/memory", service.port());
    if good(run("qemu-img", &["convert", "-n", "-f", "raw", "-O", "raw", &image, &uri])).is_none() {
        return;
    }
    assert!(good(run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &image, &uri])).unwrap().contains("identical"));
    assert!(service.connect("memory").read(0, 8 << 20) == data, "our own client agrees");
    let info = good(run("qemu-img", &["info", "-f", "raw", &uri])).unwrap();
    assert!(info.contains("8 MiB"), "{info}");
}

#[test]
fn qemu_is_told_errors() {
    let service = Service::start(&["--export", "rom=1M,ro", "--export", "full=1M,quota=4K"]);
    let uri = |export| format!("nbd://127.0.0.1:{}/{export}", service.port());
    let Some((success, text)) = qemu_io(&uri("rom"), &["write 0 4k"]) else { return };
    assert!(!success && text.contains("Permission denied"), "{text}");
    let (_, text) = qemu_io(&uri("full"), &["write 0 64k"]).unwrap();
    assert!(text.contains("No space left on device"), "{text}");
    let (success, text) = qemu_io(&uri("nothing"), &["read 0 1"]).unwrap();
    assert!(!success && text.contains("there is no export `nothing`"), "{text}");
}

/// A qemu-nbd that serves a file on a Unix socket; killed when dropped.
struct QemuNbd(Child);

impl QemuNbd {
    /// `None` if it is not installed, which is said.
    fn start(image: &Path, socket: &Path) -> Option<Self> {
        let mut command = Command::new("qemu-nbd");
        command.args(["-f", "raw", "--discard=unmap", "-t", "-e", "4", "-x", "image", "-k"]).arg(socket).arg(image);
        match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("skipped: no qemu-nbd");
                None
            }
            child => {
                let server = Self(child.unwrap());
                let start = Instant::now();
                while UnixStream::connect(socket).is_err() {
                    assert!(start.elapsed() < Duration::from_secs(10), "qemu-nbd does not listen");
                    std::thread::sleep(Duration::from_millis(5));
                }
                Some(server)
            }
        }
    }
}

impl Drop for QemuNbd {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn our_client_uses_a_server_that_is_not_ours() {
    let directory = tempfile::tempdir().unwrap();
    let (image, socket) = (directory.path().join("image"), directory.path().join("socket"));
    std::fs::File::create(&image).unwrap().set_len(4 << 20).unwrap();
    let Some(_server) = QemuNbd::start(&image, &socket) else { return };
    let path = socket.display().to_string();
    let mut client = Connection::unix(&path, "image");
    assert!(client.session().framing.has_chunks() && client.session().export.size == 4 << 20);
    assert_eq!(client.ask(Request::write(8192, 4096).with(CommandFlags::FUA), &[5; 4096]).result, Ok(()));
    let done = client.ask(Request::read(0, 1 << 20), &[]);
    assert_eq!(done.result, Ok(()));
    assert!(done.data[8192..12288] == [5; 4096] && done.data.iter().filter(|&&byte| byte != 0).count() == 4096);
    assert!(done.hole_bytes > 0, "qemu answers in several chunks");
    assert_eq!(client.ask(Request::write_zeroes(8192, 4096), &[]).result, Ok(()));
    assert_eq!(client.ask(Request::flush(), &[]).result, Ok(()));
    assert_eq!(client.read(8192, 4096), [0; 4096]);
    assert_eq!(client.force(Request::read(u64::MAX, 512)).result, Err(NbdError::Invalid));
    assert!(!client.error_text().is_empty(), "qemu says why");
    let stream = UnixStream::connect(&socket).unwrap();
    let Err(Failure::Client(ClientError::Refused(refused))) = Connection::open(stream, "nothing") else { panic!("no such export") };
    assert!(refused.text.to_string().contains("nothing"), "{refused}");
}
