//! pvmach_control.defs, pager and programs to kernel: the other half of `pvmach.rs`, on the control port; and the packet ring, on a device port.

use crate::code::Code;
use crate::item::Words;
use crate::message::Port;
use crate::table::subsystem;

subsystem! { 5300;
    /// The pages of a request are on a device, from this record (sector) on: read them into the object's own frames.
    memory_object_supply_from_device = 5300 (offset: u64, length: u64, device: Port, record: u64);
    /// Pages of a return request go to a device, from this record on.
    memory_object_return_to_device = 5301 (offset: u64, length: u64, device: Port, record: u64);
    /// Pages of a return request shall come by memory_object_data_return.
    memory_object_return_as_data = 5302 (offset: u64, length: u64);
    /// There is no room: the pages stay with the kernel.
    memory_object_return_refused = 5303 (offset: u64, length: u64, error: Code);
    /// What the pager can do and how long it may take; see `abi::policy`.
    memory_object_set_policy = 5304 (flags: u32, run_pages: u32, deadline_ms: u32, on_deadline: u32);
    /// One message on `notify` when the receive ring goes from empty to non-empty and the ring asks for it.
    device_ring_notify = 5310 (notify: Port) -> ();
    /// Looks at the rings: there are packets to send or buffers to fill.
    device_ring_kick = 5311 ();
    /// Counters of the VM system, in the order of `abi::info::VmCounter`, two words each.
    host_vm_counters = 5320 () -> (counters: Words);
    /// Switches the trace of pages' lives on or off.
    host_trace = 5321 (on: bool) -> ();
}
