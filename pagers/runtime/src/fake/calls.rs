//! What the fake kernel itself answers: the calls that the runtime and the pagers make on the task and the host.

use abi::Code;
use abi::call::mach_host::host_reboot;
use abi::call::mach_port::{
    Call as PortCall, mach_port_extract_right, mach_port_mod_refs, mach_port_move_member, mach_port_request_notification,
    mach_port_set_qlimit, right,
};
use abi::call::{gnumach, mach};
use abi::message::{Port, kind};
use abi::trap::TASK_BOOTSTRAP_PORT;

use super::outside::{Answer, Sent};
use super::{BOOTSTRAP, FakeKernel, PortId};

pub(super) fn answer(kernel: &FakeKernel, to: PortId, sent: &Sent) -> Answer {
    let known = port_call(kernel, sent).or_else(|| mach_call(kernel, sent)).or_else(|| host_call(kernel, sent));
    known.unwrap_or_else(|| {
        assert_ne!(to, super::DEVICES, "the test plays the devices");
        Answer::error(sent.id(), Code::MIG_BAD_ID)
    })
}

fn port_call(kernel: &FakeKernel, sent: &Sent) -> Option<Answer> {
    Some(match PortCall::decode(sent.bytes())?.ok()? {
        PortCall::mach_port_mod_refs(request) => {
            let done = mod_refs(kernel, &request);
            Answer::to::<mach_port_mod_refs::Request>(done.map(|()| mach_port_mod_refs::Reply {}))
        }
        PortCall::mach_port_move_member(request) => {
            let done = move_member(kernel, request.member.0, request.after.0);
            Answer::to::<mach_port_move_member::Request>(done.map(|()| mach_port_move_member::Reply {}))
        }
        PortCall::mach_port_set_qlimit(_) => Answer::to::<mach_port_set_qlimit::Request>(Ok(mach_port_set_qlimit::Reply {})),
        PortCall::mach_port_extract_right(request) => extract(kernel, &request),
        PortCall::mach_port_request_notification(request) => request_notification(kernel, sent, &request),
        _ => return None,
    })
}

fn mod_refs(kernel: &FakeKernel, request: &mach_port_mod_refs::Request) -> Result<(), Code> {
    let name = request.name.0;
    match (request.right, request.delta) {
        (right::RECEIVE, -1) => kernel.drop_receive(name),
        (right::PORT_SET, -1) => {
            let mut state = kernel.state.borrow_mut();
            state.space.remove_set(name);
            state.ports.iter_mut().filter(|port| port.set == Some(name)).for_each(|port| port.set = None);
            Ok(())
        }
        (right::SEND, 1) => {
            let mut state = kernel.state.borrow_mut();
            match state.space.get(name) {
                Some(super::space::Entry::Port { port, sends: 1.., .. }) => {
                    let port = *port;
                    state.space.add_send(port);
                    Ok(())
                }
                _ => Err(Code::INVALID_RIGHT),
            }
        }
        (right::SEND, ..=-1) => kernel.state.borrow_mut().space.release(name, request.delta.unsigned_abs()),
        _ => Err(Code::INVALID_VALUE),
    }
}

fn move_member(kernel: &FakeKernel, member: u32, after: u32) -> Result<(), Code> {
    let mut state = kernel.state.borrow_mut();
    let port = state.space.receive(member).ok_or(Code::INVALID_RIGHT)?;
    state.ports[port.0].set = (after != 0).then_some(after);
    Ok(())
}

fn extract(kernel: &FakeKernel, request: &mach_port_extract_right::Request) -> Answer {
    assert_eq!(request.kind, u32::from(kind::MAKE_SEND_ONCE), "the fake kernel only extracts send-once rights");
    match kernel.port_of(request.name.0) {
        None => Answer::error(3216, Code::INVALID_RIGHT),
        Some(port) => {
            let poly = Port { name: 1, kind: kind::MOVE_SEND_ONCE };
            Answer::with_send_once::<mach_port_extract_right::Request>(mach_port_extract_right::Reply { poly }, port)
        }
    }
}

fn request_notification(kernel: &FakeKernel, sent: &Sent, request: &mach_port_request_notification::Request) -> Answer {
    let to = sent.port(request.notify);
    let mut state = kernel.state.borrow_mut();
    let Some(super::space::Entry::Port { port, .. }) = state.space.get(request.name.0) else {
        return Answer::error(3214, Code::INVALID_ARGUMENT);
    };
    let port = port.0;
    match (request.id, to) {
        (crate::port::notification::NO_SENDERS, to) => state.ports[port].no_senders = to,
        (crate::port::notification::DEAD_NAME, Some(to)) => state.ports[port].dead_name.push((request.name.0, to)),
        _ => return Answer::error(3214, Code::INVALID_VALUE),
    }
    Answer::to::<mach_port_request_notification::Request>(Ok(mach_port_request_notification::Reply { previous: Port::NULL }))
}

fn mach_call(kernel: &FakeKernel, sent: &Sent) -> Option<Answer> {
    use mach::{Call, task_get_special_port, vm_protect, vm_set_default_memory_manager};
    Some(match Call::decode(sent.bytes())?.ok()? {
        Call::task_get_special_port(request) if request.which == TASK_BOOTSTRAP_PORT => {
            let reply = task_get_special_port::Reply { special_port: Port::move_send(1) };
            Answer::with_sends::<task_get_special_port::Request>(reply, &[BOOTSTRAP])
        }
        Call::vm_protect(_) => Answer::to::<vm_protect::Request>(Ok(vm_protect::Reply {})),
        Call::vm_set_default_memory_manager(request) => {
            kernel.state.borrow_mut().default_manager = sent.port(request.default_manager);
            let reply = vm_set_default_memory_manager::Reply { default_manager: Port::NULL };
            Answer::to::<vm_set_default_memory_manager::Request>(Ok(reply))
        }
        _ => return None,
    })
}

fn host_call(kernel: &FakeKernel, sent: &Sent) -> Option<Answer> {
    if let Some(Ok(gnumach::Call::vm_wire_all(_))) = gnumach::Call::decode(sent.bytes()) {
        kernel.state.borrow_mut().wired = true;
        return Some(Answer::to::<gnumach::vm_wire_all::Request>(Ok(gnumach::vm_wire_all::Reply {})));
    }
    sent.decode::<host_reboot::Request>().ok().map(|_| Answer::to::<host_reboot::Request>(Ok(host_reboot::Reply {})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_nobody_answers_is_a_bad_id() {
        let (_kernel, _installed) = FakeKernel::install();
        let code = crate::rpc::call(crate::task::own(), &mach::task_suspend::Request {}).unwrap_err();
        assert_eq!(code, Code::MIG_BAD_ID);
    }
}
