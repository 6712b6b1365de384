//! Traps: their numbers, what they preserve, and the codes of the first mistakes that a program makes.

use abi::call::exc::{EXC_AARCH64_SVC, EXC_SOFTWARE};
use abi::call::mach::task_get_special_port;
use abi::call::mach_port::mach_port_type;
use abi::item::PortName;
use abi::message::{HEADER_BYTES, Header, kind};
use abi::trap::{self, NULL_PORT_SLOTS, SLOTS, TASK_KERNEL_PORT, option};
use abi::{Code, Message};
use core::time::Duration;
use runtime::trap::{MsgWords, mach_msg, mach_reply_port, vm_allocate, vm_deallocate};
use runtime::{port, rpc, task, time};

use super::harness::{Outcome, expect, same, tests};
use super::puppet::{Op, Raised, Sandbox};

tests! {
    trap_slots_without_a_trap,
    trap_numbers_past_the_table,
    svc_with_an_immediate,
    trap_preserves_registers,
    self_traps_count_references,
    receive_without_a_buffer_times_out,
    names_that_stand_for_nothing,
    message_sizes,
    unknown_message_id,
    rpc_and_trap_agree,
}

/// Numbers that stand for something here.
const KNOWN: [i32; 22] = [
    trap::MACH_MSG,
    trap::MACH_REPLY_PORT,
    trap::MACH_THREAD_SELF,
    trap::MACH_TASK_SELF,
    trap::MACH_HOST_SELF,
    trap::MACH_PRINT,
    trap::SWTCH_PRI,
    trap::SWTCH,
    trap::THREAD_SWITCH,
    trap::VM_MAP,
    trap::VM_ALLOCATE,
    trap::VM_DEALLOCATE,
    trap::TASK_CREATE,
    trap::TASK_TERMINATE,
    trap::TASK_SUSPEND,
    trap::TASK_SET_SPECIAL_PORT,
    trap::MACH_PORT_ALLOCATE,
    trap::MACH_PORT_DEALLOCATE,
    trap::MACH_PORT_INSERT_RIGHT,
    trap::MACH_PORT_ALLOCATE_NAME,
    trap::THREAD_DEPRESS_ABORT,
    trap::THREAD_SET_SELF_STATE,
];

fn trap_slots_without_a_trap() -> Outcome {
    let mut sandbox = Sandbox::new()?;
    for slot in 0..SLOTS {
        let number = -(slot as i32);
        if KNOWN.contains(&number) {
            continue;
        }
        let should = if NULL_PORT_SLOTS.contains(&slot) { Code::SUCCESS } else { Code::INVALID_ARGUMENT };
        let code = sandbox.puppet.trap_code(number, &[])?;
        expect(code == should, format_args!("trap {number}: {code}, not {should}"))?;
    }
    Ok(())
}

fn trap_numbers_past_the_table() -> Outcome {
    let mut sandbox = Sandbox::new()?;
    for number in [-(SLOTS as i32), -(SLOTS as i32) - 1, 1, 0x1234, i32::MAX, i32::MIN] {
        let result = sandbox.puppet.trap(number, &[])?;
        same("an unknown trap", result, Err(Raised::new(EXC_SOFTWARE, EXC_AARCH64_SVC, 0)))?;
    }
    Ok(())
}

fn svc_with_an_immediate() -> Outcome {
    let mut sandbox = Sandbox::new()?;
    let result = sandbox.puppet.run(Op::OtherSvc, &[(8, trap::MACH_TASK_SELF as u32 as u64)])?;
    same("svc #7", result, Err(Raised::new(EXC_SOFTWARE, EXC_AARCH64_SVC, 7)))
}

fn trap_preserves_registers() -> Outcome {
    let mut sandbox = Sandbox::new()?;
    let number = trap::MACH_TASK_SELF as u32 as u64;
    let registers: [(usize, u64); 31] = core::array::from_fn(|index| (index, if index == 8 { number } else { 0xabcd_0000 + index as u64 }));
    let name = sandbox.puppet.run(Op::Trap, &registers)?;
    expect(name.is_ok_and(|name| name != 0), "mach_task_self gave no name")?;
    let after = sandbox.puppet.registers()?;
    for (register, value) in &registers[1..] {
        expect(after.x[*register] == *value, format_args!("x{register} is {:#x}, was {value:#x}", after.x[*register]))?;
    }
    Ok(())
}

fn self_traps_count_references() -> Outcome {
    let refs = |name| {
        let request = abi::call::mach_port::mach_port_get_refs::Request { name: PortName(name), right: 0 };
        rpc::call(task::own(), &request).map(|reply| reply.refs)
    };
    for trap in [runtime::trap::mach_task_self, runtime::trap::mach_thread_self, runtime::trap::mach_host_self] {
        let name = trap();
        let before = refs(name)?;
        same("the name the second time", trap(), name)?;
        same("references", refs(name)?, before + 1)?;
        port::mod_refs(name, 0, -2)?;
    }
    Ok(())
}

