//! Kernel RPCs: a message to a kernel port is executed by the thread that sent it.
//!
//! The message is decoded whole by its table in `abi` before any code runs. A routine answers at once, or later (a device), or must wait: then the
//! message stays with the thread, which executes it again; so a routine takes rights and memory out of the message only
//! when it will not wait any more.

mod control;
mod device;
mod host;
mod port;
mod state;
mod task;
mod thread;
mod vm_calls;

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::item::Item;
use abi::message::Malformed;
use abi::{Code, REPLY};

use crate::fault::Next;
use crate::kernel::Kernel;
use crate::kobject::{Capability, Effects, Message, Object, Right};
use crate::machine::Machine;
use crate::run::Step;
use crate::thread::{Body, Delivery, Resume, Thread};

pub(crate) use state::set_state;

/// An RPC that waits.
pub(crate) struct Suspended<M: Machine> {
    object: Object<M>,
    pub(crate) message: Message<M>,
    progress: u64,
}

/// What a routine came to.
pub(crate) enum Answer<M: Machine> {
    /// The whole reply.
    Reply(Message<M>),
    /// A reply that is only a code; nothing for a simple routine.
    Code(Code),
    /// Somebody else replies, later.
    Later,
    /// The thread waits; then the routine again.
    Suspend,
    /// The thread must let others run, then the routine again.
    Yield,
    /// There is no such routine here.
    BadId,
}

impl<M: Machine> From<Result<(), Code>> for Answer<M> {
    fn from(result: Result<(), Code>) -> Self {
        Self::Code(Code::of(&result))
    }
}

impl<M: Machine> From<Malformed> for Answer<M> {
    fn from(_: Malformed) -> Self {
        Self::Code(Code::MIG_BAD_ARGUMENTS)
    }
}

/// A request in execution.
pub(crate) struct Request<'a, M: Machine> {
    pub(crate) kernel: &'a Kernel<M>,
    pub(crate) thread: &'a Arc<Thread<M>>,
    pub(crate) message: &'a mut Message<M>,
    /// How far a routine that waited had come.
    pub(crate) progress: &'a mut u64,
}

impl<M: Machine> Request<'_, M> {
    /// Takes a right out; the null right if there is none.
    pub(crate) fn right(&mut self, port: abi::message::Port) -> Right<M> {
        self.message.take_right(port.name).unwrap_or(Right::null())
    }

    /// Looks at the object behind a right in the message, which stays there.
    pub(crate) fn object_of(&self, port: abi::message::Port) -> Option<Object<M>> {
        object_in(self.message, port)
    }

    /// A reply with items; ports and memory in it are indices into `capabilities`.
    pub(crate) fn reply(&mut self, items: &impl abi::Message, capabilities: Vec<Option<Capability<M>>>) -> Answer<M> {
        let mut effects = Effects::new();
        let Some(to) = self.message.local.take() else {
            capabilities.into_iter().flatten().for_each(|capability| capability.destroy(&mut effects));
            self.kernel.work_off(effects);
            return Answer::Later;
        };
        let built = Message::build(to, None, self.message.header.id + REPLY, capabilities, &mut effects, |writer| {
            Code::SUCCESS.put(writer)?;
            items.encode(writer)
        });
        self.kernel.work_off_if_any(effects);
        match built {
            Ok(message) => Answer::Reply(message),
            Err(_) => Answer::Later,
        }
    }

    /// A reply with one right.
    pub(crate) fn reply_right(&mut self, items: impl FnOnce(abi::message::Port) -> PortReply, right: Right<M>) -> Answer<M> {
        let items = items(carried(&right));
        let capabilities = alloc::vec![Some(capability(right))];
        self.reply(&items, capabilities)
    }

    /// Does what an engine says; none if it is done, else the answer for now.
    pub(crate) fn until(&self, engine: impl FnMut() -> vm::Outcome) -> Option<Answer<M>> {
        match self.kernel.until(self.thread, engine) {
            Next::Go => None,
            Next::Leave => Some(Answer::Suspend),
            Next::Refused(code) => Some(Answer::Code(code)),
        }
    }
}

/// Whether a routine frees memory.
const fn frees(id: i32) -> bool {
    use abi::Message as Routine;
    use abi::call::{mach, mach_port};
    matches!(
        id,
        mach::vm_deallocate::Request::ID
            | mach::task_terminate::Request::ID
            | mach::thread_terminate::Request::ID
            | mach_port::mach_port_destroy::Request::ID
            | mach_port::mach_port_deallocate::Request::ID
            | mach_port::mach_port_mod_refs::Request::ID
    )
}

/// The object behind a right in a message.
fn object_in<M: Machine>(message: &Message<M>, port: abi::message::Port) -> Option<Object<M>> {
    match message.capabilities.get(port.name as usize)?.as_ref()? {
        Capability::Right(right) => right.object(),
        _ => None,
    }
}

/// A right as a message carries it.
pub(crate) fn capability<M: Machine>(right: Right<M>) -> Capability<M> {
    match right.kind() {
        ipc::RightKind::Null => Capability::Null,
        _ => Capability::Right(right),
    }
}

