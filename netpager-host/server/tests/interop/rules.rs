//! The protocol's rules, through libnbd: with its checks on, our replies must please it; with its checks off, it sends
//! what no client should, and the service must answer as the specification says and carry on.
//!
//! The checks are in Python, libnbd's own language for this, one function each; see the files beside this one.

use std::path::Path;

use crate::tools::{run, service};

fn script(name: &str, exports: &[&str]) {
    let service = service(exports, &[]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name);
    // libnbd's Python module is Debian's python3's, whatever other python3 comes first in the path.
    let said = run("python3-libnbd", "/usr/bin/python3", &["-B", &path.display().to_string(), &service.target().to_string()]);
    println!("{}", said.text);
    assert!(said.success && said.text.contains("\nall ok"), "{}", said.text);
}

#[test]
fn what_libnbd_may_send_is_answered_by_the_book() {
    script("allowed.py", &["memory=64M", "rom=1M,ro", "small=1M,quota=64K"]);
}

#[test]
fn what_libnbd_must_not_send_is_refused_by_the_book() {
    script("forbidden.py", &["memory=64M", "rom=1M,ro", "small=1M,quota=64K"]);
}

#[test]
fn sizes_at_the_edge_are_exact() {
    script("edges.py", &["memory=64T,quota=64M", "odd=12345"]);
}
