//! Contents of frames: zero, copy, read, write, at every offset and beside a concurrent writer.

use frames::{FrameRun, PAGE_SIZE, Pool, Purpose};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

fn page(pool: &Pool, frame: &frames::Frame) -> Vec<u8> {
    let mut bytes = vec![0; PAGE_SIZE];
    pool.read(frame, 0, &mut bytes);
    bytes
}

#[test]
fn any_piece_is_written_and_read_and_nothing_beside_it() {
    let pool = Pool::for_tests(4);
    let frame = pool.allocate(Purpose::Kernel).unwrap();
    let mut expected: Vec<u8> = (0..PAGE_SIZE).map(|at| (at * 7) as u8).collect();
    pool.write(&frame, 0, &expected);
    let mut salt = 0;
    for base in (if cfg!(miri) { [0, PAGE_SIZE - 40].as_slice() } else { &[0, 8, 1001, PAGE_SIZE - 40] }).iter().copied() {
        for offset in base..base + 9 {
            for len in (0..=31).step_by(if cfg!(miri) { 5 } else { 1 }) {
                salt += 1;
                let new: Vec<u8> = (0..len).map(|at| (at * 31 + salt) as u8).collect();
                pool.write(&frame, offset, &new);
                expected[offset..offset + len].copy_from_slice(&new);
                let mut back = vec![0; len];
                pool.read(&frame, offset, &mut back);
                assert_eq!(back, new, "offset {offset}, {len} bytes");
            }
        }
    }
    assert_eq!(page(&pool, &frame), expected);
    pool.free(frame);
}

#[test]
fn new_frames_are_garbage_until_zeroed_and_copies_are_equal() {
    let pool = Pool::for_tests(6);
    let from = pool.allocate(Purpose::Kernel).unwrap();
    let run = pool.allocate_run(1, Purpose::Kernel).unwrap();
    assert!(page(&pool, &from).iter().all(|&byte| byte != 0));
    pool.zero_run(&run);
    let mut frames = run.into_frames();
    let (to, last) = (frames.next().unwrap(), frames.next().unwrap());
    assert_eq!(page(&pool, &last), [0; PAGE_SIZE]);
    pool.write(&from, 4090, b"end");
    pool.copy(&from, &to);
    assert_eq!(page(&pool, &from), page(&pool, &to));
    for frame in [from, to, last] {
        pool.free(frame);
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn bytes_outside_the_frame_are_refused() {
    let pool = Pool::for_tests(4);
    let frame = pool.allocate(Purpose::Kernel).unwrap();
    for (offset, len) in [(0, PAGE_SIZE + 1), (PAGE_SIZE, 1), (PAGE_SIZE - 7, 8), (usize::MAX, 2)] {
        let outside = std::panic::AssertUnwindSafe(|| pool.write(&frame, offset, &vec![1; len]));
        assert!(std::panic::catch_unwind(outside).is_err(), "{offset} {len}");
    }
    pool.write(&frame, PAGE_SIZE, &[]);
    assert!(!page(&pool, &frame).contains(&1));
    pool.free(frame);
}

#[test]
fn a_write_does_not_lose_the_neighbours_bytes() {
    let pool = Pool::for_tests(4);
    let frame = pool.allocate(Purpose::Kernel).unwrap();
    pool.zero(&frame);
    let rounds = if cfg!(miri) { 20 } else { 200_000 };
    std::thread::scope(|scope| {
        for lane in [0, 3] {
            let (pool, frame) = (&pool, &frame);
            scope.spawn(move || {
                for round in 0..rounds {
                    let mine = [round as u8, (round >> 8) as u8, lane as u8];
                    pool.write(frame, lane, &mine);
                    let mut back = [0; 3];
                    pool.read(frame, lane, &mut back);
                    assert_eq!(back, mine, "the other lane's write undid ours");
                }
            });
        }
    });
    pool.free(frame);
}

#[test]
fn the_machines_own_functions_are_used() {
    static ZEROED: AtomicUsize = AtomicUsize::new(0);
    static COPIED: AtomicBool = AtomicBool::new(false);
    unsafe fn zero(page: *mut u8) {
        ZEROED.fetch_add(1, Relaxed);
        // SAFETY: the pool passes a page.
        unsafe { page.write_bytes(0, PAGE_SIZE) }
    }
    unsafe fn copy(from: *const u8, to: *mut u8) {
        COPIED.store(true, Relaxed);
        // SAFETY: the pool passes two pages, which nobody else uses in this test.
        unsafe { to.copy_from_nonoverlapping(from, PAGE_SIZE) }
    }
    // SAFETY: they do what they must.
    let pool = unsafe { Pool::for_tests(20).with_zero(zero).with_copy(copy) };
    let run: FrameRun = pool.allocate_run(2, Purpose::Kernel).unwrap();
    pool.zero_run(&run);
    assert_eq!(ZEROED.load(Relaxed), 4);
    let frames: Vec<_> = run.into_frames().collect();
    pool.write(&frames[0], 5, b"x");
    pool.copy(&frames[0], &frames[1]);
    assert!(COPIED.load(Relaxed));
    assert_eq!(page(&pool, &frames[1])[5], b'x');
    frames.into_iter().for_each(|frame| pool.free(frame));
}
