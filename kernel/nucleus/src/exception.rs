//! Exceptions: a message to the thread's exception port, or the task's; the reply decides.

use alloc::sync::Arc;
use alloc::vec;

use abi::call::exc::exception_raise;
use abi::item::Item;
use abi::message::Reader;
use abi::{Code, REPLY};

use crate::kernel::Kernel;
use crate::kobject::{Capability, Effects, Message, Port, Right};
use crate::machine::Machine;
use crate::run::Step;
use crate::task::copy_of;
use crate::thread::{Body, Delivery, Resume, Thread};
use crate::wait::Waiting;

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raise {
    pub(crate) exception: i32,
    pub(crate) code: i32,
    pub(crate) subcode: i64,
}

impl<M: Machine> Kernel<M> {
    /// Tells the handler; the thread waits for its reply. Without a handler the task ends.
    pub(crate) fn raise(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>, raise: Raise) -> Step {
        let port = copy_of(&thread.control.lock().exception_port);
        let port = if port.port().is_some() { port } else { copy_of(&thread.task.state.lock().exception_port) };
        let sent = if port.port().is_some() { self.send_exception(thread, port, raise) } else { None };
        match sent {
            Some(reply_port) => {
                body.resume = Resume::Exception { reply_port };
                Step::Continue
            }
            None => self.unhandled(thread, body, raise),
        }
    }

    /// Sends the message; gives the port that the reply goes to.
    fn send_exception(&self, thread: &Arc<Thread<M>>, to: Right<M>, raise: Raise) -> Option<Port<M>> {
        let mut effects = Effects::new();
        // Replies come to the thread's own port, where `rpc` hands them to it.
        let reply_port = Arc::clone(thread.port()?);
        let request = exception_raise::Request {
            thread: abi::message::Port { name: 0, kind: abi::message::kind::MOVE_SEND },
            task: abi::message::Port { name: 1, kind: abi::message::kind::MOVE_SEND },
            exception: raise.exception,
            code: raise.code,
            subcode: raise.subcode,
        };
        let rights = vec![Some(Capability::Right(thread.send_right())), Some(Capability::Right(thread.task.send_right()))];
        let message = Message::from_kernel(to, Some(reply_port.make_send_once()), &request, rights, &mut effects);
        let is_built = message.is_ok();
        if let Ok(message) = message {
            {
                let mut control = thread.control.lock();
                control.in_exception = true;
                // What an earlier wait left behind is no reply.
                control.delivery = None;
            }
            self.send(message);
        }
        self.work_off(effects);
        is_built.then_some(reply_port)
    }

    /// Nobody handles it: the task ends.
    fn unhandled(&self, thread: &Arc<Thread<M>>, body: &Body<M>, raise: Raise) -> Step {
        let Raise { exception, code, subcode } = raise;
        self.print(format_args!(
            "pvmach: {}: unhandled exception {exception}, code {code} ({}), subcode {subcode:#x}, at pc {:#x}\n",
            thread.task.label(),
            Code(code),
            body.registers.pc
        ));
        self.task_terminate(&thread.task);
        Step::Continue
    }

    /// The thread waits for the reply, or has it.
    pub(crate) fn exception_reply(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>, reply_port: Port<M>) -> Step {
        let delivery = self.take_delivery(thread);
        if matches!(delivery, Some(Delivery::Code(_))) {
            thread.control.lock().in_exception = false;
        }
        match delivery {
            Some(Delivery::Code(Code::SUCCESS | Code::ABORTED)) => Step::Continue,
            Some(Delivery::Code(code)) => {
                self.print(format_args!("pvmach: {}: its exception handler said {code}\n", thread.task.label()));
                self.task_terminate(&thread.task);
                Step::Continue
            }
            _ => {
                body.resume = Resume::Exception { reply_port };
                if self.block(thread, Waiting::Reply) { Step::Leave } else { Step::Continue }
            }
        }
    }

    /// The reply came. One that nobody waits for does nothing.
    pub(crate) fn exception_answered(&self, thread: &Arc<Thread<M>>, code: Code) {
        let is_awaited = core::mem::replace(&mut thread.control.lock().in_exception, false);
        if is_awaited {
            self.deliver(thread, Delivery::Code(code));
        }
    }

    /// A message came to a thread's port that may be such a reply: its code, if it is. A send-once right that died unused counts as a refusal.
    pub(crate) fn reply_code(message: &Message<M>) -> Option<Code> {
        const REPLY_ID: i32 = <exception_raise::Request as abi::Message>::ID + REPLY;
        const SEND_ONCE: i32 = <abi::call::notify::mach_notify_send_once::Request as abi::Message>::ID;
        match message.header.id {
            REPLY_ID => Some(Code::get(&mut Reader::new(&message.bytes)).unwrap_or(Code::MIG_TYPE_ERROR)),
            SEND_ONCE => Some(Code::FAILURE),
            _ => None,
        }
    }
}
