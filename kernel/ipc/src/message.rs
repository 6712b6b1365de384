//! A message in the kernel: bytes with indices where names and addresses were, and the capabilities they stand for.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

use abi::message::{COMPLEX, HEADER_BYTES, Malformed, Writer, kind};
use abi::{Code, Header};

use crate::Host;
use crate::effects::{Doomed, Effect, Effects};
use crate::right::{Right, RightKind};

/// What an index in a message's bytes stands for.
pub enum Capability<H: Host> {
    /// A right in line.
    Right(Right<H>),
    /// Memory out of line.
    Memory { memory: H::Memory, size: u64 },
    /// An array of rights out of line; null ports are [`Right::null`].
    Ports(Vec<Right<H>>),
    /// The null port, or memory or an array of size zero.
    Null,
}

/// A message. It is moved by its address, and is its own place in a queue.
pub struct Message<H: Host>(Box<[Contents<H>; 1]>);

/// What is in a message.
pub struct Contents<H: Host> {
    /// Bits (with the kinds of the two header rights), size, seqno and id; its port fields mean nothing here.
    pub header: Header,
    /// The whole message, header bytes included; the first 32 are whatever the sender wrote, id excepted.
    pub bytes: Vec<u8>,
    /// The destination.
    pub remote: Right<H>,
    /// The reply port.
    pub local: Option<Right<H>>,
    /// By index; taken out by whoever uses one.
    pub capabilities: Vec<Option<Capability<H>>>,
    pub(crate) carries_receive: bool,
    /// The next in a queue.
    pub(crate) next: Option<Message<H>>,
}

impl<H: Host> Deref for Message<H> {
    type Target = Contents<H>;
    fn deref(&self) -> &Contents<H> {
        &self.0[0]
    }
}

impl<H: Host> DerefMut for Message<H> {
    fn deref_mut(&mut self) -> &mut Contents<H> {
        &mut self.0[0]
    }
}

const FIRST_TRY: usize = 128;
const LAST_TRY: usize = 8192;

impl<H: Host> Message<H> {
    /// Bytes on their way, without rights yet. Everything else about a message needs no memory.
    pub(crate) fn new(header: Header, bytes: Vec<u8>) -> Result<Self, Code> {
        let mut room = Vec::new();
        room.try_reserve_exact(1).map_err(|_| Code::RESOURCE_SHORTAGE)?;
        room.push(Contents {
            header,
            bytes,
            remote: Right::null(),
            local: None,
            capabilities: Vec::new(),
            carries_receive: false,
            next: None,
        });
        // A vector of one becomes a box of one where it is.
        room.into_boxed_slice().try_into().map(Self).map_err(|_| Code::RESOURCE_SHORTAGE)
    }

    /// What is in it.
    pub(crate) fn open(self) -> Contents<H> {
        let [contents] = *self.0;
        contents
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.bytes.len() as u32
    }

