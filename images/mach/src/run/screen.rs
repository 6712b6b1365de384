//! Where a guest's console goes while it runs: the terminal, a log, or nowhere.
//!
//! On a terminal progress is one line that changes; elsewhere each is a line, but not more than one in a few seconds.

use super::console::Line;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Shows lines to a person.
#[derive(Debug)]
pub(crate) struct Screen {
    mode: Mode,
    /// Is there a progress line to be wiped?
    progress_shown: bool,
    last_progress: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Terminal,
    Log,
    Silent,
}

/// Without a terminal: the least time between two progress lines.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

impl Screen {
    pub(crate) fn standard() -> Self {
        let mode = if std::io::stdout().is_terminal() { Mode::Terminal } else { Mode::Log };
        Self { mode, progress_shown: false, last_progress: None }
    }

    pub(crate) fn silent() -> Self {
        Self { mode: Mode::Silent, progress_shown: false, last_progress: None }
    }

    /// Something of our own between the guest's lines.
    pub(crate) fn note(&mut self, text: &str) {
        self.print(&format!("mach: {text}"));
    }

    pub(crate) fn line(&mut self, line: &Line, elapsed: Duration) {
        match line {
            Line::Text(text) => self.print(text),
            Line::Progress(text) => self.progress(text, elapsed),
            Line::Test { name, result: Ok(()) } => self.print(&format!("test {name} ... ok")),
            Line::Test { name, result: Err(reason) } => self.print(&format!("test {name} ... FAILED: {reason}")),
            Line::Trace { step, ns, text } => self.print(&format!("{ns:>12} ns  {step:<9} {text}")),
            Line::Malformed(raw) => self.print(&format!("mach: not understood: {raw}")),
            // They come again in the table or the verdict at the end.
            Line::Phase(_) | Line::Bench { .. } | Line::Verdict(_) => {}
        }
    }

    fn progress(&mut self, text: &str, elapsed: Duration) {
        match self.mode {
            Mode::Terminal => {
                print!("\r\x1b[K{:>4} s  {text}", elapsed.as_secs());
                // A terminal that went away is no reason to stop the run.
                let _ = std::io::stdout().flush();
                self.progress_shown = true;
            }
            Mode::Log if self.last_progress.is_none_or(|last| elapsed >= last + PROGRESS_INTERVAL) => {
                self.print(&format!("{:>4} s  {text}", elapsed.as_secs()));
                self.last_progress = Some(elapsed);
            }
            Mode::Log | Mode::Silent => {}
        }
    }

    fn print(&mut self, text: &str) {
        if self.mode == Mode::Silent {
            return;
        }
        self.clear();
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    /// Wipes the progress line, so that something else can be printed.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.progress_shown) {
            print!("\r\x1b[K");
        }
    }
}
