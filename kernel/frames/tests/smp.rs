//! Several CPUs on one pool and one heap at once.

use frames::{Frame, Heap, PAGE_SIZE, Pool, Purpose, Reserves};
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::OnceLock;

const CPUS: usize = 4;
const ROUNDS: usize = if cfg!(miri) { 25 } else { 30_000 };

thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
}

/// A generator that is the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

fn on_all_cpus(work: impl Fn(usize, Random) + Sync) {
    std::thread::scope(|scope| {
        for cpu in 0..CPUS {
            let work = &work;
            scope.spawn(move || {
                CPU.set(cpu);
                work(cpu, Random(0x9E37_79B9 + cpu as u64));
            });
        }
    });
}

/// Each CPU marks what it has; nobody else's mark may appear.
#[test]
fn frames_have_one_owner() {
    let pool = Pool::for_smp_tests(if cfg!(miri) { 60 } else { 900 }, CPUS, || CPU.get());
    pool.set_reserves(Reserves::NONE).unwrap();
    on_all_cpus(|cpu, mut random| {
        let mut owned: Vec<Frame> = Vec::new();
        for _ in 0..ROUNDS {
            match random.below(10) {
                0..6 => owned.extend(pool.allocate(Purpose::User).inspect(|f| pool.write(f, 0, &[cpu as u8]))),
                6 => {
                    let run = pool.allocate_run(random.below(4), Purpose::Kernel);
                    for frame in run.into_iter().flat_map(|run| run.into_frames()) {
                        pool.write(&frame, 0, &[cpu as u8]);
                        owned.push(frame);
                    }
                }
                _ => {
                    for _ in 0..random.below(5).min(owned.len()) {
                        let frame = owned.swap_remove(random.below(owned.len()));
                        let mut mark = [0];
                        pool.read(&frame, 0, &mut mark);
                        assert_eq!(mark, [cpu as u8]);
                        pool.free(frame);
                    }
                }
            }
        }
        owned.into_iter().for_each(|frame| pool.free(frame));
    });
    pool.check();
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn heap_objects_do_not_overlap() {
    static POOL: OnceLock<Pool> = OnceLock::new();
    static HEAP: Heap = Heap::new();
    let pool = POOL.get_or_init(|| Pool::for_smp_tests(600, CPUS, || CPU.get()));
    HEAP.init(pool);
    on_all_cpus(|cpu, mut random| {
        let mut owned: Vec<(*mut u8, Layout)> = Vec::new();
        for round in 0..ROUNDS {
            if random.below(2) == 0 {
                let size = 1 + random.below(if round % 50 == 0 { 4 * PAGE_SIZE } else { 300 });
                let layout = Layout::from_size_align(size, 1 << random.below(7)).unwrap();
                // SAFETY: not empty; the bytes written are inside.
                unsafe {
                    let object = HEAP.alloc(layout);
                    if !object.is_null() {
                        assert!(object.addr().is_multiple_of(layout.align()));
                        object.write_bytes(cpu as u8, size);
                        owned.push((object, layout));
                    }
                }
            } else if !owned.is_empty() {
                free(cpu, owned.swap_remove(random.below(owned.len())));
            }
        }
        owned.into_iter().for_each(|object| free(cpu, object));
    });
    fn free(cpu: usize, (object, layout): (*mut u8, Layout)) {
        // SAFETY: allocated above with this layout, written whole, freed once.
        unsafe {
            let bytes = std::slice::from_raw_parts(object, layout.size());
            assert!(bytes.iter().all(|&byte| byte == cpu as u8), "overwritten by another CPU");
            HEAP.dealloc(object, layout);
        }
    }
    assert_eq!(HEAP.used_bytes(), 0);
    assert_eq!(HEAP.held_frames(), pool.in_use(), "only spare slabs are left");
    pool.check();
}
