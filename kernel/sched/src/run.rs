//! Run queues: one per CPU, a best-first pick, a turn each within a priority, and work that finds idle CPUs.
//!
//! Priorities are GNU Mach's: 0 is the highest, 63 the lowest. A thread is put where it ran last, unless another CPU is idle or
//! does something less important; a CPU with nothing to do takes from the others. Whoever queues a thread is told which CPU to
//! signal.
//!
//! The handshake with a CPU that goes idle: it says so, fences, and looks once more at all queues ([`RunQueues::go_idle`]);
//! whoever queues pushes, fences, and looks for idle CPUs. One of the two sees the other.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};

use spin::Mutex;

use crate::NoMemory;
use crate::queue::Queue;

/// How many priorities there are; 0 is the highest.
pub const PRIORITIES: usize = 64;
/// The lowest priority (that of a depressed thread).
pub const LOWEST_PRIORITY: u8 = PRIORITIES as u8 - 1;

/// What `best` and `running` say of none.
const NOTHING: u8 = PRIORITIES as u8;
const CPUS_MAX: usize = 64;

struct Cpu<T> {
    queue: Mutex<Queue<T>>,
    /// The best priority in the queue; written under its lock, read as a hint.
    best: AtomicU8,
    /// The priority of what runs.
    running: AtomicU8,
}

/// The run queues of all CPUs. `T` is a thread's handle.
pub struct RunQueues<T> {
    cpus: Vec<Cpu<T>>,
    /// Bit n: CPU n waits for an interrupt, or is about to.
    idle: AtomicU64,
}

impl<T> RunQueues<T> {
    /// Queues for so many CPUs (at most 64), all of which count as running something unimportant until they pick.
    pub fn new(cpus: usize) -> Result<Self, NoMemory> {
        let mut all = Vec::new();
        all.try_reserve_exact(cpus.min(CPUS_MAX)).map_err(|_| NoMemory)?;
        all.extend((0..cpus.min(CPUS_MAX)).map(|_| Cpu {
            queue: Mutex::new(Queue::new()),
            best: AtomicU8::new(NOTHING),
            running: AtomicU8::new(NOTHING),
        }));
        Ok(Self { cpus: all, idle: AtomicU64::new(0) })
    }

    /// Makes room for so many threads in all: while no more exist, [`RunQueues::make_runnable`] never allocates.
    pub fn reserve(&self, threads: usize) -> Result<(), NoMemory> {
        self.cpus.iter().try_for_each(|cpu| cpu.queue.lock().reserve(threads))
    }

    /// Queues a thread. Gives the CPU to signal, if any: one that is idle, or runs something of lower priority. It may be the
    /// caller's own. A priority past the lowest counts as the lowest.
    #[must_use = "the CPU must be signalled"]
    pub fn make_runnable(&self, thread: T, priority: u8, preferred: usize) -> Option<usize> {
        let priority = priority.min(LOWEST_PRIORITY);
        let preferred = if preferred < self.cpus.len() { preferred } else { 0 };
        let target = self.idle_cpu(preferred).or_else(|| self.less_important(preferred, priority)).unwrap_or(preferred);
        self.push(thread, priority, target);
        // The push, then the look at who is idle: a CPU that went idle since has seen the push or is seen here.
        fence(Ordering::SeqCst);
        while let Some(idle) = self.idle_cpu(target) {
            if self.claim_idle(idle) {
                return Some(idle);
            }
        }
        (priority < self.cpus[target].running.load(Ordering::Relaxed)).then_some(target)
    }

    /// Queues a thread behind its equals on its own CPU: its turn is over.
    pub fn requeue(&self, thread: T, priority: u8, cpu: usize) {
        self.push(thread, priority.min(LOWEST_PRIORITY), if cpu < self.cpus.len() { cpu } else { 0 });
    }

    /// This CPU stays busy, and threads may have been queued here without a signal ([`RunQueues::requeue`]): the idle CPU that shall take
    /// one, to be signalled.
    #[must_use = "the CPU must be signalled"]
    pub fn offer(&self, cpu: usize) -> Option<usize> {
        if self.cpus[cpu].best.load(Ordering::Relaxed) == NOTHING {
            return None;
        }
        // The push, then the look at who is idle, as in `make_runnable`.
        fence(Ordering::SeqCst);
        self.idle_cpu(cpu).filter(|idle| self.claim_idle(*idle))
    }

    /// What this CPU runs next: the best of its own queue, or else of another's. The CPU isn't idle any more.
    pub fn pick(&self, cpu: usize) -> Option<T> {
        self.idle.fetch_and(!(1 << cpu), Ordering::Relaxed);
        let found = (0..self.cpus.len()).find_map(|offset| self.pop((cpu + offset) % self.cpus.len()));
        let (thread, priority) = found.map_or((None, NOTHING), |(thread, priority)| (Some(thread), priority));
        self.cpus[cpu].running.store(priority, Ordering::Relaxed);
        thread
    }