/// The item for the right that is the only capability of a message.
pub(crate) fn carried<M: Machine>(right: &Right<M>) -> abi::message::Port {
    let kind = match right.kind() {
        ipc::RightKind::Receive => abi::message::kind::MOVE_RECEIVE,
        ipc::RightKind::SendOnce => abi::message::kind::MOVE_SEND_ONCE,
        _ => abi::message::kind::MOVE_SEND,
    };
    abi::message::Port { name: 0, kind }
}

/// A reply that is one port, whatever the routine calls it.
pub(crate) struct PortReply(pub(crate) abi::message::Port);

impl abi::Message for PortReply {
    const ID: i32 = 0;
    fn encode(&self, writer: &mut abi::message::Writer<'_>) -> Result<(), Malformed> {
        self.0.put(writer)
    }
    fn decode(reader: &mut abi::message::Reader<'_>) -> Result<Self, Malformed> {
        abi::message::Port::get(reader).map(Self)
    }
}

impl<M: Machine> Kernel<M> {
    /// A message was sent to a kernel port.
    pub(crate) fn rpc(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>, object: Object<M>, message: Message<M>) -> Step {
        self.execute(thread, body, Suspended { object, message, progress: 0 })
    }

    /// What an RPC waited for may be there.
    pub(crate) fn rpc_again(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>, suspended: Suspended<M>) -> Step {
        if let Some(Delivery::Code(Code::ABORTED)) = self.take_delivery(thread) {
            let mut suspended = suspended;
            self.give_up(&mut suspended);
            self.finish(suspended.message, Code::ABORTED);
            return self.sent(body);
        }
        self.execute(thread, body, suspended)
    }

    /// The thread of a suspended RPC ends.
    pub(crate) fn rpc_dropped(&self, mut suspended: Suspended<M>) {
        self.give_up(&mut suspended);
        self.destroy(suspended.message);
    }

    /// Takes back what a suspended RPC had half done.
    fn give_up(&self, suspended: &mut Suspended<M>) {
        match &suspended.object {
            Object::HostPriv => host::give_up(self, &suspended.message, suspended.progress),
            Object::Control(pager) => control::give_up(self, pager, &suspended.message, suspended.progress),
            _ => (),
        }
    }

    fn execute(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>, mut suspended: Suspended<M>) -> Step {
        let Suspended { object, message, progress } = &mut suspended;
        let mut request = Request { kernel: self, thread, message, progress };
        // Whatever frees memory must get through.
        let wait = if frees(request.message.header.id) || matches!(object, Object::Control(_)) {
            None
        } else {
            request.until(|| self.room(thread))
        };
        let answer = wait.unwrap_or_else(|| Self::dispatch(object, &mut request));
        match answer {
            Answer::Reply(reply) => {
                self.send(reply);
                self.finish_quietly(suspended.message);
            }
            Answer::Code(code) => self.finish(suspended.message, code),
            Answer::BadId => self.finish(suspended.message, Code::MIG_BAD_ID),
            Answer::Later => self.finish_quietly(suspended.message),
            Answer::Suspend => {
                body.resume = Resume::Rpc(suspended);
                return Step::Leave;
            }
            Answer::Yield => {
                body.resume = Resume::Rpc(suspended);
                return self.yield_cpu(thread);
            }
        }
        self.sent(body)
    }

    /// Which tables a port has.
    fn dispatch(object: &Object<M>, request: &mut Request<'_, M>) -> Answer<M> {
        match object {
            Object::Task(task) => {
                let task = Arc::clone(task);
                task::call(request, &task)
            }
            Object::Thread(target) => {
                let target = Arc::clone(target);
                thread::call(request, &target)
            }
            Object::Host => host::call(request, false),
            Object::HostPriv => host::call(request, true),
            Object::Control(pager) => {
                let pager = Arc::clone(pager);
                control::call(request, &pager)
            }
            Object::DeviceMaster | Object::Disk(_) | Object::Net(_) | Object::Ramdisk | Object::Random | Object::Clock => {
                device::call(request, &object.clone())
            }
            Object::DeviceMemory { .. } | Object::Name => Answer::BadId,
        }
    }

    /// Ends a request with a code.
    fn finish(&self, mut message: Message<M>, code: Code) {
        let mut effects = Effects::new();
        if let Some(to) = message.local.take() {
            let built = Message::build(to, None, message.header.id + REPLY, Vec::new(), &mut effects, |writer| code.put(writer));
            if let Ok(reply) = built {
                self.send(reply);
            }
        }
        message.consume(&mut effects);
        self.work_off_if_any(effects);
    }

    /// Ends a request whose reply is somebody else's, or was sent.
    fn finish_quietly(&self, message: Message<M>) {
        let mut effects = Effects::new();
        message.consume(&mut effects);
        self.work_off_if_any(effects);
    }

    /// Replies to a request that was put off.
    pub(crate) fn reply_later(
        &self,
        to: Right<M>,
        id: i32,
        code: Code,
        items: impl Fn(&mut abi::message::Writer<'_>) -> Result<(), Malformed>,
        capabilities: Vec<Option<Capability<M>>>,
    ) {
        let mut effects = Effects::new();
        let built = Message::build(to, None, id, capabilities, &mut effects, |writer| {
            code.put(writer)?;
            items(writer)
        });
        if let Ok(reply) = built {
            self.send(reply);
        }
        self.work_off_if_any(effects);
    }
}
