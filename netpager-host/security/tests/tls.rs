//! Both halves of TLS against each other: who gets in, and who does not.

mod common;

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{Certificates, now};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use security::pki::{Alternative, Request, Role};
use security::{ClientCertificates, Identity, MinimumVersion, Name, Origin, TlsClient, TlsConfig, TlsError, TlsServer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

const DEADLINE: Duration = Duration::from_secs(10);

fn server(certificates: &Certificates) -> TlsServer {
    TlsServer::load(&TlsConfig::new(certificates.path("localhost"))).unwrap()
}

fn client(bundle: &Path) -> TlsClient {
    TlsClient::load(bundle).unwrap()
}

type Accepted = (tokio_rustls::server::TlsStream<DuplexStream>, Identity);
type Connected = tokio_rustls::client::TlsStream<DuplexStream>;

/// Both halves shake hands, and the client says one byte each way, so that it knows whether the server wants it.
async fn meet(server: &TlsServer, client: &TlsClient, host: &str) -> (Result<Accepted, TlsError>, Result<Connected, String>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let serve = async {
        let (mut stream, identity) = server.accept(near, Origin::Network, DEADLINE).await?;
        stream.write_all(b"!").await.unwrap();
        stream.flush().await.unwrap();
        Ok((stream, identity))
    };
    let connect = async {
        let mut stream = client.connect_async(far, host).await.map_err(|error| error.to_string())?;
        let byte = stream.read_u8().await.map_err(|error| error.to_string())?;
        assert_eq!(byte, b'!');
        Ok(stream)
    };
    tokio::join!(serve, connect)
}

/// What the server says about a client it does not let in; the client must not have got a byte.
async fn refusal(server: &TlsServer, client: &TlsClient) -> String {
    let (accepted, connected) = meet(server, client, "localhost").await;
    assert!(connected.is_err(), "the client got data");
    match accepted.err().unwrap() {
        TlsError::Handshake(words) => words,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_guest_is_known_by_the_names_of_its_certificate() {
    let certificates = Certificates::with_pair();
    let alternatives = ["spiffe://cluster/a", "two.example"].map(|name| name.parse::<Alternative>().unwrap()).into();
    let request = Request { name: "many".into(), role: Role::Client, alternatives, now: now(), lifetime: time::Duration::days(1) };
    certificates.authority.issue(&request, &certificates.path("many")).unwrap();
    let server = server(&certificates);
    let (accepted, connected) = meet(&server, &client(&certificates.path("many")), "localhost").await;
    let (_, identity) = accepted.unwrap();
    assert!(connected.is_ok());
    let names = ["many", "two.example"].map(|name| Name::Dns(name.into()));
    let uri = Name::Uri("spiffe://cluster/a".into());
    assert_eq!(identity.certificate().unwrap().names, [names[0].clone(), uri, names[1].clone()]);
    assert_eq!((identity.label().as_str(), identity.origin()), ("dns:many", Origin::Network));
}

#[tokio::test]
async fn a_common_name_counts_only_if_the_configuration_says_so() {
    let certificates = Certificates::with_pair();
    let with_common_name = TlsConfig { common_name: true, ..TlsConfig::new(certificates.path("localhost")) };
    for (config, expected) in [(with_common_name, 2), (TlsConfig::new(certificates.path("localhost")), 1)] {
        let server = TlsServer::load(&config).unwrap();
        let (accepted, _) = meet(&server, &client(&certificates.path("guest-a")), "localhost").await;
        assert_eq!(accepted.unwrap().1.certificate().unwrap().names.len(), expected);
    }
}

#[tokio::test]
async fn certificates_that_are_not_good_are_refused_and_the_log_says_why() {
    let (certificates, strangers) = (Certificates::with_pair(), Certificates::with_pair());
    let day = time::Duration::days(1);
    let old = certificates.issue_at("old", Role::Client, now() - day * 3, day);
    let early = certificates.issue_at("early", Role::Client, now() + day, day);
    let server = server(&certificates);
    // A client that trusts our server but holds another authority's certificate.
    let foreign = strangers.path("guest-a");
    fs::copy(certificates.path("ca-cert.pem"), foreign.join("ca-cert.pem")).unwrap();
    // The server's own certificate, used by a client.
    let wrong_side = certificates.path("wrong-side");
    fs::create_dir(&wrong_side).unwrap();
    for (from, to) in [("ca-cert.pem", "ca-cert.pem"), ("server-cert.pem", "client-cert.pem"), ("server-key.pem", "client-key.pem")] {
        fs::copy(certificates.path("localhost").join(from), wrong_side.join(to)).unwrap();
    }
    let nothing = certificates.path("nothing");
    fs::create_dir(&nothing).unwrap();
    fs::copy(certificates.path("ca-cert.pem"), nothing.join("ca-cert.pem")).unwrap();
    for (bundle, words) in [
        (old, "has expired"),
        (early, "not valid yet"),
        (foreign, "not signed by an authority that is trusted"),
        (wrong_side, "not for this side"),
        (nothing, "no certificate"),
    ] {
        let said = refusal(&server, &client(&bundle)).await;
        assert!(said.contains(words), "{}: {said}", bundle.display());
    }
}

#[tokio::test]
async fn a_server_that_is_not_the_one_meant_gets_nothing() {
    let (certificates, strangers) = (Certificates::with_pair(), Certificates::with_pair());
    let day = time::Duration::days(1);
    let guest = client(&certificates.path("guest-a"));
    let good = server(&certificates);
    for (host, ok) in [("localhost", true), ("127.0.0.1", true), ("[::1]", true), ("other", false), ("127.0.0.2", false)] {
        let (accepted, connected) = meet(&good, &guest, host).await;
        assert_eq!((accepted.is_ok(), connected.is_ok()), (ok, ok), "{host}");
        if let Err(said) = connected {
            assert!(said.contains("the certificate shown is for") && said.contains("localhost"), "{said}");
        }
    }
    let (_, connected) = meet(&server(&strangers), &guest, "localhost").await;
    assert!(connected.err().unwrap().contains("not signed by an authority"));
    // An expired server does not even start; a client meets one whose time ran out while it served.
    let short = certificates.path("short");
    certificates.issue_at("short", Role::Server, now(), time::Duration::seconds(5));
    let expiring = TlsServer::load(&TlsConfig::new(&short)).unwrap();
    tokio::time::sleep(Duration::from_millis(6200)).await;
    let (_, connected) = meet(&expiring, &guest, "short").await;
    assert!(connected.err().unwrap().contains("has expired"));
    certificates.issue_at("gone", Role::Server, now() - day * 3, day);
    let error = TlsServer::load(&TlsConfig::new(certificates.path("gone"))).unwrap_err().to_string();
    assert!(error.contains("expired on"), "{error}");
}

#[tokio::test]
async fn a_revoked_server_is_refused_by_clients_that_hold_the_list() {
    let certificates = Certificates::with_pair();
    let server = server(&certificates);
    certificates.authority.revoke("localhost", now()).unwrap();
    let guest = certificates.path("guest-a");
    fs::copy(certificates.path("ca-crl.pem"), guest.join("ca-crl.pem")).unwrap();
    let (_, connected) = meet(&server, &client(&guest), "localhost").await;
    assert!(connected.err().unwrap().contains("was revoked"));
}

#[tokio::test]
async fn a_reload_takes_effect_without_dropping_anybody() {
    let certificates = Certificates::with_pair();
    let guest_b = certificates.issue("guest-b", Role::Client);
    let server = server(&certificates);
    let (a, b) = (client(&certificates.path("guest-a")), client(&guest_b));
    let (accepted_a, connected_a) = meet(&server, &a, "localhost").await;
    let (accepted_b, _connected_b) = meet(&server, &b, "localhost").await;
    let ((mut stream_a, identity_a), (_stream_b, identity_b)) = (accepted_a.unwrap(), accepted_b.unwrap());
    certificates.authority.revoke("guest-a", now()).unwrap();
    assert!(server.recheck(&identity_a).is_ok(), "not before the reload");
    server.reload().unwrap();
    assert!(server.summary().contains("1 revoked"), "{}", server.summary());
    // Connected, it still works; but the service is told to close it, and only it.
    stream_a.write_all(b"?").await.unwrap();
    stream_a.flush().await.unwrap();
    assert_eq!(connected_a.unwrap().read_u8().await.unwrap(), b'?');
    let error = server.recheck(&identity_a).unwrap_err().to_string();
    assert!(error.contains("was revoked"), "{error}");
    assert!(server.recheck(&identity_b).is_ok() && server.recheck(&Identity::of_origin(Origin::Loopback)).is_ok());
    // It does not come back, not even with the client configuration that was accepted before.
    assert!(refusal(&server, &a).await.contains("was revoked"));
    assert!(meet(&server, &b, "localhost").await.1.is_ok());
}

#[tokio::test]
async fn a_reload_that_fails_changes_nothing() {
    let certificates = Certificates::with_pair();
    let server = server(&certificates);
    let guest = client(&certificates.path("guest-a"));
    let bundle = certificates.path("localhost");
    for (name, content, words) in [
        ("server-cert.pem", "nonsense", "no certificate"),
        ("server-key.pem", "nonsense", "no private key"),
        ("ca-crl.pem", "nonsense", "no certificate revocation list"),
        ("ca-cert.pem", "nonsense", "no certificate"),
    ] {
        let before = fs::read(bundle.join(name)).unwrap();
        fs::write(bundle.join(name), content).unwrap();
        let error = server.reload().unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(name), "{name}: {error}");
        assert!(meet(&server, &guest, "localhost").await.1.is_ok(), "{name}");
        fs::write(bundle.join(name), before).unwrap();
        server.reload().unwrap();
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let certificates = Certificates::with_pair();
    let other = certificates.issue("other", Role::Server);
    fs::copy(other.join("server-key.pem"), certificates.path("localhost/server-key.pem")).unwrap();
    let error = TlsServer::load(&TlsConfig::new(certificates.path("localhost"))).unwrap_err();
    assert!(matches!(error, TlsError::Pair { .. }), "{error}");
    let other = certificates.issue("guest-b", Role::Client);
    fs::copy(other.join("client-key.pem"), certificates.path("guest-a/client-key.pem")).unwrap();
    let error = TlsClient::load(&certificates.path("guest-a")).unwrap_err();
    assert!(matches!(error, TlsError::Pair { .. }), "{error}");
    fs::remove_file(certificates.path("guest-a/client-key.pem")).unwrap();
    assert!(TlsClient::load(&certificates.path("guest-a")).is_err(), "half a pair is a mistake, not an anonymous client");
}

#[test]
fn a_list_that_was_asked_for_must_be_there() {
    let certificates = Certificates::with_pair();
    let bundle = certificates.path("localhost");
    fs::remove_file(bundle.join("ca-crl.pem")).unwrap();
    let mut config = TlsConfig::new(&bundle);
    assert!(TlsServer::load(&config).unwrap().summary().contains("no revocation list"));
    config.crl = Some(bundle.join("ca-crl.pem"));
    assert!(matches!(TlsServer::load(&config), Err(TlsError::File { .. })));
}

#[tokio::test]
async fn without_a_certificate_a_client_is_who_it_was_before() {
    let certificates = Certificates::with_pair();
    let optional = TlsConfig { client_certificates: ClientCertificates::Optional, ..TlsConfig::new(certificates.path("localhost")) };
    let server = TlsServer::load(&optional).unwrap();
    for name in ["client-cert.pem", "client-key.pem"] {
        fs::remove_file(certificates.path("guest-a").join(name)).unwrap();
    }
    let (accepted, _) = meet(&server, &client(&certificates.path("guest-a")), "localhost").await;
    assert!(accepted.unwrap().1.is_anyone());
    let guest_b = certificates.issue_at("guest-b", Role::Client, now() - time::Duration::days(3), time::Duration::days(1));
    assert!(refusal(&server, &client(&guest_b)).await.contains("has expired"), "optional, but not arbitrary");
}

/// A client that speaks TLS 1.2 only.
fn old_client(bundle: &Path) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(bundle.join("ca-cert.pem")).unwrap()).unwrap();
    let certificate = CertificateDer::from_pem_file(bundle.join("client-cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(bundle.join("client-key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS12]).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_client_auth_cert(vec![certificate], key).unwrap())
}

