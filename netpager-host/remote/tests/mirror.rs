//! Mirrors whose members are killed, emptied, hung, slow, or fail at random.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{FaultyServer, Forget, Random, eventually};
use remote::{Engine, Member, MemberState, Mirror, MirrorConfig, NbdConfig, NbdStore, Plain, StaleFile, StaleLog, StaleMemory};
use store::{Arena, DelayFilter, Delays, ErrorFilter, ErrorRates, RamStore, Space, Store, StoreError};

const SIZE: usize = 4 << 20;
const PAGE: usize = 4096;

fn ram() -> Arc<dyn Store> {
    Arc::new(RamStore::new(Arc::new(Arena::new(16 << 20)), SIZE as u64, u64::MAX).unwrap())
}

fn plain(name: &str, store: Arc<dyn Store>) -> Member {
    Member { name: name.into(), store: Arc::new(Plain(store)) }
}

fn quick() -> MirrorConfig {
    MirrorConfig {
        // Generous: these tests run beside many others, and a member that is merely slow must not count as gone.
        deadline: Duration::from_secs(2),
        flush_deadline: Duration::from_secs(5),
        hedge: Duration::from_millis(5),
        retry: Duration::from_millis(30),
        open: Duration::from_secs(5),
    }
}

fn mirror(members: Vec<Member>) -> Mirror {
    Mirror::open(members, quick(), Box::new(StaleMemory::default())).unwrap()
}

fn whole(mirror: &Mirror) {
    eventually("all members are live", || mirror.status().is_whole());
}

fn all_of(store: &dyn Store) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    store.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Any change, here and in the model.
fn change(store: &dyn Store, model: &mut [u8], random: &mut Random) -> Result<(), StoreError> {
    let offset = random.below(SIZE as u64) as usize;
    let length = (random.below(30_000) as usize + 1).min(SIZE - offset);
    let fill = random.below(256) as u8;
    match random.below(6) {
        0 => store.write_zeroes(offset as u64, length as u64, Space::Release).map(|()| model[offset..offset + length].fill(0)),
        1 => store.trim(offset as u64, length as u64).map(|()| model[offset..offset + length].fill(0)),
        _ => store.write_at(offset as u64, &vec![fill; length]).map(|()| model[offset..offset + length].fill(fill)),
    }
}

#[test]
fn a_mirror_is_an_array_of_bytes_and_so_is_each_member() {
    let stores = [ram(), ram(), ram()];
    let slow = DelayFilter::new(stores[2].clone(), Delays { write: Duration::from_micros(50), ..Delays::default() });
    let mirror = mirror(vec![plain("a", stores[0].clone()), plain("b", stores[1].clone()), plain("c", Arc::new(slow))]);
    whole(&mirror);
    let (mut model, mut random) = (vec![0; SIZE], Random(1));
    for _ in 0..200 {
        change(&mirror, &mut model, &mut random).unwrap();
    }
    mirror.flush().unwrap();
    assert!(all_of(&mirror) == model && stores.iter().all(|store| all_of(store) == model));
    assert!(matches!(mirror.write_at(SIZE as u64, &[1]), Err(StoreError::OutOfRange { .. })));
    assert!(matches!(mirror.trim(u64::MAX, 2), Err(StoreError::OutOfRange { .. })));
}

/// Two members behind NBD servers.
struct Pair {
    servers: [FaultyServer; 2],
    mirror: Mirror,
}

fn members(engine: &Engine, servers: &[FaultyServer; 2]) -> Vec<Member> {
    let member = |(server, name): (&FaultyServer, &str)| {
        let (deadline, stall) = (quick().deadline, quick().deadline / 2);
        let config = NbdConfig { size: Some(SIZE as u64), deadline, stall, connections: 2, ..NbdConfig::new(server.uri()) };
        Member { name: name.into(), store: Arc::new(NbdStore::open(engine, config).unwrap()) }
    };
    servers.iter().zip(["left", "right"]).map(member).collect()
}

fn pair() -> Pair {
    let servers = [FaultyServer::start(SIZE), FaultyServer::start(SIZE)];
    let mirror = mirror(members(&Engine::start().unwrap(), &servers));
    whole(&mirror);
    Pair { servers, mirror }
}

