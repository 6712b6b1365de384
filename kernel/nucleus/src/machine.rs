//! What the nucleus asks of a machine. `kernel/aarch64` implements it; `crate::fake` does for tests.
//!
//! The kernel is an event kernel: one stack per CPU, interrupts masked while it runs, no thread ever sleeps inside it. `Machine::run_user`
//! leaves to EL0 and returns at the next exception; everything else here returns at once.

use abi::thread_state::{FloatState, ThreadState};

/// Why EL0 came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// `svc #immediate`; pc is past it.
    Trap { immediate: u16 },
    /// An access that the translation tables didn't allow.
    Fault(Abort),
    /// Any other synchronous exception: the exception, code and subcode of the message (ABI: Exceptions).
    Exception { exception: i32, code: i32, subcode: i64 },
    /// An interrupt is pending: call [`Machine::interrupt`].
    Interrupt,
}

/// An access to user memory that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort {
    /// The address, untagged and unrounded.
    pub address: u64,
    /// What was tried.
    pub access: Access,
    /// True if only the accessed flag was missing.
    pub access_flag: bool,
}

/// What an access tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
    Execute,
}

/// An interrupt that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// The deadline of [`Machine::set_deadline`] has passed.
    Timer,
    /// Another CPU called [`Machine::signal`].
    Signal,
    /// The device with this index in [`Boot::devices`].
    Device(usize),
}

/// How to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    Off,
    Reset,
}

/// The machine.
pub trait Machine: Send + Sync + Sized + 'static {
    /// Translation tables.
    type Pmap: vm::Pmap;
    /// Its block devices.
    type Block: Block;
    /// Its network devices.
    type Net: Net;

    /// CPUs that run, numbered from 0.
    fn cpus(&self) -> usize;
    /// The CPU that asks.
    fn this_cpu(&self) -> usize;
    /// Nanoseconds since boot.
    fn now(&self) -> u64;
    /// Asks for [`Interrupt::Timer`] on this CPU at a time (of `now`), or never.
    fn set_deadline(&self, at: Option<u64>);
    /// Interrupts another CPU.
    fn signal(&self, cpu: usize);
    /// The next pending interrupt of this CPU, acknowledged.
    fn interrupt(&self) -> Option<Interrupt>;
    /// Waits (interrupts masked) until one is pending.
    fn wait_for_interrupt(&self);

    /// An empty address space; none if there is no memory.
    fn new_pmap(&self) -> Option<Self::Pmap>;
    /// Makes it the one that EL0 and the two copies below use on this CPU. None: nothing is mapped. The caller keeps it alive.
    fn use_pmap(&self, pmap: Option<&Self::Pmap>);
    /// Runs EL0 until the next exception.
    fn run_user(&self, state: &mut ThreadState) -> Exit;
    /// Loads the floating-point registers of the thread that will run.
    fn load_float(&self, state: &FloatState);
    /// Saves those of the thread that ran.
    fn save_float(&self, state: &mut FloatState);
    /// Copies from EL0's memory, with EL0's rights, from any address whatever.
    fn read_user(&self, from: u64, to: &mut [u8]) -> Result<(), Abort>;
    /// Copies to EL0's memory, likewise.
    fn write_user(&self, from: &[u8], to: u64) -> Result<(), Abort>;

    /// Writes to the console.
    fn console(&self, bytes: &[u8]);
    /// Ends.
    fn power(&self, how: Power) -> !;
    /// The words that aarch64_get_hwcaps gives.
    fn hwcaps(&self) -> [u64; 2];
    /// Bytes that nobody else knows, for the device `random`; asked for once. None if the machine has none.
    fn seed(&self) -> Option<[u8; 32]>;
    /// Seconds since 1970, if the machine has a clock that knows.
    fn wall_clock(&self) -> Option<u64>;
}

/// A device's operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockOp {
    Read,
    Write,
    Flush,
    Discard,
}

/// A run of physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Physical address.
    pub address: u64,
    /// Bytes.
    pub length: u32,
}

/// Why a request wasn't taken, or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceError {
    /// All slots are in use: try again after a completion.
    Full,
    /// Sectors outside the device, or a length it can't do.
    OutOfRange,
    /// The device can't do this.
    Unsupported,
    /// It is read-only.
    ReadOnly,
    /// The device reported an error.
    Io,
    /// The device is gone or needs a reset.
    Dead,
}

/// A block device: requests in, completions out, nothing waits. Sectors are 512 bytes.
pub trait Block: Send + 'static {
    fn capacity_sectors(&self) -> u64;
    fn max_segments(&self) -> usize;
    fn max_segment_bytes(&self) -> u32;
    fn is_read_only(&self) -> bool;
    /// Queues a request; `token` comes back with its completion.
    fn submit(&mut self, token: u64, op: BlockOp, sector: u64, segments: &[Segment]) -> Result<(), DeviceError>;
    /// Tells the device of what was queued.
    fn kick(&mut self);
    /// A request that ended. Interrupts are re-armed when this returns none.
    fn reap(&mut self) -> Option<(u64, Result<(), DeviceError>)>;
}

/// A network device: buffers in, buffers out. Each buffer begins with `header_bytes()` for the device's own header.
pub trait Net: Send + 'static {
    fn mac(&self) -> [u8; 6];
    fn mtu(&self) -> u16;
    fn header_bytes(&self) -> usize;
    /// Requests that fit in each queue.
    fn queue_slots(&self) -> (usize, usize);
    /// Gives the device a buffer to receive into.
    fn post_receive(&mut self, token: u64, buffer: Segment) -> Result<(), DeviceError>;
    /// A buffer that was filled: token and bytes, header included. Interrupts are re-armed when this returns none.
    fn received(&mut self) -> Option<(u64, u32)>;
    /// Sends a packet; the device's header is made by the driver in the buffer's first `header_bytes()`.
    fn send(&mut self, token: u64, buffer: Segment) -> Result<(), DeviceError>;
    /// A packet that was sent. Re-armed like `received`.
    fn sent(&mut self) -> Option<u64>;
    /// Tells the device of what was queued in both queues.
    fn kick(&mut self);
}

/// A device that was found.
pub enum Device<M: Machine> {
    Block(M::Block),
    Net(M::Net),
}

/// A boot module: bytes in memory and its line of the boot script.
pub struct Module {
    pub bytes: &'static [u8],
    pub line: &'static str,
}

/// The initial ramdisk in memory. Its pages hold nothing else, and zeroes after its end: they can be mapped.
pub struct RamdiskImage {
    pub bytes: &'static [u8],
    /// The frame that it begins.
    pub first: frames::FrameNumber,
}

/// What the machine found when it booted.
pub struct Boot<M: Machine> {
    /// All of RAM.
    pub pool: &'static frames::Pool,
    /// The initial ramdisk.
    pub ramdisk: Option<RamdiskImage>,
    /// Boot modules (`multiboot,module`), in order.
    pub modules: alloc::vec::Vec<Module>,
    /// The kernel's command line.
    pub command_line: &'static str,
    /// Devices; the index is that of [`Interrupt::Device`].
    pub devices: alloc::vec::Vec<Device<M>>,
}
