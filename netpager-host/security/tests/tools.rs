//! Our certificates and our TLS with other people's programs: qemu, nbdkit, libnbd, GnuTLS.
//!
//! Servers listen on Unix sockets in the test's directory; only GnuTLS's client needs a port of loopback.

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use common::{Certificates, Server, now, tool};
use security::pki::Role;
use security::{Origin, TlsClient, TlsConfig, TlsServer};

const IHAVEOPT: &[u8; 8] = b"IHAVEOPT";
const OPT_LIST: u32 = 3;
const OPT_STARTTLS: u32 = 5;
const REP_ACK: u32 = 1;
const REP_SERVER: u32 = 2;

fn nbdkit(certificates: &Certificates, socket: &Path) -> Server {
    let mut command = tool("nbdkit", "nbdkit");
    let directory = format!("--tls-certificates={}", certificates.path("localhost").display());
    command.args(["--foreground", "--exit-with-parent", "--tls=require", "--tls-verify-peer"]).arg(directory);
    Server::start(command.arg("--unix").arg(socket).args(["memory", "1M"]), socket)
}

fn qemu_nbd(certificates: &Certificates, socket: &Path) -> Server {
    let image = certificates.path("image");
    std::fs::File::create(&image).unwrap().set_len(1 << 20).unwrap();
    let credentials = format!("tls-creds-x509,id=tls0,endpoint=server,verify-peer=yes,dir={}", certificates.path("localhost").display());
    let mut command = tool("qemu-nbd", "qemu-utils");
    command.args(["--persistent", "--format=raw", "--tls-creds=tls0", "--object", &credentials, "--socket"]);
    Server::start(command.arg(socket).arg(image), socket)
}

/// Asks for an option without data; says what kind of reply came first, and with how much data.
fn ask(stream: &mut (impl Read + Write), option: u32) -> (u32, Vec<u8>) {
    let header = [&IHAVEOPT[..], &option.to_be_bytes(), &0_u32.to_be_bytes()].concat();
    stream.write_all(&header).unwrap();
    stream.flush().unwrap();
    let mut reply = [0; 20];
    stream.read_exact(&mut reply).unwrap();
    let word = |at: usize| u32::from_be_bytes(reply[at..at + 4].try_into().unwrap());
    assert_eq!(word(8), option);
    let mut data = vec![0; word(16) as usize];
    stream.read_exact(&mut data).unwrap();
    (word(12), data)
}

/// Our client speaks to a foreign server: plain up to STARTTLS, then through TLS.
fn upgrade_and_list(socket: &Path, bundle: &Path) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut greeting = [0; 18];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT");
    stream.write_all(&1_u32.to_be_bytes()).unwrap();
    assert_ne!(ask(&mut stream, OPT_LIST).0, REP_SERVER, "nothing is told without TLS");
    assert_eq!(ask(&mut stream, OPT_STARTTLS), (REP_ACK, Vec::new()));
    let mut stream = TlsClient::load(bundle).unwrap().connect(stream, "localhost").unwrap();
    assert_eq!(ask(&mut stream, OPT_LIST).0, REP_SERVER);
}

fn nbdinfo(socket: &Path, bundle: &Path) -> Output {
    let uri = format!("nbds+unix:///?socket={}&tls-certificates={}", socket.display(), bundle.display());
    tool("nbdinfo", "libnbd-bin").args(["--size", &uri]).output().unwrap()
}

fn with_server(start: fn(&Certificates, &Path) -> Server) {
    let certificates = Certificates::with_pair();
    let socket = certificates.path("socket");
    let _server = start(&certificates, &socket);
    upgrade_and_list(&socket, &certificates.path("guest-a"));
    let output = nbdinfo(&socket, &certificates.path("guest-a"));
    assert_eq!((output.stdout.as_slice(), output.status.success()), (&b"1048576\n"[..], true), "{output:?}");
    let strangers = Certificates::with_pair();
    assert!(!nbdinfo(&socket, &strangers.path("guest-a")).status.success());
    let copied = certificates.path("copied");
    let uri = format!("nbds+unix:///?socket={}&tls-certificates={}", socket.display(), certificates.path("guest-a").display());
    let output = tool("nbdcopy", "libnbd-bin").arg(&uri).arg(&copied).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::metadata(&copied).unwrap().len(), 1 << 20);
}

#[test]
fn nbdkit_and_libnbd_take_our_directories() {
    with_server(nbdkit);
}

#[test]
fn qemu_nbd_takes_our_directories() {
    with_server(qemu_nbd);
}

#[test]
fn qemu_img_takes_our_directories() {
    let certificates = Certificates::with_pair();
    let socket = certificates.path("socket");
    let _server = nbdkit(&certificates, &socket);
    let credentials = format!("tls-creds-x509,id=tls0,endpoint=client,dir={}", certificates.path("guest-a").display());
    let image = format!("driver=nbd,server.type=unix,server.path={},tls-creds=tls0,tls-hostname=localhost", socket.display());
    let mut command = tool("qemu-img", "qemu-utils");
    let output = command.args(["info", "--object", &credentials, "--image-opts", &image]).output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 MiB"), "{output:?}");
}

#[test]
fn nbdkit_honours_our_revocation_list() {
    let certificates = Certificates::with_pair();
    certificates.issue("guest-b", Role::Client);
    certificates.authority.revoke("guest-a", now()).unwrap();
    let socket = certificates.path("socket");
    let _server = nbdkit(&certificates, &socket);
    assert!(!nbdinfo(&socket, &certificates.path("guest-a")).status.success());
    assert!(nbdinfo(&socket, &certificates.path("guest-b")).status.success());
}

#[test]
fn gnutls_shakes_hands_with_our_server() {
    let certificates = Certificates::with_pair();
    let server = TlsServer::load(&TlsConfig::new(certificates.path("localhost"))).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let file = |name: &str| certificates.path("guest-a").join(name).to_str().unwrap().to_owned();
    let [ca, certificate, key] = ["ca-cert.pem", "client-cert.pem", "client-key.pem"].map(file);
    let mut command = tool("gnutls-cli", "gnutls-bin");
    command.args(["--x509cafile", &ca, "--x509certfile", &certificate, "--x509keyfile", &key, "--port", &port, "localhost"]);
    let client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let accepted = runtime.block_on(async {
        let (stream, _) = tokio::time::timeout(Duration::from_secs(10), listener.accept()).await.unwrap().unwrap();
        server.accept(stream, Origin::Loopback, Duration::from_secs(10)).await
    });
    // Closing the stream ends the client; its standard input is closed by waiting for it.
    let identity = accepted.map(|(_, identity)| identity.label());
    let output = client.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("Handshake was completed") && text.contains("TLS1.3"), "{text}");
    assert_eq!(identity.unwrap(), "dns:guest-a");
}
