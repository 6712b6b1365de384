//! Runs a tool to its end, with words for every way in which that can fail.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bench::Server;

/// No tool here takes longer than this unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A service with these exports on a free loopback port.
pub(crate) fn service(exports: &[&str], more: &[&str]) -> Server {
    Server::ours(Path::new(env!("CARGO_BIN_EXE_netpager-host")), exports, more).unwrap()
}

/// What a tool said, and whether it was content.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) success: bool,
    /// Both outputs, errors last.
    pub(crate) text: String,
}

impl Said {
    /// Its words, if all went well.
    #[track_caller]
    pub(crate) fn good(self) -> String {
        assert!(self.success, "{}", self.text);
        self.text
    }
}

/// Runs a program of a Debian package.
#[track_caller]
pub(crate) fn run(package: &str, program: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            panic!("{program} is missing: install the Debian package {package} (./mach test does)")
        }
        child => child.unwrap(),
    };
    // Pipes are emptied while it runs, or it would wait for us.
    let mut streams = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let errors = thread::spawn(move || {
        let mut text = Vec::new();
        streams.1.read_to_end(&mut text).map(|_| text)
    });
    let output = thread::spawn(move || {
        let mut text = Vec::new();
        streams.0.read_to_end(&mut text).map(|_| text)
    });
    let start = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if start.elapsed() > PATIENCE => {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("{program} {arguments:?} does not end");
            }
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    let text = [output.join().unwrap().unwrap(), errors.join().unwrap().unwrap()].concat();
    Said { success: status.success(), text: String::from_utf8_lossy(&text).into_owned() }
}

/// Data without a pattern that a wrong offset would hide, with zero pages in between.
pub(crate) fn image(length: usize) -> Vec<u8> {
    let mut image = vec![0; length];
    for (number, page) in image.chunks_mut(64 * 1024).enumerate().filter(|(number, _)| number % 3 != 1) {
        bench::content::fill(page, 7, number as u64, 1);
    }
    image
}
