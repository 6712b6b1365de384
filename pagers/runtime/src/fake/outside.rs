//! What a test sees of the fake kernel: it sends messages to the task and reads or answers what the task sends.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::string::String;
use std::vec;
use std::vec::Vec;

use abi::message::{Header, Malformed, Memory, Reader};
use abi::{Code, Message, Routine};

use super::{BOOTSTRAP, Carried, FakeKernel, Packet, Port, PortId, Receiver, State};
use crate::rpc::build_reply;

/// A message of the task, as its receiver sees it: ports and memory are numbers to be looked up here.
#[derive(Clone, Debug)]
pub struct Sent {
    packet: Packet,
}

/// What a service answers.
pub struct Answer(Option<(Vec<u8>, Vec<Carried>)>);

impl Sent {
    pub(super) fn new(_: FakeKernel, packet: &Packet) -> Self {
        Self { packet: packet.clone() }
    }

    /// What it is.
    #[must_use]
    pub const fn id(&self) -> i32 {
        self.packet.id
    }

    /// The whole message, for a subsystem's `Call::decode`.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.packet.bytes
    }

    /// Its items.
    pub fn decode<M: Message>(&self) -> Result<M, Malformed> {
        if self.id() != M::ID {
            return Err(Malformed);
        }
        M::decode(&mut Reader::new(self.bytes()))
    }

    /// The port of a right in it; none for the null port.
    #[must_use]
    pub fn port(&self, right: abi::message::Port) -> Option<PortId> {
        self.packet.carried.get((right.name as usize).checked_sub(1)?)?.port()
    }

    /// The bytes of memory in it.
    #[must_use]
    pub fn memory(&self, memory: Memory) -> &[u8] {
        match (memory.address as usize).checked_sub(1).and_then(|index| self.packet.carried.get(index)) {
            Some(Carried::Memory(bytes)) => bytes,
            _ => &[],
        }
    }
}

impl Answer {
    /// No answer (yet).
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// A routine's answer.
    #[must_use]
    pub fn to<R: Routine>(answer: Result<R::Reply, Code>) -> Self {
        Self::carrying::<R>(answer, Vec::new())
    }

    /// A routine's answer with send rights; in the reply stand their numbers, from 1.
    #[must_use]
    pub fn with_sends<R: Routine>(reply: R::Reply, sends: &[PortId]) -> Self {
        Self::carrying::<R>(Ok(reply), sends.iter().map(|port| Carried::Send(*port)).collect())
    }

    /// A routine's answer with memory; in the reply stands number 1.
    #[must_use]
    pub fn with_memory<R: Routine>(reply: R::Reply, memory: Vec<u8>) -> Self {
        Self::carrying::<R>(Ok(reply), vec![Carried::Memory(memory)])
    }

    fn carrying<R: Routine>(answer: Result<R::Reply, Code>, carried: Vec<Carried>) -> Self {
        Self::built(R::Reply::ID, answer.as_ref().map_err(|code| *code), carried)
    }

    pub(super) fn error(id: i32, code: Code) -> Self {
        // The items of an error are none, so any message type will do.
        Self::built::<abi::call::notify::mach_notify_send_once::Request>(id + abi::REPLY, Err(code), Vec::new())
    }

    pub(super) fn with_send_once<R: Routine>(reply: R::Reply, port: PortId) -> Self {
        Self::carrying::<R>(Ok(reply), vec![Carried::SendOnce(port)])
    }

    fn built<M: Message>(id: i32, answer: Result<&M, Code>, carried: Vec<Carried>) -> Self {
        let mut bytes = vec![0; 8192];
        let size = build_reply(&mut bytes, Header { id, ..Header::default() }, answer).expect("the reply is well formed");
        bytes.truncate(size);
        Self(Some((bytes, carried)))
    }

    pub(super) fn deliver(self, kernel: &FakeKernel, reply: &Carried) {
        if let (Some((bytes, carried)), Some(to)) = (self.0, reply.port()) {
            kernel.deliver(to, Packet::from_bytes(bytes, None, carried));
        }
    }
}

