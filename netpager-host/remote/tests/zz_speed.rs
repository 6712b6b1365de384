mod common;
use std::time::Instant;
use remote::{Engine, NbdConfig, NbdStore};
use store::Store;
#[test]
fn speed() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let mut child = std::process::Command::new("nbdkit").args(["--foreground", "-U", socket.to_str().unwrap(), "memory", "64M"]).spawn().unwrap();
    common::eventually("up", || socket.exists());
    let store = NbdStore::open(&Engine::start().unwrap(), NbdConfig::new(nbd::uri::NbdUri::unix(socket.to_str().unwrap(), ""))).unwrap();
    for threads in [1u64, 16] {
        for write in [false, true] {
            let began = Instant::now();
            let each = 20_000 / threads;
            std::thread::scope(|scope| for t in 0..threads { let store = &store; scope.spawn(move || { let mut page = [1; 4096]; for i in 0..each { let at = ((i * 7919 + t * 104729) % 16384) * 4096; if write { store.write_at(at, &page).unwrap() } else { store.read_at(at, &mut page).unwrap() } } }); });
            println!("threads {threads} write {write}: {:.1} us per call, {:.0} per second", began.elapsed().as_secs_f64() * 1e6 / each as f64, (each * threads) as f64 / began.elapsed().as_secs_f64());
        }
    }
    let _ = child.kill(); let _ = child.wait();
}