#[tokio::test]
async fn an_old_version_is_spoken_only_if_the_configuration_says_so() {
    let certificates = Certificates::with_pair();
    let connector = tokio_rustls::TlsConnector::from(old_client(&certificates.path("guest-a")));
    for (minimum_version, ok) in [(MinimumVersion::Tls13, false), (MinimumVersion::Tls12, true)] {
        let server = TlsServer::load(&TlsConfig { minimum_version, ..TlsConfig::new(certificates.path("localhost")) }).unwrap();
        let (near, far) = tokio::io::duplex(64 * 1024);
        let connect = connector.connect(ServerName::try_from("localhost").unwrap(), far);
        let (accepted, connected) = tokio::join!(server.accept(near, Origin::Network, DEADLINE), connect);
        assert_eq!((accepted.is_ok(), connected.is_ok()), (ok, ok));
        if let Err(error) = accepted {
            assert!(error.to_string().contains("no version of TLS that is allowed"), "{error:?}");
        }
    }
}

#[tokio::test]
async fn clients_that_are_slow_silent_or_speak_something_else_go_away() {
    let certificates = Certificates::with_pair();
    let server = server(&certificates);
    let (near, mut far) = tokio::io::duplex(1024);
    far.write_all(b"NBDMAGICIHAVEOPT\0\0\0\x03\0\0\0\0").await.unwrap();
    let error = server.accept(near, Origin::Network, DEADLINE).await.err().unwrap().to_string();
    assert!(error.contains("does not speak TLS"), "{error}");
    let (near, _far) = tokio::io::duplex(1024);
    let error = server.accept(near, Origin::Network, Duration::from_millis(50)).await.err().unwrap().to_string();
    assert!(error.contains("too long"), "{error}");
    let (near, far) = tokio::io::duplex(1024);
    drop(far);
    assert!(matches!(server.accept(near, Origin::Network, DEADLINE).await, Err(TlsError::Io(_))));
}