fn receive_without_a_buffer_times_out() -> Outcome {
    let mut sandbox = Sandbox::new()?;
    let port = sandbox.puppet.trap(trap::MACH_REPLY_PORT, &[])?.unwrap_or(0);
    let before = time::now();
    let option = u64::from(option::RCV | option::RCV_TIMEOUT | option::RCV_INTERRUPT);
    let code = sandbox.puppet.trap_code(trap::MACH_MSG, &[0, option, 0, 0, port, 30, 0])?;
    same("the receive", code, Code::RCV_TIMED_OUT)?;
    let took = time::now() - before;
    expect(took >= Duration::from_millis(30), format_args!("a timeout of 30 ms took {took:?}"))?;
    let code = sandbox.puppet.trap_code(trap::MACH_MSG, &[0, option, 0, 0, port, 0, 0])?;
    same("the receive that doesn't wait", code, Code::RCV_TIMED_OUT)
}

fn names_that_stand_for_nothing() -> Outcome {
    const NOBODY: u32 = 0x00ab_cdef;
    let mut bytes = [0; 64];
    let header = Header { bits: Header::bits(kind::COPY_SEND, 0), remote: NOBODY.into(), ..Header::default() };
    let size = abi::call::mach::task_resume::Request {}.build(header, &mut bytes)? as u32;
    let words = MsgWords { option: option::SEND, send_size: size, ..MsgWords::default() };
    same("a send", mach_msg(&mut bytes, words), Code::SEND_INVALID_DEST)?;
    let words = MsgWords { option: option::RCV, rcv_name: NOBODY, ..MsgWords::default() };
    same("a receive", mach_msg(&mut bytes, words), Code::RCV_INVALID_NAME)?;
    let words = MsgWords { option: option::RCV, rcv_name: task::own(), ..MsgWords::default() };
    same("a receive by a send right", mach_msg(&mut bytes, words), Code::RCV_INVALID_NAME)?;
    // Traps leave whatever they don't know to the RPC.
    same("vm_allocate", Code::of(&vm_allocate(NOBODY, 0, 4096, true)), Code::SEND_INTERRUPTED)?;
    same("vm_deallocate", Code::of(&vm_deallocate(NOBODY, 4096, 4096)), Code::SEND_INTERRUPTED)?;
    let ptype = rpc::call(task::own(), &mach_port_type::Request { name: PortName(NOBODY) });
    same("mach_port_type", Code::of(&ptype), Code::INVALID_NAME)?;
    let deallocated = runtime::trap::mach_port_deallocate(task::own(), NOBODY);
    same("mach_port_deallocate", Code::of(&deallocated), Code::INVALID_NAME)
}

fn message_sizes() -> Outcome {
    let mut bytes = [0; 128];
    let header = Header { bits: Header::bits(kind::COPY_SEND, 0), remote: task::own().into(), ..Header::default() };
    header.write(&mut bytes);
    for size in [0, 8, HEADER_BYTES as u32 - 8, HEADER_BYTES as u32 + 1, HEADER_BYTES as u32 + 4] {
        let words = MsgWords { option: option::SEND, send_size: size, ..MsgWords::default() };
        let code = mach_msg(&mut bytes, words);
        expect(code == Code::SEND_MSG_TOO_SMALL, format_args!("a message of {size} bytes: {code}"))?;
    }
    Ok(())
}

fn unknown_message_id() -> Outcome {
    let reply_port = mach_reply_port();
    let mut bytes = [0; 256];
    let bits = Header::bits(kind::COPY_SEND, kind::MAKE_SEND_ONCE);
    Header { bits, remote: task::own().into(), local: reply_port.into(), id: 2999, ..Header::default() }.write(&mut bytes);
    let words = MsgWords { option: option::SEND | option::RCV, send_size: 32, rcv_name: reply_port, ..MsgWords::default() };
    mach_msg(&mut bytes, words).ok()?;
    let header = Header::read(&bytes).unwrap_or_default();
    same("the reply's id", header.id, 3099)?;
    same("its size", header.size, 48)?;
    same("its bits", header.bits, Header::bits(0, kind::MOVE_SEND_ONCE))?;
    same("its local port", header.local, reply_port.into())?;
    same("its remote port", header.remote, 0)?;
    same("its code", i32::from_le_bytes([bytes[40], bytes[41], bytes[42], bytes[43]]), Code::MIG_BAD_ID.0)?;
    port::drop_receive(reply_port);
    Ok(())
}

fn rpc_and_trap_agree() -> Outcome {
    let by_trap = runtime::trap::mach_task_self();
    let by_rpc = rpc::call(task::own(), &task_get_special_port::Request { which: TASK_KERNEL_PORT })?.special_port.name;
    same("the task's name", by_rpc, by_trap)?;
    port::mod_refs(by_trap, 0, -2)?;
    Ok(())
}
