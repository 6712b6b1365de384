//! gnumach.defs: what GNU Mach added.

use crate::item::Text;
use crate::table::subsystem;

subsystem! { 4200;
    task_set_name = 4202 (name: Text<1024>);
    vm_wire_all = 4207 (task: crate::message::Port, flags: u32) -> ();
    thread_set_name = 4213 (name: Text<1024>);
}

/// vm_wire_all: what is mapped now.
pub const VM_WIRE_CURRENT: u32 = 1;
/// vm_wire_all: what will be mapped.
pub const VM_WIRE_FUTURE: u32 = 2;
