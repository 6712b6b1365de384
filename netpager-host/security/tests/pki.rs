//! `netpager-host pki` as its user sees it, judged by OpenSSL.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use clap::Parser;
use common::{Certificates, now, tool};
use security::pki::{Pki, PkiError, Role, Standing};

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    pki: Pki,
}

fn try_pki(directory: &Path, line: &str) -> Result<String, PkiError> {
    let directory = directory.to_str().unwrap();
    let arguments = ["pki", "--directory", directory].into_iter().chain(line.split_whitespace());
    let mut out = Vec::new();
    security::pki::run(&Cli::parse_from(arguments).pki, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

fn pki(directory: &Path, line: &str) -> String {
    try_pki(directory, line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn openssl(arguments: &[&str]) -> (bool, String) {
    let output = tool("openssl", "openssl").args(arguments).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

fn verify(directory: &Path, purpose: &str, certificate: &Path) -> (bool, String) {
    let [ca, list] = ["ca-cert.pem", "ca-crl.pem"].map(|name| directory.join(name).to_str().unwrap().to_owned());
    openssl(&[
        "verify",
        "-x509_strict",
        "-CAfile",
        &ca,
        "-CRLfile",
        &list,
        "-crl_check",
        "-purpose",
        purpose,
        certificate.to_str().unwrap(),
    ])
}

#[test]
fn openssl_agrees_with_what_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    pki(path, "init --name Authority");
    let text = pki(path, "issue localhost --server --san 10.0.0.1 --san host1.example");
    assert!(text.contains("dns:localhost dns:host1.example ip:127.0.0.1 ip:::1 ip:10.0.0.1"), "{text}");
    pki(path, "issue guest-a --san spiffe://cluster/guest-a");
    let (server, client) = (path.join("localhost/server-cert.pem"), path.join("guest-a/client-cert.pem"));
    assert_eq!(verify(path, "sslserver", &server), (true, format!("{}: OK\n", server.display())));
    assert_eq!(verify(path, "sslclient", &client), (true, format!("{}: OK\n", client.display())));
    assert!(!verify(path, "sslserver", &client).0 && !verify(path, "sslclient", &server).0);
    let (_, text) = openssl(&["x509", "-noout", "-text", "-in", server.to_str().unwrap()]);
    for words in ["Digital Signature, Key Encipherment", "TLS Web Server Authentication", "prime256v1", "CA:FALSE", "CN = localhost"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    pki(path, "revoke guest-a");
    let (good, text) = verify(path, "sslclient", &client);
    assert!(!good && text.contains("certificate revoked"), "{text}");
    assert!(verify(path, "sslserver", &server).0, "only the guest's");
}

#[test]
fn keys_are_for_their_owner_only() {
    let certificates = Certificates::with_pair();
    for name in ["ca-key.pem", "localhost/server-key.pem", "guest-a/client-key.pem"] {
        let mode = fs::metadata(certificates.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn nothing_is_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    pki(path, "init");
    pki(path, "issue a");
    let files = ["ca-key.pem", "ca-cert.pem", "a/client-key.pem", "a/client-cert.pem"];
    let before = files.map(|name| fs::read(path.join(name)).unwrap());
    assert!(matches!(try_pki(path, "init"), Err(PkiError::Exists(_))));
    assert!(matches!(try_pki(path, "issue a"), Err(PkiError::Exists(_))));
    assert_eq!(files.map(|name| fs::read(path.join(name)).unwrap()), before);
    assert_eq!(fs::read_dir(path.join("issued")).unwrap().count(), 1, "no record of what was not issued");
    pki(path, "issue a --server");
    assert_eq!(fs::read_dir(path.join("a")).unwrap().count(), 6, "one directory may serve both sides");
}

#[test]
fn another_authoritys_bundle_is_left_alone() {
    let (one, other) = (Certificates::new(), Certificates::with_pair());
    let out = other.path("guest-a");
    drop(one.authority);
    let line = format!("issue b --server --out {}", out.display());
    assert!(matches!(try_pki(one.directory.path(), &line), Err(PkiError::Exists(path)) if path.ends_with("ca-cert.pem")));
    assert!(!out.join("server-key.pem").exists() && !out.join("server-cert.pem").exists());
}

#[test]
fn the_list_tells_what_is_still_good() {
    let certificates = Certificates::with_pair();
    certificates.issue_at("old", Role::Client, now() - time::Duration::days(9), time::Duration::days(2));
    certificates.authority.revoke("guest-a", now()).unwrap();
    let list = certificates.authority.list(now()).unwrap();
    let told: Vec<_> = list.iter().map(|issued| (issued.facts.common_name.clone().unwrap(), issued.standing)).collect();
    assert_eq!(told[0], ("old".into(), Standing::Expired));
    assert!(told.contains(&("guest-a".into(), Standing::Revoked)) && told.contains(&("localhost".into(), Standing::Good)));
    let directory = certificates.directory.path();
    drop(certificates.authority);
    let text = pki(directory, "list");
    assert!(text.lines().count() == 4 && text.contains("revoked") && text.contains("dns:guest-a"), "{text}");
}

#[test]
fn revoking_twice_keeps_both_and_counts_up() {
    let certificates = Certificates::with_pair();
    certificates.issue("guest-b", Role::Client);
    let list = certificates.authority.list(now()).unwrap();
    let number = list.iter().find(|issued| issued.facts.common_name.as_deref() == Some("guest-b")).unwrap().facts.serial.clone();
    let first = certificates.authority.revoke("guest-a", now()).unwrap();
    assert!(first.failed.is_empty() && first.written.contains(&certificates.path("localhost/ca-crl.pem")), "{first:?}");
    assert_eq!(certificates.authority.revoke(&number, now()).unwrap().revoked.len(), 1);
    assert!(matches!(certificates.authority.revoke("guest-a", now()), Err(PkiError::Unknown(_))));
    assert!(matches!(certificates.authority.revoke("nobody", now()), Err(PkiError::Unknown(_))));
    let (_, text) = openssl(&["crl", "-noout", "-text", "-in", certificates.path("localhost/ca-crl.pem").to_str().unwrap()]);
    assert_eq!(text.matches("Serial Number").count(), 2, "{text}");
    assert!(text.contains("X509v3 CRL Number: \n                3"), "{text}");
}

#[test]
fn nothing_outlasts_the_authority() {
    let directory = tempfile::tempdir().unwrap();
    pki(directory.path(), "init --days 10");
    let text = pki(directory.path(), "issue a --days 900");
    assert!(text.contains("earlier than you asked"), "{text}");
    assert!(verify(directory.path(), "sslclient", &directory.path().join("a/client-cert.pem")).0);
}

#[test]
fn mistakes_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    assert!(matches!(try_pki(path, "issue a"), Err(PkiError::NoAuthority(_))));
    pki(path, "init");
    for (line, word) in [("issue ../x", "cannot be a name"), ("issue issued", "taken"), ("issue x..y", "no DNS name"), ("revoke x", "`x`")]
    {
        let error = try_pki(path, line).unwrap_err().to_string();
        assert!(error.contains(word), "{line}: {error}");
    }
    fs::set_permissions(path.join("ca-key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    let error = try_pki(path, "issue a").unwrap_err().to_string();
    assert!(error.contains("0644") && error.contains("known to others"), "{error}");
}

#[test]
fn no_key_shows_in_what_is_printed() {
    let certificates = Certificates::with_pair();
    let key = fs::read_to_string(certificates.path("localhost/server-key.pem")).unwrap();
    let server = security::TlsServer::load(&security::TlsConfig::new(certificates.path("localhost"))).unwrap();
    let client = security::TlsClient::load(&certificates.path("guest-a")).unwrap();
    let printed = format!("{server:?} {client:?} {:?} {}", certificates.authority, server.summary());
    for line in key.lines().filter(|line| !line.starts_with('-')) {
        assert!(!printed.contains(&line[..16]), "{printed}");
    }
    assert!(printed.contains("dns:localhost") && printed.contains("0 revoked"), "{printed}");
}

#[test]
fn two_processes_take_turns() {
    let certificates = Certificates::with_pair();
    let directory = certificates.directory.path().to_owned();
    let waiting = std::thread::spawn(move || try_pki(&directory, "issue later").map(drop));
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(!waiting.is_finished(), "it waits for us");
    drop(certificates.authority);
    waiting.join().unwrap().unwrap();
    assert!(certificates.directory.path().join("later/client-key.pem").exists());
}

#[test]
fn every_example_in_the_help_is_accepted() {
    use clap::CommandFactory as _;
    Cli::command().debug_assert();
    let help = Cli::command().get_after_help().unwrap().to_string();
    let examples: Vec<&str> = help.lines().filter_map(|line| line.trim().strip_prefix("netpager-host pki ")).collect();
    assert_eq!(examples.len(), 5, "{help}");
    for example in examples {
        Cli::try_parse_from(["pki"].into_iter().chain(example.split(' '))).unwrap();
    }
}