    /// A message of the kernel's own, not addressed yet: all that can fail about one (no memory; larger than 8 KiB). `items` may be called
    /// several times, with more and more room.
    pub fn draft(id: i32, items: impl Fn(&mut Writer<'_>) -> Result<(), Malformed>) -> Result<Self, Code> {
        let header = Header { id, ..Header::default() };
        let bytes = encode(header, items)?;
        let complex = Header::read(&bytes).map_or(0, |written| written.bits & COMPLEX);
        Self::new(Header { bits: complex, size: bytes.len() as u32, ..header }, bytes)
    }

    /// Likewise, of a table's message.
    pub fn draft_of(message: &impl abi::Message) -> Result<Self, Code> {
        Self::draft(id_of(message), |writer| message.encode(writer))
    }

    /// Addresses a draft. Ports and memory among its items hold indices into `capabilities` (a null one stands for [`Capability::Null`]).
    #[must_use]
    pub fn to(mut self, remote: Right<H>, local: Option<Right<H>>, capabilities: Vec<Option<Capability<H>>>) -> Self {
        let contents = &mut *self;
        contents.header.bits |= Header::bits(remote.received_kind(), local.as_ref().map_or(0, Right::received_kind));
        contents.carries_receive = capabilities.iter().flatten().any(Capability::carries_receive);
        contents.capabilities = capabilities;
        (contents.remote, contents.local) = (remote, local);
        self
    }

    /// A message of the kernel's own, drafted and addressed. On an error all that was given is ended; `remote` without notification.
    pub fn from_kernel(
        remote: Right<H>,
        local: Option<Right<H>>,
        message: &impl abi::Message,
        capabilities: Vec<Option<Capability<H>>>,
        effects: &mut Effects<H>,
    ) -> Result<Self, Code> {
        Self::build(remote, local, id_of(message), capabilities, effects, |writer| message.encode(writer))
    }

    /// Like [`Message::from_kernel`], with the id and the items given apart: replies begin with a return code.
    pub fn build(
        remote: Right<H>,
        local: Option<Right<H>>,
        id: i32,
        capabilities: Vec<Option<Capability<H>>>,
        effects: &mut Effects<H>,
        items: impl Fn(&mut Writer<'_>) -> Result<(), Malformed>,
    ) -> Result<Self, Code> {
        match Self::draft(id, items) {
            Ok(draft) => Ok(draft.to(remote, local, capabilities)),
            Err(code) => {
                remote.consume(effects);
                local.into_iter().for_each(|right| right.destroy(effects));
                effects.end(Doomed::Capabilities(capabilities));
                Err(code)
            }
        }
    }

    /// Takes the capability with an index out. Null if there is none (any more).
    pub fn take(&mut self, index: u64) -> Capability<H> {
        let slot = usize::try_from(index).ok().and_then(|index| self.capabilities.get_mut(index));
        slot.and_then(Option::take).unwrap_or(Capability::Null)
    }

    /// Takes the right with an index out. None for the null port and for what isn't a right.
    pub fn take_right(&mut self, index: u32) -> Option<Right<H>> {
        let slot = self.capabilities.get_mut(index as usize)?;
        match slot.take() {
            Some(Capability::Right(right)) => Some(right),
            other => {
                *slot = other;
                None
            }
        }
    }

    /// Takes memory out: it and its size. None for empty memory and for what isn't memory.
    pub fn take_memory(&mut self, index: u64) -> Option<(H::Memory, u64)> {
        let slot = self.capabilities.get_mut(usize::try_from(index).ok()?)?;
        match slot.take() {
            Some(Capability::Memory { memory, size }) => Some((memory, size)),
            other => {
                *slot = other;
                None
            }
        }
    }

    /// Ends it and all that it carries.
    pub fn destroy(self, effects: &mut Effects<H>) {
        let Contents { remote, local, capabilities, .. } = self.open();
        remote.destroy(effects);
        local.into_iter().for_each(|right| right.destroy(effects));
        effects.end(Doomed::Capabilities(capabilities));
    }

    /// Ends a message that was executed: like `destroy`, but its destination's send-once right counts as used.
    pub fn consume(self, effects: &mut Effects<H>) {
        let Contents { remote, local, capabilities, .. } = self.open();
        remote.consume(effects);
        local.into_iter().for_each(|right| right.destroy(effects));
        effects.end(Doomed::Capabilities(capabilities));
    }
}

impl<H: Host> Capability<H> {
    fn carries_receive(&self) -> bool {
        match self {
            Self::Right(right) => right.kind() == RightKind::Receive,
            Self::Ports(rights) => rights.iter().any(|right| right.kind() == RightKind::Receive),
            Self::Memory { .. } | Self::Null => false,
        }
    }

    /// Ends it.
    pub fn destroy(self, effects: &mut Effects<H>) {
        match self {
            Self::Right(right) => right.destroy(effects),
            Self::Memory { memory, .. } => effects.push(Effect::Free(memory)),
            Self::Ports(rights) => effects.end(Doomed::Rights(rights)),
            Self::Null => {}
        }
    }
}

const fn id_of<M: abi::Message>(_: &M) -> i32 {
    M::ID
}

fn encode(header: Header, items: impl Fn(&mut Writer<'_>) -> Result<(), Malformed>) -> Result<Vec<u8>, Code> {
    let mut room = FIRST_TRY;
    loop {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(room).map_err(|_| Code::RESOURCE_SHORTAGE)?;
        bytes.resize(room, 0);
        let mut writer = Writer::new(&mut bytes);
        let written = items(&mut writer).and_then(|()| writer.finish(header));
        match written {
            Ok(size) => {
                bytes.truncate(size);
                return Ok(bytes);
            }
            Err(_) if room < LAST_TRY => room *= 4,
            Err(Malformed) => return Err(Code::MIG_ARRAY_TOO_LARGE),
        }
    }
}

/// The kind that a receiver sees for one that a sender gave.
pub(crate) const fn received(sent: u8) -> u8 {
    match sent {
        kind::MOVE_SEND | kind::COPY_SEND | kind::MAKE_SEND => kind::MOVE_SEND,
        kind::MOVE_SEND_ONCE | kind::MAKE_SEND_ONCE => kind::MOVE_SEND_ONCE,
        other => other,
    }
}

/// Whether bytes can be a message at all.
pub(crate) const fn is_sized(length: usize) -> bool {
    length >= HEADER_BYTES && length.is_multiple_of(abi::message::ALIGN)
}
