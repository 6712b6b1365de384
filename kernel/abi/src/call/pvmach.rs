//! pvmach.defs, kernel to pager: our extension of the pager protocol for pagers that decide where pages go and let the kernel's device drivers
//! move them (ARCHITECTURE.md, decision 3). Sent to the memory object's port, like memory_object.defs.

use crate::code::Code;
use crate::message::Port;
use crate::table::subsystem;

subsystem! { 5200;
    /// Dirty pages wait to go home: answered by `return_to_device`, `return_as_data` or `return_refused`. The kernel keeps the pages.
    memory_object_return_request = 5200 (control: Port, offset: u64, length: u64);
    /// The pages of a range will never be asked for again.
    memory_object_discard = 5201 (control: Port, offset: u64, length: u64);
    /// A transfer that `supply_from_device` or `return_to_device` asked for ended in an error; the pages are as before it.
    memory_object_device_failed = 5202 (control: Port, offset: u64, length: u64, result: Code);
}
