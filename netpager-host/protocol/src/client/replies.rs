//! The stream of replies, taken apart as it arrives.
//!
//! Payload is never kept: what the input holds of it is handed on as [`Event::Data`]. Only headers are collected, so
//! the state is a few hundred bytes whatever a server sends.

use zerocopy::FromBytes;
use zerocopy::big_endian::U64;

use super::Event;
use super::error::Violation;
use super::status::{Extents, Layout, Told};
use super::table::{Outstanding, Pending};
use super::wishes::Contexts;
use crate::error::NbdError;
use crate::framing::Framing;
use crate::gather::Gather;
use crate::limits::{ERROR_TEXT_KEPT, STRING_MAX};
use crate::request::Command;
use crate::text::Text;
use crate::wire::{ChunkHeader, ErrorBody, ExtendedChunkHeader, Hole, SimpleReply, chunk};
use crate::wire::{MAGIC_EXTENDED_REPLY, MAGIC_SIMPLE_REPLY, MAGIC_STRUCTURED_REPLY};

const KEPT: usize = size_of::<ErrorBody>() + ERROR_TEXT_KEPT;

/// One chunk of a structured reply. A simple reply is treated as a chunk that is its own last.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    cookie: u64,
    kind: u16,
    length: u32,
    done: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// A simple reply, or as much of a chunk header as is equally long; with extended headers, a whole chunk header.
    Head,
    /// The rest of a chunk header.
    ChunkHead,
    /// What follows a chunk header, except read data.
    Body(Chunk),
    /// Read data.
    Payload { chunk: Chunk, offset: u64, left: u32 },
    /// The extents of a BLOCK_STATUS.
    Extents(Chunk, Extents),
    /// The chunk is over.
    Tail(Chunk),
}

/// The parser.
#[derive(Clone, Debug)]
pub(super) struct Replies {
    phase: Phase,
    gather: Gather<KEPT>,
    framing: Framing,
    contexts: Contexts,
    text: Text,
}

impl Replies {
    pub(super) const fn new(framing: Framing, contexts: Contexts) -> Self {
        Self { phase: Phase::Head, gather: Gather::new(head_bytes(framing)), framing, contexts, text: Text::EMPTY }
    }

    /// The contexts that were granted, with their numbers.
    pub(super) const fn contexts(&self) -> &Contexts {
        &self.contexts
    }

    /// The text of the last error chunk.
    pub(super) const fn text(&self) -> &Text {
        &self.text
    }

    /// Whether the input so far ends between two replies.
    pub(super) fn is_between_replies(&self) -> bool {
        matches!(self.phase, Phase::Head) && self.gather.bytes().is_empty()
    }