    /// This CPU has nothing to run. None: wait for an interrupt now (whoever queues a thread from here on signals), then pick.
    pub fn go_idle(&self, cpu: usize) -> Option<T> {
        self.idle.fetch_or(1 << cpu, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.cpus.iter().any(|other| other.best.load(Ordering::Relaxed) != NOTHING) { self.pick(cpu) } else { None }
    }

    /// Whether what runs on this CPU should make way: for something of higher priority, or when its turn is over also for its
    /// equals.
    #[must_use]
    pub fn should_yield(&self, cpu: usize, turn_is_over: bool) -> bool {
        let (best, running) = (self.cpus[cpu].best.load(Ordering::Relaxed), self.cpus[cpu].running.load(Ordering::Relaxed));
        best < running || (turn_is_over && best == running && best != NOTHING)
    }

    /// The priority of what this CPU runs has changed (depressed, or set).
    pub fn set_running(&self, cpu: usize, priority: u8) {
        self.cpus[cpu].running.store(priority.min(LOWEST_PRIORITY), Ordering::Relaxed);
    }

    fn push(&self, thread: T, priority: u8, cpu: usize) {
        let cpu = &self.cpus[cpu];
        let mut queue = cpu.queue.lock();
        queue.push(thread, priority);
        cpu.best.store(queue.best().unwrap_or(NOTHING), Ordering::Relaxed);
    }

    fn pop(&self, cpu: usize) -> Option<(T, u8)> {
        let cpu = &self.cpus[cpu];
        if cpu.best.load(Ordering::Relaxed) == NOTHING {
            return None;
        }
        let mut queue = cpu.queue.lock();
        let found = queue.pop();
        cpu.best.store(queue.best().unwrap_or(NOTHING), Ordering::Relaxed);
        found
    }

    /// An idle CPU, this one if it is.
    fn idle_cpu(&self, preferred: usize) -> Option<usize> {
        let idle = self.idle.load(Ordering::Relaxed);
        match idle {
            0 => None,
            _ if idle & 1 << preferred != 0 => Some(preferred),
            _ => Some(idle.trailing_zeros() as usize),
        }
    }

    /// Takes an idle CPU for oneself: true for one of those who try.
    fn claim_idle(&self, cpu: usize) -> bool {
        self.idle.fetch_and(!(1 << cpu), Ordering::Relaxed) & 1 << cpu != 0
    }

    /// A CPU that runs something of lower priority: this one if it does, or the least important.
    fn less_important(&self, preferred: usize, priority: u8) -> Option<usize> {
        let running = |cpu: usize| self.cpus[cpu].running.load(Ordering::Relaxed);
        if running(preferred) > priority {
            return Some(preferred);
        }
        (0..self.cpus.len()).max_by_key(|cpu| running(*cpu)).filter(|cpu| running(*cpu) > priority)
    }
}

#[cfg(test)]
mod tests {
    use super::{LOWEST_PRIORITY, RunQueues};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::vec::Vec;

    #[test]
    fn an_idle_cpu_is_found_and_signalled_once() {
        let queues = RunQueues::new(2).unwrap();
        assert_eq!(queues.make_runnable("busy", 10, 0), Some(0));
        assert_eq!(queues.pick(0), Some("busy"));
        assert_eq!(queues.go_idle(1), None);
        assert_eq!(queues.make_runnable("a", 20, 0), Some(1));
        // CPU 1 is taken but hasn't picked yet; CPU 0 runs something better.
        assert_eq!(queues.make_runnable("b", 20, 0), Some(1), "it still runs nothing");
        assert_eq!(queues.pick(1), Some("a"));
        assert_eq!(queues.make_runnable("c", 20, 1), None);
        assert_eq!(queues.pick(1), Some("b"));
    }

    #[test]
    fn a_better_thread_preempts_the_least_important() {
        let queues = RunQueues::new(2).unwrap();
        for (cpu, priority) in [(0, 10), (1, 30)] {
            queues.requeue(cpu, priority, cpu);
            assert_eq!(queues.pick(cpu), Some(cpu));
        }
        assert_eq!(queues.make_runnable(7, 20, 0), Some(1));
        assert!(queues.should_yield(1, false) && !queues.should_yield(0, true));
        assert_eq!(queues.make_runnable(8, 5, 0), Some(0));
        assert_eq!(queues.make_runnable(9, LOWEST_PRIORITY, 0), None);
    }

    #[test]
    fn equals_take_turns() {
        let queues = RunQueues::new(1).unwrap();
        queues.requeue('a', 25, 0);
        queues.requeue('b', 25, 0);
        assert_eq!(queues.pick(0), Some('a'));
        assert!(!queues.should_yield(0, false) && queues.should_yield(0, true));
        queues.requeue('a', 25, 0);
        assert_eq!(queues.pick(0), Some('b'));
        assert_eq!(queues.pick(0), Some('a'));
        assert_eq!(queues.pick(0), None);
        assert!(!queues.should_yield(0, true));
    }

    #[test]
    fn a_cpu_without_work_takes_from_another() {
        let queues = RunQueues::new(4).unwrap();
        queues.requeue(1, 25, 0);
        assert_eq!(queues.go_idle(3), Some(1));
    }

    /// Workers go idle for real (they wait for a signal that only `make_runnable` tells to send): a lost one would hang the test.
    #[test]
    fn no_wakeup_is_lost_between_idle_and_queue() {
        const CPUS: usize = 2;
        const THREADS: usize = 20_000;
        let queues = RunQueues::new(CPUS).unwrap();
        let signals: Vec<AtomicBool> = (0..CPUS).map(|_| AtomicBool::new(false)).collect();
        let done = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for cpu in 0..CPUS {
                let (queues, signals, done) = (&queues, &signals, &done);
                scope.spawn(move || {
                    while done.load(Ordering::SeqCst) < THREADS {
                        if queues.pick(cpu).or_else(|| queues.go_idle(cpu)).is_some() {
                            done.fetch_add(1, Ordering::SeqCst);
                            continue;
                        }
                        while !signals[cpu].swap(false, Ordering::SeqCst) && done.load(Ordering::SeqCst) < THREADS {
                            std::thread::yield_now();
                        }
                    }
                });
            }
            for thread in 0..THREADS {
                if let Some(cpu) = queues.make_runnable(thread, 25, thread % CPUS) {
                    signals[cpu].store(true, Ordering::SeqCst);
                }
                if thread % 64 == 0 {
                    std::thread::yield_now();
                }
            }
        });
        assert_eq!(done.load(Ordering::SeqCst), THREADS);
    }
}
