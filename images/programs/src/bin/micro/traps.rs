//! Traps, and calls that the kernel answers itself.

use abi::Code;
use abi::call::mach::{task_info, vm_statistics};
use abi::call::mach_port::{mach_port_type, right};
use abi::info::{TASK_BASIC_INFO, TASK_BASIC_INFO_COUNT};
use abi::item::PortName;
use abi::trap::NULL_PORT_SLOTS;
use runtime::{port, rpc, task, trap};

use crate::clock::repeat;
use crate::stub::Stub;

const TIMES: u64 = 1000;

pub(crate) fn run() -> Result<(), Code> {
    let own = task::own();
    let null = -(NULL_PORT_SLOTS[0] as i32);
    repeat("null-trap", TIMES, || {
        trap::unknown(null);
        Ok::<_, Code>(())
    })?;
    repeat("mach-task-self", TIMES, || {
        trap::mach_task_self();
        Ok::<_, Code>(())
    })?;
    port::mod_refs(own, right::SEND, -(TIMES as i32 + 1))?;
    let mut stub = Stub::new();
    let port_type = mach_port_type::Request { name: PortName(own) };
    repeat("kernel-rpc", TIMES, || stub.call(own, &port_type))?;
    repeat("kernel-rpc-by-runtime", TIMES, || rpc::call(own, &port_type).map(drop))?;
    repeat("kernel-rpc-vm-statistics", TIMES, || stub.call(own, &vm_statistics::Request {}))?;
    let info = task_info::Request { flavor: TASK_BASIC_INFO, count: TASK_BASIC_INFO_COUNT as u32 };
    repeat("kernel-rpc-task-info", TIMES, || stub.call(own, &info))
}
