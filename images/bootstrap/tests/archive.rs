//! The ramdisk as the image builder packs it.

use bootstrap_task::loader::Archive;
use bootstrap_task::manifest::Start;
use bootstrap_task::manifest::{Item, parse};
use bootstrap_task::supervisor::Starter;
use runtime::fake::FakeKernel;
use runtime::port;

fn pack(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o555);
        archive.append_data(&mut header, name, *bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

fn start(line: &str) -> Start {
    match parse(line).unwrap().remove(0) {
        Item::Start(start) => start,
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_are_found_by_name() {
    let big = vec![7; 5000];
    let bytes = pack(&[("manifest", b"run a b\n"), ("empty", b""), ("b", &big)]);
    let archive = Archive::new(&bytes).unwrap();
    assert_eq!(archive.manifest(), Ok("run a b\n"));
    assert_eq!((archive.file("b"), archive.file("empty"), archive.file("c")), (Some(&*big), Some(&b""[..]), None));
}

#[test]
fn what_is_wrong_with_a_ramdisk_is_said() {
    assert!(Archive::new(&[1; 2048]).unwrap_err().contains("no tar archive"));
    let bytes = pack(&[("text", b"not an ELF file"), ("manifest", b"\xff")]);
    let mut archive = Archive::new(&bytes).unwrap();
    assert!(archive.manifest().unwrap_err().contains("isn't text"));
    let (_kernel, _installed) = FakeKernel::install();
    let port = port::allocate().unwrap();
    assert!(archive.start(&start("run a text"), &port).unwrap_err().contains("no ELF file"));
    assert!(archive.start(&start("run a nowhere"), &port).unwrap_err().contains("no program `nowhere`"));
}
