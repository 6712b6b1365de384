//! mach_port.defs: names and rights of a task's port space.

use crate::item::{PortName, Words};
use crate::message::Port;
use crate::table::subsystem;

subsystem! { 3200;
    mach_port_type = 3201 (name: PortName) -> (ptype: u32);
    mach_port_rename = 3202 (old_name: PortName, new_name: PortName) -> ();
    mach_port_allocate_name = 3203 (right: u32, name: PortName) -> ();
    mach_port_allocate = 3204 (right: u32) -> (name: PortName);
    mach_port_destroy = 3205 (name: PortName) -> ();
    mach_port_deallocate = 3206 (name: PortName) -> ();
    mach_port_get_refs = 3207 (name: PortName, right: u32) -> (refs: u32);
    mach_port_mod_refs = 3208 (name: PortName, right: u32, delta: i32) -> ();
    mach_port_set_qlimit = 3210 (name: PortName, qlimit: u32) -> ();
    mach_port_set_mscount = 3211 (name: PortName, mscount: u32) -> ();
    mach_port_move_member = 3213 (member: PortName, after: PortName) -> ();
    mach_port_request_notification = 3214 (name: PortName, id: i32, sync: u32, notify: Port) -> (previous: Port);
    mach_port_insert_right = 3215 (name: PortName, poly: Port) -> ();
    mach_port_extract_right = 3216 (name: PortName, kind: u32) -> (poly: Port);
    mach_port_get_receive_status = 3217 (name: PortName) -> (status: Words);
    mach_port_set_seqno = 3218 (name: PortName, seqno: u32) -> ();
    mach_port_set_protected_payload = 3221 (name: PortName, payload: u64) -> ();
    mach_port_clear_protected_payload = 3222 (name: PortName) -> ();
}

/// mach_port_right_t.
pub mod right {
    pub const SEND: u32 = 0;
    pub const RECEIVE: u32 = 1;
    pub const SEND_ONCE: u32 = 2;
    pub const PORT_SET: u32 = 3;
    pub const DEAD_NAME: u32 = 4;

    /// The bit of mach_port_type_t.
    #[must_use]
    pub const fn type_bit(right: u32) -> u32 {
        1 << (right + 16)
    }
}
