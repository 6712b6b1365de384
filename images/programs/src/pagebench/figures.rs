//! The figures, and the line of JSON that the launcher reads: `@phase {…}`.

use core::fmt;

use abi::info::VmCounter;
use abi::vm::PAGE_SIZE;
use alloc::vec::Vec;

use super::{Counters, Histogram, Over};

/// One sweep over the region, or over a part of it.
#[derive(Clone, Debug)]
pub struct Sweep {
    pub name: &'static str,
    /// Pages that were touched.
    pub pages: u64,
    pub corrupt: u64,
    pub ns: u64,
    /// What the kernel counted meanwhile.
    pub counters: Counters,
    /// From before the first access of a page to after it, in nanoseconds.
    pub touches: Histogram,
}

/// All of a run.
#[derive(Clone, Debug)]
pub struct Figures {
    pub over: Over,
    pub working_set: u64,
    /// Pages that the last sweep found as they must be.
    pub verified_pages: u64,
    pub sweeps: Vec<Sweep>,
}

/// A ratio for people: nothing of nothing is nothing.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn microseconds(ns: u64) -> f64 {
    ns as f64 / 1e3
}

impl Sweep {
    fn seconds(&self) -> f64 {
        self.ns as f64 / 1e9
    }

    fn mib(&self) -> f64 {
        (self.pages * PAGE_SIZE) as f64 / f64::from(1 << 20)
    }

    /// Pages that came in for each request.
    #[must_use]
    pub fn pages_per_request(&self) -> f64 {
        ratio(self.counters.get(VmCounter::PagesSupplied) as f64, self.counters.get(VmCounter::Requests) as f64)
    }
}

impl Figures {
    fn sum(&self, counter: VmCounter) -> u64 {
        self.sweeps.iter().map(|sweep| sweep.counters.get(counter)).sum()
    }

    /// Times that a page was not as it must be.
    #[must_use]
    pub fn corrupt_pages(&self) -> u64 {
        self.sweeps.iter().map(|sweep| sweep.corrupt).sum()
    }

    /// Bytes that the kernel copied for each page that came in or went out.
    #[must_use]
    pub fn bytes_copied_per_page(&self) -> f64 {
        let copied = self.sum(VmCounter::BytesCopiedIn) + self.sum(VmCounter::BytesCopiedOut);
        ratio(copied as f64, (self.sum(VmCounter::PagesSupplied) + self.sum(VmCounter::PagesReturned)) as f64)
    }

    /// Pages for each request while pages were read in order.
    #[must_use]
    pub fn sequential_pages_per_request(&self) -> f64 {
        self.sweeps.iter().find(|sweep| sweep.name == "sequential").map_or(0.0, Sweep::pages_per_request)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds: f64 = self.sweeps.iter().map(Sweep::seconds).sum();
        let mut touches = Histogram::default();
        self.sweeps.iter().for_each(|sweep| touches.merge(&sweep.touches));
        write!(f, "{{\"pager\":\"{}\",\"working_set\":{},", self.over.name(), self.working_set)?;
        write!(f, "\"verified_pages\":{},\"corrupt_pages\":{},", self.verified_pages, self.corrupt_pages())?;
        write!(f, "\"bytes_copied_per_page\":{:.3},", self.bytes_copied_per_page())?;
        let requests = self.sum(VmCounter::Requests) as f64;
        write!(f, "\"pages_per_request\":{:.2},", ratio(self.sum(VmCounter::PagesRequested) as f64, requests))?;
        write!(f, "\"sequential_pages_per_request\":{:.2},", self.sequential_pages_per_request())?;
        write!(f, "\"pages_in\":{},\"pages_out\":{},", self.sum(VmCounter::PagesSupplied), self.sum(VmCounter::PagesReturned))?;
        write!(f, "\"mib_per_s\":{:.2},", ratio(self.sweeps.iter().map(Sweep::mib).sum(), seconds))?;
        write!(f, "\"faults_per_s\":{:.0},", ratio(self.sum(VmCounter::Faults) as f64, seconds))?;
        let (p50, p99, max) = (touches.quantile(500), touches.quantile(990), touches.max());
        let [p50, p99, max] = [p50, p99, max].map(microseconds);
        write!(f, "\"touch_us\":{{\"p50\":{p50:.2},\"p99\":{p99:.2},\"max\":{max:.2}}},\"seconds\":{seconds:.2},\"sweeps\":[")?;
        for (index, sweep) in self.sweeps.iter().enumerate() {
            write!(f, "{}{sweep}", if index == 0 { "" } else { "," })?;
        }
        write!(f, "]}}")
    }
}

impl fmt::Display for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pages_in, pages_out) = (self.counters.get(VmCounter::PagesSupplied), self.counters.get(VmCounter::PagesReturned));
        write!(f, "{{\"sweep\":\"{}\",\"seconds\":{:.2},", self.name, self.seconds())?;
        write!(f, "\"mib_per_s\":{:.1},", ratio(self.mib(), self.seconds()))?;
        write!(f, "\"in\":{pages_in},\"out\":{pages_out},")?;
        write!(f, "\"p99_us\":{:.1}}}", microseconds(self.touches.quantile(990)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Figures, Sweep};
    use crate::pagebench::{Counters, Histogram, Over, SWEEPS};
    use abi::info::VmCounter;

    fn sweep(name: &'static str, counters: Counters) -> Sweep {
        let mut touches = Histogram::default();
        touches.add(9_999_999_999);
        Sweep { name, pages: 99_999_999, corrupt: 1, ns: 9_999_000_000_000, counters, touches }
    }

    fn figures(counters: Counters) -> Figures {
        let sweeps = SWEEPS.iter().map(|name| sweep(name, counters)).collect();
        Figures { over: Over::SwapObject, working_set: 1 << 40, verified_pages: 1 << 28, sweeps }
    }

    fn moved() -> Counters {
        let all = [VmCounter::PagesSupplied, VmCounter::PagesReturned, VmCounter::PagesRequested];
        all.into_iter()
            .fold(Counters::default(), |counters, counter| counters.with(counter, 99_999_999))
            .with(VmCounter::Requests, 1_000_000)
    }

    /// A line that the console printed in two pieces could have another task's between them.
    #[test]
    fn the_longest_line_is_printed_in_one_piece() {
        let line = format!("@phase {}\n", figures(moved()));
        assert!(line.len() < abi::trap::PRINT_MAX, "{} bytes: {line}", line.len());
    }

    #[test]
    fn the_line_says_what_was_counted() {
        let line = figures(moved()).to_string();
        for part in [
            "{\"pager\":\"swap-object\",\"working_set\":1099511627776,\"verified_pages\":268435456,\"corrupt_pages\":5,",
            "\"bytes_copied_per_page\":0.000,\"pages_per_request\":100.00,\"sequential_pages_per_request\":100.00,",
            "\"pages_in\":499999995,",
            "\"touch_us\":{\"p50\":9999999.999,",
            "{\"sweep\":\"fill\",",
        ] {
            assert!(line.contains(&part.replace("9999999.999", "10000000.00")), "no {part} in {line}");
        }
    }

    #[test]
    fn copies_are_told_and_nothing_is_divided_by_nothing() {
        let copied = moved().with(VmCounter::BytesCopiedOut, 4096 * 99_999_999);
        assert!((figures(copied).bytes_copied_per_page() - 2048.0).abs() < 1e-6);
        let still = figures(Counters::default());
        assert!(still.to_string().contains("\"pages_per_request\":0.00"));
        assert!(still.sequential_pages_per_request().abs() < 1e-9);
    }
}
