//! fio with its NBD engine: many requests in flight, every block verified by fio itself.

use crate::tools::{run, service};

#[test]
fn fio_verifies_what_it_wrote_at_depth_32() {
    let folder = tempfile::tempdir().unwrap();
    let disk = format!("disk=64M,store=file:{}", folder.path().join("store").display());
    let service = service(&["memory=64M", &disk], &[]);
    let uri = service.target().to_string();
    for uri in [uri.clone(), uri.replace("memory", "disk")] {
        let uri = format!("--uri={uri}");
        let fixed = [
            "--name=t",
            "--ioengine=nbd",
            "--thread",
            "--size=64m",
            "--iodepth=32",
            "--verify=crc32c",
            "--verify_fatal=1",
            "--verify_state_save=0",
        ];
        for shape in [&["--rw=randwrite", "--bs=4k"][..], &["--rw=randrw", "--bsrange=4k-64k", "--blockalign=4k", "--randseed=7"]] {
            let arguments: Vec<&str> = fixed.iter().chain(shape).copied().chain([uri.as_str(), "--minimal"]).collect();
            let text = run("fio", "fio", &arguments).good();
            assert!(!text.contains("verify:"), "{text}");
        }
    }
}
