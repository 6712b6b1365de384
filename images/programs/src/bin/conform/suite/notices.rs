//! What the kernel tells of ports: dead names, no senders, rights given up; and how names and references count.

use core::time::Duration;

use abi::Code;
use abi::call::mach_port::{
    mach_port_allocate_name, mach_port_destroy, mach_port_extract_right, mach_port_get_refs, mach_port_insert_right, mach_port_rename,
    mach_port_request_notification, mach_port_type, right,
};
use abi::call::notify::{mach_notify_dead_name, mach_notify_no_senders};
use abi::item::PortName;
use abi::message::{Port, kind};
use runtime::port::notification;
use runtime::{Receiver, SendRight, port, rpc, task};

use super::exceptions::{wait_for_death, watch};
use super::harness::{LONG, Outcome, expect, refused, same, tests};
use super::puppet::Sandbox;

tests! {
    dead_name,
    dead_name_of_what_is_dead,
    dead_name_request_is_replaced,
    no_senders,
    no_senders_when_there_are_none,
    port_destroyed,
    references_and_names,
    deaths_of_tasks_and_threads,
    rights_of_a_task_that_ended,
}

fn refs(name: u32, right: u32) -> Result<u32, Code> {
    rpc::call(task::own(), &mach_port_get_refs::Request { name: PortName(name), right }).map(|reply| reply.refs)
}

fn type_of(name: u32) -> Result<u32, Code> {
    rpc::call(task::own(), &mach_port_type::Request { name: PortName(name) }).map(|reply| reply.ptype)
}

/// A right to send to a port of this task, under a name that isn't that of the receive right: another task's.
fn foreign() -> Outcome<(Sandbox, SendRight)> {
    let sandbox = Sandbox::new()?;
    let request = mach_port_allocate_name::Request { right: right::RECEIVE, name: PortName(0x500) };
    sandbox.task.port().call(&request)?;
    let extract = mach_port_extract_right::Request { name: PortName(0x500), kind: kind::MAKE_SEND.into() };
    let right = sandbox.task.port().call(&extract)?.poly;
    Ok((sandbox, SendRight::from_port(right).ok_or(Code::FAILURE)?))
}

fn kill(sandbox: &Sandbox) -> Result<(), Code> {
    sandbox.task.port().call(&mach_port_destroy::Request { name: PortName(0x500) }).map(drop)
}

fn dead_name() -> Outcome {
    let (sandbox, right) = foreign()?;
    let notified = watch(&right)?;
    kill(&sandbox)?;
    let mut receiver = Receiver::new(128)?;
    let message = receiver.receive(notified.name(), Some(LONG))?;
    same("its size", message.bytes().len(), 48)?;
    let dead: mach_notify_dead_name::Request = message.decode()?;
    same("its name", dead.name.0, right.name())?;
    same("the name's type", type_of(right.name())?, right::type_bit(right::DEAD_NAME))?;
    // The one that the right was, and the notification's.
    same("its references", refs(right.name(), right::DEAD_NAME)?, 2)?;
    port::deallocate(dead.name.0);
    refused("a send to it", right.send(&abi::call::mach::task_resume::Request {}), Code::SEND_INVALID_DEST)
}

fn dead_name_of_what_is_dead() -> Outcome {
    let (sandbox, right) = foreign()?;
    kill(&sandbox)?;
    let notified = port::allocate()?;
    let ask = |sync| {
        let notify = notified.send_once_port();
        let request = mach_port_request_notification::Request { name: PortName(right.name()), id: notification::DEAD_NAME, sync, notify };
        rpc::call(task::own(), &request).map(|reply| port::deallocate(reply.previous.name))
    };
    refused("a request that must be early", ask(0), Code::INVALID_ARGUMENT)?;
    // The right to tell was in that request, and is gone with it.
    same("the refused one's right", Receiver::new(128)?.receive(notified.name(), Some(LONG))?.id(), 71)?;
    ask(1)?;
    wait_for_death(&notified)
}

fn dead_name_request_is_replaced() -> Outcome {
    let (sandbox, right) = foreign()?;
    let (first, second) = (watch(&right)?, watch(&right)?);
    // Asking with no port takes the request back.
    kill(&sandbox)?;
    wait_for_death(&second)?;
    let mut receiver = Receiver::new(128)?;
    // The first one's right was given up by this task: that is what it hears.
    same("the first one's message", receiver.receive(first.name(), Some(LONG))?.id(), 71)?;
    let (sandbox, right) = foreign()?;
    let third = watch(&right)?;
    port::request_notification(right.name(), notification::DEAD_NAME, 0, Port { name: 0, kind: kind::MOVE_SEND_ONCE })?;
    kill(&sandbox)?;
    same("the third one's message", receiver.receive(third.name(), Some(LONG))?.id(), 71)
}

