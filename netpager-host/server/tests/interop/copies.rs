//! Whole images through other people's clients: nothing is lost, added or moved.

use std::fs;

use bench::Connection;
use nbd::Request;

use crate::tools::{image, run, service};

const LIBNBD: &str = "libnbd-bin";

#[test]
fn nbdcopy_with_four_connections_brings_back_what_it_took() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let data = image(16 << 20);
    fs::write(path("in"), &data).unwrap();
    let disk = format!("disk=16M,store=file:{}", path("store"));
    let unix = format!("unix:{}", path("socket"));
    let service = service(&["memory=16M", &disk], &["--listen", &unix]);
    let tcp = service.target().to_string();
    let socket = |export: &str| format!("nbd+unix:///{export}?socket={}", path("socket"));
    for uri in [tcp.clone(), tcp.replace("memory", "disk"), socket("memory"), socket("disk")] {
        run(LIBNBD, "nbdcopy", &["--connections=4", "--requests=64", "--flush", &path("in"), &uri]).good();
        run(LIBNBD, "nbdcopy", &["--connections=4", "--requests=64", &uri, &path("out")]).good();
        assert!(fs::read(path("out")).unwrap() == data, "{uri}");
        fs::remove_file(path("out")).unwrap();
    }
    // From one export to the other, both ends at work at once; holes stay holes.
    run(LIBNBD, "nbdcopy", &["--destination-is-zero", &tcp, &socket("disk")]).good();
    assert!(fs::read(path("store")).unwrap() == data);
}

#[test]
fn nbdkit_finds_a_terabyte_of_sparse_noise_unharmed() {
    let service = service(&["memory=1T,quota=1G"], &[]);
    let uri = service.target().to_string();
    // The plugin makes data up from a seed and compares what is written to it with that.
    let copy = format!("nbdcopy \"$uri\" '{uri}' && nbdcopy '{uri}' \"$uri\"");
    let arguments = ["-U", "-", "sparse-random", "size=1T", "seed=1", "percent=0.002", "--run", &copy];
    run("nbdkit", "nbdkit", &arguments).good();
    let mut connection = Connection::open(service.target()).unwrap();
    // That it can fail: one byte changed.
    let done = connection.ask(Request::write(0, 4096), (), &[0xa5; 4096]).unwrap();
    assert_eq!(done.result, Ok(()));
    let back = format!("nbdcopy '{uri}' \"$uri\"");
    assert!(!run("nbdkit", "nbdkit", &["-U", "-", "sparse-random", "size=1T", "seed=1", "percent=0.002", "--run", &back]).success);
}

#[test]
fn qemu_img_copies_both_ways_and_compares() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let data = image(8 << 20);
    fs::write(path("in"), &data).unwrap();
    let service = service(&["memory=8M"], &[]);
    let uri = service.target().to_string();
    run("qemu-utils", "qemu-img", &["convert", "-n", "-W", "-m", "16", "-f", "raw", "-O", "raw", &path("in"), &uri]).good();
    run("qemu-utils", "qemu-img", &["convert", "-f", "raw", "-O", "qcow2", &uri, &path("out.qcow2")]).good();
    let compared = run("qemu-utils", "qemu-img", &["compare", "-f", "raw", "-F", "qcow2", &path("in"), &path("out.qcow2")]).good();
    assert!(compared.contains("identical"), "{compared}");
}
