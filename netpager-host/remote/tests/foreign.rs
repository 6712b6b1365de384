//! Upstreams that are not ours: qemu-nbd and nbdkit, killed with kill -9 and started again.

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::{Random, eventually};
use nbd::uri::NbdUri;
use remote::{Engine, Member, MemberState, Mirror, MirrorConfig, NbdConfig, NbdStore, StaleMemory, Stripe};
use store::{Content, Space, Store, StoreError};

const SIZE: usize = 4 << 20;

/// A server on a Unix socket; killed with the test.
struct Server {
    child: Child,
    socket: String,
}

impl Server {
    fn start(program: &str, package: &str, socket: &Path, arguments: &[&str]) -> Self {
        let _ = std::fs::remove_file(socket);
        let socket = socket.to_str().unwrap().to_owned();
        let arguments = arguments.iter().map(|argument| argument.replace("SOCKET", &socket));
        let child = Command::new(program)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; apt-get install {package}"));
        let server = Self { child, socket };
        eventually("the server listens", || std::os::unix::net::UnixStream::connect(&server.socket).is_ok());
        server
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn config(&self, export: &str) -> NbdConfig {
        NbdConfig { deadline: Duration::from_secs(10), ..NbdConfig::new(NbdUri::unix(&self.socket, export)) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn qemu(directory: &Path, name: &str) -> Server {
    let image = directory.join(name);
    if !image.exists() {
        std::fs::File::create(&image).unwrap().set_len(SIZE as u64).unwrap();
    }
    let image = image.to_str().unwrap().to_owned();
    let arguments = ["-f", "raw", "-k", "SOCKET", "-x", "disk", "-t", "-e", "8", "--discard=unmap", &image];
    Server::start("qemu-nbd", "qemu-utils", &directory.join(format!("{name}.socket")), &arguments)
}

fn nbdkit(directory: &Path, name: &str) -> Server {
    let size = SIZE.to_string();
    let arguments = ["--foreground", "--newstyle", "-U", "SOCKET", "memory", &size];
    Server::start("nbdkit", "nbdkit", &directory.join(format!("{name}.socket")), &arguments)
}

fn all_of(store: &dyn Store) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    store.read_at(0, &mut bytes).unwrap();
    bytes
}

fn exercise(store: &dyn Store, model: &mut [u8], random: &mut Random) {
    for _ in 0..60 {
        let offset = random.below(SIZE as u64) as usize;
        let length = (random.below(100_000) as usize + 1).min(SIZE - offset);
        let (range, fill) = (offset..offset + length, random.below(256) as u8);
        match random.below(5) {
            0 => {
                let space = if fill.is_multiple_of(2) { Space::Release } else { Space::Reserve };
                store.write_zeroes(offset as u64, length as u64, space).unwrap();
                model[range].fill(0);
            }
            1 => {
                store.trim(offset as u64, length as u64).unwrap();
                store.read_at(offset as u64, &mut model[range]).unwrap();
            }
            2 => {
                let extent = store.extent_at(offset as u64, length as u64).unwrap();
                let part = &model[offset..offset + extent.length as usize];
                assert!(extent.content == Content::Data || part.iter().all(|&byte| byte == 0), "data in a hole");
            }
            _ => {
                store.write_at(offset as u64, &vec![fill; length]).unwrap();
                model[range].fill(fill);
            }
        }
    }
    assert!(all_of(store) == model);
}

#[test]
fn qemu_nbd_is_an_upstream_also_after_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = qemu(directory.path(), "image");
    let store = NbdStore::open(&Engine::start().unwrap(), server.config("disk")).unwrap();
    let (mut model, mut random) = (vec![0; SIZE], Random(5));
    for _ in 0..3 {
        exercise(&store, &mut model, &mut random);
        server.kill();
        server = qemu(directory.path(), "image");
    }
    assert!(all_of(&store) == model);
    store.flush().unwrap();
    assert!(std::fs::read(directory.path().join("image")).unwrap() == model);
}

#[test]
fn nbdkit_is_an_upstream_and_its_lost_memory_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = nbdkit(directory.path(), "memory");
    let store = NbdStore::open(&Engine::start().unwrap(), server.config("")).unwrap();
    let (mut model, mut random) = (vec![0; SIZE], Random(6));
    exercise(&store, &mut model, &mut random);
    store.write_at(0, &[9; 4096]).unwrap();
    store.flush().unwrap();
    server.kill();
    let _again = nbdkit(directory.path(), "memory");
    let Err(StoreError::Unavailable(why)) = store.read_at(0, &mut [0; 512]) else { panic!("an emptied server was read") };
    assert!(why.contains("without its contents"), "{why}");
}

#[test]
fn a_mirror_over_two_nbdkits_survives_kill_9_of_each() {
    let directory = tempfile::tempdir().unwrap();
    let mut servers = [nbdkit(directory.path(), "a"), nbdkit(directory.path(), "b")];
    let engine = Engine::start().unwrap();
    let member = |server: &Server, name: &str| {
        let config = NbdConfig { size: Some(SIZE as u64), deadline: Duration::from_secs(1), ..server.config("") };
        Member { name: name.into(), store: Arc::new(NbdStore::open(&engine, config).unwrap()) }
    };
    let config = MirrorConfig { retry: Duration::from_millis(50), ..MirrorConfig::default() };
    let members = vec![member(&servers[0], "a"), member(&servers[1], "b")];
    let mirror = Mirror::open(members, config, Box::new(StaleMemory::default())).unwrap();
    let (mut model, mut random) = (vec![0; SIZE], Random(8));
    for round in 0..4 {
        eventually("both are live", || mirror.status().is_whole());
        exercise(&mirror, &mut model, &mut random);
        mirror.flush().unwrap();
        servers[round % 2].kill();
        exercise(&mirror, &mut model, &mut random);
        eventually("the dead one is down", || mirror.status().members[round % 2].state == MemberState::Down);
        servers[round % 2] = nbdkit(directory.path(), ["a", "b"][round % 2]);
        assert!(all_of(&mirror) == model);
    }
}

#[test]
fn a_stripe_over_qemu_nbd_and_nbdkit_is_one_store() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (qemu(directory.path(), "image"), nbdkit(directory.path(), "memory"));
    let engine = Engine::start().unwrap();
    let open = |config| -> Arc<dyn Store> { Arc::new(NbdStore::open(&engine, config).unwrap()) };
    let stripe = Stripe::new(vec![open(one.config("disk")), open(two.config(""))], 64 << 10).unwrap();
    assert_eq!(stripe.size(), 2 * SIZE as u64);
    let pattern: Vec<u8> = (0..2 * SIZE).map(|at| (at >> 12) as u8 | 1).collect();
    stripe.write_at(0, &pattern).unwrap();
    let mut back = vec![0; 2 * SIZE];
    stripe.read_at(0, &mut back).unwrap();
    assert!(back == pattern);
    stripe.flush().unwrap();
    assert!(std::fs::read(directory.path().join("image")).unwrap()[..64 << 10] == pattern[..64 << 10]);
}
