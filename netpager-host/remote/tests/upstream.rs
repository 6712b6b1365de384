//! An NBD upstream that is killed, emptied, hung, slow, or picky about blocks.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::{FaultyServer, Forget, Random, all_flags, eventually};
use nbd::{NbdError, TransmissionFlags};
use remote::{Engine, NbdConfig, NbdStore, Replica};
use store::{Content, Space, Store, StoreError};

const SIZE: usize = 1 << 20;
const PAGE: usize = 4096;

fn config(server: &FaultyServer) -> NbdConfig {
    NbdConfig { deadline: Duration::from_secs(20), stall: Duration::from_secs(5), ..NbdConfig::new(server.uri()) }
}

fn open(server: &FaultyServer) -> NbdStore {
    NbdStore::open(&Engine::start().unwrap(), config(server)).unwrap()
}

fn page(store: &NbdStore, number: u64) -> u8 {
    let mut bytes = [0xee; PAGE];
    store.read_at(number * PAGE as u64, &mut bytes).unwrap();
    assert!(bytes.iter().all(|&byte| byte == bytes[0]), "half a page");
    bytes[0]
}

fn put(store: &NbdStore, number: u64, fill: u8) -> Result<(), StoreError> {
    store.write_at(number * PAGE as u64, &[fill; PAGE])
}

#[test]
fn an_upstream_is_an_array_of_bytes_whatever_its_blocks_are() {
    for (minimum, flags) in [(1, all_flags()), (512, all_flags()), (4096, TransmissionFlags::HAS_FLAGS | TransmissionFlags::SEND_FLUSH)] {
        let server = FaultyServer::start(SIZE);
        server.manners(|manners| (manners.block.minimum, manners.flags) = (minimum, flags));
        let (store, mut model, mut random) = (open(&server), vec![0u8; SIZE], Random(u64::from(minimum)));
        for _ in 0..300 {
            let offset = random.below(SIZE as u64) as usize;
            let length = (random.below(20_000) as usize + 1).min(SIZE - offset);
            let (range, at) = (offset..offset + length, offset as u64);
            match random.below(8) {
                0 => {
                    store.write_zeroes(at, length as u64, Space::Release).unwrap();
                    model[range].fill(0);
                }
                1 => {
                    store.trim(at, length as u64).unwrap();
                    store.read_at(at, &mut model[range]).unwrap();
                }
                2 => {
                    let extent = store.extent_at(at, length as u64).unwrap();
                    assert!(extent.length > 0 && extent.length <= length as u64);
                    let part = &model[offset..offset + extent.length as usize];
                    assert!(extent.content == Content::Data || part.iter().all(|&byte| byte == 0), "data in a hole");
                }
                3..5 => {
                    let mut bytes = vec![0xee; length];
                    store.read_at(at, &mut bytes).unwrap();
                    assert!(bytes == model[range], "{length} bytes at {offset}");
                }
                _ => {
                    let fill = random.below(255) as u8 + 1;
                    store.write_at(at, &vec![fill; length]).unwrap();
                    model[range].fill(fill);
                }
            }
        }
        store.flush().unwrap();
        assert!(server.bytes(0, SIZE) == model);
        assert!(matches!(store.read_at(SIZE as u64 - 1, &mut [0; 2]), Err(StoreError::OutOfRange { .. })));
        assert!(matches!(store.write_zeroes(u64::MAX, 2, Space::Release), Err(StoreError::OutOfRange { .. })));
    }
}

#[test]
fn callers_do_not_notice_lost_connections() {
    let server = FaultyServer::start(SIZE);
    let store = Arc::new(open(&server));
    eventually("all connections are made", || store.status().connections == 4);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let store = store.clone();
            scope.spawn(move || {
                for round in 0..150 {
                    let number = thread * 8 + round % 8;
                    put(&store, number, round as u8).unwrap();
                    assert_eq!(page(&store, number), round as u8);
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..12 {
                std::thread::sleep(Duration::from_millis(15));
                server.drop_connections();
            }
        });
    });
    assert!(server.world.connections.load(Ordering::SeqCst) > 8, "nothing was lost");
}

#[test]
fn what_a_restarted_server_forgot_is_sent_again() {
    let server = FaultyServer::start(SIZE);
    let store = open(&server);
    for number in 0..20 {
        put(&store, number, 1).unwrap();
    }
    store.flush().unwrap();
    for round in 2..6 {
        // The same page twice, so that the order matters.
        for number in [3, 5, 3] {
            put(&store, number, round + 10 * (number == 3) as u8).unwrap();
        }
        store.write_zeroes(7 * PAGE as u64, PAGE as u64, Space::Release).unwrap();
        put(&store, 9, round).unwrap();
        store.write_zeroes(9 * PAGE as u64, PAGE as u64, Space::Reserve).unwrap();
        server.kill(Forget::Unflushed);
        assert_eq!(server.bytes(3 * PAGE, 1)[0], if round == 2 { 1 } else { round + 9 });
        server.revive();
        assert_eq!([3, 5, 7, 9, 11].map(|number| page(&store, number)), [round + 10, round, 0, 0, 1]);
        store.flush().unwrap();
        server.kill(Forget::Unflushed);
        server.revive();
        assert_eq!([3, 5, 7, 9].map(|number| page(&store, number)), [round + 10, round, 0, 0]);
    }
}

