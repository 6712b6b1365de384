//! Receiving: a buffer that messages come into, and the message in it, which gives back all that nobody took out of it.

use alloc::vec::Vec;
use core::time::Duration;

use abi::code::{MSG_IPC_KERNEL, MSG_IPC_SPACE, MSG_VM_KERNEL, MSG_VM_SPACE};
use abi::message::{Descriptor, HEADER_BYTES, Header, Malformed, Memory, Port, Ports, Reader, kind};
use abi::trap::option;
use abi::{Code, Message, Routine};

use crate::trap::{MsgWords, mach_msg};
use crate::{Pages, ReceiveRight, SendOnceRight, SendRight, port, rpc};

/// A buffer for messages. It grows with the largest one that comes.
#[derive(Debug)]
pub struct Receiver {
    bytes: Vec<u8>,
}

/// A timeout's milliseconds, rounded up so that none of what was asked for is cut off.
pub(crate) fn milliseconds(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}

impl Receiver {
    /// Room for messages of so many bytes, from the start.
    pub fn new(capacity: usize) -> Result<Self, Code> {
        let mut receiver = Self { bytes: Vec::new() };
        receiver.grow(capacity.max(HEADER_BYTES))?;
        Ok(receiver)
    }

    fn grow(&mut self, size: usize) -> Result<(), Code> {
        let size = size.next_multiple_of(8);
        self.bytes.try_reserve_exact(size.saturating_sub(self.bytes.len())).map_err(|_| Code::RESOURCE_SHORTAGE)?;
        self.bytes.resize(size.max(self.bytes.len()), 0);
        Ok(())
    }

    /// The next message of a port or a port set. `RCV_TIMED_OUT` if none came in time; no timeout waits for ever.
    pub fn receive(&mut self, from: u32, timeout: Option<Duration>) -> Result<Received<'_>, Code> {
        let wait = if timeout.is_some() { option::RCV_TIMEOUT } else { 0 };
        let option = option::RCV | option::RCV_LARGE | wait;
        let words = MsgWords { option, rcv_name: from, timeout: timeout.map_or(0, milliseconds), ..MsgWords::default() };
        loop {
            match mach_msg(&mut self.bytes, words) {
                Code::SUCCESS => break,
                Code::RCV_INTERRUPTED => {}
                Code::RCV_TOO_LARGE => {
                    let size = Header::read(&self.bytes).ok_or(Code::RCV_TOO_LARGE)?.size as usize;
                    if size <= self.bytes.len() {
                        return Err(Code::RCV_TOO_LARGE);
                    }
                    self.grow(size)?;
                }
                code => {
                    destroy_if_damaged(code, &self.bytes);
                    return Err(code);
                }
            }
        }
        let header = Header::read(&self.bytes).ok_or(Code::RCV_INVALID_DATA)?;
        let size = (header.size as usize).clamp(HEADER_BYTES, self.bytes.len());
        Ok(Received { header, bytes: &mut self.bytes[..size] })
    }
}

/// A message that came. Rights and memory that aren't claimed are given back when it is dropped.
#[derive(Debug)]
pub struct Received<'a> {
    header: Header,
    bytes: &'a mut [u8],
}

impl Received<'_> {
    /// What the message is.
    #[must_use]
    pub const fn id(&self) -> i32 {
        self.header.id
    }

    /// The header, as it came.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The port it came to: its name, or its protected payload.
    #[must_use]
    pub const fn local(&self) -> u64 {
        self.header.local
    }

    /// The whole message, for a subsystem's `Call::decode`.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// Its items, if it is such a message.
    pub fn decode<M: Message>(&self) -> Result<M, Malformed> {
        if self.header.id != M::ID {
            return Err(Malformed);
        }
        M::decode(&mut Reader::new(self.bytes))
    }

    /// Takes a right to send out of the message.
    pub fn claim_send(&mut self, right: Port) -> Option<SendRight> {
        self.claim(kind::MOVE_SEND, right.name.into()).map(|_| SendRight::from_name(right.name))
    }

    /// Takes a right to send once out of the message.
    pub fn claim_send_once(&mut self, right: Port) -> Option<SendOnceRight> {
        self.claim(kind::MOVE_SEND_ONCE, right.name.into()).map(|_| SendOnceRight::from_name(right.name))
    }

    /// Takes a receive right out of the message.
    pub fn claim_receive(&mut self, right: Port) -> Option<ReceiveRight> {
        self.claim(kind::MOVE_RECEIVE, right.name.into()).map(|_| ReceiveRight::from_name(right.name))
    }

    /// Takes memory out of the message. Memory of no bytes is nothing to take.
    pub fn claim_memory(&mut self, memory: Memory) -> Option<Pages> {
        let descriptor = self.claim(kind::BYTE, memory.address)?;
        Some(Pages::received(memory.address, descriptor.data_bytes()?))
    }

    /// Finds an item and puts nothing in its place.
    fn claim(&mut self, wanted: u8, value: u64) -> Option<Descriptor> {
        if !self.header.is_complex() || value == 0 || value == u64::from(port::DEAD) {
            return None;
        }
        let mut reader = Reader::new(self.bytes);
        loop {
            let at = reader.position() + 8;
            let (descriptor, data) = reader.item().ok()?;
            let is_right = kind::is_right(descriptor.name);
            let matches =
                if is_right { descriptor.inline && descriptor.name == wanted } else { !descriptor.inline && wanted == kind::BYTE };
            if matches && low(data, is_right) == value {
                self.bytes[at..at + 8].fill(0);
                return Some(descriptor);
            }
        }
    }

    /// Whether somebody waits for an answer.
    #[must_use]
    pub const fn wants_reply(&self) -> bool {
        port::is_valid(self.header.remote as u32)
    }

    /// Answers: the reply, or why there is none.
    pub fn reply<R: Routine>(self, answer: &Result<R::Reply, Code>) -> Result<(), Code> {
        self.take_reply().map_or(Ok(()), |reply| reply.send::<R>(answer))
    }

    /// Answers a message that nobody here understands.
    pub fn reply_bad_id(self) -> Result<(), Code> {
        struct Nothing;
        impl Message for Nothing {
            const ID: i32 = 0;
            fn encode(&self, _: &mut abi::message::Writer<'_>) -> Result<(), Malformed> {
                Ok(())
            }
            fn decode(_: &mut Reader<'_>) -> Result<Self, Malformed> {
                Ok(Self)
            }
        }
        let id = self.header.id.wrapping_add(abi::REPLY);
        self.take_reply().map_or(Ok(()), |reply| reply.send_as::<Nothing>(id, Err(Code::MIG_BAD_ID)))
    }

    /// Takes the right to answer out of the message, to do it later.
    pub fn take_reply(mut self) -> Option<Reply> {
        if !self.wants_reply() {
            return None;
        }
        let to = Port { name: self.header.remote as u32, kind: self.header.remote_kind() };
        self.header.remote = 0;
        Some(Reply { to })
    }
}

