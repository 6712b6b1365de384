//! One life of the server, from its start to its death.

use std::fmt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::client::{Client, Count, End};
use crate::error::BenchError;
use crate::random::Random;
use crate::server::Server;

/// The export's size, in sectors: 64 MiB.
pub(super) const SECTORS: u64 = 128 * 1024;
const SIZE: u64 = SECTORS * super::model::SECTOR as u64;

/// A life with nothing to leak may still grow by so much: lazily touched buffers and tables.
const GROWTH: u64 = 16 << 20;

/// Where the pages are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Store {
    Ram,
    Compressed,
    File,
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// SIGKILL after so many requests, in the middle of others.
    Killed(u64),
    /// SIGTERM after so many requests, in the middle of others.
    Asked(u64),
    /// SIGTERM when all is done.
    Idle,
}

/// What a life is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) store: Store,
    requests: u64,
    errors_per_mille: u64,
    delay_ms: u64,
    death: Death,
    /// Whether descriptors and memory are watched.
    watched: bool,
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, requests, errors_per_mille, delay_ms, death, .. } = self;
        write!(f, "{store:?} store, {requests} requests, {errors_per_mille} ‰ errors, {delay_ms} ms delay, {death:?}")
    }
}

impl Life {
    /// One of many, each different.
    pub(super) fn short(number: u64, requests: u64, random: &mut Random) -> Self {
        let moment = 1 + random.below(requests.max(1));
        let (store, death) = match number % 6 {
            0 | 3 => (Store::File, Death::Killed(moment)),
            1 => (Store::File, Death::Asked(moment)),
            2 => (Store::Ram, Death::Killed(moment)),
            4 => (Store::Compressed, Death::Asked(moment)),
            _ => (Store::File, Death::Idle),
        };
        let errors_per_mille = if random.percent(40) { 1 + random.below(20) } else { 0 };
        let delay_ms = if random.percent(10) { 1 } else { 0 };
        Self { store, requests, errors_per_mille, delay_ms, death, watched: false }
    }

    /// The one in which leaks would show.
    pub(super) const fn long(requests: u64) -> Self {
        Self { store: Store::Ram, requests, errors_per_mille: 0, delay_ms: 0, death: Death::Idle, watched: true }
    }

    pub(super) const fn is_killed(&self) -> bool {
        matches!(self.death, Death::Killed(_))
    }

    /// Lives it.
    pub(super) fn live(
        &self,
        binary: &Path,
        folder: &Path,
        clients: &mut [Client],
        count: &Count,
        watch: &mut impl FnMut(u64, &str),
    ) -> Result<(), BenchError> {
        let mut server = Server::ours(binary, &[&self.export(folder)], &[])?;
        let target = server.target().clone();
        each(clients, |client| client.verify(&target, count))?;
        if self.watched {
            each(clients, |client| client.write_all(&target))?;
        }
        let before = count.answered.load(Ordering::Relaxed);
        let each_makes = self.requests / clients.len() as u64 + 1;
        let (mut usage, mut dead) = (Usage::default(), false);
        let ends = thread::scope(|scope| {
            let running: Vec<_> = clients.iter_mut().map(|client| scope.spawn(|| client.run(&target, each_makes, count))).collect();
            while !running.iter().all(thread::ScopedJoinHandle::is_finished) {
                thread::sleep(Duration::from_millis(2));
                let done = count.answered.load(Ordering::Relaxed) - before;
                watch(before + done, &self.to_string());
                usage.sample(&server, done, self.requests);
                match self.death {
                    _ if dead => {}
                    Death::Killed(moment) if done >= moment => {
                        server.kill()?;
                        dead = true;
                    }
                    Death::Asked(moment) if done >= moment => {
                        self.stop(&mut server)?;
                        dead = true;
                    }
                    _ => {}
                }
            }
            running.into_iter().map(|client| client.join().expect("a client panicked")).collect::<Result<Vec<_>, _>>()
        })?;
        if self.death == Death::Idle {
            if ends.contains(&End::Lost) {
                return Err(BenchError::Wrong("the server closed a connection for no reason".into()));
            }
            each(clients, |client| client.verify(&target, count))?;
            self.stop(&mut server)?;
        }
        if self.watched { usage.judge() } else { Ok(()) }
    }

    /// Asks the server to end. With injected errors it may fail to flush, and must say so.
    fn stop(&self, server: &mut Server) -> Result<(), BenchError> {
        match server.stop() {
            Err(BenchError::Wrong(_)) if self.errors_per_mille > 0 => Ok(()),
            result => result,
        }
    }

    fn export(&self, folder: &Path) -> String {
        let store = match self.store {
            Store::Ram => "ram".into(),
            Store::Compressed => "compressed".into(),
            Store::File => format!("file:{}", folder.join("store").display()),
        };
        let mut text = format!("soak={SIZE},store={store}");
        for (name, value) in [("error", self.errors_per_mille), ("delay", self.delay_ms)] {
            if value > 0 {
                text += &format!(",{name}={value}");
            }
        }
        text
    }
}

/// Does the same with all clients at once.
fn each(clients: &mut [Client], work: impl Fn(&mut Client) -> Result<(), BenchError> + Sync) -> Result<(), BenchError> {
    thread::scope(|scope| {
        let running: Vec<_> = clients.iter_mut().map(|client| scope.spawn(|| work(client))).collect();
        running.into_iter().try_for_each(|client| client.join().expect("a client panicked"))
    })
}

/// What the server used when a third of the requests were done, and at the end.
#[derive(Debug, Default)]
struct Usage {
    early: Option<(u64, usize)>,
    late: Option<(u64, usize)>,
}

impl Usage {
    fn sample(&mut self, server: &Server, done: u64, of: u64) {
        let wanted = if done * 3 >= of && self.early.is_none() {
            &mut self.early
        } else if done * 10 >= of * 9 && self.late.is_none() {
            &mut self.late
        } else {
            return;
        };
        *wanted = server.process().memory().zip(server.process().descriptors());
    }

    fn judge(&self) -> Result<(), BenchError> {
        // Without /proc there is nothing to judge.
        let Some(((early, some), (late, more))) = self.early.zip(self.late) else { return Ok(()) };
        if late > early + GROWTH {
            return Err(BenchError::Wrong(format!("the server's memory grew from {early} to {late} bytes under a steady load")));
        }
        // Clients reconnect now and then, so a few may be open twice.
        if more > some + 16 {
            return Err(BenchError::Wrong(format!("the server's descriptors grew from {some} to {more} under a steady load")));
        }
        Ok(())
    }
}