/// Writes and reads from two threads, without using up the machine, each in pages of its own, while `trouble` happens; nothing may fail, be wrong, or take
/// longer than 100 ms more than the deadline.
///
/// On a busy machine threads wait for a processor, and a call passes through four of them. How long that takes is measured by
/// a thread that only sleeps, and is granted on top.
fn under_load(mirror: &Mirror, trouble: impl FnOnce()) {
    let (over, longest, oversleep) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let began = Instant::now();
                std::thread::sleep(Duration::from_millis(1));
                oversleep.fetch_max(began.elapsed().as_micros() as u64 - 1000, Ordering::SeqCst);
            }
        });
        for thread in 0..2u64 {
            let (over, longest) = (&over, &longest);
            scope.spawn(move || {
                let (mut versions, mut random) = ([0u8; 16], Random(thread));
                while !over.load(Ordering::SeqCst) {
                    let (slot, mut page) = (random.below(16), [0; PAGE]);
                    let offset = (slot * 4 + thread) * 60_000;
                    let began = Instant::now();
                    if random.below(2) == 0 {
                        let next = versions[slot as usize].wrapping_add(1);
                        mirror.write_at(offset, &[next; PAGE]).unwrap();
                        versions[slot as usize] = next;
                    } else {
                        mirror.read_at(offset, &mut page).unwrap();
                        assert_eq!(page, [versions[slot as usize]; PAGE], "thread {thread}, slot {slot}");
                    }
                    longest.fetch_max(began.elapsed().as_micros() as u64, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(trouble));
        over.store(true, Ordering::SeqCst);
        result.unwrap();
    });
    let [longest, oversleep] = [longest, oversleep].map(|time| Duration::from_micros(time.load(Ordering::SeqCst)));
    println!("longest call {longest:?}, longest wait for a processor {oversleep:?}");
    assert!(longest < quick().deadline + Duration::from_millis(100) + 4 * oversleep, "{longest:?}, {oversleep:?}");
}

#[test]
fn one_of_two_hosts_dies_and_nobody_notices() {
    let Pair { servers, mirror } = pair();
    under_load(&mirror, || {
        for round in 0..4 {
            let victim = &servers[round % 2];
            std::thread::sleep(Duration::from_millis(50));
            victim.kill(if round < 2 { Forget::Unflushed } else { Forget::Everything });
            eventually("the dead member is down", || mirror.status().members[round % 2].state == MemberState::Down);
            victim.revive();
            whole(&mirror);
        }
    });
    whole(&mirror);
    assert!(servers[0].bytes(0, SIZE) == servers[1].bytes(0, SIZE), "the members differ");
    assert!(mirror.status().members.iter().all(|member| member.errors > 0));
}

#[test]
fn one_of_two_hosts_hangs_and_nobody_waits_longer_than_the_deadline() {
    let Pair { servers, mirror } = pair();
    under_load(&mirror, || {
        for victim in [&servers[0], &servers[1]] {
            std::thread::sleep(Duration::from_millis(50));
            victim.hang(true);
            eventually("the hung member is down", || mirror.status().members.iter().any(|member| member.state == MemberState::Down));
            std::thread::sleep(Duration::from_millis(300));
            victim.hang(false);
            whole(&mirror);
        }
    });
    whole(&mirror);
    assert!(servers[0].bytes(0, SIZE) == servers[1].bytes(0, SIZE), "the members differ");
}

#[test]
fn both_hosts_are_gone_for_a_while_and_nothing_is_lost() {
    let Pair { servers, mirror } = pair();
    let (mut model, mut random) = (vec![0; SIZE], Random(7));
    for round in 0..3 {
        (0..20).for_each(|_| change(&mirror, &mut model, &mut random).unwrap());
        servers.iter().for_each(|server| server.kill(Forget::Unflushed));
        let began = Instant::now();
        let Err(StoreError::Unavailable(why)) = mirror.write_at(0, &[99]) else { panic!("who took that?") };
        assert!(began.elapsed() < quick().deadline * 2 + Duration::from_millis(300) && !why.is_empty(), "{:?} {why}", began.elapsed());
        // The failed write may have happened or not.
        servers[round % 2].revive();
        std::thread::sleep(Duration::from_millis(50));
        servers[1 - round % 2].revive();
        whole(&mirror);
        mirror.read_at(0, &mut model[..1]).unwrap();
        assert!(all_of(&mirror) == model);
        mirror.flush().unwrap();
        assert!(servers.iter().all(|server| server.bytes(0, SIZE) == model));
    }
}

#[test]
fn a_restarted_mirror_does_not_believe_a_member_that_missed_something() {
    let directory = tempfile::tempdir().unwrap();
    let log = || Box::new(StaleFile::new(directory.path().join("mirror")));
    let servers = [FaultyServer::start(SIZE), FaultyServer::start(SIZE)];
    let engine = Engine::start().unwrap();
    let first = Mirror::open(members(&engine, &servers), quick(), log()).unwrap();
    whole(&first);
    first.write_at(0, &[1; PAGE]).unwrap();
    servers[0].kill(Forget::Nothing);
    first.write_at(0, &[2; PAGE]).unwrap();
    assert_eq!(log().load().unwrap().stale, ["left"], "before the write was acknowledged");
    drop(first);
    assert!(!log().load().unwrap().is_open);
    servers[1].kill(Forget::Nothing);
    servers[0].revive();
    // Only the stale one is there: refuse rather than show old data.
    assert!(matches!(Mirror::open(members(&engine, &servers), quick(), log()), Err(StoreError::Unavailable(_))));
    servers[1].revive();
    let second = Mirror::open(members(&engine, &servers), quick(), log()).unwrap();
    assert!(all_of(&second)[..PAGE] == [2; PAGE]);
    whole(&second);
    assert_eq!(servers[0].bytes(0, PAGE), [2; PAGE]);
    eventually("nobody is stale any more", || log().load().unwrap().stale.is_empty());
}

#[test]
fn a_mirror_that_was_killed_makes_its_members_equal_again() {
    let directory = tempfile::tempdir().unwrap();
    let log = || Box::new(StaleFile::new(directory.path().join("mirror")));
    let stores = [ram(), ram()];
    let both = || vec![plain("a", stores[0].clone()), plain("b", stores[1].clone())];
    let first = Mirror::open(both(), quick(), log()).unwrap();
    whole(&first);
    first.write_at(100, b"acknowledged").unwrap();
    // Killed in the middle of a write that only one member got.
    stores[1].write_at(PAGE as u64 * 500, b"torn").unwrap();
    let as_left = log().load().unwrap();
    drop(first);
    log().save(&as_left).unwrap();
    let second = Mirror::open(both(), quick(), log()).unwrap();
    whole(&second);
    assert!(all_of(&stores[0]) == all_of(&stores[1]), "the torn write is in one of them only");
    assert!(all_of(&second)[100..112] == *b"acknowledged");
}

#[test]
fn a_member_that_was_emptied_while_the_mirror_was_closed_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let log = || Box::new(StaleFile::new(directory.path().join("mirror")));
    let mut stores = [ram(), ram()];
    for emptied in [0, 1] {
        let both = |stores: &[Arc<dyn Store>; 2]| vec![plain("a", stores[0].clone()), plain("b", stores[1].clone())];
        let first = Mirror::open(both(&stores), quick(), log()).unwrap();
        whole(&first);
        first.write_at(300_000, &[9; PAGE]).unwrap();
        drop(first);
        assert!(!log().load().unwrap().witnesses.is_empty());
        stores[emptied] = ram();
        let second = Mirror::open(both(&stores), quick(), log()).unwrap();
        let mut page = [0; PAGE];
        second.read_at(300_000, &mut page).unwrap();
        assert_eq!(page, [9; PAGE], "member {emptied} is empty");
        whole(&second);
        assert!(all_of(&stores[0]) == all_of(&stores[1]));
    }
    stores = [ram(), ram()];
    let both = vec![plain("a", stores[0].clone()), plain("b", stores[1].clone())];
    let config = MirrorConfig { open: Duration::from_millis(500), ..quick() };
    let why = Mirror::open(both, config, log()).err().unwrap().to_string();
    assert!(why.contains("emptied"), "{why}");
}

