//! The machine itself: what the nucleus asks of it, done with the stage, the disks and the programs.

use std::collections::BTreeMap;
use std::string::String;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use abi::thread_state::{FloatState, ThreadState};
use abi::vm::PAGE_SIZE;
use frames::{FrameNumber, Pool};
use vm::FakePmap;

use super::disk::FakeBlock;
use super::stage::{Stage, this_cpu};
use super::user::Program;
use crate::kernel::Kernel;
use crate::machine::{Abort, Access, DeviceError, Exit, Interrupt, Machine, Net, Power, Segment};

/// How long a stretch of EL0 takes.
const STRETCH_NS: u64 = 2_000;
const LONG_STRETCH_NS: u64 = 1_000_000;
/// Steps of the longest scenario.
const STEPS_MAX: usize = 1_000_000;

pub(crate) struct FakeMachine {
    pub(super) stage: Stage,
    pub(super) pool: &'static Pool,
    pub(super) kernel: OnceLock<&'static Kernel<FakeMachine>>,
    /// By the number in x28 of the thread that runs it.
    programs: Mutex<BTreeMap<u64, Program>>,
    console: Mutex<String>,
}

/// There are no network devices.
pub(crate) enum NoNet {}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const fn access_of(access: Access) -> vm::Access {
    match access {
        Access::Read => vm::Access::Read,
        Access::Write => vm::Access::Write,
        Access::Execute => vm::Access::Execute,
    }
}

impl FakeMachine {
    pub(super) fn new(pool: &'static Pool, cpus: usize, seed: u64) -> Self {
        Self {
            stage: Stage::new(cpus, seed),
            pool,
            kernel: OnceLock::new(),
            programs: Mutex::new(BTreeMap::new()),
            console: Mutex::new(String::new()),
        }
    }

    /// Takes a program; gives its number.
    pub(super) fn add_program(&self, program: Program) -> u64 {
        let mut programs = locked(&self.programs);
        let number = programs.last_key_value().map_or(1, |(last, _)| last + 1);
        programs.insert(number, program);
        number
    }

    pub(super) fn forget_programs(&self) {
        let programs = core::mem::take(&mut *locked(&self.programs));
        drop(programs);
    }

    pub(crate) fn printed(&self) -> String {
        locked(&self.console).clone()
    }

    /// One page's bytes as this CPU's translations show them.
    pub(super) fn translate(&self, address: u64, access: Access) -> Result<FrameNumber, Abort> {
        let pmap = self.stage.scene().cpus[this_cpu()].pmap.clone();
        let found = pmap.and_then(|pmap| pmap.access(address, access_of(access)));
        found.ok_or(Abort { address, access, access_flag: false })
    }

    /// Cuts a range of user memory where pages end.
    pub(super) fn pages(address: u64, length: usize) -> impl Iterator<Item = (u64, core::ops::Range<usize>)> {
        let mut done = 0;
        core::iter::from_fn(move || {
            let at = address.wrapping_add(done as u64);
            let part = ((PAGE_SIZE - at % PAGE_SIZE) as usize).min(length - done);
            done += part;
            (part > 0).then_some((at, done - part..done))
        })
    }

    fn check(&self) {
        if let Some(kernel) = self.kernel.get() {
            let overtaken = self.stage.scene().overtaken;
            kernel.census.check(overtaken > 0);
        }
    }
}

impl Machine for FakeMachine {
    type Pmap = FakePmap;
    type Block = FakeBlock;
    type Net = NoNet;

    fn cpus(&self) -> usize {
        self.stage.scene().cpus.len()
    }
    fn this_cpu(&self) -> usize {
        this_cpu()
    }
    fn now(&self) -> u64 {
        self.stage.scene().now
    }
    fn set_deadline(&self, at: Option<u64>) {
        self.stage.scene().cpus[this_cpu()].deadline = at;
    }
    fn signal(&self, cpu: usize) {
        self.stage.scene().cpus[cpu].pending.push_back(Interrupt::Signal);
    }
    fn interrupt(&self) -> Option<Interrupt> {
        let mut scene = self.stage.scene();
        let now = scene.now;
        let cpu = &mut scene.cpus[this_cpu()];
        if cpu.deadline.is_some_and(|deadline| deadline <= now) {
            cpu.deadline = None;
            return Some(Interrupt::Timer);
        }
        cpu.pending.pop_front()
    }
    fn wait_for_interrupt(&self) {
        self.check();
        self.stage.sleep(|| {
            if let Some(kernel) = self.kernel.get() {
                kernel.census.check_quiet();
            }
        });
    }

