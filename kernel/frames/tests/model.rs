//! The pool against a model: random allocations and frees, everything checked after each step.

use frames::{FrameRun, Pool, Purpose, Reserves};
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::BTreeMap;

const PAGES: usize = 3000;
const CPUS: usize = 3;

thread_local! {
    /// The CPU the test pretends to be on; one that doesn't exist has no cache.
    static CPU: Cell<usize> = const { Cell::new(0) };
}

#[derive(Clone, Debug)]
enum Step {
    Cpu(usize),
    Frames { count: usize, purpose: Purpose },
    Run { order: usize, purpose: Purpose },
    Contiguous { pages: usize, purpose: Purpose },
    Free { which: usize },
    FreeAll,
    Split { which: usize, at: usize },
    EmptyCaches,
}

fn purpose() -> impl Strategy<Value = Purpose> {
    prop_oneof![Just(Purpose::User), Just(Purpose::Pager), Just(Purpose::Kernel)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..=CPUS).prop_map(Step::Cpu),
        4 => (1usize..200, purpose()).prop_map(|(count, purpose)| Step::Frames { count, purpose }),
        3 => (0usize..12, purpose()).prop_map(|(order, purpose)| Step::Run { order, purpose }),
        2 => (0usize..2100, purpose()).prop_map(|(pages, purpose)| Step::Contiguous { pages, purpose }),
        8 => any::<usize>().prop_map(|which| Step::Free { which }),
        1 => Just(Step::FreeAll),
        3 => (any::<usize>(), 0usize..100).prop_map(|(which, at)| Step::Split { which, at }),
        1 => Just(Step::EmptyCaches),
    ]
}

/// What the test owns, by index of the first frame.
struct Model {
    pool: Pool,
    owned: BTreeMap<usize, FrameRun>,
}

impl Model {
    fn new() -> Self {
        let pool = Pool::for_smp_tests(PAGES, CPUS, || CPU.get());
        let reserves = Reserves { pager: 50, user: 120, low: 300, high: 700 };
        pool.set_reserves(reserves).unwrap();
        Self { pool, owned: BTreeMap::new() }
    }

    fn pages(&self) -> usize {
        self.owned.values().map(FrameRun::len).sum()
    }

    /// Frames the purpose may still have.
    fn allowance(&self, purpose: Purpose) -> usize {
        let kept = match purpose {
            Purpose::User => 120,
            Purpose::Pager => 50,
            Purpose::Kernel => 0,
        };
        (PAGES - self.pages()).saturating_sub(kept)
    }

    fn own(&mut self, run: FrameRun) {
        let index = self.pool.index_of(run.first());
        let before = self.owned.range(..=index).next_back();
        assert!(before.is_none_or(|(&at, run)| at + run.len() <= index), "given out twice");
        let after = self.owned.range(index..).next();
        assert!(after.is_none_or(|(&at, _)| index + run.len() <= at), "given out twice");
        self.owned.insert(index, run);
    }

    fn take(&mut self, which: usize) -> Option<FrameRun> {
        let at = which.checked_rem(self.owned.len())?;
        let index = *self.owned.keys().nth(at)?;
        self.owned.remove(&index)
    }