    /// Takes input up to the next event.
    pub(super) fn receive<'i>(&mut self, rest: &mut &'i [u8], outstanding: &mut impl Outstanding) -> Result<Option<Event<'i>>, Violation> {
        loop {
            let event = match self.phase {
                Phase::Payload { chunk, offset, left } => match self.payload(chunk, offset, left, rest) {
                    Some(event) => return Ok(Some(event)),
                    None if left == 0 => None,
                    None => return Ok(None),
                },
                Phase::Tail(chunk) => self.tail(chunk, outstanding)?,
                _ if !self.gather.take(rest) => return Ok(None),
                Phase::Head => self.head(outstanding)?,
                Phase::ChunkHead => self.chunk_head(outstanding)?,
                Phase::Body(chunk) => self.body(chunk, outstanding)?,
                Phase::Extents(chunk, extents) => self.extent(chunk, extents, outstanding)?,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    fn head(&mut self, outstanding: &mut impl Outstanding) -> Result<Option<Event<'static>>, Violation> {
        if self.framing == Framing::Extended {
            return self.extended_head(outstanding);
        }
        let reply = self.message::<SimpleReply>();
        match reply.magic.get() {
            MAGIC_SIMPLE_REPLY => self.simple(&reply, outstanding),
            MAGIC_STRUCTURED_REPLY if self.framing.has_chunks() => {
                self.gather.extend_to(size_of::<ChunkHeader>() as u64);
                self.phase = Phase::ChunkHead;
                Ok(None)
            }
            MAGIC_STRUCTURED_REPLY => Err(Violation::NotNegotiated),
            other => Err(Violation::ReplyMagic(other)),
        }
    }

    fn simple(&mut self, reply: &SimpleReply, outstanding: &mut impl Outstanding) -> Result<Option<Event<'static>>, Violation> {
        let cookie = reply.cookie.get();
        let pending = find(outstanding, cookie)?;
        let request = pending.request();
        if self.framing.has_chunks() && request.command == Command::Read {
            return Err(Violation::SimpleRead);
        }
        let chunk = Chunk { cookie, kind: chunk::NONE, length: 0, done: true };
        self.text = Text::EMPTY;
        self.phase = Phase::Tail(chunk);
        if let Some(error) = NbdError::from_code(reply.error.get()) {
            pending.fail(error)?;
            return Ok(None);
        }
        if request.command != Command::Read {
            return Ok(None);
        }
        let length = u32::try_from(request.length).map_err(|_| Violation::OutOfRange)?;
        pending.content(request.offset, length)?;
        self.phase = Phase::Payload { chunk, offset: request.offset, left: length };
        Ok(Some(Event::Chunk { cookie, offset: request.offset, length }))
    }

    fn chunk_head(&mut self, outstanding: &mut impl Outstanding) -> Result<Option<Event<'static>>, Violation> {
        let header = self.message::<ChunkHeader>();
        let (cookie, flags) = (header.cookie.get(), header.flags.get());
        let pending = find(outstanding, cookie)?;
        self.begin(cookie, flags, header.kind.get(), header.length.get().into(), pending)
    }

    fn extended_head(&mut self, outstanding: &mut impl Outstanding) -> Result<Option<Event<'static>>, Violation> {
        let header = self.message::<ExtendedChunkHeader>();
        let (magic, cookie, flags) = (header.magic.get(), header.cookie.get(), header.flags.get());
        if magic != MAGIC_EXTENDED_REPLY {
            return Err(Violation::ReplyMagic(magic));
        }
        let pending = find(outstanding, cookie)?;
        if header.offset.get() != pending.request().offset {
            return Err(Violation::ReplyOffset);
        }
        self.begin(cookie, flags, header.kind.get(), header.length.get(), pending)
    }

    /// Begins a chunk whose header has arrived.
    fn begin(&mut self, cookie: u64, flags: u16, kind: u16, length: u64, pending: &Pending) -> Result<Option<Event<'static>>, Violation> {
        if flags & !chunk::FLAG_DONE != 0 {
            return Err(Violation::ChunkFlags(flags));
        }
        let wrong_length = Violation::ChunkLength { kind, length };
        let chunk = Chunk { cookie, kind, length: u32::try_from(length).map_err(|_| wrong_length)?, done: flags & chunk::FLAG_DONE != 0 };
        let (fits, collect) = match kind {
            chunk::NONE => (length == 0 && chunk.done, 0),
            chunk::OFFSET_DATA => (length > OFFSET.into() && length - u64::from(OFFSET) <= pending.request().length, OFFSET),
            chunk::OFFSET_HOLE => (length == size_of::<Hole>() as u64, chunk.length),
            error if error & chunk::ERROR_BIT != 0 => (ERROR_LENGTHS.contains(&chunk.length), chunk.length),
            other => {
                let layout = Layout::of(self.framing, other).ok_or(Violation::ChunkKind(other))?;
                (layout.count(chunk.length).is_some(), layout.head)
            }
        };
        if !fits {
            return Err(wrong_length);
        }
        self.gather.restart(u64::from(collect));
        self.phase = Phase::Body(chunk);
        Ok(None)
    }

    fn body(&mut self, chunk: Chunk, outstanding: &mut impl Outstanding) -> Result<Option<Event<'static>>, Violation> {
        let Chunk { cookie, kind, length, .. } = chunk;
        let pending = find(outstanding, cookie)?;
        self.phase = Phase::Tail(chunk);
        match kind {
            chunk::NONE => Ok(None),
            chunk::OFFSET_DATA => {
                let (offset, length) = (self.message::<U64>().get(), length - OFFSET);
                pending.content(offset, length)?;
                self.phase = Phase::Payload { chunk, offset, left: length };
                Ok(Some(Event::Chunk { cookie, offset, length }))
            }
            chunk::OFFSET_HOLE => {
                let hole = self.message::<Hole>();
                let (offset, length) = (hole.offset.get(), hole.length.get());
                if length == 0 {
                    return Err(Violation::EmptyHole);
                }
                pending.content(offset, length)?;
                Ok(Some(Event::Hole { cookie, offset, length }))
            }
            error if error & chunk::ERROR_BIT != 0 => self.error(chunk, pending).map(|()| None),
            _ => self.extents(chunk, pending).map(|()| None),
        }
    }

    /// The extents of one context begin.
    fn extents(&mut self, chunk: Chunk, pending: &mut Pending) -> Result<(), Violation> {
        let request = pending.request();
        if request.command != Command::BlockStatus {
            return Err(Violation::ExtentsWithoutStatus);
        }
        let layout = Layout::of(self.framing, chunk.kind).ok_or(Violation::ChunkKind(chunk.kind))?;
        let id = layout.context(self.gather.bytes(), chunk.length)?;
        let context = self.contexts.index_of(id).ok_or(Violation::UnknownContext(id))?;
        pending.status(context, id, self.contexts.granted())?;
        let left = layout.count(chunk.length).unwrap_or_default();
        self.phase = Phase::Extents(chunk, Extents { layout, context, offset: request.offset, left });
        self.gather.restart(u64::from(layout.extent));
        Ok(())
    }

    fn extent(
        &mut self,
        chunk: Chunk,
        mut extents: Extents,
        outstanding: &mut impl Outstanding,
    ) -> Result<Option<Event<'static>>, Violation> {
        let Chunk { cookie, .. } = chunk;
        let request = find(outstanding, cookie)?.request();
        let Told { offset, length, flags } = extents.next(self.gather.bytes(), &request)?;
        self.phase = if extents.left > 0 { Phase::Extents(chunk, extents) } else { Phase::Tail(chunk) };
        self.gather.restart(u64::from(extents.layout.extent));
        Ok(Some(Event::Extent { cookie, context: extents.context, offset, length, flags }))
    }

    fn error(&mut self, chunk: Chunk, pending: &mut Pending) -> Result<(), Violation> {
        let body = self.message::<ErrorBody>();
        let text = &self.gather.bytes()[size_of::<ErrorBody>()..];
        let text_length = usize::from(body.text_length.get());
        if size_of::<ErrorBody>() + text_length > chunk.length as usize {
            return Err(Violation::ChunkLength { kind: chunk.kind, length: chunk.length.into() });
        }
        self.text = Text::new(&text[..text_length.min(text.len())]);
        pending.fail(NbdError::from_code(body.error.get()).ok_or(Violation::NoError)?)
    }

    /// Hands on what the input holds of the payload; `None` if it holds nothing, or the payload is over.
    fn payload<'i>(&mut self, chunk: Chunk, offset: u64, left: u32, rest: &mut &'i [u8]) -> Option<Event<'i>> {
        if left == 0 {
            self.phase = Phase::Tail(chunk);
            return None;
        }
        let count = rest.len().min(left as usize);
        if count == 0 {
            return None;
        }
        let (bytes, after) = rest.split_at(count);
        *rest = after;
        self.phase = Phase::Payload { chunk, offset: offset + count as u64, left: left - count as u32 };
        Some(Event::Data { cookie: chunk.cookie, offset, bytes })
    }

    fn tail(&mut self, chunk: Chunk, outstanding: &mut impl Outstanding) -> Result<Option<Event<'static>>, Violation> {
        self.gather.restart(head_bytes(self.framing));
        self.phase = Phase::Head;
        if !chunk.done {
            return Ok(None);
        }
        let result = find(outstanding, chunk.cookie)?.finish(self.contexts.granted())?;
        Ok(Some(Event::Done { cookie: chunk.cookie, result }))
    }

    /// The message just collected. Every phase collects at least what it reads, and zeroes stand in should that ever be wrong.
    fn message<M: FromBytes>(&self) -> M {
        M::read_from_prefix(self.gather.bytes()).map_or_else(|_| M::new_zeroed(), |(message, _)| message)
    }
}

/// What to collect before anything is known about a reply.
const fn head_bytes(framing: Framing) -> u64 {
    match framing {
        Framing::Extended => size_of::<ExtendedChunkHeader>() as u64,
        Framing::Simple | Framing::Structured => size_of::<SimpleReply>() as u64,
    }
}

/// Bytes in front of the data of an OFFSET_DATA chunk.
const OFFSET: u32 = size_of::<U64>() as u32;

/// How long an error chunk may be: a text, and room for the fields of kinds we do not know.
const ERROR_LENGTHS: core::ops::RangeInclusive<u32> = size_of::<ErrorBody>() as u32..=(size_of::<ErrorBody>() + STRING_MAX + 64) as u32;

fn find(outstanding: &mut impl Outstanding, cookie: u64) -> Result<&mut Pending, Violation> {
    match outstanding.pending(cookie) {
        Some(pending) if !pending.is_done() => Ok(pending),
        _ => Err(Violation::UnknownCookie(cookie)),
    }
}
