//! mach_port.defs: names and rights of the task's space.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::call::mach_port::{self, Call};
use abi::item::{PortName, Words};

use super::{Answer, PortReply, Request};
use crate::kobject::{Effects, Right};
use crate::machine::Machine;
use crate::task::Task;

pub(super) fn call<M: Machine>(request: &mut Request<'_, M>, task: &Arc<Task<M>>, call: Call) -> Answer<M> {
    let mut effects = Effects::new();
    let answer = with_effects(request, task, call, &mut effects);
    request.kernel.work_off_if_any(effects);
    answer
}

fn with_effects<M: Machine>(request: &mut Request<'_, M>, task: &Arc<Task<M>>, call: Call, effects: &mut Effects<M>) -> Answer<M> {
    let space = &task.space;
    match call {
        Call::mach_port_type(call) => match space.type_of(call.name.0) {
            Ok(ptype) => request.reply(&mach_port::mach_port_type::Reply { ptype }, Vec::new()),
            Err(code) => Answer::Code(code),
        },
        Call::mach_port_rename(call) => space.rename(call.old_name.0, call.new_name.0).into(),
        Call::mach_port_allocate_name(call) => space.allocate_name(call.right, call.name.0).into(),
        Call::mach_port_allocate(call) => match space.allocate(call.right) {
            Ok(name) => request.reply(&mach_port::mach_port_allocate::Reply { name: PortName(name) }, Vec::new()),
            Err(code) => Answer::Code(code),
        },
        Call::mach_port_destroy(call) => space.destroy_name(call.name.0, effects).into(),
        Call::mach_port_deallocate(call) => space.deallocate(call.name.0, effects).into(),
        Call::mach_port_get_refs(call) => match space.get_refs(call.name.0, call.right) {
            Ok(refs) => request.reply(&mach_port::mach_port_get_refs::Reply { refs }, Vec::new()),
            Err(code) => Answer::Code(code),
        },
        Call::mach_port_mod_refs(call) => space.mod_refs(call.name.0, call.right, call.delta, effects).into(),
        Call::mach_port_set_qlimit(call) => space.set_queue_limit(call.name.0, call.qlimit, effects).into(),
        Call::mach_port_set_mscount(call) => space.set_make_send_count(call.name.0, call.mscount).into(),
        Call::mach_port_move_member(call) => space.move_member(call.member.0, call.after.0, effects).into(),
        Call::mach_port_request_notification(call) => {
            let notify = request.right(call.notify);
            let notify = (notify.kind() != ipc::RightKind::Null).then_some(notify);
            match space.request_notification(call.name.0, call.id, call.sync, notify, effects) {
                Ok(previous) => request.reply_right(PortReply, previous.unwrap_or(Right::null())),
                Err(code) => Answer::Code(code),
            }
        }
        Call::mach_port_insert_right(call) => {
            let right = request.right(call.poly);
            space.insert_right(call.name.0, right, effects).into()
        }
        Call::mach_port_extract_right(call) => match space.extract_right(call.name.0, call.kind as u8, effects) {
            Ok(right) => request.reply_right(PortReply, right),
            Err(code) => Answer::Code(code),
        },
        Call::mach_port_get_receive_status(call) => match space.receive_status(call.name.0) {
            Ok(status) => {
                let status = Words(status.words().to_vec());
                request.reply(&mach_port::mach_port_get_receive_status::Reply { status }, Vec::new())
            }
            Err(code) => Answer::Code(code),
        },
        Call::mach_port_set_seqno(call) => space.set_seqno(call.name.0, call.seqno).into(),
        Call::mach_port_set_protected_payload(call) => space.set_protected_payload(call.name.0, Some(call.payload)).into(),
        Call::mach_port_clear_protected_payload(call) => space.set_protected_payload(call.name.0, None).into(),
    }
}
