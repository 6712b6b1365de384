//! Messages into and out of the fake task: names become ports, addresses become bytes, and back.

use std::vec::Vec;

use abi::message::{Descriptor, Header, Reader, kind};
use abi::{Code, Message};

use super::memory::Memory;
use super::space::Entry;
use super::{Carried, Packet, PortId, Receiver, State};
use crate::port::is_valid;

/// The longest message a test builds.
const BUILD: usize = 8192;

impl Packet {
    /// A message from outside; its ports and memory are numbered as in `carried`, from 1.
    pub(super) fn of(message: &impl Message, reply: Option<PortId>, carried: Vec<Carried>) -> Self {
        let mut bytes = std::vec![0; BUILD];
        let size = message.build(Header::default(), &mut bytes).expect("the message is well formed");
        bytes.truncate(size);
        Self::from_bytes(bytes, reply.map(Carried::SendOnce), carried)
    }

    pub(super) fn from_bytes(bytes: Vec<u8>, reply: Option<Carried>, carried: Vec<Carried>) -> Self {
        let header = Header::read(&bytes).expect("a whole message");
        Self { id: header.id, complex: header.is_complex(), reply, bytes, carried }
    }
}

impl State {
    /// Takes a right out of the task's space.
    fn take_right(&mut self, name: u32, disposition: u8) -> Result<Carried, Code> {
        let entry = self.space.get(name).cloned();
        match (disposition, entry) {
            (kind::MAKE_SEND, Some(Entry::Port { port, receive: true, .. })) => Ok(Carried::Send(port)),
            (kind::MAKE_SEND_ONCE, Some(Entry::Port { port, receive: true, .. })) => Ok(Carried::SendOnce(port)),
            (kind::COPY_SEND, Some(Entry::Port { port, sends: 1.., .. })) => Ok(Carried::Send(port)),
            (kind::MOVE_SEND, Some(Entry::Port { port, sends: 1.., .. })) => {
                self.space.release(name, 1)?;
                Ok(Carried::Send(port))
            }
            (kind::MOVE_SEND_ONCE, Some(Entry::SendOnce(port))) => {
                self.space.release(name, 1)?;
                Ok(Carried::SendOnce(port))
            }
            (kind::MOVE_RECEIVE, Some(Entry::Port { port, receive: true, .. })) => {
                self.space.set_receive(port, false);
                self.ports[port.0].receiver = Receiver::InTransit;
                self.ports[port.0].set = None;
                Ok(Carried::Receive(port))
            }
            _ => Err(Code::SEND_INVALID_RIGHT),
        }
    }

    /// A whole message of the task: where it goes, and what it is outside.
    pub(super) fn copyin(&mut self, header: &Header, bytes: &[u8]) -> Result<(PortId, Packet), Code> {
        let to = match self.space.get(header.remote as u32) {
            Some(Entry::Port { .. } | Entry::SendOnce(_)) => self.take_right(header.remote as u32, header.remote_kind())?,
            _ => return Err(Code::SEND_INVALID_DEST),
        };
        let to = to.port().ok_or(Code::SEND_INVALID_DEST)?;
        let reply = match header.local as u32 {
            0 => None,
            name => Some(self.take_right(name, header.local_kind()).map_err(|_| Code::SEND_INVALID_REPLY)?),
        };
        let mut bytes = bytes.to_vec();
        let carried = if header.is_complex() { self.copyin_items(&mut bytes)? } else { Vec::new() };
        Ok((to, Packet { id: header.id, complex: header.is_complex(), reply, bytes, carried }))
    }

    fn copyin_items(&mut self, bytes: &mut [u8]) -> Result<Vec<Carried>, Code> {
        let whole = bytes.to_vec();
        let mut reader = Reader::new(&whole);
        let mut carried = Vec::new();
        while !reader.is_at_end() {
            let at = reader.position();
            let (descriptor, data) = reader.item().map_err(|_| Code::SEND_MSG_TOO_SMALL)?;
            let is_right = kind::is_right(descriptor.name);
            if descriptor.inline && !is_right {
                continue;
            }
            let item = if descriptor.inline {
                assert_eq!((descriptor.bits, descriptor.number), (64, 1), "the fake kernel takes one right at a time in line");
                self.copyin_right(u32::from_le_bytes([data[0], data[1], data[2], data[3]]), descriptor.name)?
            } else {
                self.copyin_memory(descriptor, u64::from_le_bytes(data.try_into().map_err(|_| Code::SEND_INVALID_TYPE)?))?
            };
            let index = item.map_or(0, |item| {
                carried.push(item);
                carried.len() as u64
            });
            bytes[at + 8..at + 16].copy_from_slice(&index.to_le_bytes());
            let received = Descriptor { name: received_kind(descriptor.name), ..descriptor };
            bytes[at..at + 8].copy_from_slice(&received.to_bytes());
        }
        Ok(carried)
    }

