//! Random: a kernel with two objects, a server whose answers come in any order, connections that drop, a server that stalls, fills up, fails and goes away.
//!
//! The kernel keeps to its part: it asks for a page that it hasn't got and hasn't asked for, and returns pages that it has. Every answer must be
//! the page as it was last written. In the end, when all is well again, everything is asked for once more.

use abi::vm::PAGE_SIZE;
use nbd::NbdError;
use net_pager::seal::Sealing;
use pager::testing::{Answer, Mapped};
use proptest::prelude::*;

use crate::bench::{Bench, MIB, contents, page, run};
use crate::pipes::Pipes;

const PAGES: usize = 320;

#[derive(Clone, Debug)]
enum Step {
    /// Pages are touched: those that aren't here are asked for.
    Touch {
        object: usize,
        first: usize,
        pages: usize,
    },
    /// Pages that are here are written, or cleared, and go home: with a question first, or just so.
    WriteOut {
        object: usize,
        first: usize,
        pages: usize,
        clears: bool,
        asks: bool,
    },
    Drop {
        object: usize,
        first: usize,
        pages: usize,
    },
    Pass {
        ms: u64,
    },
    Cut,
    Down,
    Up,
    Stuck(bool),
    Full(bool),
    FailReads(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let range = || (0..2_usize, 0..PAGES, 1..80_usize);
    prop_oneof![
        8 => range().prop_map(|(object, first, pages)| Step::Touch { object, first, pages }),
        8 => (range(), any::<[bool; 2]>()).prop_map(|((object, first, pages), [asks, clears])| {
            Step::WriteOut { object, first, pages, clears: clears && first % 3 == 0, asks }
        }),
        2 => range().prop_map(|(object, first, pages)| Step::Drop { object, first, pages }),
        8 => (0..40_u64).prop_map(|ms| Step::Pass { ms }),
        2 => Just(Step::Cut),
        1 => Just(Step::Down),
        2 => Just(Step::Up),
        1 => any::<bool>().prop_map(Step::Stuck),
        1 => any::<bool>().prop_map(Step::Full),
        1 => any::<bool>().prop_map(Step::FailReads),
    ]
}

fn sealing() -> impl Strategy<Value = Sealing> {
    prop_oneof![Just(Sealing::Off), Just(Sealing::On), Just(Sealing::Full)]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Home,
    Asked,
    Here,
    /// Here, and the pager was asked where it goes.
    Returning,
}

struct Object {
    mapped: Mapped,
    /// The version of each page, 0 for zero.
    versions: Vec<u64>,
    at: Vec<At>,
    /// Pages that are newer here than at home: the pager refused them.
    dirty: Vec<bool>,
}

struct World {
    bench: Bench,
    objects: Vec<Object>,
    versions: u64,
}

/// The stretches of numbers that satisfy a condition.
fn stretches(first: usize, pages: usize, is_in: impl Fn(usize) -> bool) -> Vec<(usize, usize)> {
    let numbers: Vec<usize> = (first..PAGES.min(first + pages)).filter(|number| is_in(*number)).collect();
    numbers.chunk_by(|one, other| one + 1 == *other).map(|stretch| (stretch[0], stretch.len())).collect()
}

impl World {
    fn new(seed: u64, connections: usize, sealing: Sealing, fences: bool) -> Self {
        let pipes = Pipes::with_store(connections, 6 * MIB, seed);
        if fences {
            pipes.fence();
        }
        let mut bench = Bench::sealed(pipes, seed, sealing);
        let mut object = || {
            let mapped = bench.object(2);
            Object { mapped, versions: vec![0; PAGES], at: vec![At::Home; PAGES], dirty: vec![false; PAGES] }
        };
        let objects = vec![object(), object()];
        Self { bench, objects, versions: 0 }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Touch { object, first, pages } => self.touch(object, first, pages),
            Step::WriteOut { object, first, pages, clears, asks } => self.write_out(object, first, pages, clears, asks),
            Step::Drop { object, first, pages } => self.drop_clean(object, first, pages),
            Step::Pass { ms } => self.pass(ms),
            Step::Cut => self.bench.pipes.0.borrow_mut().cut(),
            Step::Down => {
                self.bench.pipes.0.borrow_mut().is_up = false;
                self.bench.pipes.0.borrow_mut().cut();
            }
            Step::Up => self.bench.pipes.0.borrow_mut().is_up = true,
            Step::Stuck(is_stuck) => self.bench.pipes.0.borrow_mut().is_stuck = is_stuck,
            Step::Full(is_full) => self.bench.pipes.0.borrow().store.borrow_mut().write_error = is_full.then_some(NbdError::NoSpace),
            Step::FailReads(fails) => self.bench.pipes.0.borrow().store.borrow_mut().read_error = fails.then_some(NbdError::Io),
        }
        self.bench.turn();
        self.hear();
    }

