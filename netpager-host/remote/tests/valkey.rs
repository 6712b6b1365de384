//! A real cluster of three nodes on loopback: nothing on disk, little memory, ended by process id.

mod common;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use common::{Random, eventually};
use remote::{Engine, ValkeyConfig, ValkeyStore};
use store::{Content, Space, Store, StoreError};
use tempfile::TempDir;

const SIZE: usize = 1 << 20;
const PAGE: usize = 4096;

/// Redis and Valkey are the same for this; Debian 12 has redis-server, later ones valkey-server.
fn program(names: [&'static str; 2]) -> &'static str {
    let is_there = |name: &&str| Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    names.into_iter().find(|name| is_there(name)).unwrap_or_else(|| {
        panic!(
            "neither {} nor {} is installed: apt-get install redis-server redis-tools (or valkey-server valkey-tools)",
            names[0], names[1]
        )
    })
}

struct Nodes {
    nodes: Vec<Child>,
    ports: Vec<u16>,
    _directory: TempDir,
}

impl Nodes {
    /// `primaries` nodes and one replica of each if `replicas`.
    fn start(primaries: usize, replicas: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ports: Vec<u16> = {
            // A node also listens at its port plus 10000.
            let free = || loop {
                let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
                let low = port % 20_000 + 20_000;
                if [low, low + 10_000].iter().all(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
                    return low;
                }
            };
            let mut ports = Vec::new();
            while ports.len() < primaries * (1 + replicas) {
                let port = free();
                if !ports.contains(&port) {
                    ports.push(port);
                }
            }
            ports
        };
        let server = program(["valkey-server", "redis-server"]);
        let node = |port: &u16| {
            let place = directory.path().join(port.to_string());
            std::fs::create_dir(&place).unwrap();
            let options = [
                "--bind 127.0.0.1 --save --appendonly no --cluster-enabled yes --maxmemory 24mb --maxmemory-policy noeviction",
                "--cluster-node-timeout 2000 --cluster-require-full-coverage no --repl-diskless-sync-delay 0 --daemonize no",
            ];
            let mut command = Command::new(server);
            command.arg("--port").arg(port.to_string()).arg("--dir").arg(&place);
            for option in options.join(" ").split_whitespace() {
                command.arg(option);
                if option == "--save" {
                    command.arg("");
                }
            }
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let nodes = Self { nodes: ports.iter().map(node).collect(), ports: ports.clone(), _directory: directory };
        eventually("the nodes listen", || ports.iter().all(|port| nodes.ask(*port, &["PING"]).contains("PONG")));
        let addresses: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let made = Command::new(program(["valkey-cli", "redis-cli"]))
            .args(["--cluster", "create"])
            .args(&addresses)
            .args(["--cluster-replicas", &replicas.to_string(), "--cluster-yes"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        eventually("the cluster is up", || ports.iter().all(|port| nodes.ask(*port, &["CLUSTER", "INFO"]).contains("cluster_state:ok")));
        nodes
    }

    fn ask(&self, port: u16, words: &[&str]) -> String {
        let answer = Command::new(program(["valkey-cli", "redis-cli"])).args(["-p", &port.to_string()]).args(words).output().unwrap();
        String::from_utf8_lossy(&answer.stdout).into_owned()
    }

    fn keys(&self, export: &str) -> Vec<usize> {
        let count = |port: &u16| self.ask(*port, &["--scan", "--pattern", &format!("pvmach/{export}/*")]).lines().count();
        self.ports.iter().map(count).collect()
    }

    fn config(&self, export: &str) -> ValkeyConfig {
        ValkeyConfig::new(format!("redis-cluster://127.0.0.1:{}", self.ports[0]), export.into(), SIZE as u64)
    }

    fn open(&self, export: &str) -> ValkeyStore {
        ValkeyStore::open(engine(), self.config(export)).unwrap()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::start().unwrap())
}

#[test]
fn a_cluster_of_three_nodes_is_a_store() {
    let nodes = Nodes::start(3, 0);
    it_is_an_array_of_bytes(&nodes);
    zeroes_take_no_keys(&nodes);
    the_quota_is_kept(&nodes);
    another_shape_is_refused(&nodes);
    a_lost_or_old_page_is_an_error(&nodes);
    a_full_cluster_has_no_space(&nodes);
    a_node_that_evicts_is_refused(&nodes);
    a_flush_that_wants_replicas_fails_without(&nodes);
}

fn it_is_an_array_of_bytes(nodes: &Nodes) {
    let (mut model, mut random) = (vec![0u8; SIZE], Random(3));
    // In the middle of it, another process takes over.
    for _ in 0..2 {
        let store = nodes.open("model");
        for _ in 0..150 {
            let offset = random.below(SIZE as u64) as usize;
            let most = if random.below(4) == 0 { 200_000 } else { 9_000 };
            let length = (random.below(most) as usize + 1).min(SIZE - offset);
            let (range, at) = (offset..offset + length, offset as u64);
            match random.below(8) {
                0 | 1 => {
                    let space = if random.below(2) == 0 { Space::Release } else { Space::Reserve };
                    store.write_zeroes(at, length as u64, space).unwrap();
                    model[range].fill(0);
                }
                2 => {
                    store.trim(at, length as u64).unwrap();
                    store.read_at(at, &mut model[range]).unwrap();
                }
                3 => {
                    let mut bytes = vec![0xee; length];
                    store.read_at(at, &mut bytes).unwrap();
                    assert!(bytes == model[range], "{length} bytes at {offset}");
                }
                4 => {
                    let extent = store.extent_at(at, length as u64).unwrap();
                    let part = &model[offset..offset + extent.length as usize];
                    assert!(extent.content == Content::Data || part.iter().all(|&byte| byte == 0), "data in a hole");
                }
                _ => {
                    let fill = random.below(256) as u8;
                    store.write_at(at, &vec![fill; length]).unwrap();
                    model[range].fill(fill);
                }
            }
        }
        let mut all = vec![0xee; SIZE];
        store.read_at(0, &mut all).unwrap();
        assert!(all == model);
        assert!(matches!(store.write_at(SIZE as u64, &[1]), Err(StoreError::OutOfRange { .. })));
    }
    assert!(nodes.keys("model").iter().all(|&keys| keys > 0), "not spread over the nodes: {:?}", nodes.keys("model"));
    nodes.open("model").clear().unwrap();
}

fn zeroes_take_no_keys(nodes: &Nodes) {
    let store = nodes.open("zeroes");
    let keys = || nodes.keys("zeroes").iter().sum::<usize>();
    let before = keys();
    store.write_at(0, &vec![0; SIZE]).unwrap();
    assert_eq!(keys(), before);
    store.write_at(PAGE as u64, &[7; 3 * PAGE]).unwrap();
    assert_eq!(keys(), before + 1);
    store.write_at(0, &[0; 8 * PAGE]).unwrap();
    assert_eq!(keys(), before, "an extent that became zeroes is still there");
    store.write_zeroes(0, 64 << 10, Space::Reserve).unwrap();
    assert_eq!(keys(), before + 2, "reserved");
    store.write_zeroes(0, 64 << 10, Space::Release).unwrap();
    assert_eq!(keys(), before);
}

fn the_quota_is_kept(nodes: &Nodes) {
    let config = ValkeyConfig { quota: Some(64 << 10), ..nodes.config("quota") };
    let store = ValkeyStore::open(engine(), config).unwrap();
    store.write_at(0, &[1; 64 << 10]).unwrap();
    assert!(store.write_at(64 << 10, &[1]).unwrap_err().is_out_of_space());
    assert!(store.write_zeroes(64 << 10, 32 << 10, Space::Reserve).unwrap_err().is_out_of_space());
    store.write_zeroes(0, 32 << 10, Space::Release).unwrap();
    // Half of it fits, and a call that fails must not use up what it could not use.
    assert!(store.write_at(64 << 10, &[2; 64 << 10]).unwrap_err().is_out_of_space());
    store.write_at(128 << 10, &[3; 32 << 10]).unwrap();
    store.clear().unwrap();
}

fn another_shape_is_refused(nodes: &Nodes) {
    nodes.open("shape");
    let other = ValkeyConfig { extent: 16 << 10, ..nodes.config("shape") };
    let why = ValkeyStore::open(engine(), other).err().unwrap().to_string();
    assert!(why.contains("extent=16384"), "{why}");
    assert!(ValkeyStore::open(engine(), ValkeyConfig { extent: 4096, ..nodes.config("shape") }).is_err());
}

fn a_lost_or_old_page_is_an_error(nodes: &Nodes) {
    let store = nodes.open("lost");
    store.write_at(0, &[5; 2 * PAGE]).unwrap();
    // What a failover can do: the key is as it was before.
    let set = |fill: &str| nodes.ask(nodes.ports[0], &["-c", "SETRANGE", "pvmach/lost/0", "0", &fill.repeat(PAGE)]);
    set("x");
    assert!(matches!(store.read_at(0, &mut [0; PAGE]), Err(StoreError::Corrupt { offset: 0 })));
    store.read_at(PAGE as u64, &mut [0; PAGE]).unwrap();
    nodes.ask(nodes.ports[0], &["-c", "DEL", "pvmach/lost/0"]);
    assert!(matches!(store.read_at(PAGE as u64, &mut [0; PAGE]), Err(StoreError::Corrupt { offset: 4096 })));
    // Writing the whole page mends it.
    store.write_at(0, &[6; 2 * PAGE]).unwrap();
    store.read_at(0, &mut [0; 2 * PAGE]).unwrap();
    store.clear().unwrap();
}

fn a_full_cluster_has_no_space(nodes: &Nodes) {
    let config = ValkeyConfig { size: 1 << 30, ..nodes.config("full") };
    let store = ValkeyStore::open(engine(), config).unwrap();
    let refused = (0..200).find_map(|at| store.write_at(at << 20, &vec![1; 1 << 20]).err());
    assert!(refused.is_some_and(|error| error.is_out_of_space()), "three times 24 MB took 200 MiB");
    store.read_at(0, &mut vec![0; 1 << 20]).unwrap();
    store.clear().unwrap();
    store.write_at(0, &vec![1; 1 << 20]).unwrap();
    store.clear().unwrap();
}

fn a_node_that_evicts_is_refused(nodes: &Nodes) {
    nodes.ask(nodes.ports[1], &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let why = ValkeyStore::open(engine(), nodes.config("evicted")).err().unwrap().to_string();
    assert!(why.contains("allkeys-lru"), "{why}");
    nodes.ask(nodes.ports[1], &["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
}

fn a_flush_that_wants_replicas_fails_without(nodes: &Nodes) {
    nodes.open("flush").flush().unwrap();
    let config = ValkeyConfig { replicas: 1, deadline: Duration::from_secs(2), ..nodes.config("flush") };
    let why = ValkeyStore::open(engine(), config).unwrap().flush().unwrap_err().to_string();
    assert!(why.contains("0 of 1"), "{why}");
}

#[test]
fn a_failover_is_survived_and_a_flush_waits_for_replicas() {
    let mut nodes = Nodes::start(3, 1);
    let config = ValkeyConfig { replicas: 1, deadline: Duration::from_secs(2), ..nodes.config("failover") };
    let store = ValkeyStore::open(engine(), config).unwrap();
    for at in 0..32u8 {
        store.write_at(u64::from(at) << 15, &[at + 1; PAGE]).unwrap();
    }
    store.flush().unwrap();
    // The first node is a primary; its replica takes over.
    nodes.nodes[0].kill().unwrap();
    nodes.nodes[0].wait().unwrap();
    eventually("every extent is served again", || (0..32u8).all(|at| store.read_at(u64::from(at) << 15, &mut [0; PAGE]).is_ok()));
    for at in 0..32u8 {
        let mut page = [0; PAGE];
        store.read_at(u64::from(at) << 15, &mut page).unwrap();
        assert_eq!(page, [at + 1; PAGE], "flushed, and confirmed by the replica");
        store.write_at(u64::from(at) << 15, &[at + 2; PAGE]).unwrap();
    }
}
