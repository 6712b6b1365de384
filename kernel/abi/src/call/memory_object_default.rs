//! memory_object_default.defs: what the kernel asks of the default pager besides.

use crate::message::{Memory, Port};
use crate::table::subsystem;

subsystem! { 2250;
    /// The kernel made a memory object and gives its receive right away.
    memory_object_create = 2250 (new_object: Port, new_size: u64, new_control: Port, new_name: Port, new_page_size: u64);
    /// First contents of pages.
    memory_object_data_initialize = 2251 (control: Port, offset: u64, data: Memory);
}
