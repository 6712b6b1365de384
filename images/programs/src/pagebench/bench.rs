//! The sweeps: fill, sequential, random, rewrite, and a last one that verifies all.

use abi::Code;
use abi::vm::PAGE_SIZE;
use alloc::vec::Vec;

use super::{Counters, Figures, Histogram, Options, Pattern, Region, Shuffle, Sweep, System, WORDS};

/// Their names, in order.
pub const SWEEPS: [&str; 5] = ["fill", "sequential", "random", "rewrite", "verify"];

/// Every fourth block of so many pages is rewritten: some runs of pages become older in the middle, others as a whole.
const BLOCK: u64 = 64;
/// The random sweep goes over one page in so many.
const RANDOM_SHARE: u64 = 4;
/// At most so many corrupt pages are described.
const DESCRIBED: u64 = 8;
/// Between two lines of progress.
const PROGRESS_NS: u64 = 1_000_000_000;

/// What a sweep does to a page.
#[derive(Clone, Copy, Debug)]
struct Visit {
    /// The generation that must be there.
    verify: Option<u64>,
    /// The generation to be written.
    write: Option<u64>,
}

/// A run over a region.
pub struct Bench<'a, R, S> {
    region: &'a R,
    system: &'a S,
    options: Options,
    pages: u64,
    pattern: Pattern,
    sweeps: Vec<Sweep>,
}

/// Whether the rewrite changes a page.
const fn is_rewritten(page: u64) -> bool {
    page / BLOCK % 4 == 1
}

const fn final_generation(page: u64) -> u64 {
    if is_rewritten(page) { 2 } else { 1 }
}

impl<'a, R: Region, S: System> Bench<'a, R, S> {
    /// Over a region of `options.working_set` bytes.
    pub fn new(region: &'a R, system: &'a S, options: Options) -> Self {
        let pages = options.working_set / PAGE_SIZE;
        Self { region, system, options, pages, pattern: Pattern::new(options.seed), sweeps: Vec::new() }
    }

    /// Does all sweeps. It fails only where the counters can't be had.
    pub fn run(mut self) -> Result<Figures, Code> {
        let pages = self.pages;
        let check = |_| Visit { verify: Some(1), write: None };
        let shuffle = Shuffle::new(pages, self.options.seed).take(pages.div_ceil(RANDOM_SHARE) as usize);
        self.sweep(SWEEPS[0], pages, 0..pages, |_| Visit { verify: None, write: Some(1) })?;
        self.sweep(SWEEPS[1], pages, 0..pages, check)?;
        self.sweep(SWEEPS[2], pages.div_ceil(RANDOM_SHARE), shuffle, check)?;
        self.sweep(SWEEPS[3], pages / 4, (0..pages).filter(|page| is_rewritten(*page)), |_| Visit { verify: Some(1), write: Some(2) })?;
        self.sweep(SWEEPS[4], pages, 0..pages, |page| Visit { verify: Some(final_generation(page)), write: None })?;
        let verified_pages = self.sweeps.last().map_or(0, |last| last.pages - last.corrupt);
        let Options { over, working_set, .. } = self.options;
        Ok(Figures { over, working_set, verified_pages, sweeps: self.sweeps })
    }

    fn sweep(
        &mut self,
        name: &'static str,
        about: u64,
        order: impl Iterator<Item = u64>,
        visit: impl Fn(u64) -> Visit,
    ) -> Result<(), Code> {
        let before = self.system.counters()?;
        let start = self.system.now_ns();
        let empty = Sweep { name, pages: 0, corrupt: 0, ns: 0, counters: Counters::default(), touches: Histogram::default() };
        let mut sweep = empty;
        let mut next_line = start;
        for page in order {
            let now = self.system.now_ns();
            if now >= next_line {
                let percent = sweep.pages * 100 / about.max(1);
                self.system.say(format_args!("@progress {}: {name} {percent} %", self.options.over.name()));
                next_line = now + PROGRESS_NS;
            }
            self.visit(&mut sweep, page, visit(page));
        }
        sweep.ns = self.system.now_ns() - start;
        sweep.counters = self.system.counters()? - before;
        self.sweeps.push(sweep);
        Ok(())
    }

    fn visit(&self, sweep: &mut Sweep, page: u64, visit: Visit) {
        let before = self.system.now_ns();
        self.touch(page, visit);
        sweep.touches.add(self.system.now_ns() - before);
        sweep.pages += 1;
        if let Some(generation) = visit.verify
            && !self.is_right(page, generation)
        {
            sweep.corrupt += 1;
            if sweep.corrupt <= DESCRIBED {
                self.describe(page, generation);
            }
        }
        if let Some(generation) = visit.write {
            for (word, value) in self.pattern.words(page, generation).enumerate() {
                self.region.store(page * PAGE_SIZE + word as u64 * 8, value);
            }
        }
    }

    /// The first access: the one that finds the page, or waits for it.
    fn touch(&self, page: u64, visit: Visit) {
        match visit.verify {
            Some(_) => {
                core::hint::black_box(self.region.load(page * PAGE_SIZE));
            }
            None => self.region.store(page * PAGE_SIZE, 0),
        }
    }

    fn is_right(&self, page: u64, generation: u64) -> bool {
        // All differences together: a branch for each word would cost more than the words.
        let words = self.pattern.words(page, generation).zip((page * PAGE_SIZE..).step_by(8));
        words.fold(0, |wrong, (expected, offset)| wrong | self.region.load(offset) ^ expected) == 0
    }