#[test]
fn a_blocking_client_reads_and_writes() {
    let certificates = Certificates::with_pair();
    let server = server(&certificates);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let echo = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (stream, _) = tokio::net::TcpListener::from_std(listener).unwrap().accept().await.unwrap();
            let (stream, identity) = server.accept(stream, Origin::Loopback, DEADLINE).await.unwrap();
            let (mut reader, mut writer) = tokio::io::split(stream);
            // The client may leave without a word; what it has read is what counts.
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            identity.label()
        })
    });
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut stream = client(&certificates.path("guest-a")).connect(stream, "localhost").unwrap();
    let sent: Vec<u8> = (0..1_000_000_u32).map(|i| (i / 7) as u8).collect();
    for chunk in sent.chunks(50_000) {
        stream.write_all(chunk).unwrap();
        let mut back = vec![0; chunk.len()];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, chunk);
    }
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    drop(stream);
    assert_eq!(echo.join().unwrap(), "dns:guest-a");
}

#[test]
fn a_blocking_client_gives_up_when_its_stream_does() {
    let certificates = Certificates::with_pair();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let guest = client(&certificates.path("guest-a"));
    match guest.connect(stream, "localhost") {
        Err(TlsError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        other => panic!("{:?}", other.map(drop)),
    }
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert!(matches!(guest.connect(stream, "not a name"), Err(TlsError::ServerName(_))));
}
