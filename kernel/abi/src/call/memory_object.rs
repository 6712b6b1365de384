//! memory_object.defs: what the kernel asks of a pager.

use crate::code::Code;
use crate::message::{Memory, Port};
use crate::table::subsystem;

subsystem! { 2200;
    /// The object is mapped for the first time; nothing follows until the pager is ready.
    memory_object_init = 2200 (control: Port, name: Port, page_size: u64);
    memory_object_terminate = 2201 (control: Port, name: Port);
    memory_object_copy = 2202 (control: Port, offset: u64, length: u64, new_object: Port);
    /// Asks for a run of pages.
    memory_object_data_request = 2203 (control: Port, offset: u64, length: u64, desired_access: u32);
    memory_object_data_unlock = 2204 (control: Port, offset: u64, length: u64, desired_access: u32);
    memory_object_lock_completed = 2206 (control: Port, offset: u64, length: u64);
    memory_object_supply_completed = 2207 (control: Port, offset: u64, length: u64, result: Code, error_offset: u64);
    /// Hands a run of pages back.
    memory_object_data_return = 2208 (control: Port, offset: u64, data: Memory, dirty: bool, kernel_copy: bool);
    memory_object_change_completed = 2209 (may_cache: bool, copy_strategy: u32);
}
