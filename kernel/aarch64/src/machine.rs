//! The machine as the nucleus sees it: each question goes to the module that knows.

use crate::address_space::AddressSpace;
use crate::devices::{self, Block, Net};
use crate::{console, cpu, gic, hwcaps, psci, rtc, timer, user};
use abi::thread_state::{FloatState, ThreadState};
use nucleus::machine::{Abort, Exit, Interrupt, Machine, Power};

/// This machine. There is one.
pub struct Aarch64 {
    /// CPUs that run.
    pub cpus: usize,
    /// The timer's interrupt.
    pub timer: u32,
    pub hwcaps: [u64; 2],
    seed: Option<[u8; 32]>,
}

impl Aarch64 {
    /// A machine of so many CPUs; all are like this one.
    pub fn new(cpus: usize, timer: u32, seed: Option<[u8; 32]>) -> Self {
        Self { cpus, timer, hwcaps: hwcaps::words(), seed: cpu::stir(seed) }
    }
}

impl Machine for Aarch64 {
    type Pmap = AddressSpace;
    type Block = Block;
    type Net = Net;

    fn cpus(&self) -> usize {
        self.cpus
    }

    fn this_cpu(&self) -> usize {
        cpu::this_cpu()
    }

    fn now(&self) -> u64 {
        timer::now()
    }

    fn set_deadline(&self, at: Option<u64>) {
        timer::set_deadline(at);
    }

    fn signal(&self, cpu: usize) {
        gic::signal(cpu);
    }

    fn interrupt(&self) -> Option<Interrupt> {
        loop {
            if let Some(device) = devices::lines::next() {
                return Some(Interrupt::Device(device));
            }
            let taken = gic::acknowledge()?;
            let interrupt = match taken.number {
                gic::SIGNAL => Some(Interrupt::Signal),
                number if number == self.timer => {
                    timer::quiet();
                    Some(Interrupt::Timer)
                }
                number => {
                    devices::lines::raised(number);
                    None
                }
            };
            gic::end(taken);
            if interrupt.is_some() {
                return interrupt;
            }
        }
    }

    fn wait_for_interrupt(&self) {
        // One interrupt may be about several devices: those that have yet to be reported are not pending in the controller any more.
        if !devices::lines::is_pending() {
            // What was stored before is seen by whoever will send the interrupt.
            cpu::dsb_sy();
            cpu::wait_for_interrupt();
        }
    }

    fn new_pmap(&self) -> Option<AddressSpace> {
        AddressSpace::new()
    }

    fn use_pmap(&self, pmap: Option<&AddressSpace>) {
        AddressSpace::activate(pmap);
    }

    fn run_user(&self, state: &mut ThreadState) -> Exit {
        user::run(state)
    }

    fn load_float(&self, state: &FloatState) {
        user::load_float(state);
    }

    fn save_float(&self, state: &mut FloatState) {
        user::save_float(state);
    }

    fn read_user(&self, from: u64, to: &mut [u8]) -> Result<(), Abort> {
        user::read(from, to)
    }

    fn write_user(&self, from: &[u8], to: u64) -> Result<(), Abort> {
        user::write(from, to)
    }

    fn console(&self, bytes: &[u8]) {
        console::write(bytes);
    }

    fn power(&self, how: Power) -> ! {
        match how {
            Power::Off => psci::power_off(),
            Power::Reset => psci::reset(),
        }
    }

    fn hwcaps(&self) -> [u64; 2] {
        self.hwcaps
    }

    fn seed(&self) -> Option<[u8; 32]> {
        self.seed
    }

    fn wall_clock(&self) -> Option<u64> {
        rtc::seconds()
    }
}