#[test]
fn reads_come_from_the_fastest_and_do_not_wait_for_one_that_is_late() {
    let slow = Arc::new(DelayFilter::new(ram(), Delays { read: Duration::from_millis(30), ..Delays::default() }));
    let less = Arc::new(DelayFilter::new(ram(), Delays { read: Duration::from_millis(1), ..Delays::default() }));
    let mirror = mirror(vec![plain("slow", slow), plain("less slow", less)]);
    whole(&mirror);
    // What the slow one would need for them: six seconds.
    let began = Instant::now();
    (0..200).for_each(|_| mirror.read_at(0, &mut [0; PAGE]).unwrap());
    assert!(began.elapsed() < Duration::from_millis(200 * 15), "{:?}", began.elapsed());
    let status = mirror.status();
    assert!(status.members[0].read_time > status.members[1].read_time, "{status:?}");
    assert!(status.is_whole(), "late is not down");
}

#[test]
fn members_that_fail_at_random_lose_nothing_and_end_up_equal() {
    for seed in 0..4 {
        let (stores, rates) = ([ram(), ram(), ram()], ErrorRates { read: 20, write: 20, flush: 50 });
        let filters: Vec<_> =
            stores.iter().enumerate().map(|(at, store)| ErrorFilter::new(store.clone(), rates, seed * 3 + at as u64)).collect();
        let switches: Vec<_> = filters.iter().map(ErrorFilter::armed).collect();
        let arm = |armed: bool| switches.iter().for_each(|switch| switch.store(armed, Ordering::SeqCst));
        arm(false);
        let members = filters.into_iter().enumerate().map(|(at, filter)| plain(&format!("m{at}"), Arc::new(filter))).collect();
        let mirror = mirror(members);
        whole(&mirror);
        arm(true);
        let (mut model, mut random) = (vec![0; SIZE], Random(seed));
        for round in 0..300 {
            // When nobody takes a write its range holds old or new bytes: learn which.
            if change(&mirror, &mut model, &mut random).is_err() {
                arm(false);
                whole(&mirror);
                model = all_of(&mirror);
                arm(true);
            }
            if round % 40 == 39 {
                let _ = mirror.flush();
                let (at, mut bytes) = (random.below((SIZE - PAGE) as u64), [0; PAGE]);
                if mirror.read_at(at, &mut bytes).is_ok() {
                    assert!(bytes == model[at as usize..at as usize + PAGE], "seed {seed}, round {round}");
                }
            }
        }
        arm(false);
        whole(&mirror);
        assert!(stores.iter().all(|store| all_of(store) == model), "seed {seed}");
    }
}

