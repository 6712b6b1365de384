//! The interrupt translation service of a GICv3: messages of PCI functions become LPIs of the boot CPU.
//!
//! It is given memory for its tables and a queue of commands, all of which it reads and writes by itself. There is one collection (the
//! boot CPU); each function gets a few LPIs, its messages numbered from 0.

use crate::layout::linear;
use crate::mmu::{self, Memory};
use arm_gic::UniqueMmioPointer;
use core::ops::Range;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use frames::{PAGE_SIZE, Pool, Purpose};
use safe_mmio::field;
use safe_mmio::fields::{ReadPure, ReadPureWrite};

/// The first LPI there is.
pub const FIRST_LPI: u32 = 8192;
/// As many as are used.
pub const LPIS: u32 = 256;
/// Interrupt numbers have so many bits: 16384, the fewest with LPIs.
const NUMBER_BITS: u64 = 14;

/// Everything lies in blocks of this size and alignment: some implementations ignore the lower bits of addresses.
const BLOCK: u64 = 64 << 10;
const BLOCK_ORDER: usize = (BLOCK as usize / PAGE_SIZE).ilog2() as usize;
/// What is in the block of small things: commands, the bytes that configure LPIs, translation tables of functions.
const COMMANDS_BYTES: u64 = 4096;
const CONFIGURATION: u64 = COMMANDS_BYTES;
const FUNCTION_TABLES: u64 = CONFIGURATION + (1 << NUMBER_BITS) - FIRST_LPI as u64;
/// A function's table: 8 events of up to 128 bytes.
const FUNCTION_TABLE_BYTES: u64 = 1024;
const EVENT_BITS: u64 = 3;

/// Fields of table registers: valid; write-back, inner shareable.
const VALID: u64 = 1 << 63;
const TABLE_CACHED: u64 = 7 << 59 | INNER_SHAREABLE;
const REDISTRIBUTOR_CACHED: u64 = 7 << 7 | INNER_SHAREABLE;
const INNER_SHAREABLE: u64 = 1 << 10;
const SHAREABILITY: u64 = 3 << 10;
const PAGES_OF_64K: u64 = 2 << 8;

/// The control frame.
#[repr(C)]
struct Registers {
    control: ReadPureWrite<u32>,
    _identity: u32,
    kind: ReadPure<u64>,
    _unused_0: [u64; 14],
    commands: ReadPureWrite<u64>,
    write: ReadPureWrite<u64>,
    read: ReadPure<u64>,
    _unused_1: [u64; 13],
    tables: [ReadPureWrite<u64>; 8],
}

/// Where messages are written, relative to the control frame.
const TRANSLATER: u64 = 0x1_0040;

/// What a redistributor must be told to take LPIs.
pub struct RedistributorTables {
    pub configuration: u64,
    pub pending: u64,
}

/// The boot CPU's redistributor, as commands name it.
#[derive(Clone, Copy)]
pub struct Target {
    pub physical: u64,
    pub processor: u16,
}

/// The service.
pub struct Its {
    registers: UniqueMmioPointer<'static, Registers>,
    doorbell: u64,
    /// The block of small things.
    memory: u64,
    target: u64,
    functions: u64,
    tables_given: u64,
    free: Range<u32>,
    next_command: u64,
}

impl Its {
    /// Takes the service at a physical address. `enable` is called with what the redistributor needs, before the service is switched on.
    /// None if there is no memory, or it can't be used.
    pub fn new(physical: u64, pool: &Pool, target: Target, enable: impl FnOnce(RedistributorTables) -> bool) -> Option<Self> {
        let registers = mmu::map_device(physical, BLOCK, Memory::Strict).ok()?;
        // SAFETY: the device tree says that this is the control frame of an ITS; it is mapped for good, and there is one `Its` for it.
        let mut registers: UniqueMmioPointer<'static, Registers> = unsafe { UniqueMmioPointer::new(registers.cast()) };
        let [memory, devices, collections, pending] = [block(pool)?, block(pool)?, block(pool)?, block(pool)?];
        field!(registers, control).write(0);
        let functions = install(registers.reborrow(), 1, devices)?;
        install(registers.reborrow(), 4, collections)?;
        field!(registers, commands).write(VALID | TABLE_CACHED | memory);
        field!(registers, write).write(0);
        if field!(registers, commands).read() & SHAREABILITY == 0 {
            return None;
        }
        // PTA: commands name redistributors by address or by number.
        let by_address = field!(registers, kind).read() >> 19 & 1 != 0;
        let target = if by_address { target.physical } else { u64::from(target.processor) << 16 };
        let configuration = (memory + CONFIGURATION) | REDISTRIBUTOR_CACHED | (NUMBER_BITS - 1);
        const PENDING_IS_ZERO: u64 = 1 << 62;
        if !enable(RedistributorTables { configuration, pending: pending | REDISTRIBUTOR_CACHED | PENDING_IS_ZERO }) {
            return None;
        }
        field!(registers, control).write(1);
        let free = FIRST_LPI..FIRST_LPI + LPIS;
        let doorbell = physical + TRANSLATER;
        let mut its = Self { registers, doorbell, memory, target, functions, tables_given: 0, free, next_command: 0 };
        its.run(&[[9, 0, VALID | target, 0]]).then_some(its)
    }