/// What an in-line right or a pointer says.
fn low(data: &[u8], is_right: bool) -> u64 {
    let mut bytes = [0; 8];
    let length = data.len().min(if is_right { 4 } else { 8 });
    bytes[..length].copy_from_slice(&data[..length]);
    u64::from_le_bytes(bytes)
}

impl Drop for Received<'_> {
    fn drop(&mut self) {
        give_back(self.header.remote_kind(), self.header.remote as u32);
        destroy_contents(self.bytes);
    }
}

/// The right to answer a request once. Dropping it tells the asker that there will be no answer.
#[derive(Debug)]
pub struct Reply {
    to: Port,
}

impl Reply {
    /// Answers.
    pub fn send<R: Routine>(self, answer: &Result<R::Reply, Code>) -> Result<(), Code> {
        self.send_as(R::Reply::ID, answer.as_ref().map_err(|code| *code))
    }

    fn send_as<M: Message>(self, id: i32, answer: Result<&M, Code>) -> Result<(), Code> {
        rpc::send_reply(self.to, id, answer)?;
        core::mem::forget(self);
        Ok(())
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        give_back(self.to.kind, self.to.name);
    }
}

fn give_back(right: u8, name: u32) {
    match right {
        kind::MOVE_RECEIVE => port::drop_receive(name),
        _ => port::deallocate(name),
    }
}

/// Whether a receive took a message off its queue and could give only a part of it: there was no room for its rights or its memory.
#[must_use]
pub fn is_damaged(code: Code) -> bool {
    let room = MSG_IPC_SPACE | MSG_VM_SPACE | MSG_IPC_KERNEL | MSG_VM_KERNEL;
    [Code::RCV_BODY_ERROR, Code::RCV_HEADER_ERROR].contains(&Code(code.0 & !room))
}

/// Gives back what came of a damaged message.
pub(crate) fn destroy_if_damaged(code: Code, buffer: &[u8]) {
    if is_damaged(code)
        && let Some(header) = Header::read(buffer)
    {
        destroy_contents(&buffer[..(header.size as usize).clamp(HEADER_BYTES, buffer.len())]);
    }
}

/// Gives all rights and all memory of a received message back.
pub(crate) fn destroy_contents(message: &[u8]) {
    if !Header::read(message).is_some_and(|header| header.is_complex()) {
        return;
    }
    let mut reader = Reader::new(message);
    while let Ok((descriptor, data)) = reader.item() {
        match (kind::is_right(descriptor.name), descriptor.inline) {
            (true, true) => data.chunks_exact(8).for_each(|slot| give_back(descriptor.name, low(slot, true) as u32)),
            (true, false) => destroy_ports(descriptor, low(data, false)),
            (false, false) => drop(Pages::received(low(data, false), descriptor.data_bytes().unwrap_or(0))),
            (false, true) => {}
        }
    }
}

fn destroy_ports(descriptor: Descriptor, address: u64) {
    let ports = Ports { address, count: descriptor.number, kind: descriptor.name, deallocate: false };
    let names = Pages::received(address, u64::from(ports.count) * 4);
    for name in names.chunks_exact(4) {
        give_back(ports.kind, low(name, true) as u32);
    }
}
