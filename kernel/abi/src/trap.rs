//! Traps: `svc #0` with the number, negative, in w8 (ABI: Traps).

/// mach_msg(msg, option, send_size, rcv_size, rcv_name, timeout, notify).
pub const MACH_MSG: i32 = -25;
pub const MACH_REPLY_PORT: i32 = -26;
pub const MACH_THREAD_SELF: i32 = -27;
pub const MACH_TASK_SELF: i32 = -28;
pub const MACH_HOST_SELF: i32 = -29;
pub const MACH_PRINT: i32 = -30;
pub const SWTCH_PRI: i32 = -59;
pub const SWTCH: i32 = -60;
pub const THREAD_SWITCH: i32 = -61;
pub const VM_MAP: i32 = -64;
pub const VM_ALLOCATE: i32 = -65;
pub const VM_DEALLOCATE: i32 = -66;
pub const TASK_CREATE: i32 = -68;
pub const TASK_TERMINATE: i32 = -69;
pub const TASK_SUSPEND: i32 = -70;
pub const TASK_SET_SPECIAL_PORT: i32 = -71;
pub const MACH_PORT_ALLOCATE: i32 = -72;
pub const MACH_PORT_DEALLOCATE: i32 = -73;
pub const MACH_PORT_INSERT_RIGHT: i32 = -74;
pub const MACH_PORT_ALLOCATE_NAME: i32 = -75;
pub const THREAD_DEPRESS_ABORT: i32 = -76;
pub const THREAD_SET_SELF_STATE: i32 = -77;

/// Slots of the trap table; a number at or past it is an exception.
pub const SLOTS: u32 = 130;
/// Slots that are empty and give the null port.
pub const NULL_PORT_SLOTS: [u32; 6] = [10, 11, 12, 13, 55, 56];

/// Options of mach_msg.
pub mod option {
    pub const SEND: u32 = 0x1;
    pub const RCV: u32 = 0x2;
    pub const RCV_LARGE: u32 = 0x4;
    pub const SEND_TIMEOUT: u32 = 0x10;
    pub const SEND_INTERRUPT: u32 = 0x40;
    pub const RCV_TIMEOUT: u32 = 0x100;
    pub const RCV_INTERRUPT: u32 = 0x400;
}

/// The longest string that mach_print takes.
pub const PRINT_MAX: usize = 1024;

/// Which of task_get_special_port.
pub const TASK_KERNEL_PORT: i32 = 1;
pub const TASK_EXCEPTION_PORT: i32 = 3;
pub const TASK_BOOTSTRAP_PORT: i32 = 4;
/// Which of thread_get_special_port.
pub const THREAD_KERNEL_PORT: i32 = 1;
pub const THREAD_EXCEPTION_PORT: i32 = 3;