fn no_senders() -> Outcome {
    let (port, notified) = (port::allocate()?, port::allocate()?);
    let right = port.make_send()?;
    let another = right.try_clone()?;
    port::request_notification(port.name(), notification::NO_SENDERS, 1, notified.send_once_port())?;
    let mut receiver = Receiver::new(128)?;
    drop(right);
    let early = receiver.receive(notified.name(), Some(Duration::ZERO)).map(drop);
    refused("while there is a sender", early, Code::RCV_TIMED_OUT)?;
    drop(another);
    let message = receiver.receive(notified.name(), Some(LONG))?;
    same("its size", message.bytes().len(), 48)?;
    same("rights made", message.decode::<mach_notify_no_senders::Request>()?.mscount, 1)?;
    drop(message);
    // A right in a message is a sender too.
    let carrier = port::allocate()?;
    rpc::send_to(
        carrier.send_port(),
        &abi::call::bootstrap::bootstrap_register::Request {
            name: abi::item::Text(alloc::string::String::from("x")),
            service: port.send_port(),
        },
    )?;
    port::request_notification(port.name(), notification::NO_SENDERS, 2, notified.send_once_port())?;
    let early = receiver.receive(notified.name(), Some(Duration::ZERO)).map(drop);
    refused("while a right is in a message", early, Code::RCV_TIMED_OUT)?;
    drop(carrier);
    let message = receiver.receive(notified.name(), Some(LONG))?;
    same("rights made", message.decode::<mach_notify_no_senders::Request>()?.mscount, 2)
}

fn no_senders_when_there_are_none() -> Outcome {
    let (port, notified) = (port::allocate()?, port::allocate()?);
    drop(port.make_send()?);
    port::request_notification(port.name(), notification::NO_SENDERS, 1, notified.send_once_port())?;
    let mut receiver = Receiver::new(128)?;
    let message = receiver.receive(notified.name(), Some(LONG))?;
    same("rights made", message.decode::<mach_notify_no_senders::Request>()?.mscount, 1)
}

fn port_destroyed() -> Outcome {
    let (port, notified) = (port::allocate()?, port::allocate()?);
    let right = port.make_send()?;
    port::request_notification(port.name(), notification::PORT_DESTROYED, 0, notified.send_once_port())?;
    let name = port.name();
    drop(port);
    let mut receiver = Receiver::new(128)?;
    let mut message = receiver.receive(notified.name(), Some(LONG))?;
    let back: abi::call::notify::mach_notify_port_destroyed::Request = message.decode()?;
    let port = message.claim_receive(back.receive).ok_or(Code::FAILURE)?;
    drop(message);
    same("its name", port.name(), name)?;
    // It is alive.
    right.send(&abi::call::notify::mach_notify_send_once::Request {})?;
    same("a message to it", receiver.receive(port.name(), Some(LONG))?.id(), 71)
}

fn references_and_names() -> Outcome {
    let port = port::allocate()?;
    let name = port.name();
    let own = task::own();
    refused("references of no right", refs(name, 9), Code::INVALID_VALUE)?;
    same("references of a send right that isn't there", refs(name, right::SEND)?, 0)?;
    let right = port.make_send()?;
    port::mod_refs(name, right::SEND, 4)?;
    same("references", refs(name, right::SEND)?, 5)?;
    refused("too few", port::mod_refs(name, right::SEND, -6), Code::INVALID_VALUE)?;
    port::mod_refs(name, right::SEND, -4)?;
    refused("too many", port::mod_refs(name, right::SEND, i32::MAX), Code::UREFS_OVERFLOW)?;
    refused("two receive rights", port::mod_refs(name, right::RECEIVE, 1), Code::INVALID_VALUE)?;
    let rename = |old_name, new_name| {
        rpc::call(own, &mach_port_rename::Request { old_name: PortName(old_name), new_name: PortName(new_name) }).map(drop)
    };
    rename(name, 0x777)?;
    refused("the old name", type_of(name), Code::INVALID_NAME)?;
    same("the new name", type_of(0x777)?, right::type_bit(right::SEND) | right::type_bit(right::RECEIVE))?;
    refused("a name that is taken", rename(0x777, own), Code::NAME_EXISTS)?;
    rename(0x777, name)?;
    let insert = |name, poly| rpc::call(own, &mach_port_insert_right::Request { name: PortName(name), poly }).map(drop);
    refused("a right under a name that is taken", insert(own, Port::make_send_once(name)), Code::NAME_EXISTS)?;
    refused("a right under another name", insert(0x888, Port::make_send(name)), Code::RIGHT_EXISTS)?;
    insert(0x888, Port::make_send_once(name))?;
    same("the type", type_of(0x888)?, right::type_bit(right::SEND_ONCE))?;
    port::deallocate(0x888);
    for bad in [0, u32::MAX] {
        expect(type_of(bad).is_err(), format_args!("{bad:#x} is a name of something"))?;
    }
    drop(right);
    Ok(())
}

fn deaths_of_tasks_and_threads() -> Outcome {
    let sandbox = Sandbox::new()?;
    let (task_death, thread_death) = (watch(sandbox.task.port())?, watch(sandbox.puppet.thread())?);
    super::puppet::end(sandbox.puppet.thread())?;
    wait_for_death(&thread_death)?;
    sandbox.task.terminate()?;
    wait_for_death(&task_death)?;
    refused("a call to a dead task", sandbox.space.allocate(4096), Code::SEND_INVALID_DEST)
}

fn rights_of_a_task_that_ended() -> Outcome {
    let (sandbox, right) = foreign()?;
    let (port, notified) = (port::allocate()?, port::allocate()?);
    let give = mach_port_insert_right::Request { name: PortName(0x600), poly: port.send_port() };
    sandbox.task.port().call(&give)?;
    port::request_notification(port.name(), notification::NO_SENDERS, 1, notified.send_once_port())?;
    let death = watch(&right)?;
    drop(sandbox);
    // What it received from is dead, and it sends no more.
    wait_for_death(&death)?;
    let mut receiver = Receiver::new(128)?;
    same("no senders", receiver.receive(notified.name(), Some(LONG))?.id(), notification::NO_SENDERS)
}