    /// Says what is wrong with a page.
    fn describe(&self, page: u64, generation: u64) {
        let offsets = (page * PAGE_SIZE..).step_by(8);
        let words = || self.pattern.words(page, generation).zip(offsets.clone()).map(|(expected, at)| (at, expected, self.region.load(at)));
        let wrong = words().filter(|(_, expected, found)| expected != found).count();
        let over = self.options.over.name();
        match words().find(|(_, expected, found)| expected != found) {
            Some((at, expected, found)) => self.system.say(format_args!(
                "{over}: page {page}: {wrong} of {WORDS} words are wrong; at {at:#x} is {found:#018x}, not {expected:#018x}{}",
                self.looks_like(page, found)
            )),
            None => self.system.say(format_args!("{over}: page {page} was wrong when it was read first, and is right now")),
        }
    }

    /// Where a wrong page's word may come from.
    fn looks_like(&self, page: u64, found: u64) -> &'static str {
        let is_of = |page, generation| self.pattern.words(page, generation).any(|word| word == found);
        match found {
            0 => " (zero)",
            _ if (1..=2).any(|generation| is_of(page, generation)) => " (this page's, of another time or place)",
            _ if (0..self.pages).any(|other| (1..=2).any(|generation| is_of(other, generation))) => " (another page's)",
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bench, SWEEPS, final_generation};
    use crate::pagebench::{Counters, Figures, Options, Over, Pattern, Region, System};
    use abi::Code;
    use abi::vm::PAGE_SIZE;
    use std::cell::{Cell, RefCell};
    use std::fmt::Arguments;

    const PAGES: u64 = 300;

    /// What goes wrong with the words.
    type Wrong = fn(&[Cell<u64>]);

    /// Memory that goes wrong at a certain load.
    struct Memory {
        words: Vec<Cell<u64>>,
        loads: Cell<u64>,
        wrong: Option<(u64, Wrong)>,
    }

    impl Memory {
        fn new(wrong: Option<(u64, Wrong)>) -> Self {
            Self { words: vec![Cell::new(0); (PAGES * PAGE_SIZE / 8) as usize], loads: Cell::new(0), wrong }
        }
    }

    impl Region for Memory {
        fn load(&self, offset: u64) -> u64 {
            self.loads.set(self.loads.get() + 1);
            if let Some((when, act)) = self.wrong
                && when == self.loads.get()
            {
                act(&self.words);
            }
            self.words[(offset / 8) as usize].get()
        }

        fn store(&self, offset: u64, value: u64) {
            self.words[(offset / 8) as usize].set(value);
        }
    }

    #[derive(Default)]
    struct Still {
        now: Cell<u64>,
        lines: RefCell<Vec<String>>,
    }

    impl System for Still {
        fn now_ns(&self) -> u64 {
            self.now.set(self.now.get() + 1_000_000);
            self.now.get()
        }

        fn counters(&self) -> Result<Counters, Code> {
            Ok(Counters::default())
        }

        fn say(&self, words: Arguments<'_>) {
            self.lines.borrow_mut().push(words.to_string());
        }
    }

    fn run(memory: &Memory) -> (Figures, Vec<String>) {
        let system = Still::default();
        let options = Options { over: Over::Net, working_set: PAGES * PAGE_SIZE, seed: 3 };
        let figures = Bench::new(memory, &system, options).run().unwrap();
        (figures, system.lines.take())
    }

    #[test]
    fn good_memory_is_verified_and_left_in_its_last_generation() {
        let memory = Memory::new(None);
        let (figures, lines) = run(&memory);
        assert_eq!((figures.verified_pages, figures.corrupt_pages()), (PAGES, 0));
        let pages: Vec<u64> = figures.sweeps.iter().map(|sweep| sweep.pages).collect();
        assert_eq!(pages, [PAGES, PAGES, PAGES / 4, 64, PAGES]);
        let words = (0..PAGES).flat_map(|page| Pattern::new(3).words(page, final_generation(page)));
        assert!(memory.words.iter().map(Cell::get).eq(words));
        for name in SWEEPS {
            assert!(lines.iter().any(|line| line.starts_with(&format!("@progress net: {name} "))), "{name}: {lines:?}");
        }
    }

    /// Loads of a page that is verified: the touch, and each word.
    const LOADS: u64 = 513;

    #[test]
    fn one_bit_of_one_word_is_found() {
        // In the sequential sweep, page 20 is about to be read; its last bit changes.
        let memory = Memory::new(Some((20 * LOADS + 1, |words| words[21 * 512 - 1].set(words[21 * 512 - 1].get() ^ 1 << 63))));
        let (figures, lines) = run(&memory);
        assert!(figures.corrupt_pages() >= 2 && figures.verified_pages == PAGES - 1);
        assert!(lines.iter().any(|line| line.contains("page 20: 1 of 512 words are wrong; at 0x14ff8")), "{lines:?}");
    }

    #[test]
    fn pages_of_others_older_ones_and_zeroes_are_told_apart() {
        let wrong = |act: Wrong| run(&Memory::new(Some((1, act)))).1.into_iter().find(|line| line.contains("wrong")).unwrap();
        let zero = wrong(|words| words[..512].iter().for_each(|word| word.set(0)));
        assert!(zero.contains("page 0: 512 of 512") && zero.contains("(zero)"), "{zero}");
        let other = wrong(|words| (0..512).for_each(|word| words[word].set(words[512 * 7 + word].get())));
        assert!(other.contains("(another page's)"), "{other}");
        let shifted = wrong(|words| words[0].set(words[1].get()));
        assert!(shifted.contains("(this page's, of another time or place)"), "{shifted}");
    }
}