    fn new_pmap(&self) -> Option<FakePmap> {
        Some(FakePmap::new())
    }
    fn use_pmap(&self, pmap: Option<&FakePmap>) {
        self.stage.scene().cpus[this_cpu()].pmap = pmap.cloned();
    }
    fn run_user(&self, state: &mut ThreadState) -> Exit {
        self.stage.switch();
        self.check();
        {
            let mut scene = self.stage.scene();
            // Some stretches are long, so that times come while others are in the middle of something.
            scene.now += if scene.random(16) == 0 { LONG_STRETCH_NS } else { STRETCH_NS };
            scene.steps += 1;
            assert!(
                scene.steps < STEPS_MAX,
                "the scenario never ends: {}",
                self.kernel.get().map(|kernel| kernel.census.left()).unwrap_or_default()
            );
            if scene.random(8) == 0 {
                scene.finish_transfer();
            }
            if scene.has_interrupt(this_cpu()) {
                return Exit::Interrupt;
            }
        }
        let number = state.x[28];
        let mut program = locked(&self.programs).remove(&number).unwrap_or_else(|| panic!("x28 is {number}: no program has this number"));
        let exit = program.step(state);
        locked(&self.programs).insert(number, program);
        // Whatever another CPU does to the thread now, it has left EL0 already.
        self.stage.switch();
        exit
    }
    fn load_float(&self, _state: &FloatState) {
        // A thread that lets others run until another CPU has done something comes by here only.
        self.stage.switch();
    }
    fn save_float(&self, _state: &mut FloatState) {}

    fn read_user(&self, from: u64, to: &mut [u8]) -> Result<(), Abort> {
        self.stage.switch();
        for (address, part) in Self::pages(from, to.len()) {
            let frame = self.translate(address, Access::Read)?;
            self.pool.peek(frame, (address % PAGE_SIZE) as usize, &mut to[part]);
        }
        Ok(())
    }
    fn write_user(&self, from: &[u8], to: u64) -> Result<(), Abort> {
        self.stage.switch();
        for (address, part) in Self::pages(to, from.len()) {
            let frame = self.translate(address, Access::Write)?;
            self.pool.poke(frame, (address % PAGE_SIZE) as usize, &from[part]);
        }
        Ok(())
    }

    fn console(&self, bytes: &[u8]) {
        locked(&self.console).push_str(&String::from_utf8_lossy(bytes));
    }
    fn power(&self, how: Power) -> ! {
        panic!("the kernel wants the power {how:?}: {}", self.printed());
    }
    fn seed(&self) -> Option<[u8; 32]> {
        Some([7; 32])
    }
    fn wall_clock(&self) -> Option<u64> {
        Some(1_795_000_000 + self.stage.scene().now / 1_000_000_000)
    }
    fn hwcaps(&self) -> [u64; 2] {
        [1, 2]
    }
}

impl Net for NoNet {
    fn mac(&self) -> [u8; 6] {
        match *self {}
    }
    fn mtu(&self) -> u16 {
        match *self {}
    }
    fn header_bytes(&self) -> usize {
        match *self {}
    }
    fn queue_slots(&self) -> (usize, usize) {
        match *self {}
    }
    fn post_receive(&mut self, _token: u64, _buffer: Segment) -> Result<(), DeviceError> {
        match *self {}
    }
    fn received(&mut self) -> Option<(u64, u32)> {
        match *self {}
    }
    fn send(&mut self, _token: u64, _buffer: Segment) -> Result<(), DeviceError> {
        match *self {}
    }
    fn sent(&mut self) -> Option<u64> {
        match *self {}
    }
    fn kick(&mut self) {
        match *self {}
    }
}
