//! Other people's tools over TLS: libnbd's and qemu's, both of which use GnuTLS.

use std::fs;
use std::process::{Command, Output};

use crate::place::Place;

/// Runs a tool of a Debian package; not having it is a failure.
fn run(package: &str, program: &str, arguments: &[&str]) -> Output {
    match Command::new("timeout").arg("60").arg(program).args(arguments).output() {
        Ok(output) if output.status.code() == Some(127) => panic!("{program} is missing: install the Debian package {package}"),
        output => output.unwrap(),
    }
}

#[track_caller]
fn good(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn libnbd_copies_a_megabyte_there_and_back() {
    let place = Place::new();
    let uri = place.uri("guest-a", "np1/guest-a/disk");
    assert_eq!(good(&run("libnbd-bin", "nbdinfo", &["--size", &uri])), "1048576\n");
    let [there, back] = ["there", "back"].map(|name| place.path().join(name));
    let content: Vec<u8> = (0..1_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(&there, &content).unwrap();
    good(&run("libnbd-bin", "nbdcopy", &[there.to_str().unwrap(), &uri]));
    good(&run("libnbd-bin", "nbdcopy", &[&uri, back.to_str().unwrap()]));
    assert!(fs::read(&back).unwrap() == content);
}

#[test]
fn libnbd_is_refused_what_is_not_its_own() {
    let (place, other) = (Place::new(), Place::new());
    assert!(!run("libnbd-bin", "nbdinfo", &[&place.uri("guest-a", "secret")]).status.success());
    let stranger = place.uri("guest-a", "shared").replace(place.path().to_str().unwrap(), other.path().to_str().unwrap());
    assert!(!run("libnbd-bin", "nbdinfo", &[&stranger]).status.success());
    let plain = place.uri("guest-a", "shared").replacen("nbds:", "nbd:", 1);
    assert!(!run("libnbd-bin", "nbdinfo", &[plain.split_once('?').unwrap().0]).status.success());
    good(&run("libnbd-bin", "nbdinfo", &[&place.uri("guest-b", "secret")]));
}

#[test]
fn qemu_reads_and_writes() {
    let place = Place::new();
    let port = place.address.rsplit_once(':').unwrap().1;
    let credentials = format!("tls-creds-x509,id=tls0,endpoint=client,dir={}", place.bundle("guest-a").display());
    let image = format!("driver=nbd,host=localhost,port={port},export=np1/guest-a/disk,tls-creds=tls0");
    let commands = ["-c", "write -P 0xab 64k 128k", "-c", "flush", "-c", "read -P 0xab 64k 128k", "-c", "read -P 0 0 64k"];
    let arguments = [&["--object", &credentials, "--image-opts"][..], &commands, &[&image]].concat();
    let text = good(&run("qemu-utils", "qemu-io", &arguments));
    assert!(!text.contains("verification failed") && text.matches("bytes at offset").count() == 3, "{text}");
    let info = good(&run("qemu-utils", "qemu-img", &["info", "--object", &credentials, "--image-opts", &image]));
    assert!(info.contains("virtual size: 1 MiB"), "{info}");
}
