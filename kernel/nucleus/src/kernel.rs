//! The kernel's state, and how threads get to run.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use spin::Mutex;

use frames::Pool;
use sched::{RunQueues, Timeouts, WaitTable};
use vm::{Core, Vm};

use crate::disk::Disk;
use crate::kobject::{Ipc, Object, Port, Right};
use crate::machine::{Boot, Device, Machine};
use crate::net_ring::NetRing;
use crate::pager_table::PagerTable;
use crate::ramdisk::Ramdisk;
use crate::random::Random;
use crate::thread::Thread;
use crate::trace::Trace;

/// All of it.
pub struct Kernel<M: Machine> {
    pub(crate) machine: &'static M,
    pub(crate) pool: &'static Pool,
    pub(crate) vm: Vm<M::Pmap>,
    pub(crate) queues: RunQueues<Arc<Thread<M>>>,
    pub(crate) waits: WaitTable<Arc<Thread<M>>>,
    /// For the n-th wait of a thread.
    pub(crate) timeouts: Timeouts<(Arc<Thread<M>>, u64)>,
    pub(crate) pagers: PagerTable<M>,
    /// Names by which the kernel hears of the deaths of other people's ports.
    pub(crate) space: Arc<ipc::Space<Ipc<M>>>,
    pub(crate) host: Port<M>,
    pub(crate) host_priv: Port<M>,
    pub(crate) device_master: Port<M>,
    pub(crate) default_manager: Mutex<Option<Right<M>>>,
    pub(crate) disks: alloc::vec::Vec<Arc<Disk<M>>>,
    pub(crate) rings: alloc::vec::Vec<Arc<NetRing<M>>>,
    /// Devices by their index in `Boot::devices`.
    pub(crate) devices: alloc::vec::Vec<Found<M>>,
    pub(crate) ramdisk: Option<Ramdisk>,
    pub(crate) random: Option<Random>,
    pub(crate) trace: Trace,
    /// One CPU pages out at a time.
    pub(crate) page_out: Mutex<()>,
    pub(crate) memory_waiters: AtomicBool,
    /// Tasks of the boot script that live.
    pub(crate) first_tasks: AtomicUsize,
    /// Until when page-out rests, and since when nothing was found for whoever waits (`page_out.rs`).
    pub(crate) page_out_rest: AtomicU64,
    pub(crate) hopeless_since: AtomicU64,
    /// A CPU ends unused objects and empty extents (`pager.rs`).
    pub(crate) chores: AtomicBool,
    #[cfg(test)]
    pub(crate) census: crate::fake::Census<M>,
}

/// A device as interrupts find it.
pub(crate) enum Found<M: Machine> {
    Disk(Arc<Disk<M>>),
    Net(Arc<NetRing<M>>),
}

impl<M: Machine> Kernel<M> {
    /// Builds the kernel and loads the first tasks. Then every CPU calls [`Kernel::run`].
    ///
    /// # Panics
    /// If there is no memory even for this.
    pub fn start(machine: &'static M, mut boot: Boot<M>) -> &'static Self {
        let kernel = Self::assemble(machine, &mut boot);
        if let Err(problem) = kernel.load_first_tasks(&boot.modules, boot.command_line) {
            kernel.print(format_args!("pvmach: {problem}\n"));
            machine.power(crate::machine::Power::Off);
        }
        kernel
    }

    /// A kernel with the machine's devices and ramdisk, and no task yet.
    pub(crate) fn assemble(machine: &'static M, boot: &mut Boot<M>) -> &'static Self {
        let core: &'static Core = Box::leak(Box::new(Core::new(boot.pool)));
        let port = |object| ipc::Port::new_kernel(object).unwrap_or_else(|code| panic!("no memory for the kernel's ports: {code}"));
        let (mut disks, mut rings, mut devices) = (alloc::vec::Vec::new(), alloc::vec::Vec::new(), alloc::vec::Vec::new());
        for device in core::mem::take(&mut boot.devices) {
            match device {
                Device::Block(device) => {
                    let disk = Arc::new(Disk::new(device));
                    disks.push(Arc::clone(&disk));
                    devices.push(Found::Disk(disk));
                }
                Device::Net(device) => {
                    let ring = Arc::new(NetRing::new(rings.len(), device));
                    rings.push(Arc::clone(&ring));
                    devices.push(Found::Net(ring));
                }
            }
        }
        Box::leak(Box::new(Self {
            machine,
            pool: boot.pool,
            vm: Vm::new(core).unwrap_or_else(|_| panic!("no memory for the frame table")),
            queues: RunQueues::new(machine.cpus()).unwrap_or_else(|_| panic!("no memory for run queues")),
            waits: WaitTable::new(256).unwrap_or_else(|_| panic!("no memory for the wait table")),
            timeouts: Timeouts::new(),
            pagers: PagerTable::new(),
            space: ipc::Space::new().unwrap_or_else(|code| panic!("no memory for the kernel's names: {code}")),
            host: port(Object::Host),
            host_priv: port(Object::HostPriv),
            device_master: port(Object::DeviceMaster),
            default_manager: Mutex::new(None),
            disks,
            rings,
            devices,
            ramdisk: boot.ramdisk.take().map(Ramdisk::new),
            random: machine.seed().map(Random::new),
            trace: Trace::new(boot.command_line.split_ascii_whitespace().any(|word| word == "trace")),
            page_out: Mutex::new(()),
            memory_waiters: AtomicBool::new(false),
            first_tasks: AtomicUsize::new(0),
            page_out_rest: AtomicU64::new(0),
            hopeless_since: AtomicU64::new(u64::MAX),
            chores: AtomicBool::new(false),
            #[cfg(test)]
            census: crate::fake::Census::default(),
        }))
    }

    /// A line for people.
    pub(crate) fn print(&self, text: core::fmt::Arguments<'_>) {
        struct Console<'a, M: Machine>(&'a M);
        impl<M: Machine> core::fmt::Write for Console<'_, M> {
            fn write_str(&mut self, text: &str) -> core::fmt::Result {
                self.0.console(text.as_bytes());
                Ok(())
            }
        }
        let _ = core::fmt::Write::write_fmt(&mut Console(self.machine), text);
    }

    /// Threads wait for memory: there is some again.
    pub(crate) fn wake_memory_waiters(&self) {
        if self.memory_waiters.swap(false, Ordering::SeqCst) {
            self.wake_all(crate::page_out::MEMORY_KEY);
        }
    }
}