    fn copyin_right(&mut self, name: u32, disposition: u8) -> Result<Option<Carried>, Code> {
        if is_valid(name) { self.take_right(name, disposition).map(Some) } else { Ok(None) }
    }

    fn copyin_memory(&mut self, descriptor: Descriptor, address: u64) -> Result<Option<Carried>, Code> {
        let size = descriptor.data_bytes().ok_or(Code::SEND_INVALID_TYPE)?;
        let bytes = Memory::copyin(address, size);
        if descriptor.deallocate {
            self.memory.deallocate(address, size)?;
        }
        if !kind::is_right(descriptor.name) {
            return Ok(Some(Carried::Memory(bytes)));
        }
        let mut rights = Vec::new();
        for name in bytes.chunks_exact(4) {
            rights.extend(self.copyin_right(u32::from_le_bytes([name[0], name[1], name[2], name[3]]), descriptor.name)?);
        }
        Ok(Some(Carried::Ports(rights)))
    }

    /// Gives the task a right.
    fn give(&mut self, right: &Carried) -> u32 {
        match right {
            Carried::Send(port) => self.space.add_send(*port),
            Carried::SendOnce(port) => self.space.add_send_once(*port),
            Carried::Receive(port) => {
                let name = self.space.set_receive(*port, true);
                self.ports[port.0].receiver = Receiver::Task(name);
                name
            }
            _ => panic!("no right"),
        }
    }

    /// Writes a message into the task's buffer.
    pub(super) fn copyout(&mut self, port: PortId, packet: Packet, buffer: &mut [u8]) {
        let local = match &self.ports[port.0].receiver {
            Receiver::Task(name) => u64::from(*name),
            _ => panic!("the task receives from a port that isn't its own"),
        };
        let (remote, remote_kind) = match &packet.reply {
            Some(right @ Carried::Send(_)) => (self.give(right), kind::MOVE_SEND),
            Some(right) => (self.give(right), kind::MOVE_SEND_ONCE),
            None => (0, 0),
        };
        let size = packet.bytes.len();
        buffer[..size].copy_from_slice(&packet.bytes);
        if packet.complex {
            self.copyout_items(&packet, buffer);
        }
        let complex = if packet.complex { abi::message::COMPLEX } else { 0 };
        let bits = complex | Header::bits(remote_kind, 0);
        Header { bits, size: size as u32, remote: remote.into(), local, seqno: 0, id: packet.id }.write(buffer);
    }

    fn copyout_items(&mut self, packet: &Packet, buffer: &mut [u8]) {
        let mut reader = Reader::new(&packet.bytes);
        while !reader.is_at_end() {
            let at = reader.position();
            let (descriptor, data) = reader.item().expect("checked on the way in");
            if descriptor.inline && !kind::is_right(descriptor.name) {
                continue;
            }
            let index = u64::from_le_bytes(data[..8].try_into().expect("eight bytes"));
            let carried = index.checked_sub(1).map(|index| &packet.carried[index as usize]);
            let value = match carried {
                None => 0,
                Some(Carried::Memory(bytes)) => self.memory.copyout(bytes),
                Some(Carried::Ports(rights)) => {
                    let names: Vec<u8> = rights.iter().flat_map(|right| self.give(right).to_le_bytes()).collect();
                    self.memory.copyout(&names)
                }
                Some(right) => u64::from(self.give(right)),
            };
            buffer[at + 8..at + 16].copy_from_slice(&value.to_le_bytes());
            let received = Descriptor { name: received_kind(descriptor.name), ..descriptor };
            buffer[at..at + 8].copy_from_slice(&received.to_bytes());
        }
    }
}

/// How a receiver sees a disposition.
const fn received_kind(disposition: u8) -> u8 {
    match disposition {
        kind::MAKE_SEND | kind::COPY_SEND => kind::MOVE_SEND,
        kind::MAKE_SEND_ONCE => kind::MOVE_SEND_ONCE,
        other => other,
    }
}