    fn touch(&mut self, object: usize, first: usize, pages: usize) {
        let Object { mapped, at, .. } = &mut self.objects[object];
        for (first, count) in stretches(first, pages, |number| at[number] == At::Home) {
            at[first..first + count].fill(At::Asked);
            self.bench.harness.request(mapped, run(first as u64, count as u64));
        }
    }

    fn write_out(&mut self, object: usize, first: usize, pages: usize, clears: bool, asks: bool) {
        self.versions += 1;
        let Object { mapped, at, versions, .. } = &mut self.objects[object];
        for (first, count) in stretches(first, pages, |number| at[number] == At::Here) {
            versions[first..first + count].fill(if clears { 0 } else { self.versions });
            if asks {
                at[first..first + count].fill(At::Returning);
                self.bench.harness.return_request(mapped, run(first as u64, count as u64));
            } else {
                self.send_home(object, first, count);
                return;
            }
        }
    }

    fn send_home(&mut self, object: usize, first: usize, count: usize) {
        let Object { mapped, at, versions, dirty } = &mut self.objects[object];
        at[first..first + count].fill(At::Home);
        dirty[first..first + count].fill(false);
        let bytes = (first..first + count).flat_map(|number| page(number as u64, versions[number])).collect();
        let mapped = *mapped;
        self.bench.harness.data_return(&mapped, first as u64 * PAGE_SIZE, bytes);
    }

    /// Pages that are here and at home are forgotten.
    fn drop_clean(&mut self, object: usize, first: usize, pages: usize) {
        let Object { at, dirty, .. } = &mut self.objects[object];
        for number in first..PAGES.min(first + pages) {
            if at[number] == At::Here && !dirty[number] {
                at[number] = At::Home;
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms {
            self.bench.pass_ms(1);
            self.hear();
        }
    }

    /// Takes the pager's answers.
    fn hear(&mut self) {
        for index in 0..2 {
            let mapped = self.objects[index].mapped;
            for answer in self.bench.harness.answers(&mapped) {
                self.answer(index, &answer);
            }
        }
    }

    fn answer(&mut self, object: usize, answer: &Answer) {
        match answer {
            Answer::AsData(part) => {
                let (first, count) = (part.first_page() as usize, part.pages() as usize);
                assert!(self.objects[object].at[first..first + count].iter().all(|at| *at == At::Returning), "unasked {answer:?}");
                self.send_home(object, first, count);
            }
            Answer::Refused(part, _) => {
                let (first, count) = (part.first_page() as usize, part.pages() as usize);
                assert!(self.objects[object].at[first..first + count].iter().all(|at| *at == At::Returning), "unasked {answer:?}");
                self.objects[object].at[first..first + count].fill(At::Here);
                self.objects[object].dirty[first..first + count].fill(true);
            }
            other => contents(other).into_iter().for_each(|(number, content)| self.supplied(object, number as usize, content)),
        }
    }

    fn supplied(&mut self, object: usize, number: usize, content: Option<Vec<u8>>) {
        let Object { at, versions, .. } = &mut self.objects[object];
        assert_eq!(at[number], At::Asked, "page {number} was answered and not asked for");
        at[number] = At::Home;
        if let Some(content) = content {
            assert!(content == page(number as u64, versions[number]), "page {number} isn't version {}", versions[number]);
            at[number] = At::Here;
        }
    }
}

impl World {
    /// All is well again: everything comes to its end, and every page is what it was last written.
    fn heal(&mut self) {
        for step in [Step::Up, Step::Stuck(false), Step::Full(false), Step::FailReads(false)] {
            self.apply(&step);
        }
        let is_quiet = |world: &Self| {
            let moving = |object: &Object| object.at.iter().any(|at| matches!(at, At::Asked | At::Returning));
            world.bench.harness.server.pager().open_jobs() == 0 && !world.objects.iter().any(moving)
        };
        // Longer than a quarantine.
        for _ in 0..9000 {
            if is_quiet(self) {
                break;
            }
            self.bench.turn();
            self.hear();
            self.bench.harness.kernel.advance_ms(10);
        }
        assert!(is_quiet(self), "something never ended: {}", self.bench.harness.kernel.console());
        for object in 0..2 {
            self.drop_clean(object, 0, PAGES);
            self.touch(object, 0, PAGES);
        }
        self.pass(2000);
        for object in &self.objects {
            assert!(object.at.iter().all(|at| *at == At::Here), "pages never came: {}", self.bench.harness.kernel.console());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_page_is_what_it_was_last_written(seed: u64, connections in 1..4_usize, sealing in sealing(), fences: bool, steps in proptest::collection::vec(step(), 1..100)) {
        let mut world = World::new(seed, connections, sealing, fences);
        steps.iter().for_each(|step| world.apply(step));
        world.heal();
    }
}