#[test]
fn a_scrub_finds_what_differs_and_makes_it_equal() {
    let stores = [ram(), ram(), ram()];
    let three = || stores.iter().zip(["a", "b", "c"]).map(|(store, name)| plain(name, store.clone())).collect();
    let mirror = mirror(three());
    whole(&mirror);
    mirror.write_at(0, &vec![5; SIZE]).unwrap();
    let mut last = (0, 0);
    let report = mirror.scrub(false, |done, total| {
        last = (done, total);
        true
    });
    assert_eq!((report.unwrap().unequal_pages, last), (0, (SIZE as u64, SIZE as u64)));
    stores[0].write_at(PAGE as u64 * 9 + 17, b"rot").unwrap();
    stores[2].write_at(SIZE as u64 - 1, b"!").unwrap();
    let found = mirror.scrub(false, |_, _| true).unwrap();
    assert_eq!((found.compared, found.unequal_pages, found.repaired_pages), (SIZE as u64, 2, 0));
    assert_eq!(mirror.scrub(true, |_, _| true).unwrap().repaired_pages, 2);
    assert_eq!(mirror.scrub(false, |_, _| true).unwrap().unequal_pages, 0);
    assert!(stores.iter().all(|store| all_of(store) == vec![5; SIZE]), "the majority was right");
    let stopped = mirror.scrub(false, |done, _| done < SIZE as u64 / 2).unwrap();
    assert_eq!(stopped.compared, SIZE as u64 / 2);
}

#[test]
fn bad_mirrors_are_refused_in_words() {
    let smaller = RamStore::new(Arc::new(Arena::new(1 << 20)), 4096, u64::MAX).unwrap();
    let open = |members| Mirror::open(members, quick(), Box::new(StaleMemory::default())).err().map(|error| error.to_string()).unwrap();
    assert!(open(vec![plain("a", ram())]).contains("at least two"));
    assert!(open(vec![plain("a", ram()), plain("a", ram())]).contains("must differ"));
    assert!(open(vec![plain("a", ram()), plain("b", Arc::new(smaller))]).contains("b has 4096"));
}

#[test]
fn a_mirror_with_no_space_left_says_so_and_goes_on() {
    let tight = || Arc::new(RamStore::new(Arc::new(Arena::new(64 << 20)), SIZE as u64, 64 << 10).unwrap());
    let mirror = mirror(vec![plain("a", tight()), plain("b", tight())]);
    whole(&mirror);
    let written = (0..64).take_while(|at| mirror.write_at(at * PAGE as u64, &[1; PAGE]).is_ok()).count() as u64;
    assert!((1..64).contains(&written));
    assert!(mirror.write_at(40 * PAGE as u64, &[1; PAGE]).unwrap_err().is_out_of_space());
    mirror.read_at(0, &mut [0; PAGE]).unwrap();
    mirror.write_zeroes(0, PAGE as u64, Space::Release).unwrap();
    mirror.write_at(40 * PAGE as u64, &[2; PAGE]).unwrap();
    whole(&mirror);
}
