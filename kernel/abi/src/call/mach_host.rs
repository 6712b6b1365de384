//! mach_host.defs: the host, its clock, wiring, and the way out.

use crate::item::{Text, Words};
use crate::message::Port;
use crate::table::subsystem;

subsystem! { 2600;
    host_reboot = 2635 (options: i32) -> ();
    vm_wire = 2636 (task: Port, address: u64, size: u64, access: u32) -> ();
    thread_wire = 2637 (thread: Port, wired: bool) -> ();
    host_info = 2638 (flavor: i32, count: u32) -> (info: Words);
    host_get_kernel_version = 2646 () -> (version: Text<512>);
    host_get_uptime64 = 2647 () -> (uptime: Words);
}

/// host_reboot: halt instead of restarting (RB_HALT).
pub const RB_HALT: i32 = 0x08;
