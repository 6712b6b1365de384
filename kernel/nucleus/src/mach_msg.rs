//! The mach_msg trap: send, then receive, each of which may wait.
//!
//! A step is data: what to do next is a [`MessageStep`] in the thread, so a wait, a fault in the user's buffer, and an abort all come back
//! to the same place.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::message::{HEADER_BYTES, MESSAGE_MAX, Reader, kind};
use abi::trap::option;
use abi::{Code, Header};
use ipc::{How, Receive, Received, Sent};
use vm::Outcome;

use crate::carrier::TaskCarrier;
use crate::fault::Next;
use crate::kernel::Kernel;
use crate::kobject::{Capability, Effects, Message, Object};
use crate::machine::{Abort, Machine};
use crate::run::Step;
use crate::thread::{Body, Delivery, Resume, Thread};
use crate::wait::Waiting;

/// Where a mach_msg is.
pub(crate) enum MessageStep<M: Machine> {
    /// The message was copied in.
    Send(Message<M>),
    /// The queue was full; it may have room.
    SendAgain(Message<M>),
    /// What was sent is sent.
    Receive,
    /// Waits for a message, or has been given one.
    Received,
    /// Makes what it carries ready, then gives it to the task.
    Deliver(Message<M>),
    /// Its bytes go to the user's buffer, then the trap returns this code.
    Write(Vec<u8>, Code),
}

/// The trap's arguments, which stay in the registers all the while.
struct Arguments {
    address: u64,
    option: u32,
    send_size: u32,
    receive_size: u32,
    receive_name: u32,
    timeout_ms: u32,
}

impl Arguments {
    fn of<M: Machine>(body: &Body<M>) -> Self {
        let x = &body.registers.x;
        Self {
            address: x[0],
            option: x[1] as u32,
            send_size: x[2] as u32,
            receive_size: x[3] as u32,
            receive_name: x[4] as u32,
            timeout_ms: x[5] as u32,
        }
    }

    const fn has(&self, bit: u32) -> bool {
        self.option & bit != 0
    }
}

impl<M: Machine> Kernel<M> {
    /// The trap from its start.
    pub(crate) fn mach_msg(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>) -> Step {
        let arguments = Arguments::of(body);
        if !arguments.has(option::SEND) {
            return self.message_step(thread, body, MessageStep::Receive);
        }
        match self.message_in(thread, &arguments) {
            Ok(message) => self.message_step(thread, body, MessageStep::Send(message)),
            Err(Refused::Code(code)) => trap_return(body, code),
            Err(Refused::Shortage) => self.await_room(thread, body, Code::SEND_NO_BUFFER),
            Err(Refused::Fault(abort)) => {
                body.resume = Resume::TrapFault(abort);
                Step::Continue
            }
        }
    }

    /// Goes on with one.
    pub(crate) fn message_step(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>, step: MessageStep<M>) -> Step {
        let arguments = Arguments::of(body);
        match step {
            MessageStep::Send(message) => self.message_send(thread, body, &arguments, message),
            MessageStep::SendAgain(message) => match self.take_delivery(thread) {
                Some(Delivery::Code(code)) => self.give_back(thread, body, message, code),
                _ => self.message_send(thread, body, &arguments, message),
            },
            MessageStep::Receive => self.message_receive(thread, body, &arguments),
            MessageStep::Received => self.message_received(thread, body, &arguments),
            MessageStep::Deliver(message) => {
                // What it waited for is looked at again; nothing else may take this for its own.
                let _ = self.take_delivery(thread);
                self.message_deliver(thread, body, message)
            }
            MessageStep::Write(bytes, code) => self.message_write(thread, body, &arguments, bytes, code),
        }
    }

    /// Copies a message in.
    fn message_in(&self, thread: &Arc<Thread<M>>, arguments: &Arguments) -> Result<Message<M>, Refused> {
        if self.room(thread) != Outcome::Done && !self.is_answer(thread, arguments)? {
            return Err(Refused::Shortage);
        }
        let size = arguments.send_size as usize;
        if size < HEADER_BYTES || !size.is_multiple_of(8) {
            return Err(Refused::Code(Code::SEND_MSG_TOO_SMALL));
        }
        if size > MESSAGE_MAX {
            return Err(Refused::Code(Code::SEND_NO_BUFFER));
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size).map_err(|_| Refused::Code(Code::SEND_NO_BUFFER))?;
        bytes.resize(size, 0);
        self.machine.read_user(arguments.address, &mut bytes).map_err(Refused::Fault)?;
        let header = Header::read(&bytes).ok_or(Refused::Code(Code::SEND_MSG_TOO_SMALL))?;
        if header.is_complex() {
            self.touch_arrays(&bytes)?;
        }
        let mut effects = Effects::new();
        let task = &thread.task;
        let message = ipc::copyin(&task.space, &header, bytes, &mut TaskCarrier { kernel: self, task }, &mut effects);
        self.work_off_if_any(effects);
        message.map_err(Refused::Code)
    }