impl FakeKernel {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.borrow_mut())
    }

    fn add(&self, receiver: Receiver) -> PortId {
        self.with(|state| {
            state.ports.push(Port::new(receiver));
            PortId(state.ports.len() - 1)
        })
    }

    /// A port whose messages the test reads with [`Self::next_sent`].
    #[must_use]
    pub fn outside_port(&self) -> PortId {
        self.add(Receiver::Outside(VecDeque::new()))
    }

    /// A port that answers by itself.
    #[must_use]
    pub fn service(&self, handler: impl FnMut(&Sent) -> Answer + 'static) -> PortId {
        self.add(Receiver::Service(Rc::new(RefCell::new(handler))))
    }

    /// Makes one of the ports that every kernel has ([`super::DEVICES`], [`BOOTSTRAP`]) answer by a function.
    pub fn serve(&self, port: PortId, handler: impl FnMut(&Sent) -> Answer + 'static) {
        self.with(|state| state.ports[port.0].receiver = Receiver::Service(Rc::new(RefCell::new(handler))));
    }

    /// A port whose receive right the test will send to the task.
    #[must_use]
    pub fn port_in_transit(&self) -> PortId {
        self.add(Receiver::InTransit)
    }

    /// The oldest message that the task sent to an outside port.
    #[must_use]
    pub fn next_sent(&self, port: PortId) -> Option<Sent> {
        self.with(|state| match &mut state.ports[port.0].receiver {
            Receiver::Outside(queue) => queue.pop_front(),
            _ => None,
        })
    }

    /// Puts a send right into the task's space; gives its name.
    #[must_use]
    pub fn give_send_right(&self, port: PortId) -> u32 {
        self.give_send(port)
    }

    /// The port under a name of the task.
    #[must_use]
    pub fn port_of(&self, name: u32) -> Option<PortId> {
        self.with(|state| state.space.receive(name))
    }

    /// Sends to a port of the task.
    pub fn send(&self, to: PortId, message: &impl Message) {
        self.send_with(to, message, Load::default());
    }

    /// Sends to a port of the task with rights, memory and a reply port.
    pub fn send_with(&self, to: PortId, message: &impl Message, load: Load) {
        self.deliver(to, Packet::of(message, load.reply, load.carried));
    }

    /// Everything printed so far.
    #[must_use]
    pub fn console(&self) -> String {
        self.with(|state| state.console.clone())
    }

    /// The task's names: what isn't given back stays here.
    #[must_use]
    pub fn names(&self) -> Vec<u32> {
        self.with(|state| state.space.names())
    }

    /// The task's pages: what isn't given back stays here.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.with(|state| state.memory.pages())
    }

    /// Whether the task asked for its memory to be wired.
    #[must_use]
    pub fn is_wired(&self) -> bool {
        self.with(|state| state.wired)
    }

    /// The port of the default pager.
    #[must_use]
    pub fn default_manager(&self) -> Option<PortId> {
        self.with(|state| state.default_manager)
    }

    /// Lets time pass.
    pub fn advance_ms(&self, milliseconds: u64) {
        self.with(|state| state.clock_ns += milliseconds * 1_000_000);
    }

    /// A bootstrap port that takes registrations and knows two privileged ports.
    pub fn serve_bootstrap(&self, registered: impl FnMut(&str, PortId) + 'static) {
        use abi::call::bootstrap::{Call, bootstrap_ports, bootstrap_register};
        let mut registered = registered;
        self.serve(BOOTSTRAP, move |sent| match Call::decode(sent.bytes()) {
            Some(Ok(Call::bootstrap_register(request))) => {
                registered(&request.name.0, sent.port(request.service).expect("a service"));
                Answer::to::<bootstrap_register::Request>(Ok(bootstrap_register::Reply {}))
            }
            Some(Ok(Call::bootstrap_ports(_))) => {
                let port = abi::message::Port::move_send;
                let reply = bootstrap_ports::Reply { host: port(1), device: port(2) };
                Answer::with_sends::<bootstrap_ports::Request>(reply, &[super::HOST, super::DEVICES])
            }
            _ => Answer::error(sent.id(), Code::MIG_BAD_ID),
        });
    }
}

/// What a message from outside brings along; in the message stand the numbers that the methods give.
#[derive(Clone, Debug, Default)]
pub struct Load {
    carried: Vec<Carried>,
    reply: Option<PortId>,
}

impl Load {
    fn put(&mut self, item: Carried, kind: u8) -> abi::message::Port {
        self.carried.push(item);
        abi::message::Port { name: self.carried.len() as u32, kind }
    }

    /// A right to send.
    pub fn send(&mut self, port: PortId) -> abi::message::Port {
        self.put(Carried::Send(port), abi::message::kind::MOVE_SEND)
    }

    /// A right to receive.
    pub fn receive(&mut self, port: PortId) -> abi::message::Port {
        self.put(Carried::Receive(port), abi::message::kind::MOVE_RECEIVE)
    }

    /// Memory.
    pub fn memory(&mut self, bytes: Vec<u8>) -> Memory {
        let size = bytes.len() as u64;
        self.carried.push(Carried::Memory(bytes));
        Memory { address: self.carried.len() as u64, size, deallocate: false }
    }

    /// Where the answer goes.
    pub fn reply_to(&mut self, port: PortId) {
        self.reply = Some(port);
    }
}
