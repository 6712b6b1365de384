//! Threads on which one member of a mirror or a stripe is called.
//!
//! A store may hang. Each member has threads of its own, so that a member that hangs holds up only calls to itself, and so
//! that whoever waits may stop waiting. Threads are made when calls overlap, up to a bound, and end when the lane is
//! dropped and the calls they are in return.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use store::{Store, StoreError};

/// How many calls of one member overlap; more wait in line.
const THREADS_MAX: usize = 64;
/// Stores keep no large things on the stack.
const STACK_BYTES: usize = 256 << 10;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Line {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    /// Jobs in line or running.
    busy: usize,
    is_closing: bool,
}

#[derive(Default)]
struct Inner {
    line: Mutex<Line>,
    changed: Condvar,
}

/// What came of a call, from whom, and how long it took.
pub(crate) struct Finished<T> {
    pub(crate) index: usize,
    pub(crate) result: Result<T, StoreError>,
    pub(crate) took: Duration,
}

/// The threads of one member.
#[derive(Default)]
pub(crate) struct Lane(Arc<Inner>);

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut line = self.lock();
        loop {
            if let Some(job) = line.jobs.pop_front() {
                drop(line);
                job();
                line = self.lock();
                line.busy -= 1;
            } else if line.is_closing {
                line.threads -= 1;
                return;
            } else {
                line.idle += 1;
                line = self.changed.wait(line).unwrap_or_else(PoisonError::into_inner);
                line.idle -= 1;
            }
        }
    }
}

impl Lane {
    /// Calls `work` with `store` on one of the lane's threads, or on this one if the store never waits, and sends what came
    /// of it as the answer of member `index`.
    pub(crate) fn call<S, T, W>(&self, store: &Arc<S>, index: usize, answers: &Sender<Finished<T>>, work: W)
    where
        S: Store + ?Sized + 'static,
        T: Send + 'static,
        W: FnOnce(&S) -> Result<T, StoreError> + Send + 'static,
    {
        let timed = move |store: &S| {
            let began = Instant::now();
            let result = work(store);
            Finished { index, result, took: began.elapsed() }
        };
        if store.is_immediate() {
            let _ = answers.send(timed(store));
            return;
        }
        let (answers, store) = (answers.clone(), store.clone());
        self.submit(Box::new(move || drop(answers.send(timed(&store)))));
    }

    fn submit(&self, job: Job) {
        let mut line = self.0.lock();
        line.jobs.push_back(job);
        line.busy += 1;
        if line.idle < line.jobs.len() && line.threads < THREADS_MAX {
            let inner = self.0.clone();
            // Without another thread the job waits for one that exists; without any it is dropped, and whoever waits for
            // it learns that from the channel.
            match Builder::new().name("remote-lane".into()).stack_size(STACK_BYTES).spawn(move || inner.work()) {
                Ok(_) => line.threads += 1,
                Err(_) if line.threads == 0 => {
                    line.jobs.clear();
                    line.busy = 0;
                }
                Err(_) => {}
            }
        }
        drop(line);
        self.0.changed.notify_one();
    }

    /// Whether no call is in line or running.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.lock().busy == 0
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.0.lock().is_closing = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use store::{Arena, DelayFilter, Delays, RamStore};

    use super::*;

    #[test]
    fn calls_overlap_and_threads_end_with_the_lane() {
        let ram = RamStore::new(Arc::new(Arena::new(1 << 20)), 4096, u64::MAX).unwrap();
        let delays = Delays { read: Duration::from_millis(50), ..Delays::default() };
        let slow = Arc::new(DelayFilter::new(ram, delays));
        let (lane, (sender, receiver)) = (Lane::default(), channel());
        let began = Instant::now();
        for index in 0..8 {
            lane.call(&slow, index, &sender, |store| store.read_at(0, &mut [0; 8]));
        }
        assert!(!lane.is_idle());
        drop(sender);
        assert_eq!(receiver.iter().filter(|done| done.result.is_ok() && done.took >= Duration::from_millis(50)).count(), 8);
        assert!(began.elapsed() < Duration::from_millis(350), "one after the other");
        let inner = lane.0.clone();
        drop(lane);
        let patience = Instant::now() + Duration::from_secs(10);
        while inner.lock().threads > 0 {
            assert!(Instant::now() < patience, "threads stay");
            std::thread::yield_now();
        }
    }
}
