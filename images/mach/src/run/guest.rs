//! A guest while it runs: QEMU as a child, its console as lines, until it ends or its time is up.
//!
//! It decides nothing about the lines; the caller's `Watcher` sees each one, and the end is reported as a value.

use super::child::Owned;
use super::console::{Line, Lines};
use super::signals::Signals;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// How a guest's life ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The guest powered itself off.
    PoweredOff,
    /// QEMU ended in another way.
    Failed(String),
    TimedOut(Duration),
    /// Somebody pressed Ctrl-C or sent SIGTERM.
    Interrupted,
}

/// Sees what happens, while it happens.
pub(crate) trait Watcher {
    /// A line of the console, parsed and as it was.
    fn line(&mut self, line: &Line, raw: &str, elapsed: Duration);
    /// Called a few times a second.
    fn tick(&mut self, elapsed: Duration) -> Result<()>;
}

/// One chunk of output.
enum Output {
    Console(Vec<u8>),
    /// QEMU's own complaints.
    Emulator(Vec<u8>),
}

const TICK: Duration = Duration::from_millis(50);
/// From the end of QEMU's output to the end of its process.
const LAST_BREATH: Duration = Duration::from_secs(10);
/// Prefix of a line that QEMU itself wrote.
pub(crate) const EMULATOR: &str = "[qemu] ";

/// Runs QEMU to its end.
pub(crate) fn run(program: &OsString, arguments: &[OsString], timeout: Duration, watcher: &mut dyn Watcher) -> Result<End> {
    let signals = Signals::listen()?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut qemu = Owned::spawn(&mut command).context("no QEMU? ./mach installs it; MACH_QEMU names another")?;
    let output = outputs(&mut qemu)?;
    let start = Instant::now();
    let (mut console, mut emulator) = (Lines::default(), Lines::default());
    let end = loop {
        watcher.tick(start.elapsed())?;
        if signals.caught() {
            break End::Interrupted;
        }
        if start.elapsed() >= timeout {
            break End::TimedOut(timeout);
        }
        match output.recv_timeout(TICK) {
            Ok(Output::Console(bytes)) => show(watcher, console.feed(&bytes), start),
            Ok(Output::Emulator(bytes)) => show(watcher, marked(emulator.feed(&bytes)), start),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break status(qemu.wait(LAST_BREATH)),
        }
    };
    show(watcher, console.flush().into_iter().collect(), start);
    show(watcher, marked(emulator.flush().into_iter().collect()), start);
    Ok(end)
}

fn marked(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().map(|line| format!("{EMULATOR}{line}")).collect()
}

fn show(watcher: &mut dyn Watcher, lines: Vec<String>, start: Instant) {
    for raw in lines {
        watcher.line(&Line::parse(&raw), &raw, start.elapsed());
    }
}

fn status(status: Option<ExitStatus>) -> End {
    match status {
        Some(status) if status.success() => End::PoweredOff,
        Some(status) => End::Failed(format!("QEMU ended with {status}")),
        None => End::Failed("QEMU closed its output but does not end".to_owned()),
    }
}

fn outputs(qemu: &mut Owned) -> Result<Receiver<Output>> {
    let (sender, receiver) = mpsc::channel();
    read_all(qemu.stdout().context("QEMU has no output")?, sender.clone(), Output::Console);
    read_all(qemu.stderr().context("QEMU has no error output")?, sender, Output::Emulator);
    Ok(receiver)
}

fn read_all(mut from: impl Read + Send + 'static, to: Sender<Output>, wrap: fn(Vec<u8>) -> Output) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if to.send(wrap(buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::fakes::script;
    use super::*;

    #[derive(Default)]
    struct Recorder {
        raw: Vec<String>,
        ticks: usize,
    }

    impl Watcher for Recorder {
        fn line(&mut self, _: &Line, raw: &str, _: Duration) {
            self.raw.push(raw.to_owned());
        }

        fn tick(&mut self, _: Duration) -> Result<()> {
            self.ticks += 1;
            Ok(())
        }
    }

    fn guest(body: &str, timeout: Duration) -> (End, Recorder) {
        let folder = tempfile::tempdir().unwrap();
        let qemu = script(folder.path(), "qemu", body);
        let mut recorder = Recorder::default();
        let end = run(&qemu.into(), &[], timeout, &mut recorder).unwrap();
        (end, recorder)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_guest_that_powers_off_ends_well() {
        let (end, seen) = guest("echo hello\necho complaint >&2\nprintf 'no newline'\n", LONG);
        assert_eq!(end, End::PoweredOff);
        let mut raw = seen.raw;
        raw.sort();
        assert_eq!(raw, ["[qemu] complaint", "hello", "no newline"]);
        assert!(seen.ticks > 0);
    }

    #[test]
    fn an_emulator_that_fails_is_told_apart() {
        let (end, seen) = guest("echo 'bad -M' >&2\nexit 3\n", LONG);
        assert!(matches!(&end, End::Failed(text) if text.contains('3')), "{end:?}");
        assert_eq!(seen.raw, ["[qemu] bad -M"]);
    }

    #[test]
    fn a_guest_that_hangs_is_stopped() {
        let timeout = Duration::from_millis(300);
        let start = Instant::now();
        let (end, seen) = guest("echo started\nexec sleep 60\n", timeout);
        assert_eq!(end, End::TimedOut(timeout));
        assert_eq!(seen.raw, ["started"]);
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn no_emulator_is_a_clear_error() {
        let error = run(&"no-such-qemu".into(), &[], LONG, &mut Recorder::default()).unwrap_err();
        assert!(format!("{error:#}").contains("MACH_QEMU"));
    }
}
