//! A child process that cannot be left behind: dropped, it is killed and waited for.
//!
//! Every helper of a run (QEMU, netpager-host, passt) is one of these, so that each way out of a run ends them, by their
//! own process id.

use anyhow::{Context, Result};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct Owned {
    child: Child,
}

impl Owned {
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        Ok(Self { child })
    }

    pub(crate) fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    pub(crate) fn stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Its status, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Its status, if it ends within `patience`.
    pub(crate) fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            match self.ended() {
                Some(status) => return Some(status),
                None if start.elapsed() >= patience => return None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Asks it to end (SIGTERM).
    pub(crate) fn terminate(&mut self) {
        if self.ended().is_none()
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw)
        {
            // An error means that it ended just now: what was wanted.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }

    /// Ends it at once (SIGKILL) and waits for that.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    fn sleeper() -> Owned {
        Owned::spawn(Command::new("sleep").arg("60").stdout(Stdio::null())).unwrap()
    }

    #[test]
    fn a_dropped_child_is_gone() {
        let child = sleeper();
        let pid = rustix::process::Pid::from_child(&child.child);
        drop(child);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }

    #[test]
    fn a_child_that_is_asked_to_end_does() {
        let mut child = sleeper();
        assert!(child.wait(Duration::from_millis(10)).is_none());
        child.terminate();
        assert!(child.wait(Duration::from_secs(10)).is_some());
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Owned::spawn(&mut Command::new("no-such-program")).unwrap_err();
        assert!(error.to_string().contains("no-such-program"));
    }
}
