//! notify.defs: what the kernel tells of ports.

use crate::item::PortName;
use crate::message::Port;
use crate::table::subsystem;

subsystem! { 64;
    mach_notify_port_deleted = 65 (name: PortName);
    mach_notify_msg_accepted = 66 (name: PortName);
    mach_notify_port_destroyed = 69 (receive: Port);
    mach_notify_no_senders = 70 (mscount: u32);
    mach_notify_send_once = 71 ();
    mach_notify_dead_name = 72 (name: PortName);
}