    /// Where messages are written.
    pub fn doorbell(&self) -> u64 {
        self.doorbell
    }

    /// Gives a function LPIs for its messages 0, 1 and so on. None if there are too few, or the service can't have the function.
    pub fn give(&mut self, function: u32, count: u32) -> Option<Range<u32>> {
        let table = self.memory + FUNCTION_TABLES + self.tables_given * FUNCTION_TABLE_BYTES;
        let fits = table + FUNCTION_TABLE_BYTES <= self.memory + BLOCK && u64::from(function) < self.functions;
        if !fits || count > 1 << EVENT_BITS || self.free.len() < count as usize {
            return None;
        }
        let mine = self.free.start..self.free.start + count;
        self.free.start = mine.end;
        self.tables_given += 1;
        let function = u64::from(function) << 32;
        let mapped = self.run(&[[8 | function, EVENT_BITS - 1, VALID | table, 0]]);
        let all = mine.clone().zip(0u64..).all(|(lpi, event)| {
            self.configure(lpi);
            // MAPTI, INV.
            self.run(&[[0xA | function, u64::from(lpi) << 32 | event, 0, 0], [0xC | function, event, 0, 0]])
        });
        (mapped && all).then_some(mine)
    }

    /// Enables an LPI, at the priority of every interrupt.
    fn configure(&mut self, lpi: u32) {
        const ENABLED: u8 = 0xA0 | 1;
        let at = self.memory + CONFIGURATION + u64::from(lpi - FIRST_LPI);
        // SAFETY: inside the block of small things, which is this service's alone; the controller reads it too, hence the atomic.
        let byte = unsafe { &*core::ptr::with_exposed_provenance::<AtomicU8>(linear(at) as usize) };
        byte.store(ENABLED, Ordering::Relaxed);
    }

    /// Runs commands, and a SYNC; false if the service doesn't.
    fn run(&mut self, commands: &[[u64; 4]]) -> bool {
        const COMMAND_BYTES: u64 = 32;
        const TRIES: u32 = 1 << 24;
        for command in commands.iter().chain([&[5, 0, self.target, 0]]) {
            for (word, &value) in (0u64..).zip(command) {
                let at = self.memory + self.next_command + word * 8;
                // SAFETY: inside the queue, at the start of the block of small things.
                unsafe { &*core::ptr::with_exposed_provenance::<AtomicU64>(linear(at) as usize) }.store(value, Ordering::Relaxed);
            }
            self.next_command = (self.next_command + COMMAND_BYTES) % COMMANDS_BYTES;
        }
        crate::cpu::dsb_sy();
        field!(self.registers, write).write(self.next_command);
        (0..TRIES).any(|_| field!(self.registers, read).read() == self.next_command)
    }
}

/// Gives the service a table of a kind (1: functions, 4: collections); how many entries it has.
fn install(mut registers: UniqueMmioPointer<'_, Registers>, kind: u64, block: u64) -> Option<u64> {
    let mut tables = field!(registers, tables);
    for index in 0..8 {
        let mut table = tables.get(index)?;
        let value = table.read();
        if value >> 56 & 7 != kind {
            continue;
        }
        table.write(VALID | TABLE_CACHED | block | PAGES_OF_64K);
        let value = table.read();
        let page_bytes = [4096, 16384, 65536].get((value >> 8 & 3) as usize)?;
        let entry_bytes = (value >> 48 & 31) + 1;
        return (value & SHAREABILITY != 0 && value & VALID != 0).then_some(page_bytes / entry_bytes);
    }
    // Collections may be in the service itself.
    (kind != 1).then_some(1)
}

/// A block of zeroes for the controller, for good.
fn block(pool: &Pool) -> Option<u64> {
    let run = pool.allocate_run(BLOCK_ORDER, Purpose::Kernel)?;
    pool.zero_run(&run);
    Some(run.into_parts().0.phys())
}
