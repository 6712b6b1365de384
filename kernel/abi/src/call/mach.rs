//! mach.defs: tasks, threads, virtual memory, and what a pager tells the kernel.

use crate::code::Code;
use crate::item::Words;
use crate::message::{Memory, Port, Ports};
use crate::table::subsystem;

subsystem! { 2000;
    task_create = 2007 (inherit_memory: bool) -> (child_task: Port);
    task_terminate = 2008 () -> ();
    task_threads = 2011 () -> (thread_list: Ports);
    task_info = 2012 (flavor: i32, count: u32) -> (info: Words);
    thread_terminate = 2016 () -> ();
    thread_get_state = 2017 (flavor: i32, count: u32) -> (state: Words);
    thread_set_state = 2018 (flavor: i32, state: Words) -> ();
    thread_info = 2019 (flavor: i32, count: u32) -> (info: Words);
    vm_allocate = 2021 (address: u64, size: u64, anywhere: bool) -> (address: u64);
    vm_deallocate = 2023 (address: u64, size: u64) -> ();
    vm_protect = 2024 (address: u64, size: u64, set_maximum: bool, protection: u32) -> ();
    vm_inherit = 2025 (address: u64, size: u64, inheritance: u32) -> ();
    vm_read = 2026 (address: u64, size: u64) -> (data: Memory);
    vm_write = 2027 (address: u64, data: Memory) -> ();
    vm_copy = 2028 (source: u64, size: u64, destination: u64) -> ();
    vm_region = 2029 (address: u64) -> (address: u64, size: u64, protection: u32, max_protection: u32, inheritance: u32,
        is_shared: bool, object_name: Port, offset: u64);
    vm_statistics = 2030 () -> (statistics: Words);
    /// The pages aren't there: zero-fill them, or look further down.
    memory_object_data_unavailable = 2039 (offset: u64, size: u64);
    memory_object_get_attributes = 2040 () -> (object_ready: bool, may_cache: bool, copy_strategy: u32);
    vm_set_default_memory_manager = 2041 (default_manager: Port) -> (default_manager: Port);
    memory_object_lock_request = 2044 (offset: u64, size: u64, should_return: u32, should_flush: bool, lock_value: u32, reply_to: Port);
    task_suspend = 2056 () -> ();
    task_resume = 2057 () -> ();
    task_get_special_port = 2058 (which: i32) -> (special_port: Port);
    task_set_special_port = 2059 (which: i32, special_port: Port) -> ();
    thread_create = 2061 () -> (child_thread: Port);
    thread_suspend = 2062 () -> ();
    thread_resume = 2063 () -> ();
    thread_abort = 2064 () -> ();
    thread_get_special_port = 2067 (which: i32) -> (special_port: Port);
    thread_set_special_port = 2068 (which: i32, special_port: Port) -> ();
    vm_map = 2089 (address: u64, size: u64, mask: u64, anywhere: bool, memory_object: Port, offset: u64, copy: bool,
        cur_protection: u32, max_protection: u32, inheritance: u32) -> (address: u64);
    memory_object_data_error = 2090 (offset: u64, size: u64, error: Code);
    memory_object_destroy = 2092 (reason: Code);
    /// Pages for the object: moved, if the sender deallocates them.
    memory_object_data_supply = 2093 (offset: u64, data: Memory, lock_value: u32, precious: bool, reply_to: Port);
    memory_object_ready = 2094 (may_cache: bool, copy_strategy: u32);
    memory_object_change_attributes = 2095 (may_cache: bool, copy_strategy: u32, reply_to: Port);
}
