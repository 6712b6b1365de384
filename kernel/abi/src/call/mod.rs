//! The subsystems, a table each. The ids are GNU Mach's; `pvmach` is ours.

pub mod bootstrap;
pub mod default_pager;
pub mod device;
pub mod device_reply;
pub mod exc;
pub mod gnumach;
pub mod mach;
pub mod mach_aarch64;
pub mod mach_host;
pub mod mach_port;
pub mod memory_object;
pub mod memory_object_default;
pub mod notify;
pub mod pvmach;
pub mod pvmach_control;
