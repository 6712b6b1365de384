//! exc.defs: exceptions. Codes of the message and of the machine.

use crate::message::Port;
use crate::table::subsystem;

subsystem! { 2400;
    exception_raise = 2400 (thread: Port, task: Port, exception: i32, code: i32, subcode: i64) -> ();
}

pub const EXC_BAD_ACCESS: i32 = 1;
pub const EXC_BAD_INSTRUCTION: i32 = 2;
pub const EXC_ARITHMETIC: i32 = 3;
pub const EXC_SOFTWARE: i32 = 5;
pub const EXC_BREAKPOINT: i32 = 6;
/// EXC_SOFTWARE: an svc that is no trap; the subcode is its immediate.
pub const EXC_AARCH64_SVC: i32 = 1;
