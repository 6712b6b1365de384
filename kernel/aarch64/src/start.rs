//! The boot CPU's way from `boot.S` to the nucleus, and where all CPUs meet.

use crate::console::say;
use crate::device_tree::Tree;
use crate::machine::Aarch64;
use crate::mmu::{self, Memory};
use crate::{address_space, console, cpu, devices, gic, memory, psci, rtc, smp, timer, trap};
use alloc::vec::Vec;
use core::fmt::Display;
use frames::Pool;
use nucleus::Kernel;
use nucleus::machine::{Boot, Module, RamdiskImage};
use spin::once::Once;

static MACHINE: Once<Aarch64> = Once::new();
static KERNEL: Once<&'static Kernel<Aarch64>> = Once::new();

/// What the first stack hands to the second.
struct Start {
    tree: Tree,
    pool: &'static Pool,
    affinities: arrayvec::ArrayVec<u64, { crate::layout::MAX_CPUS }>,
    timer: u32,
}

static START: Once<Start> = Once::new();

/// Where `boot.S` ends: on the boot stack, with the image mapped and nothing else. Physical addresses.
#[unsafe(no_mangle)]
extern "C" fn boot_primary(tree: u64, image: u64) -> ! {
    cpu::set_this_cpu(0);
    mmu::init(image);
    trap::init();
    let start = begin(tree, image);
    let top = smp::stack(0, start.pool).expect("a machine has memory for one stack");
    START.call_once(|| start);
    smp::on_stack(top, finish)
}

/// Console, memory, interrupts.
fn begin(tree: u64, image: u64) -> Start {
    let tree = or_panic(memory::tree(tree_or_guess(tree, image)));
    // Everything that fails from here on can be read, if there is a console.
    if let Ok(conduit) = tree.psci() {
        psci::init(conduit);
    }
    if let Some(uart) = tree.console() {
        let registers = mmu::map_device(uart.start, uart.end - uart.start, Memory::Device);
        // SAFETY: the device tree says that this is a PL011; it is mapped for good, and nobody else is told.
        registers.map(|registers| unsafe { console::init(registers.cast()) }).unwrap_or(());
    }
    if let Some(clock) = tree.clock() {
        let registers = mmu::map_device(clock.start, clock.end - clock.start, Memory::Device);
        // SAFETY: the device tree says that this is a PL031; it is mapped for good, and nobody else is told.
        registers.map(|registers| unsafe { rtc::init(registers.cast()) }).unwrap_or(());
    }
    timer::init();
    or_panic(tree.psci());
    let affinity = cpu::read_register!("mpidr_el1") & 0xFF_00FF_FFFF;
    let affinities = or_panic(tree.cpus(affinity));
    let pool = or_panic(memory::init(tree, image, affinities.len()));
    let timer = or_panic(tree.timer()).number;
    or_panic(gic::init(&or_panic(tree.gic())));
    or_panic(gic::init_cpu(timer));
    Start { tree, pool, affinities, timer }
}

/// Loaders that start an ELF file give no device tree, but QEMU's puts one at the start of RAM all the same.
fn tree_or_guess(tree: u64, image: u64) -> u64 {
    const RAM_ALIGNMENT: u64 = 1 << 30;
    if tree == 0 { image & !(RAM_ALIGNMENT - 1) } else { tree }
}

/// The other CPUs, devices, the nucleus.
extern "C" fn finish() -> ! {
    const PAGES_PER_MIB: usize = (1 << 20) / frames::PAGE_SIZE;
    let Some(start) = START.get() else { panic!("finish comes after begin") };
    address_space::init();
    let cpus = smp::start_all(&start.affinities, start.pool, start.timer);
    say!(
        "{} CPUs, {} MiB free of {} MiB, counter at {} kHz",
        cpus,
        start.pool.available() / PAGES_PER_MIB,
        start.pool.total() / PAGES_PER_MIB,
        timer::frequency() / 1000
    );
    let machine = MACHINE.call_once(|| Aarch64::new(cpus, start.timer, start.tree.seed()));
    let boot = Boot {
        pool: start.pool,
        ramdisk: ramdisk(start.tree),
        modules: modules(start.tree),
        command_line: start.tree.command_line(),
        devices: devices::find(start.tree, start.pool),
    };
    KERNEL.call_once(|| Kernel::start(machine, boot));
    cpu::dsb_ishst();
    cpu::send_event();
    run()
}

/// The initial ramdisk. Loaders put it where a page begins, so that it can be mapped.
fn ramdisk(tree: Tree) -> Option<RamdiskImage> {
    let range = tree.ramdisk()?;
    let bytes = memory::file(tree, &range).filter(|_| range.start.is_multiple_of(frames::PAGE_SIZE as u64));
    if bytes.is_none() {
        say!("the ramdisk at {:#x} is not in RAM, or not on a page boundary", range.start);
    }
    Some(RamdiskImage { bytes: bytes?, first: frames::FrameNumber::from_phys(range.start) })
}

/// The boot modules. One that isn't in RAM is left out, and said.
fn modules(tree: Tree) -> Vec<Module> {
    let file = |module: crate::device_tree::BootModule| {
        let bytes = memory::file(tree, &module.bytes);
        if bytes.is_none() {
            say!("boot module \"{}\" is not in RAM", module.line);
        }
        Some(Module { bytes: bytes?, line: module.line })
    };
    or_panic(tree.modules()).into_iter().filter_map(file).collect()
}

/// Every CPU ends here: in the nucleus, once it is there.
pub fn run() -> ! {
    loop {
        if let Some(kernel) = KERNEL.get() {
            kernel.run()
        }
        cpu::wait_for_event();
    }
}

/// Nothing can be done about a machine that isn't as it must be.
fn or_panic<T, E: Display>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}
