//! The sweeps: fill, read in order, read at random, write a part anew, read in order again. Whatever is read is verified.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use abi::Code;
use runtime::{println, time};

use super::counters::Counters;
use super::figures::{Figures, Sweep};
use super::histogram::Histogram;
use super::options::Options;
use super::order::Order;
use super::region::Region;

/// Pages that are written anew stand together in runs of so many, every fourth run.
const REWRITE_RUN: u64 = 64;
/// One page in so many is read at random.
const RANDOM_SHARE: u64 = 4;
const PROGRESS_NS: u64 = 1_000_000_000;
/// Corrupt pages that are named.
const NAMED: u64 = 8;

const fn is_rewritten(page: u64) -> bool {
    page / REWRITE_RUN % 4 == 1
}

/// One run over a region.
struct Bench<'a> {
    region: &'a Region,
    options: &'a Options,
    said_ns: u64,
}

/// Does all of it; prints the figures. The error says why it isn't verified.
pub fn run(options: &Options) -> Result<(), String> {
    let region = Region::new(&options.pager, options.working_set, options.seed)
        .map_err(|code| format!("{} bytes of `{}`: {code}", options.working_set, options.pager))?;
    let sweeps = sweeps(&region, options).map_err(|code| format!("the kernel's counters: {code}"))?;
    let corrupt: u64 = sweeps.iter().map(|sweep| sweep.corrupt).sum();
    let last = sweeps.last().map_or(0, |sweep| sweep.pages - sweep.corrupt);
    let figures = Figures { pager: &options.pager, working_set: options.working_set, verified: last, sweeps: &sweeps };
    println!("@phase {}", figures.json());
    match corrupt {
        0 => Ok(()),
        _ => Err(format!("{corrupt} corrupt pages")),
    }
}

fn sweeps(region: &Region, options: &Options) -> Result<Vec<Sweep>, Code> {
    let pages = region.pages();
    let mut bench = Bench { region, options, said_ns: 0 };
    let order = Order::new(pages, options.seed);
    let random = pages.div_ceil(RANDOM_SHARE);
    let rewritten: u64 = (0..pages).filter(|page| is_rewritten(*page)).count() as u64;
    Ok(alloc::vec![
        bench.write("fill", 0..pages, pages, 1)?,
        bench.verify("sequential", 0..pages, pages, |_| 1)?,
        bench.verify("random", (0..random).map(|place| order.at(place)), random, |_| 1)?,
        bench.write("rewrite", (0..pages).filter(|page| is_rewritten(*page)), rewritten, 2)?,
        bench.verify("sequential_again", 0..pages, pages, |page| if is_rewritten(page) { 2 } else { 1 })?,
    ])
}

impl Bench<'_> {
    fn write(&mut self, name: &'static str, pages: impl Iterator<Item = u64>, count: u64, generation: u64) -> Result<Sweep, Code> {
        let region = self.region;
        self.sweep(name, pages, count, |page, timed| {
            timed(&mut || region.fill_first(page, generation));
            region.fill_rest(page, generation);
            true
        })
    }

    fn verify(&mut self, name: &'static str, pages: impl Iterator<Item = u64>, count: u64, of: impl Fn(u64) -> u64) -> Result<Sweep, Code> {
        let region = self.region;
        self.sweep(name, pages, count, |page, timed| {
            timed(&mut || {
                // All words are read again below; this one is for the time it takes.
                core::hint::black_box(region.touch(page));
            });
            region.is_intact(page, of(page))
        })
    }

    /// Goes over pages; `visit` gets a stopwatch for the first touch, and says whether the page is as it should be.
    fn sweep(
        &mut self,
        name: &'static str,
        pages: impl Iterator<Item = u64>,
        count: u64,
        visit: impl Fn(u64, &mut dyn FnMut(&mut dyn FnMut())) -> bool,
    ) -> Result<Sweep, Code> {
        let before = Counters::read()?;
        let (start, mut touches, mut corrupt, mut done) = (time::now_ns(), Histogram::default(), 0, 0);
        for page in pages {
            let mut now = 0;
            let is_right = visit(page, &mut |touch| {
                let begun = time::now_ns();
                touch();
                now = time::now_ns();
                touches.add(now - begun);
            });
            done += 1;
            if !is_right {
                corrupt += 1;
                self.name_corrupt(name, page, corrupt);
            }
            if now >= self.said_ns + PROGRESS_NS {
                self.said_ns = now;
                println!("@progress {}: {name} {} %", self.options.pager, done * 100 / count.max(1));
            }
        }
        let ns = time::now_ns() - start;
        Ok(Sweep { name, pages: done, corrupt, ns, touches, counted: Counters::read()?.since(&before) })
    }

    fn name_corrupt(&self, name: &str, page: u64, corrupt: u64) {
        if corrupt <= NAMED {
            println!("{}: {name}: page {page} is corrupt, it begins with {:#018x}", self.options.pager, self.region.touch(page));
        }
    }
}
