//! Bars for long work: a bar where a person looks, a line now and then where a log does.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where nobody looks at a terminal, progress is told this often.
const LINE_EVERY: Duration = Duration::from_secs(10);
const TEMPLATE: &str = "{msg:<24!} [{bar:30.cyan/blue}] {percent:>3}% {bytes:>10}/{total_bytes:<10} {bytes_per_sec:>12} {eta:>4}";
const UNKNOWN: &str = "{msg:<24!} {spinner} {bytes:>10} {bytes_per_sec:>12}";

/// How far a piece of work is. On standard error, so that what the work puts out can be piped.
#[derive(Debug)]
pub struct Progress {
    what: String,
    bar: ProgressBar,
    started: Instant,
    /// When the next line is due, if lines are wanted.
    next_line: Option<Instant>,
}

impl Progress {
    /// Begins work on `total` bytes, or on nobody knows how many. `quiet` shows nothing at all.
    #[must_use]
    pub fn bytes(what: &str, total: Option<u64>, quiet: bool) -> Self {
        let person = std::io::stderr().is_terminal();
        let target = if person && !quiet { ProgressDrawTarget::stderr_with_hz(8) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(total, target);
        let template = if total.is_some() { TEMPLATE } else { UNKNOWN };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("━╸─"));
        bar.set_message(what.to_owned());
        let now = Instant::now();
        Self { what: what.to_owned(), bar, started: now, next_line: (!person && !quiet).then(|| now + LINE_EVERY) }
    }

    /// So many bytes more are done.
    pub fn advance(&mut self, bytes: u64) {
        self.bar.inc(bytes);
        self.line_if_due(Instant::now());
    }

    /// So many bytes are done in all.
    pub fn set(&mut self, bytes: u64) {
        self.bar.set_position(bytes);
        self.line_if_due(Instant::now());
    }

    /// It became known, or changed, how much there is to do.
    pub fn set_total(&mut self, bytes: u64) {
        self.bar.set_length(bytes);
    }

    /// Puts a line above the bar.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Takes the bar away; returns the sentence that sums it up, for whoever wants to say it.
    pub fn finish(self) -> String {
        let (bytes, time) = (self.bar.position(), self.started.elapsed());
        self.bar.finish_and_clear();
        let rate = bytes as f64 / time.as_secs_f64().max(0.001);
        format!("{}: {} in {:.1} s ({}/s)", self.what, HumanBytes(bytes), time.as_secs_f64(), HumanBytes(rate as u64))
    }

    fn line_if_due(&mut self, now: Instant) {
        if self.next_line.is_some_and(|due| now >= due) {
            self.next_line = Some(now + LINE_EVERY);
            eprintln!("{}", self.line());
        }
    }

    fn line(&self) -> String {
        let done = self.bar.position();
        match self.bar.length() {
            Some(total) if total > 0 => {
                let left = HumanDuration(self.bar.eta());
                let percent = (u128::from(done) * 100 / u128::from(total)).min(100);
                format!("{}: {percent} %, {} of {}, {left:#} left", self.what, HumanBytes(done), HumanBytes(total))
            }
            _ => format!("{}: {}", self.what, HumanBytes(done)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_understood() {
        ProgressStyle::with_template(TEMPLATE).unwrap();
        ProgressStyle::with_template(UNKNOWN).unwrap();
    }

    #[test]
    fn a_line_says_how_far_it_is() {
        let mut progress = Progress::bytes("saving", Some(4 << 20), true);
        progress.advance(1 << 20);
        assert!(progress.line().starts_with("saving: 25 %, 1.00 MiB of 4.00 MiB"), "{}", progress.line());
        progress.set(4 << 20);
        assert!(progress.finish().starts_with("saving: 4.00 MiB in "));
        assert_eq!(Progress::bytes("loading", None, true).line(), "loading: 0 B");
    }
}