#[test]
fn a_server_that_was_emptied_is_an_error_and_never_zeroes() {
    let server = FaultyServer::start(SIZE);
    let store = open(&server);
    put(&store, 3, 7).unwrap();
    store.flush().unwrap();
    put(&store, 4, 8).unwrap();
    server.kill(Forget::Everything);
    server.revive();
    let Err(StoreError::Unavailable(why)) = store.read_at(0, &mut [0; 8]) else { panic!() };
    assert!(why.contains("without its contents"), "{why}");
    assert!(put(&store, 3, 7).is_err() && store.flush().is_err());
    assert_eq!(store.incarnation(), 1);
    store.accept_loss();
    assert_eq!((page(&store, 3), page(&store, 4)), (0, 0));
    put(&store, 3, 9).unwrap();
    assert_eq!(page(&store, 3), 9);
}

#[test]
fn a_late_write_of_an_abandoned_connection_cannot_undo_a_newer_one() {
    let server = FaultyServer::start(SIZE);
    let config = NbdConfig { deadline: Duration::from_millis(600), stall: Duration::from_millis(100), connections: 1, ..config(&server) };
    let store = NbdStore::open(&Engine::start().unwrap(), config).unwrap();
    put(&store, 0, 1).unwrap();
    server.hang_these();
    assert!(matches!(put(&store, 0, 2), Err(StoreError::Unavailable(_))), "the server hangs");
    // The old connection still has that write. Everything else goes on over a new one, but a newer write must wait.
    put(&store, 1, 7).unwrap();
    assert_eq!((page(&store, 0), page(&store, 1)), (1, 7));
    assert!(matches!(put(&store, 0, 3), Err(StoreError::Unavailable(_))));
    server.hang(false);
    eventually("the late write is done and settled", || put(&store, 0, 4).is_ok());
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(page(&store, 0), 4);
    assert_eq!(server.bytes(0, 1), [4]);
}

#[test]
fn a_server_that_never_settles_is_waited_for_no_longer_than_the_quarantine() {
    let server = FaultyServer::start(SIZE);
    let quarantine = Duration::from_millis(800);
    let times = NbdConfig { deadline: Duration::from_millis(300), stall: Duration::from_millis(100), quarantine, ..config(&server) };
    let store = NbdStore::open(&Engine::start().unwrap(), NbdConfig { connections: 1, ..times }).unwrap();
    put(&store, 0, 1).unwrap();
    server.hang_these();
    let began = Instant::now();
    eventually("the range is given back", || put(&store, 0, 2).is_ok());
    assert!(began.elapsed() >= quarantine, "{:?}", began.elapsed());
    assert_eq!(page(&store, 0), 2);
}

#[test]
fn a_call_fails_at_its_deadline_and_says_why() {
    let server = FaultyServer::start(SIZE);
    let deadline = Duration::from_millis(200);
    let store = NbdStore::open(&Engine::start().unwrap(), NbdConfig { deadline, ..config(&server) }).unwrap();
    server.kill(Forget::Nothing);
    let began = Instant::now();
    let Err(StoreError::Unavailable(why)) = store.read_at(0, &mut [0; 8]) else { panic!() };
    assert!(began.elapsed() >= deadline && began.elapsed() < deadline + Duration::from_millis(200), "{:?}", began.elapsed());
    assert!(why.contains("nbd://127.0.0.1"), "{why}");
    server.revive();
    eventually("it is connected again", || store.read_at(0, &mut [0; 8]).is_ok());
}

#[test]
fn errors_of_the_server_keep_their_meaning() {
    let server = FaultyServer::start(SIZE);
    let store = open(&server);
    server.manners(|manners| manners.write_error = Some(NbdError::NoSpace));
    assert!(put(&store, 0, 1).unwrap_err().is_out_of_space());
    server.manners(|manners| manners.write_error = Some(NbdError::NotPermitted));
    assert!(matches!(put(&store, 0, 1), Err(StoreError::ReadOnly)));
    server.manners(|manners| manners.write_error = Some(NbdError::Io));
    assert!(put(&store, 0, 1).unwrap_err().to_string().contains("as asked"), "the server's words are lost");
    server.manners(|manners| manners.write_error = None);
    put(&store, 0, 1).unwrap();
}

#[test]
fn an_export_that_shrank_is_not_used() {
    let server = FaultyServer::start(SIZE);
    let store = NbdStore::open(&Engine::start().unwrap(), NbdConfig { deadline: Duration::from_millis(200), ..config(&server) }).unwrap();
    server.manners(|manners| manners.size = SIZE as u64 / 2);
    server.kill(Forget::Nothing);
    server.revive();
    let why = store.read_at(0, &mut [0; 8]).unwrap_err().to_string();
    assert!(why.contains("bytes and has"), "{why}");
}

#[test]
fn a_server_that_is_not_there_yet_is_no_error_if_the_size_is_known() {
    let server = FaultyServer::start(SIZE);
    server.kill(Forget::Nothing);
    let config = NbdConfig { size: Some(SIZE as u64), deadline: Duration::from_millis(100), ..config(&server) };
    let engine = Engine::start().unwrap();
    assert!(NbdStore::open(&engine, NbdConfig { size: None, ..config.clone() }).is_err());
    let store = NbdStore::open(&engine, config).unwrap();
    assert_eq!(store.size(), SIZE as u64);
    assert!(store.read_at(0, &mut [0; 8]).is_err());
    server.revive();
    eventually("it is there", || store.read_at(0, &mut [0; 8]).is_ok());
}

#[test]
fn memory_for_replay_is_bounded() {
    let server = FaultyServer::start(SIZE);
    let store = NbdStore::open(&Engine::start().unwrap(), NbdConfig { unflushed_bytes: 64 << 10, ..config(&server) }).unwrap();
    for round in 0..200u64 {
        put(&store, round % 64, round as u8).unwrap();
        assert!(store.status().unflushed_bytes <= 256 << 10);
    }
    assert!(server.world.flushes.load(Ordering::SeqCst) >= 5);
}
