//! Touched: why EL0 stopped, from the syndrome to an `Exit` (page's life, step 1: Touched).
//!
//! Pure: numbers in, a value out. Exceptions and their codes are those of mach/aarch64/exception.h.

use nucleus::machine::{Abort, Access, Exit};

/// exception_t
const EXC_BAD_ACCESS: i32 = 1;
const EXC_BAD_INSTRUCTION: i32 = 2;
const EXC_ARITHMETIC: i32 = 3;
const EXC_SOFTWARE: i32 = 5;
const EXC_BREAKPOINT: i32 = 6;

/// Codes of EXC_BAD_ACCESS: kern_return_t, or of the architecture.
const KERN_MEMORY_ERROR: i32 = 10;
const ALIGNMENT: i32 = 100;
const ALIGNMENT_PC: i32 = 101;
const ALIGNMENT_SP: i32 = 102;
const POINTER_AUTHENTICATION: i32 = 103;
const BRANCH_TARGET: i32 = 104;

/// Codes of EXC_BAD_INSTRUCTION.
const UNDEFINED: i32 = 1;
const ILLEGAL_STATE: i32 = 2;

/// Codes of EXC_BREAKPOINT.
const BRK: i32 = 1;
const SINGLE_STEP: i32 = 2;
const HARDWARE_BREAKPOINT: i32 = 3;

/// What stopped a synchronous exception of EL0. `pc` and `sp` are the thread's.
pub fn decode(syndrome: u64, fault_address: u64, sp: u64) -> Exit {
    let class = syndrome >> 26 & 0x3F;
    let immediate = syndrome as u16;
    match class {
        0x15 => Exit::Trap { immediate },
        0x20 | 0x24 => abort(syndrome, fault_address),
        0x3C => exception(EXC_BREAKPOINT, BRK, i64::from(immediate)),
        0x32 => exception(EXC_BREAKPOINT, SINGLE_STEP, if bit(syndrome, 24) { i64::from(bit(syndrome, 6)) } else { -1 }),
        0x30 => exception(EXC_BREAKPOINT, HARDWARE_BREAKPOINT, 0),
        0x34 => exception(EXC_BREAKPOINT, HARDWARE_BREAKPOINT, fault_address as i64),
        0x22 => exception(EXC_BAD_ACCESS, ALIGNMENT_PC, fault_address as i64),
        0x26 => exception(EXC_BAD_ACCESS, ALIGNMENT_SP, sp as i64),
        0x1C => exception(EXC_BAD_ACCESS, POINTER_AUTHENTICATION, (syndrome & 3) as i64),
        0x0D => exception(EXC_BAD_ACCESS, BRANCH_TARGET, (syndrome & 3) as i64),
        0x0E => exception(EXC_BAD_INSTRUCTION, ILLEGAL_STATE, 0),
        0x2C => exception(EXC_ARITHMETIC, arithmetic(syndrome), 0),
        // HVC and SMC from EL0 are undefined; so is a system register that EL0 may not touch, and everything that is switched off.
        0x18 => exception(EXC_BAD_INSTRUCTION, 0, 0),
        0x11 => exception(EXC_SOFTWARE, 0, i64::from(immediate)),
        _ => exception(EXC_BAD_INSTRUCTION, UNDEFINED, 0),
    }
}

/// The access that failed with this syndrome of an abort, in EL0 or in a copy for it.
pub fn failed_access(syndrome: u64, fault_address: u64) -> Abort {
    const INSTRUCTION_ABORT: u64 = 0x20;
    let status = syndrome & 0x3F;
    let cache_maintenance = bit(syndrome, 8);
    // Cache maintenance says it writes, but only needs to read, unless it had that right and was still refused.
    let writes = bit(syndrome, 6) && (!cache_maintenance || kind(status) == Kind::Permission);
    let access = match syndrome >> 26 & 0x3F {
        INSTRUCTION_ABORT => Access::Execute,
        _ if writes => Access::Write,
        _ => Access::Read,
    };
    Abort { address: fault_address, access, access_flag: kind(status) == Kind::AccessFlag }
}

/// What a fault status code means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Translation, or an address that is too large: nothing is mapped.
    Missing,
    AccessFlag,
    Permission,
    Alignment,
    /// Exclusives or atomics on memory that can't do them.
    Unsupported,
    /// The memory itself failed.
    External,
    /// Two translations at once. Nothing the thread did.
    Conflict,
}

fn kind(status: u64) -> Kind {
    match status {
        0x00..=0x07 | 0x29 | 0x2B => Kind::Missing,
        0x08..=0x0B => Kind::AccessFlag,
        0x0C..=0x0F => Kind::Permission,
        0x21 => Kind::Alignment,
        0x30 => Kind::Conflict,
        0x34 | 0x35 => Kind::Unsupported,
        _ => Kind::External,
    }
}

fn abort(syndrome: u64, fault_address: u64) -> Exit {
    match kind(syndrome & 0x3F) {
        Kind::Missing | Kind::AccessFlag | Kind::Permission => Exit::Fault(failed_access(syndrome, fault_address)),
        // After break-before-make was skipped. It isn't; but the cure is to look again.
        Kind::Conflict => Exit::Fault(failed_access(syndrome, fault_address)),
        Kind::Alignment | Kind::Unsupported => exception(EXC_BAD_ACCESS, ALIGNMENT, fault_address as i64),
        Kind::External => exception(EXC_BAD_ACCESS, KERN_MEMORY_ERROR, fault_address as i64),
    }
}

/// The first flag that is set, if they are valid at all.
fn arithmetic(syndrome: u64) -> i32 {
    const FLAGS: [(u32, i32); 6] = [(7, 1), (4, 2), (3, 3), (2, 4), (1, 5), (0, 6)];
    let valid = bit(syndrome, 23);
    FLAGS.iter().find(|&&(flag, _)| valid && bit(syndrome, flag)).map_or(0, |&(_, code)| code)
}

fn bit(value: u64, number: u32) -> bool {
    value >> number & 1 != 0
}

fn exception(exception: i32, code: i32, subcode: i64) -> Exit {
    Exit::Exception { exception, code, subcode }
}
