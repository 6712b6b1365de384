//! The thread that packs cold pages of all compressed exports of an arena, so that none is packed in the path of a write.
//!
//! It does one leaf at a time, and before each decides what is most urgent:
//!
//! 1. A write found no memory and waits: pages of that export are packed, then of others, touched or not, until there is some.
//! 2. Memory is short, of the arena or of an export's quota: the clock goes on without rest, ahead of demand.
//! 3. A sweep is due: the clock goes round once in [`CompressorOptions::cold_after`], using no more than
//!    [`CompressorOptions::cpu_percent`] of a processor.
//!
//! Lock order: `state` before any leaf; but it is never held while one is swept.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::arena::Arena;
use super::frames::PAGE_BYTES;
use super::sweep::{Effort, Sweeper};
use super::table::Table;

/// What a writer who waits is given before the next one is looked at.
const RELIEF_BYTES: usize = 64 * PAGE_BYTES;
/// How long to leave it when memory is short and nothing can be packed.
const RETRY: Duration = Duration::from_millis(250);
/// Even an impatient sweep lets others run.
const COLD_AFTER_MIN: Duration = Duration::from_millis(1);
const PATIENT: Effort = Effort { heed_touch: true, tighten: false };
const AHEAD: Effort = Effort { heed_touch: true, tighten: true };
const LAST_RESORT: Effort = Effort { heed_touch: false, tighten: true };

/// How much a [`Compressor`] works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressorOptions {
    /// How long a page must not have been read or written; it is compressed before twice that long.
    pub cold_after: Duration,
    /// How much of one processor it may use, as long as there is memory enough; 1 to 100.
    pub cpu_percent: u8,
    /// How long a write that finds no memory waits for some.
    pub wait: Duration,
}

impl Default for CompressorOptions {
    fn default() -> Self {
        Self { cold_after: Duration::from_secs(30), cpu_percent: 25, wait: Duration::from_millis(100) }
    }
}

/// The thread, and what others ask of it. It stops when this is dropped.
#[derive(Debug)]
pub struct Compressor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    arena: Arc<Arena>,
    options: CompressorOptions,
    state: Mutex<State>,
    /// Something was added to `state` for the thread.
    work: Condvar,
    /// A writer's question was answered.
    done: Condvar,
    nudged: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    stop: bool,
    tables: Vec<Weak<Table>>,
    asked: Vec<Question>,
}

/// A writer's question for memory.
#[derive(Clone, Debug)]
struct Question {
    table: Arc<Table>,
    answer: Arc<Mutex<Option<bool>>>,
}

enum Task {
    Stop,
    Relieve(Vec<Question>),
    GetAhead,
    Sweep,
}

impl Compressor {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has none left.
    pub fn new(arena: Arc<Arena>, options: CompressorOptions) -> io::Result<Arc<Self>> {
        // One would do: what is packed is smaller than the frame it leaves.
        arena.keep_back((arena.limit_pages() / 64).clamp(1, 64));
        let shared = Arc::new(Shared {
            arena,
            options: CompressorOptions {
                cpu_percent: options.cpu_percent.clamp(1, 100),
                cold_after: options.cold_after.max(COLD_AFTER_MIN),
                ..options
            },
            state: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
            nudged: AtomicBool::new(false),
        });
        let worker = Worker::new(shared.clone());
        let thread = Builder::new().name("compressor".into()).spawn(move || worker.run())?;
        Ok(Arc::new(Self { shared, thread: Some(thread) }))
    }

    /// The memory it works on.
    pub(super) fn arena(&self) -> &Arc<Arena> {
        &self.shared.arena
    }

    /// Looks after a table as long as someone else has it.
    pub(super) fn add(&self, table: &Arc<Table>) {
        let mut state = self.shared.state();
        state.tables.retain(|table| table.strong_count() > 0);
        state.tables.push(Arc::downgrade(table));
    }

    /// Whether a write to `table` may soon find no memory.
    pub(super) fn is_short(&self, table: &Table) -> bool {
        self.shared.is_short(table)
    }

    /// Says that memory is short. Costs nothing if that was said already.
    pub(super) fn nudge(&self) {
        if !self.shared.nudged.swap(true, Ordering::Relaxed) {
            // Under the lock, so that the thread is either waiting or yet to look.
            drop(self.shared.state());
            self.shared.work.notify_one();
        }
    }

    /// How long a writer may wait.
    pub(super) fn patience(&self) -> Duration {
        self.shared.options.wait
    }

    /// Waits until there is memory for `table`; `false` if there is none to be had, or not before `deadline`.
    pub(super) fn make_room(&self, table: &Arc<Table>, deadline: Instant) -> bool {
        let answer = Arc::new(Mutex::new(None));
        let mut state = self.shared.state();
        state.asked.push(Question { table: table.clone(), answer: answer.clone() });
        self.shared.work.notify_one();
        let left = deadline.saturating_duration_since(Instant::now());
        let waiting = |state: &mut State| !state.stop && answered(&answer).is_none();
        drop(self.shared.done.wait_timeout_while(state, left, waiting).unwrap_or_else(PoisonError::into_inner));
        answered(&answer).unwrap_or(false)
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.work.notify_all();
        self.shared.done.notify_all();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            thread.join().ok();
        }
    }
}

