//! Long work that an operator asked for: reading all that an export keeps, to find what is damaged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use admin::observed::{Fault, FaultKind, JobKind, JobState, Progression};
use store::Store;

use super::operator::milliseconds;
use crate::scan::{Watch, read_all};

/// Faults told in words.
const FAULTS_MAX: usize = 16;
/// Jobs remembered after their end.
const ENDED_MAX: usize = 16;

/// A job, and what it looks at to see whether it should stop.
#[derive(Clone)]
struct Job {
    state: Arc<Mutex<JobState>>,
    is_cancelled: Arc<AtomicBool>,
}

/// All jobs.
#[derive(Default)]
pub(super) struct Jobs {
    jobs: Mutex<BTreeMap<u64, Job>>,
    next: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Job {
    fn state(&self) -> JobState {
        lock(&self.state).clone()
    }

    fn is_running(&self) -> bool {
        lock(&self.state).state == Progression::Running
    }
}

impl Jobs {
    pub(super) fn all(&self) -> Vec<JobState> {
        lock(&self.jobs).values().map(Job::state).collect()
    }

    /// Begins to read everything that `store` keeps.
    pub(super) fn check(&self, export: &str, store: Arc<dyn Store>) -> Result<JobState, Fault> {
        let mut jobs = lock(&self.jobs);
        if jobs.values().any(|job| job.is_running() && lock(&job.state).export == export) {
            return Err(Fault::new(FaultKind::Conflict, format!("export `{export}` is being checked already")));
        }
        while jobs.len() >= ENDED_MAX {
            let Some(oldest) = jobs.iter().find(|(_, job)| !job.is_running()).map(|(id, _)| *id) else { break };
            jobs.remove(&oldest);
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let state = JobState {
            id,
            kind: JobKind::Check,
            export: export.into(),
            state: Progression::Running,
            done_bytes: 0,
            total_bytes: store.size(),
            faults: Vec::new(),
            fault_count: 0,
            started_ms: milliseconds(SystemTime::now()),
        };
        let job = Job { state: Arc::new(Mutex::new(state)), is_cancelled: Arc::default() };
        jobs.insert(id, job.clone());
        drop(jobs);
        let begun = job.state();
        let spawned = std::thread::Builder::new().name(format!("check-{id}")).spawn(move || check(&*store, job));
        spawned.map_err(|error| Fault::new(FaultKind::Failed, error.to_string()))?;
        Ok(begun)
    }

    pub(super) fn cancel(&self, id: u64) -> Result<(), Fault> {
        let jobs = lock(&self.jobs);
        let job = jobs.get(&id).filter(|job| job.is_running());
        let job = job.ok_or_else(|| Fault::new(FaultKind::NotFound, format!("there is no job {id} that runs")))?;
        job.is_cancelled.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// Reads what is kept, and says how it went.
fn check(store: &dyn Store, mut job: Job) {
    let is_complete = read_all(store, &mut job);
    let mut state = lock(&job.state);
    state.state = match (is_complete, state.fault_count) {
        (false, _) => Progression::Cancelled,
        (true, 0) => Progression::Done,
        (true, _) => Progression::Faulty,
    };
    tracing::info!("check of export `{}`: {:?}, {} faults", state.export, state.state, state.fault_count);
}

impl Watch for Job {
    fn done(&mut self, at: u64) -> bool {
        lock(&self.state).done_bytes = at;
        !self.is_cancelled.load(Ordering::Relaxed)
    }

    fn fault(&mut self, text: String) {
        let mut state = lock(&self.state);
        state.fault_count += 1;
        if state.faults.len() < FAULTS_MAX {
            state.faults.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use store::{Arena, ErrorFilter, ErrorRates, RamStore};

    use super::*;

    fn ended(jobs: &Jobs, id: u64) -> JobState {
        let start = Instant::now();
        loop {
            let state = jobs.all().into_iter().find(|job| job.id == id).unwrap();
            if state.state != Progression::Running {
                return state;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "the job does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn everything_is_read_and_damage_is_counted() {
        let arena = Arc::new(Arena::new(4 << 20));
        let ram = RamStore::new(arena, 1 << 40, 4 << 20).unwrap();
        ram.write_at(1 << 39, &[1; 8192]).unwrap();
        let good: Arc<dyn Store> = Arc::new(ram);
        let jobs = Jobs::default();
        let job = jobs.check("x", good.clone()).unwrap();
        let state = ended(&jobs, job.id);
        assert_eq!((state.state, state.done_bytes, state.fault_count), (Progression::Done, 1 << 40, 0));
        let small = RamStore::new(Arc::new(Arena::new(1 << 20)), 1 << 20, 1 << 20).unwrap();
        let bad = ErrorFilter::new(small, ErrorRates { read: 1000, write: 0, flush: 0 }, 1);
        let job = jobs.check("x", Arc::new(bad)).unwrap();
        let state = ended(&jobs, job.id);
        assert_eq!((state.state, state.done_bytes, state.fault_count), (Progression::Faulty, 1 << 20, 4));
        assert!(state.faults[1].contains("at 262144"), "{:?}", state.faults);
        assert!(jobs.cancel(job.id).is_err(), "it has ended");
    }
}