    fn release(&mut self, run: FrameRun) {
        // Single frames by the cache, others by the buddy.
        if run.len() == 1 {
            run.into_frames().for_each(|frame| self.pool.free(frame));
        } else {
            self.pool.free_run(run);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Cpu(cpu) => CPU.set(cpu),
            Step::Frames { count, purpose } => {
                for _ in 0..count {
                    let allowed = self.allowance(purpose) > 0;
                    let frame = self.pool.allocate(purpose);
                    assert_eq!(frame.is_some(), allowed, "single frames are found until the reserve");
                    frame.into_iter().for_each(|frame| self.own(frame.into()));
                }
            }
            Step::Run { order, purpose } => {
                let Some(run) = self.pool.allocate_run(order, purpose) else { return };
                assert!(1 << order <= self.allowance(purpose));
                assert_eq!((run.len(), run.first().0 % (1 << order)), (1 << order, 0));
                self.own(run);
            }
            Step::Contiguous { pages, purpose } => {
                let Some(run) = self.pool.allocate_contiguous(pages, purpose) else { return };
                assert!(pages <= self.allowance(purpose));
                let aligned = pages.next_power_of_two().min(1024) as u32;
                assert_eq!((run.len(), run.first().0 % aligned), (pages, 0));
                self.own(run);
            }
            Step::Free { which } => {
                if let Some(run) = self.take(which) {
                    self.release(run);
                }
            }
            Step::FreeAll => {
                while let Some(run) = self.take(0) {
                    self.release(run);
                }
            }
            Step::Split { which, at } => {
                let Some(run) = self.take(which) else { return };
                match run.split(at) {
                    Ok((left, right)) => {
                        assert_eq!(left.len(), at);
                        self.own(left);
                        self.own(right);
                    }
                    Err(run) => self.own(run),
                }
            }
            Step::EmptyCaches => self.pool.empty_caches(),
        }
    }

    fn check(&self) {
        self.pool.check();
        let free = PAGES - self.pages();
        assert_eq!((self.pool.available(), self.pool.in_use()), (free, self.pages()));
        assert_eq!((self.pool.is_low(), self.pool.below_high()), (free < 300, free < 700));
    }

    /// When all is given back, the blocks have merged to what they were.
    fn finish(mut self) {
        self.step(Step::FreeAll);
        self.pool.empty_caches();
        self.check();
        let blocks: Vec<_> = std::iter::from_fn(|| self.pool.allocate_run(10, Purpose::Kernel)).collect();
        // The tables are in the first block of the arena, the second and third are whole, the rest is less than a block.
        assert_eq!(blocks.len(), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    #[cfg_attr(miri, ignore = "safe code, many frames; smp.rs takes the same paths")]
    fn random_use_loses_and_doubles_nothing(steps in proptest::collection::vec(step(), 1..60)) {
        CPU.set(0);
        let mut model = Model::new();
        model.check();
        for step in steps {
            model.step(step);
            model.check();
        }
        model.finish();
    }
}

#[test]
fn what_other_cpus_have_cached_is_found_when_nothing_else_is_left() {
    let pool = Pool::for_smp_tests(64, CPUS, || CPU.get());
    for cpu in 0..CPUS {
        CPU.set(cpu);
        let frames: Vec<_> = (0..2).filter_map(|_| pool.allocate(Purpose::Kernel)).collect();
        frames.into_iter().for_each(|frame| pool.free(frame));
    }
    CPU.set(0);
    let all: Vec<_> = std::iter::from_fn(|| pool.allocate(Purpose::Kernel)).collect();
    assert_eq!((all.len(), pool.available()), (64, 0));
    CPU.set(1);
    all.into_iter().for_each(|frame| pool.free(frame));
    CPU.set(2);
    let run = pool.allocate_run(5, Purpose::Kernel).expect("cached frames merge when a run is wanted");
    pool.free_run(run);
    pool.check();
}

#[test]
fn reserves_must_ascend_and_fit() {
    let pool = Pool::for_tests(100);
    let good = Reserves { pager: 1, user: 2, low: 3, high: 100 };
    assert_eq!(pool.set_reserves(good), Ok(()));
    assert_eq!(pool.reserves(), good);
    for bad in [Reserves { pager: 3, ..good }, Reserves { user: 4, ..good }, Reserves { low: 101, ..good }, Reserves { high: 101, ..good }]
    {
        assert!(pool.set_reserves(bad).is_err(), "{bad:?}");
    }
    assert_eq!(pool.reserves(), good, "a refused change changes nothing");
}

#[test]
#[should_panic(expected = "not a frame of this pool")]
fn a_frame_of_another_pool_is_refused() {
    let (one, other) = (Pool::for_tests(10), Pool::for_tests(10));
    other.free(one.allocate(Purpose::Kernel).unwrap());
}
