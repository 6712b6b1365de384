//! A little nucleus: spaces, threads that are numbers, memory that is counted, and the work list worked off.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::vec::Vec;

use abi::message::{Descriptor, Writer};
use abi::{Code, Header};

use crate::entry::Entry;
use crate::{
    Carrier, Effect, Effects, Host, How, Message, Port, Receive, Received, Sent, Space, WaitToken, Wake, cancel, copyin, copyout,
    copyout_destination, pseudo_copyout, receive, send,
};

pub(super) struct Fake;

impl Host for Fake {
    type Object = u32;
    type Memory = u64;
    type Waiter = u32;
}

/// Memory that exists, by what its bytes would be; arrays of names, by address.
#[derive(Default)]
pub(super) struct FakeCarrier {
    pub(super) memory: BTreeMap<u64, u64>,
    pub(super) arrays: HashMap<u64, Vec<u32>>,
    pub(super) fail_out: bool,
    next: u64,
}

impl Carrier<Fake> for FakeCarrier {
    fn memory_in(&mut self, address: u64, size: u64, _deallocate: bool) -> Result<u64, Code> {
        if address == 0 {
            return Err(Code::INVALID_ADDRESS);
        }
        self.next += 1;
        self.memory.insert(self.next, size);
        Ok(self.next)
    }

    fn read_names(&mut self, address: u64, count: u32, _deallocate: bool, names: &mut Vec<u32>) -> Result<(), Code> {
        let array = self.arrays.get(&address).filter(|array| array.len() >= count as usize).ok_or(Code::INVALID_ADDRESS)?;
        names.extend_from_slice(&array[..count as usize]);
        Ok(())
    }

    fn memory_out(&mut self, memory: u64) -> Result<u64, Code> {
        assert!(self.memory.remove(&memory).is_some(), "memory given twice");
        if self.fail_out { Err(Code::NO_SPACE) } else { Ok(0x1000 * memory) }
    }

    fn write_names(&mut self, names: &[u32]) -> Result<u64, Code> {
        if self.fail_out {
            return Err(Code::NO_SPACE);
        }
        self.next += 1;
        self.arrays.insert(0x1000 * self.next, names.to_vec());
        Ok(0x1000 * self.next)
    }
}

/// What a thread saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Message { waiter: u32, bytes: Vec<u8>, code: Code },
    Woken(u32, Wake),
    Kernel(u32, i32),
    NoSenders(u32),
}

#[derive(Default)]
pub(super) struct World {
    pub(super) spaces: Vec<Arc<Space<Fake>>>,
    /// Every port that ever was.
    pub(super) ports: Vec<Arc<Port<Fake>>>,
    pub(super) effects: Effects<Fake>,
    pub(super) carrier: FakeCarrier,
    pub(super) seen: Vec<Seen>,
    /// Threads that wait for a message: in which space.
    pub(super) waiting: BTreeMap<u32, (usize, WaitToken<Fake>)>,
    /// Threads that wait for room: in which space, with which message.
    pub(super) blocked: BTreeMap<u32, (usize, Message<Fake>, WaitToken<Fake>)>,
    next_waiter: u32,
}

impl World {
    pub(super) fn new(spaces: usize) -> Self {
        Self { spaces: (0..spaces).map(|_| Space::new().unwrap()).collect(), ..Self::default() }
    }

    pub(super) fn note(&mut self, port: &Arc<Port<Fake>>) {
        if !self.ports.iter().any(|known| Arc::ptr_eq(known, port)) {
            self.ports.push(port.clone());
        }
    }

    pub(super) fn allocate(&mut self, space: usize, right: u32) -> Result<u32, Code> {
        let name = self.spaces[space].allocate(right)?;
        self.note_name(space, name);
        Ok(name)
    }

    pub(super) fn note_name(&mut self, space: usize, name: u32) {
        let port = match self.spaces[space].lock().table.get(name) {
            Some(Entry::Port { port, .. }) => port.clone(),
            _ => return,
        };
        self.note(&port);
    }

    /// A send right to a receive right of one space, in another; its name there.
    pub(super) fn send_right(&mut self, from: usize, name: u32, to: usize) -> u32 {
        let right = self.spaces[from].extract_right(name, abi::message::kind::MAKE_SEND, &mut self.effects).unwrap();
        let name = self.spaces[to].insert(right, &mut self.effects).unwrap();
        self.drain();
        name
    }

    /// Sends bytes; with `wait` a full queue blocks a new thread, whose number it is.
    pub(super) fn send(&mut self, space: usize, bytes: Vec<u8>, wait: bool) -> Code {
        let header = Header::read(&bytes).unwrap();
        let from = self.spaces[space].clone();
        let result = copyin(&from, &header, bytes, &mut self.carrier, &mut self.effects);
        let code = match result {
            Ok(message) => {
                self.next_waiter += 1;
                let waiter = wait.then_some(self.next_waiter);
                self.dispatch(space, message, How::Normal(waiter), waiter)
            }
            Err(code) => code,
        };
        self.drain();
        code
    }