    /// Whether a message is for a memory object's control port: what a pager answers must get through, whoever it is.
    fn is_answer(&self, thread: &Thread<M>, arguments: &Arguments) -> Result<bool, Refused> {
        let mut bytes = [0; HEADER_BYTES];
        self.machine.read_user(arguments.address, &mut bytes).map_err(Refused::Fault)?;
        let object = Header::read(&bytes).map(|header| thread.task.space.object(header.remote as u32));
        Ok(matches!(object, Some(Ok(Object::Control(_)))))
    }

    /// Makes arrays of rights resident, since reading them can't wait once rights are being moved.
    fn touch_arrays(&self, bytes: &[u8]) -> Result<(), Refused> {
        let mut reader = Reader::new(bytes);
        while !reader.is_at_end() {
            let Ok((descriptor, data)) = reader.item() else { return Ok(()) };
            if descriptor.inline || !kind::is_right(descriptor.name) {
                continue;
            }
            let address = u64::from_le_bytes(data.try_into().unwrap_or_default());
            let size = u64::from(descriptor.number) * 4;
            let Ok(range) = vm::PageRange::containing(address, size) else { continue };
            for page in range.pages().take(MESSAGE_MAX / 4096 + 1) {
                self.machine.read_user(page.max(address), &mut [0]).map_err(Refused::Fault)?;
            }
        }
        Ok(())
    }

    fn message_send(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>, arguments: &Arguments, message: Message<M>) -> Step {
        let mut effects = Effects::new();
        let may_wait = !arguments.has(option::SEND_TIMEOUT) || arguments.timeout_ms > 0;
        let sent = ipc::send(message, How::Normal(may_wait.then(|| Arc::clone(thread))), &mut effects);
        self.work_off_if_any(effects);
        match sent {
            Sent::Kernel { object, message } => return self.rpc(thread, body, object, message),
            Sent::Deliver { waiter, message } => self.deliver(&waiter, Delivery::Message(message)),
            Sent::Queued => (),
            Sent::Full { message, token: Some(token) } => {
                let timeout = self.timeout(thread, arguments.has(option::SEND_TIMEOUT), arguments.timeout_ms);
                body.resume = Resume::Message(MessageStep::SendAgain(message));
                return self.leave_if(self.block(thread, Waiting::Send { token, timeout }));
            }
            Sent::Full { message, token: None } => return self.give_back(thread, body, message, Code::SEND_TIMED_OUT),
            Sent::NoMemory(message) => return self.give_back(thread, body, message, Code::SEND_NO_BUFFER),
            Sent::Dead(message) => self.destroy(message),
        }
        self.sent(body)
    }

    /// The send is over: now the receive, if there is one.
    pub(crate) fn sent(&self, body: &mut Body<M>) -> Step {
        if !Arguments::of(body).has(option::RCV) {
            return trap_return(body, Code::SUCCESS);
        }
        body.resume = Resume::Message(MessageStep::Receive);
        Step::Continue
    }

    fn message_receive(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>, arguments: &Arguments) -> Step {
        if !arguments.has(option::RCV) {
            return trap_return(body, Code::SUCCESS);
        }
        let _ = self.take_delivery(thread);
        let may_wait = !arguments.has(option::RCV_TIMEOUT) || arguments.timeout_ms > 0;
        let how = Receive {
            max_size: arguments.receive_size,
            large: arguments.has(option::RCV_LARGE),
            waiter: may_wait.then(|| Arc::clone(thread)),
        };
        let mut effects = Effects::new();
        let received = ipc::receive(&thread.task.space, arguments.receive_name, how, &mut effects);
        self.work_off_if_any(effects);
        match received {
            Received::Message(message) => self.message_deliver(thread, body, message),
            Received::Wait(token) => {
                let timeout = self.timeout(thread, arguments.has(option::RCV_TIMEOUT), arguments.timeout_ms);
                body.resume = Resume::Message(MessageStep::Received);
                self.leave_if(self.block(thread, Waiting::Receive { token, timeout }))
            }
            Received::TooLarge(size, message) => self.too_large(thread, body, size, message),
            Received::Err(code) => trap_return(body, code),
        }
    }

    /// A wait for a message is over, or was never begun.
    fn message_received(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>, arguments: &Arguments) -> Step {
        match self.take_delivery(thread) {
            Some(Delivery::Message(message)) if message.size() > arguments.receive_size => {
                let size = message.size();
                self.too_large(thread, body, size, Some(message))
            }
            Some(Delivery::Message(message)) => self.message_deliver(thread, body, message),
            Some(Delivery::Code(code)) => trap_return(body, code),
            Some(Delivery::TooLarge(size)) => self.too_large(thread, body, size, None),
            Some(Delivery::Wake) | None => self.message_receive(thread, body, arguments),
        }
    }

