//! Who runs: the baton that CPUs hand to each other, time, timers, interrupts, and disks that finish when the seed says so.
//!
//! A CPU gives the baton away only where it holds no lock that another needs: on its way to EL0, while it waits for an interrupt, when it looks at user memory, and at the
//! marked places where the kernel's own steps can be overtaken ([`race`]).

use std::any::Any;
use std::boxed::Box;
use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::vec::Vec;

use super::disk::DiskPart;
use super::machine::FakeMachine;
use crate::machine::Interrupt;

/// What unwinds a CPU when the scenario is over.
pub(super) struct Stop;

/// One CPU.
#[derive(Default)]
pub(super) struct Cpu {
    asleep: bool,
    pub(super) pending: VecDeque<Interrupt>,
    pub(super) deadline: Option<u64>,
    pub(super) pmap: Option<vm::FakePmap>,
}

/// What the baton protects.
pub(super) struct Scene {
    holder: usize,
    over: bool,
    pub(super) failure: Option<Box<dyn Any + Send>>,
    pub(super) cpus: Vec<Cpu>,
    pub(super) now: u64,
    /// When the scenario ends even if there is something to do.
    pub(super) limit: u64,
    seed: u64,
    pub(super) disks: Vec<DiskPart>,
    /// CPUs that were overtaken in the middle of something.
    pub(super) overtaken: usize,
    pub(super) steps: usize,
    /// How many of a hundred messages of the kernel's own find no memory.
    pub(super) message_failures: usize,
}

pub(super) struct Stage {
    scene: Mutex<Scene>,
    turn: Condvar,
}

std::thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
    static MACHINE: Cell<Option<&'static FakeMachine>> = const { Cell::new(None) };
}

/// The CPU that this thread of the host is.
pub(super) fn this_cpu() -> usize {
    CPU.get()
}

/// Another CPU may overtake this one here.
pub(crate) fn race() {
    if let Some(machine) = MACHINE.get() {
        machine.stage.scene().overtaken += 1;
        machine.stage.switch();
        machine.stage.scene().overtaken -= 1;
    }
}

/// Whether there is no memory for a message of the kernel's own.
pub(crate) fn memory_fails() -> bool {
    MACHINE.get().is_some_and(|machine| {
        let mut scene = machine.stage.scene();
        let failures = scene.message_failures;
        failures > 0 && scene.random(100) < failures
    })
}

impl Scene {
    /// The next number below `end`.
    pub(super) fn random(&mut self, end: usize) -> usize {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 11) as usize % end.max(1)
    }

    pub(super) fn has_interrupt(&self, cpu: usize) -> bool {
        let cpu = &self.cpus[cpu];
        !cpu.pending.is_empty() || cpu.deadline.is_some_and(|deadline| deadline <= self.now)
    }

    fn awake(&self) -> Vec<usize> {
        (0..self.cpus.len()).filter(|cpu| !self.cpus[*cpu].asleep || self.has_interrupt(*cpu)).collect()
    }

    /// Finishes a transfer of some disk. False if there is none.
    pub(super) fn finish_transfer(&mut self) -> bool {
        let busy: Vec<_> = (0..self.disks.len()).filter(|disk| self.disks[*disk].is_busy()).collect();
        if busy.is_empty() {
            return false;
        }
        let disk = busy[self.random(busy.len())];
        let which = self.random(self.disks[disk].in_flight());
        self.disks[disk].finish(which);
        let (index, cpu) = (self.disks[disk].index, self.random(self.cpus.len()));
        self.cpus[cpu].pending.push_back(Interrupt::Device(index));
        true
    }

    /// Nobody has anything to do: a disk finishes, or time goes on. False if nothing will ever happen.
    fn go_on(&mut self) -> bool {
        if self.finish_transfer() {
            return true;
        }
        let next = self.cpus.iter().filter_map(|cpu| cpu.deadline).min();
        match next {
            Some(next) if next < self.limit => {
                self.now = self.now.max(next);
                true
            }
            _ => false,
        }
    }
}

impl Stage {
    pub(super) fn new(cpus: usize, seed: u64) -> Self {
        let scene = Scene {
            holder: 0,
            over: false,
            failure: None,
            cpus: (0..cpus).map(|_| Cpu::default()).collect(),
            now: 1_000,
            limit: u64::MAX,
            // Never zero, and different for neighbours.
            seed: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            disks: Vec::new(),
            overtaken: 0,
            steps: 0,
            message_failures: 0,
        };
        Self { scene: Mutex::new(scene), turn: Condvar::new() }
    }

    pub(super) fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the baton to whoever the seed says.
    pub(super) fn switch(&self) {
        if MACHINE.get().is_none() {
            return;
        }
        let mut scene = self.scene();
        if scene.cpus.len() == 1 || scene.random(3) != 0 {
            return;
        }
        let awake = scene.awake();
        let next = awake[scene.random(awake.len())];
        drop(self.hand_to(scene, next));
    }

    fn hand_to<'a>(&'a self, mut scene: MutexGuard<'a, Scene>, next: usize) -> MutexGuard<'a, Scene> {
        let me = this_cpu();
        scene.holder = next;
        if next != me {
            self.turn.notify_all();
            scene = self.wait_for_turn(scene, me);
        }
        scene
    }

    fn wait_for_turn<'a>(&'a self, mut scene: MutexGuard<'a, Scene>, me: usize) -> MutexGuard<'a, Scene> {
        while scene.holder != me && !scene.over {
            let (woken, timeout) = self.turn.wait_timeout(scene, Duration::from_secs(30)).unwrap_or_else(PoisonError::into_inner);
            scene = woken;
            assert!(
                !timeout.timed_out() || scene.holder == me || scene.over,
                "CPU {} keeps the baton: a spin lock that is never freed?",
                scene.holder
            );
        }
        if scene.over {
            drop(scene);
            resume_unwind(Box::new(Stop));
        }
        scene
    }

    /// This CPU has nothing to do. `check` looks whether that may be, when no CPU has.
    pub(super) fn sleep(&self, check: impl FnOnce()) {
        let me = this_cpu();
        let mut scene = self.scene();
        scene.cpus[me].asleep = true;
        while !scene.has_interrupt(me) {
            let awake = scene.awake();
            if !awake.is_empty() {
                let next = awake[scene.random(awake.len())];
                scene = self.hand_to(scene, next);
            } else if !scene.go_on() {
                drop(scene);
                check();
                self.end(None);
                resume_unwind(Box::new(Stop));
            }
        }
        scene.cpus[me].asleep = false;
    }

    /// The scenario is over: all CPUs unwind.
    pub(super) fn end(&self, failure: Option<Box<dyn Any + Send>>) {
        let mut scene = self.scene();
        scene.over = true;
        if scene.failure.is_none() {
            scene.failure = failure;
        }
        self.turn.notify_all();
    }

    /// A new scenario begins, with CPU 0.
    pub(super) fn begin(&self) {
        let mut scene = self.scene();
        scene.over = false;
        scene.holder = 0;
        scene.overtaken = 0;
        scene.steps = 0;
        scene.cpus.iter_mut().for_each(|cpu| cpu.asleep = false);
    }

    /// This thread of the host is a CPU until `work` unwinds.
    pub(super) fn be_cpu(&self, machine: &'static FakeMachine, cpu: usize, work: impl FnOnce()) {
        CPU.set(cpu);
        MACHINE.set(Some(machine));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            drop(self.wait_for_turn(self.scene(), cpu));
            work();
        }));
        MACHINE.set(None);
        CPU.set(0);
        if let Err(why) = result
            && !why.is::<Stop>()
        {
            self.end(Some(why));
        }
    }
}