    fn dispatch(&mut self, space: usize, message: Message<Fake>, how: How<u32>, waiter: Option<u32>) -> Code {
        match send(message, how, &mut self.effects) {
            Sent::Kernel { object, message } => {
                self.seen.push(Seen::Kernel(object, message.header.id));
                message.consume(&mut self.effects);
            }
            Sent::Deliver { waiter, message } => self.deliver(waiter, message),
            Sent::Queued => {}
            Sent::Full { message, token: Some(token) } => {
                self.blocked.insert(waiter.unwrap(), (space, message, token));
            }
            Sent::Full { message, token: None } => {
                let to = self.spaces[space].clone();
                let (bytes, bits) = pseudo_copyout(&to, message, &mut self.carrier, &mut self.effects);
                self.seen.push(Seen::Message { waiter: 0, bytes, code: bits });
                return Code::SEND_TIMED_OUT;
            }
            Sent::Dead(message) => message.destroy(&mut self.effects),
            Sent::NoMemory(_) => panic!("no memory"),
        }
        Code::SUCCESS
    }

    fn deliver(&mut self, waiter: u32, message: Message<Fake>) {
        let (space, token) = self.waiting.remove(&waiter).expect("delivered to a thread that doesn't wait");
        assert!(!cancel(&token), "still queued");
        let space = self.spaces[space].clone();
        let (bytes, code) = copyout(&space, message, &mut self.carrier, &mut self.effects);
        self.seen.push(Seen::Message { waiter, bytes, code });
    }

    /// Receives: the bytes and code, or the waiter's number if it waits.
    pub(super) fn receive(
        &mut self,
        space: usize,
        name: u32,
        max_size: u32,
        large: bool,
        wait: bool,
    ) -> Result<(Vec<u8>, Code), Option<u32>> {
        self.next_waiter += 1;
        let number = self.next_waiter;
        let how = Receive { max_size, large, waiter: wait.then_some(number) };
        let at = self.spaces[space].clone();
        let result = match receive(&at, name, how, &mut self.effects) {
            Received::Message(message) => Ok(copyout(&at, message, &mut self.carrier, &mut self.effects)),
            Received::Wait(token) => {
                self.waiting.insert(number, (space, token));
                Err(Some(number))
            }
            Received::TooLarge(size, Some(message)) => {
                let bytes = copyout_destination(&at, message, &mut self.effects);
                assert_eq!(Header::read(&bytes).unwrap().size, size);
                Ok((bytes, Code::RCV_TOO_LARGE))
            }
            Received::TooLarge(size, None) => Ok((size.to_le_bytes().to_vec(), Code::RCV_TOO_LARGE)),
            Received::Err(code) => Ok((Vec::new(), code)),
        };
        self.drain();
        result
    }

    /// Aborts a thread that waits for a message or for room.
    pub(super) fn abort(&mut self, waiter: u32) {
        if let Some((_, token)) = self.waiting.remove(&waiter) {
            assert!(cancel(&token));
        }
        if let Some((space, message, token)) = self.blocked.remove(&waiter) {
            assert!(cancel(&token));
            let to = self.spaces[space].clone();
            let _ = pseudo_copyout(&to, message, &mut self.carrier, &mut self.effects);
        }
        self.drain();
    }

    /// Works the list off.
    pub(super) fn drain(&mut self) {
        while let Some(effect) = self.effects.next() {
            match effect {
                Effect::Wake { waiter, why: Wake::Retry } => {
                    let (space, message, token) = self.blocked.remove(&waiter).expect("a retry for nobody");
                    assert!(!cancel(&token));
                    let _ = self.dispatch(space, message, How::Normal(Some(waiter)), Some(waiter));
                }
                Effect::Wake { waiter, why } => {
                    let (_, token) = self.waiting.remove(&waiter).expect("a wake-up for nobody");
                    assert!(!cancel(&token));
                    self.seen.push(Seen::Woken(waiter, why));
                }
                Effect::Deliver { waiter, message } => self.deliver(waiter, message),
                Effect::Send(message) => {
                    let code = self.dispatch(0, message, How::Always, None);
                    assert_eq!(code, Code::SUCCESS);
                }
                Effect::NoSenders(object) => self.seen.push(Seen::NoSenders(object)),
                Effect::Free(memory) => assert!(self.carrier.memory.remove(&memory).is_some(), "memory freed twice"),
            }
        }
    }
}

/// Bytes of a message.
pub(super) fn message(remote: (u32, u8), local: (u32, u8), id: i32, items: &[(Descriptor, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = std::vec![0; 4096];
    let mut writer = Writer::new(&mut bytes);
    for (descriptor, data) in items {
        writer.item(*descriptor, data).unwrap();
    }
    let bits = Header::bits(remote.1, local.1);
    let size = writer.finish(Header { bits, remote: remote.0.into(), local: local.0.into(), id, ..Header::default() }).unwrap();
    bytes.truncate(size);
    bytes
}

/// Rights in line.
pub(super) fn rights(kind: u8, names: &[u32]) -> (Descriptor, Vec<u8>) {
    let data = names.iter().flat_map(|name| u64::from(*name).to_le_bytes()).collect();
    (Descriptor::inline(kind, 64, names.len() as u32), data)
}

/// Something out of line.
pub(super) fn out_of_line(name: u8, bits: u16, number: u32, address: u64) -> (Descriptor, Vec<u8>) {
    (Descriptor { name, bits, inline: false, deallocate: false, number }, address.to_le_bytes().to_vec())
}