    /// A message doesn't fit: the receiver gets a header with its size.
    fn too_large(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>, size: u32, message: Option<Message<M>>) -> Step {
        let mut effects = Effects::new();
        let bytes = match message {
            Some(message) => ipc::copyout_destination(&thread.task.space, message, &mut effects),
            None => {
                let mut bytes = alloc::vec![0; HEADER_BYTES];
                Header { size, ..Header::default() }.write(&mut bytes);
                bytes
            }
        };
        self.work_off(effects);
        let fits = Arguments::of(body).receive_size as usize >= HEADER_BYTES;
        let bytes = if fits { bytes } else { Vec::new() };
        self.message_step(thread, body, MessageStep::Write(bytes, Code::RCV_TOO_LARGE))
    }

    /// Gives a message to the task that receives it.
    fn message_deliver(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>, mut message: Message<M>) -> Step {
        if !message.capabilities.is_empty() {
            match self.until(thread, || clean_edges(self, &mut message)) {
                Next::Go => (),
                Next::Leave => {
                    body.resume = Resume::Message(MessageStep::Deliver(message));
                    return Step::Leave;
                }
                // The bytes can't be had any more: the receiver must not see what is around them.
                Next::Refused(_) => drop_unclean(&mut message),
            }
        }
        let mut effects = Effects::new();
        let task = &thread.task;
        let (bytes, code) = ipc::copyout(&task.space, message, &mut TaskCarrier { kernel: self, task }, &mut effects);
        self.work_off_if_any(effects);
        self.message_step(thread, body, MessageStep::Write(bytes, code))
    }

    fn message_write(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>, arguments: &Arguments, bytes: Vec<u8>, code: Code) -> Step {
        match self.machine.write_user(&bytes, arguments.address) {
            Ok(()) => trap_return(body, code),
            Err(abort) => match self.resolve(thread, abort) {
                Next::Go => {
                    body.resume = Resume::Message(MessageStep::Write(bytes, code));
                    Step::Continue
                }
                Next::Leave => {
                    body.resume = Resume::Message(MessageStep::Write(bytes, code));
                    Step::Leave
                }
                Next::Refused(_) => trap_return(body, Code::RCV_INVALID_DATA),
            },
        }
    }

    /// A message that could not be sent goes back to its sender, with its rights (pseudo-receive).
    fn give_back(&self, thread: &Arc<Thread<M>>, body: &mut Body<M>, message: Message<M>, code: Code) -> Step {
        let mut effects = Effects::new();
        let task = &thread.task;
        ipc::decline_retry(&message, &mut effects);
        let (bytes, bits) = ipc::pseudo_copyout(&task.space, message, &mut TaskCarrier { kernel: self, task }, &mut effects);
        self.work_off(effects);
        self.message_step(thread, body, MessageStep::Write(bytes, Code(code.0 | bits.0)))
    }

    fn timeout(&self, thread: &Arc<Thread<M>>, wanted: bool, milliseconds: u32) -> Option<sched::Timeout> {
        if !wanted {
            return None;
        }
        let due = self.machine.now() + u64::from(milliseconds) * 1_000_000;
        self.timeout_at(thread, due)
    }

    pub(crate) const fn leave_if(&self, blocked: bool) -> Step {
        if blocked { Step::Leave } else { Step::Continue }
    }

    pub(crate) fn destroy(&self, message: Message<M>) {
        let mut effects = Effects::new();
        message.destroy(&mut effects);
        self.work_off(effects);
    }

    pub(crate) fn work_off_if_any(&self, effects: Effects<M>) {
        if !effects.is_empty() {
            self.work_off(effects);
        }
    }

    /// A thread ends in the middle of something.
    pub(crate) fn drop_resume(&self, body: &mut Body<M>) {
        match core::mem::replace(&mut body.resume, Resume::User) {
            Resume::Message(MessageStep::SendAgain(message)) => {
                // It may just have been let in: then it is the next one's turn.
                let mut effects = Effects::new();
                ipc::decline_retry(&message, &mut effects);
                message.destroy(&mut effects);
                self.work_off(effects);
            }
            Resume::Message(MessageStep::Send(message) | MessageStep::Deliver(message)) => self.destroy(message),
            Resume::Rpc(suspended) => self.rpc_dropped(suspended),
            _ => (),
        }
    }
}

enum Refused {
    Code(Code),
    /// There is no room for it now.
    Shortage,
    Fault(Abort),
}

/// The trap ends with a code.
pub(crate) fn trap_return<M: Machine>(body: &mut Body<M>, code: Code) -> Step {
    body.registers.x[0] = u64::from(code.0 as u32);
    body.resume = Resume::User;
    Step::Continue
}

fn clean_edges<M: Machine>(kernel: &Kernel<M>, message: &mut Message<M>) -> Outcome {
    for capability in message.capabilities.iter_mut().flatten() {
        if let Capability::Memory { memory, .. } = capability {
            match memory.clean_edges(&kernel.vm) {
                Outcome::Done => (),
                other => return other,
            }
        }
    }
    Outcome::Done
}

fn drop_unclean<M: Machine>(message: &mut Message<M>) {
    for slot in &mut message.capabilities {
        if matches!(slot, Some(Capability::Memory { memory, .. }) if !memory.clean) {
            *slot = None;
        }
    }
}
