//! What a client can learn about the exports: nbdinfo, nbd-client.

use crate::tools::{run, service};

const LIBNBD: &str = "libnbd-bin";

#[test]
fn nbdinfo_reads_size_flags_and_block_sizes() {
    let service = service(&["memory=64M", "rom=1M,ro"], &[]);
    let uri = service.target().to_string();
    assert_eq!(run(LIBNBD, "nbdinfo", &["--size", &uri]).good().trim(), "67108864");
    let json = run(LIBNBD, "nbdinfo", &["--json", &uri]).good();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["protocol"], &json["structured"]), (&"newstyle-fixed".into(), &true.into()));
    let export = &json["exports"][0];
    assert_eq!(export["export-size"], 67_108_864);
    for able in ["can_cache", "can_df", "can_fast_zero", "can_flush", "can_fua", "can_multi_conn", "can_trim", "can_zero"] {
        assert_eq!(export[able], true, "{able} in {export:#}");
    }
    assert_eq!((&export["is_read_only"], &export["is_rotational"]), (&false.into(), &false.into()));
    assert!(export["contexts"].as_array().unwrap().contains(&"base:allocation".into()), "{export:#}");
    assert_eq!(export["block_size_preferred"], 4096);
    let rom = uri.replace("memory", "rom");
    run(LIBNBD, "nbdinfo", &["--is", "read-only", &rom]).good();
    assert!(!run(LIBNBD, "nbdinfo", &["--is", "read-only", &uri]).success);
    let nothing = run(LIBNBD, "nbdinfo", &["--size", &uri.replace("memory", "nothing")]);
    assert!(!nothing.success && !nothing.text.contains("67108864"), "{}", nothing.text);
}

#[test]
fn all_exports_are_listed_to_libnbd_and_to_nbd_client() {
    let service = service(&["memory=64M", "other=1M"], &[]);
    let uri = service.target().to_string();
    let list = run(LIBNBD, "nbdinfo", &["--list", "--json", &uri]).good();
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let names: Vec<&str> = list["exports"].as_array().unwrap().iter().filter_map(|export| export["export-name"].as_str()).collect();
    assert_eq!(names, ["memory", "other"]);
    let port = uri.trim_end_matches("/memory").rsplit_once(':').unwrap().1.to_owned();
    // It is in sbin, which is not in every path.
    let list = run("nbd-client", "/usr/sbin/nbd-client", &["-l", "127.0.0.1", &port]).good();
    assert!(list.contains("\nmemory\n") && list.contains("\nother\n"), "{list}");
}

#[test]
fn nbdinfo_maps_what_was_written_and_nothing_else() {
    let service = service(&["memory=1M"], &[]);
    let uri = service.target().to_string();
    let script = "h.pwrite(b'x' * 8192, 65536); h.zero(4096, 69632); h.pwrite(b'y', 1048575)";
    // nbdsh takes the first python3 of the path, which need not be the one that has the module.
    run("python3-libnbd", "/usr/bin/python3", &["-m", "nbd", "-u", &uri, "-c", script]).good();
    let map = run(LIBNBD, "nbdinfo", &["--map", "--json", &uri]).good();
    let map: serde_json::Value = serde_json::from_str(&map).unwrap();
    let extents: Vec<[u64; 3]> =
        map.as_array().unwrap().iter().map(|extent| ["offset", "length", "type"].map(|field| extent[field].as_u64().unwrap())).collect();
    // Type 3 is a hole that reads as zeroes, 0 is data.
    assert_eq!(extents, [[0, 65536, 3], [65536, 4096, 0], [69632, 974_848, 3], [1_044_480, 4096, 0]]);
}
