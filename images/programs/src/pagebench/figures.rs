//! The figures of a run, as one line of JSON.

use alloc::string::String;
use core::fmt::{self, Write};

use abi::info::VmCounter;
use abi::vm::PAGE_SIZE;

use super::counters::Counters;
use super::histogram::Histogram;

/// What one sweep over pages came to.
#[derive(Clone, Debug)]
pub struct Sweep {
    pub name: &'static str,
    pub pages: u64,
    pub corrupt: u64,
    pub ns: u64,
    pub touches: Histogram,
    pub counted: Counters,
}

/// All of a run.
#[derive(Debug)]
pub struct Figures<'a> {
    pub pager: &'a str,
    pub working_set: u64,
    /// Pages that were read back, each word of them, in the last sweep over all.
    pub verified: u64,
    pub sweeps: &'a [Sweep],
}

/// Two decimals; nothing is divided by zero.
struct Ratio(u64, u64);

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = (u128::from(self.0) * 100).checked_div(u128::from(self.1)).unwrap_or(0);
        write!(f, "{}.{:02}", hundredths / 100, hundredths % 100)
    }
}

const NS: u64 = 1_000_000_000;

fn per_second(count: u64, ns: u64) -> Ratio {
    Ratio((u128::from(count) * u128::from(NS) / 1000).try_into().unwrap_or(u64::MAX), ns / 1000)
}

fn mib_per_second(pages: u64, ns: u64) -> Ratio {
    let bytes = u128::from(pages) * u128::from(PAGE_SIZE) * u128::from(NS) >> 20;
    Ratio(bytes.try_into().unwrap_or(u64::MAX), ns)
}

impl Figures<'_> {
    fn total(&self, counter: VmCounter) -> u64 {
        self.sweeps.iter().map(|sweep| sweep.counted.get(counter)).sum()
    }

    /// Pages that weren't as they were written.
    #[must_use]
    pub fn corrupt(&self) -> u64 {
        self.sweeps.iter().map(|sweep| sweep.corrupt).sum()
    }

    /// The line.
    #[must_use]
    pub fn json(&self) -> String {
        let mut text = String::new();
        // Writing to a string doesn't fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let ns = self.sweeps.iter().map(|sweep| sweep.ns).sum();
        let pages = self.sweeps.iter().map(|sweep| sweep.pages).sum();
        let (pages_in, pages_out) = (self.total(VmCounter::PagesSupplied), self.total(VmCounter::PagesReturned));
        let copied = self.total(VmCounter::BytesCopiedIn) + self.total(VmCounter::BytesCopiedOut);
        let mut touches = Histogram::default();
        self.sweeps.iter().for_each(|sweep| touches.join(&sweep.touches));
        write!(out, "{{\"pager\":\"{}\",\"working_set\":{}", self.pager, self.working_set)?;
        write!(out, ",\"verified_pages\":{},\"corrupt_pages\":{}", self.verified, self.corrupt())?;
        write!(out, ",\"pages_in\":{pages_in},\"pages_out\":{pages_out}")?;
        // None is 0, and not 0.00: it is counted, not measured.
        match copied {
            0 => out.write_str(",\"bytes_copied_per_page\":0")?,
            _ => write!(out, ",\"bytes_copied_per_page\":{}", Ratio(copied, pages_in + pages_out))?,
        }
        let requests = Ratio(self.total(VmCounter::PagesRequested), self.total(VmCounter::Requests));
        write!(out, ",\"pages_per_request\":{requests},\"sequential_pages_per_request\":{}", self.sequential())?;
        write!(out, ",\"mib_per_s\":{},\"faults_per_s\":{}", mib_per_second(pages, ns), per_second(self.total(VmCounter::Faults), ns))?;
        out.write_str(",\"touch_us\":")?;
        touch(out, &touches)?;
        write!(out, ",\"seconds\":{},\"sweeps\":{{", Ratio(ns / 1000, NS / 1000))?;
        for (index, sweep) in self.sweeps.iter().enumerate() {
            out.write_str(if index == 0 { "" } else { "," })?;
            sweep.write(out)?;
        }
        out.write_str("}}")
    }

    /// Pages a request in the sweeps that go from page to page.
    fn sequential(&self) -> Ratio {
        let sum =
            |counter| self.sweeps.iter().filter(|sweep| sweep.name.starts_with("sequential")).map(|sweep| sweep.counted.get(counter)).sum();
        Ratio(sum(VmCounter::PagesRequested), sum(VmCounter::Requests))
    }
}

impl Sweep {
    fn write(&self, out: &mut String) -> fmt::Result {
        write!(out, "\"{}\":{{\"pages\":{},\"seconds\":{}", self.name, self.pages, Ratio(self.ns / 1000, NS / 1000))?;
        write!(out, ",\"mib_per_s\":{}", mib_per_second(self.pages, self.ns))?;
        write!(out, ",\"faults\":{}", self.counted.get(VmCounter::Faults))?;
        let (pages_in, pages_out) = (self.counted.get(VmCounter::PagesSupplied), self.counted.get(VmCounter::PagesReturned));
        write!(out, ",\"pages_in\":{pages_in},\"pages_out\":{pages_out},\"touch_us\":")?;
        touch(out, &self.touches)?;
        out.write_char('}')
    }
}

/// Quantiles in microseconds, of nanoseconds.
fn touch(out: &mut String, touches: &Histogram) -> fmt::Result {
    let us = |ns| Ratio(ns, 1000);
    let (p50, p99, max) = (us(touches.quantile(500)), us(touches.quantile(990)), us(touches.longest()));
    write!(out, "{{\"p50\":{p50},\"p99\":{p99},\"max\":{max}}}")
}

#[cfg(test)]
mod tests {
    use super::{Ratio, mib_per_second, per_second};

    #[test]
    fn ratios_are_rounded_down_and_never_fail() {
        assert_eq!(Ratio(7, 2).to_string(), "3.50");
        assert_eq!(Ratio(1, 3).to_string(), "0.33");
        assert_eq!(Ratio(5, 0).to_string(), "0.00");
        assert_eq!(mib_per_second(512, 1_000_000_000).to_string(), "2.00");
        assert_eq!(per_second(3000, 500_000_000).to_string(), "6000.00");
    }
}