fn answered(answer: &Mutex<Option<bool>>) -> Option<bool> {
    *answer.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fewer free pages than this are few.
    fn low_pages(&self) -> usize {
        (self.arena.limit_pages() / 32).clamp(1, 16 << 10)
    }

    fn is_arena_short(&self, times: usize) -> bool {
        self.arena.free_pages() < times * self.low_pages()
    }

    fn is_short(&self, table: &Table) -> bool {
        self.is_arena_short(1) || table.ledger().left() < (self.low_pages() * PAGE_BYTES) as u64 / 2
    }
}

/// What the thread knows.
struct Worker {
    shared: Arc<Shared>,
    sweeper: Sweeper,
    /// The tables the clock has yet to come to in this turn.
    turn: VecDeque<Weak<Table>>,
    /// Bytes saved in this turn.
    saved: usize,
    /// When the turn began.
    began: Instant,
    /// When to work again if nothing is urgent.
    rest_until: Instant,
    /// When to work again if memory is short.
    retry_at: Instant,
}

impl Worker {
    fn new(shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        let rest_until = now + shared.options.cold_after;
        Self { shared, sweeper: Sweeper::new(), turn: VecDeque::new(), saved: 0, began: rest_until, rest_until, retry_at: now }
    }

    fn run(mut self) {
        loop {
            match self.next_task() {
                Task::Stop => return,
                Task::Relieve(questions) => questions.into_iter().for_each(|question| self.relieve(question)),
                Task::GetAhead => {
                    if self.step(AHEAD) && std::mem::take(&mut self.saved) == 0 {
                        self.retry_at = Instant::now() + RETRY;
                    }
                }
                Task::Sweep => self.sweep(),
            }
        }
    }

    /// Waits until there is something to do.
    fn next_task(&mut self) -> Task {
        let shared = self.shared.clone();
        let mut state = shared.state();
        loop {
            if state.stop {
                return Task::Stop;
            }
            if !state.asked.is_empty() {
                return Task::Relieve(std::mem::take(&mut state.asked));
            }
            let now = Instant::now();
            let nudged = shared.nudged.load(Ordering::Relaxed);
            let short = nudged && self.is_anyone_short(&state);
            if short && now >= self.retry_at {
                return Task::GetAhead;
            }
            if nudged && !short {
                shared.nudged.store(false, Ordering::Relaxed);
            }
            if now >= self.rest_until {
                return Task::Sweep;
            }
            let until = if short { self.retry_at.min(self.rest_until) } else { self.rest_until };
            state = shared.work.wait_timeout(state, until - now).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether to get further ahead. The arena is to have twice what is called short, so that there is some rest between.
    fn is_anyone_short(&self, state: &State) -> bool {
        self.shared.is_arena_short(2) || state.tables.iter().filter_map(Weak::upgrade).any(|table| self.shared.is_short(&table))
    }

    /// Goes on by one leaf; says whether that ended a turn.
    fn step(&mut self, effort: Effort) -> bool {
        if self.turn.is_empty() {
            self.turn = self.shared.state().tables.iter().cloned().collect();
        }
        while let Some(table) = self.turn.front() {
            let worth = |table: &Arc<Table>| !effort.tighten || self.shared.is_arena_short(2) || self.shared.is_short(table);
            if let Some(table) = table.upgrade().filter(worth)
                && let Some(saved) = self.sweeper.step(&table, effort)
            {
                self.saved += saved;
                return false;
            }
            self.turn.pop_front();
        }
        true
    }

    /// A step of a sweep that nobody waits for, and the rest that is due after it.
    fn sweep(&mut self) {
        let start = Instant::now();
        let ended = self.step(PATIENT);
        let now = Instant::now();
        let percent = u32::from(self.shared.options.cpu_percent);
        let rest = (now - start) * (100 - percent) / percent;
        self.rest_until = now + rest;
        if ended {
            self.saved = 0;
            self.rest_until = self.rest_until.max(self.began + self.shared.options.cold_after);
            self.began = self.rest_until;
        }
    }

    /// Makes room for a writer, and tells.
    fn relieve(&mut self, question: Question) {
        let Question { table, answer } = question;
        let mut saved = 0;
        // Untouched pages first, then those that turned out to be so, then any.
        for effort in [AHEAD, AHEAD, LAST_RESORT] {
            saved += self.sweeper.turn(&table, effort, RELIEF_BYTES - saved.min(RELIEF_BYTES));
        }
        let page = PAGE_BYTES as u64;
        let room = || table.ledger().left() >= page && self.shared.arena.free_pages() > 0;
        if !room() && table.ledger().left() >= page {
            let others: Vec<_> = self.shared.state().tables.iter().filter_map(Weak::upgrade).collect();
            for other in others.iter().filter(|other| !Arc::ptr_eq(other, &table)) {
                if saved < RELIEF_BYTES {
                    saved += self.sweeper.turn(other, LAST_RESORT, RELIEF_BYTES - saved);
                }
            }
        }
        *answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved > 0 || room());
        drop(self.shared.state());
        self.shared.done.notify_all();
    }
}
