//! The stream of requests, taken apart as it arrives and checked before anyone sees it.

use zerocopy::FromBytes;
use zerocopy::big_endian::{U32, U64};

use super::error::ServerError;
use super::handshake::Negotiated;
use super::reply::{Reply, index_of};
use crate::context::ContextSet;
use crate::flags::CommandFlags;
use crate::framing::Framing;
use crate::gather::Gather;
use crate::limits::PAYLOAD_MAX;
use crate::request::{Command, Refusal, Request};
use crate::wire::{ExtendedRequestHeader, MAGIC_EXTENDED_REQUEST, MAGIC_REQUEST, RequestHeader, command};

/// What came out of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'i> {
    /// A request the export takes: in bounds, with flags it knows. The data of a WRITE follows as [`Incoming::Payload`]
    /// before anything else does.
    Request {
        /// How to answer.
        reply: Reply,
        /// What to do.
        request: Request,
    },
    /// A piece of the data of the WRITE before it, straight from the input.
    Payload {
        /// The bytes; never empty.
        bytes: &'i [u8],
        /// Whether the data ends here.
        last: bool,
    },
    /// A request the export does not take: answer with this error. What was sent along with it is skipped.
    Refused {
        /// How to answer.
        reply: Reply,
        /// The error, and a sentence.
        refusal: Refusal,
    },
    /// The client said goodbye: finish what is in flight, then close. Later input is dropped.
    Disconnect,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Header,
    /// The data of a WRITE.
    Payload {
        left: u32,
    },
    /// What came with a request that was refused.
    Skip {
        left: u32,
    },
    /// The contexts a BLOCK_STATUS is about.
    Filter {
        cookie: u64,
        request: Request,
    },
    Over,
}

/// A header of either kind.
struct Header {
    flags: CommandFlags,
    command: u16,
    cookie: u64,
    offset: u64,
    length: u64,
    /// Bytes that follow.
    payload: u32,
}

/// The least and the most that can be said about contexts in front of and in a filter.
const FILTER_HEAD: usize = size_of::<U64>();
const FILTER_MAX: usize = FILTER_HEAD + ContextSet::CAPACITY * size_of::<U32>();

/// The parser.
#[derive(Clone, Debug)]
pub struct Requests {
    negotiated: Negotiated,
    phase: Phase,
    gather: Gather<FILTER_MAX>,
}

impl Requests {
    /// Waits for the first request.
    #[must_use]
    pub const fn new(negotiated: Negotiated) -> Self {
        Self { negotiated, phase: Phase::Header, gather: Gather::new(header_bytes(negotiated.framing)) }
    }

    /// Takes bytes from the client. Returns how many were used, and what they held.
    ///
    /// Call again with the rest of the input until there is nothing: then all of it was used.
    ///
    /// # Errors
    /// The connection must be closed.
    pub fn receive<'i>(&mut self, input: &'i [u8]) -> Result<(usize, Option<Incoming<'i>>), ServerError> {
        let mut rest = input;
        loop {
            match self.phase {
                Phase::Over => return Ok((input.len(), None)),
                Phase::Payload { left } => {
                    let piece = take(&mut rest, left);
                    let last = piece.len() == left as usize;
                    self.phase = if last { Phase::Header } else { Phase::Payload { left: left - piece.len() as u32 } };
                    let incoming = (!piece.is_empty()).then_some(Incoming::Payload { bytes: piece, last });
                    return Ok((input.len() - rest.len(), incoming));
                }
                Phase::Skip { left } => {
                    let skipped = take(&mut rest, left).len() as u32;
                    if skipped < left {
                        self.phase = Phase::Skip { left: left - skipped };
                        return Ok((input.len(), None));
                    }
                    self.phase = Phase::Header;
                }
                _ if !self.gather.take(&mut rest) => return Ok((input.len(), None)),
                Phase::Filter { cookie, request } => {
                    let incoming = self.filtered(cookie, request);
                    self.expect_header();
                    return Ok((input.len() - rest.len(), Some(incoming)));
                }
                Phase::Header => {
                    let header = self.header()?;
                    self.expect_header();
                    if let Some(incoming) = self.begin(&header)? {
                        return Ok((input.len() - rest.len(), Some(incoming)));
                    }
                }
            }
        }
    }

    fn expect_header(&mut self) {
        self.phase = Phase::Header;
        self.gather.restart(header_bytes(self.negotiated.framing));
    }

    fn header(&self) -> Result<Header, ServerError> {
        match self.negotiated.framing {
            Framing::Extended => self.extended_header(),
            Framing::Simple | Framing::Structured => self.compact_header(),
        }
    }

    fn compact_header(&self) -> Result<Header, ServerError> {
        let header = self.message::<RequestHeader>();
        let magic = header.magic.get();
        if magic != MAGIC_REQUEST {
            return Err(ServerError::RequestMagic(magic));
        }
        let (command, length) = (header.command.get(), header.length.get());
        Ok(Header {
            flags: CommandFlags::from_bits_retain(header.flags.get()),
            command,
            cookie: header.cookie.get(),
            offset: header.offset.get(),
            length: length.into(),
            payload: if command == command::WRITE { length } else { 0 },
        })
    }

    fn extended_header(&self) -> Result<Header, ServerError> {
        let header = self.message::<ExtendedRequestHeader>();
        let magic = header.magic.get();
        if magic != MAGIC_EXTENDED_REQUEST {
            return Err(ServerError::RequestMagic(magic));
        }
        let (command, length) = (header.command.get(), header.length.get());
        let flags = CommandFlags::from_bits_retain(header.flags.get());
        // A WRITE must have the flag; qemu's client (10.0.2) leaves it out, and sends the data all the same, as its server expects.
        let has_payload = command == command::WRITE || flags.contains(CommandFlags::PAYLOAD_LEN);
        let payload = match u32::try_from(length) {
            _ if !has_payload => 0,
            Ok(payload) if payload <= PAYLOAD_MAX => payload,
            _ => return Err(ServerError::PayloadLength(length)),
        };
        Ok(Header { flags, command, cookie: header.cookie.get(), offset: header.offset.get(), length, payload })
    }

    /// Looks at a header, and decides what follows it. Nothing comes of one whose payload must be seen first.
    fn begin(&mut self, header: &Header) -> Result<Option<Incoming<'static>>, ServerError> {
        if header.command == command::DISC {
            self.phase = Phase::Over;
            return Ok(Some(Incoming::Disconnect));
        }
        let Some(command) = Command::from_code(header.command) else {
            return Ok(Some(self.refuse(header, Refusal::UNKNOWN_COMMAND)));
        };
        let contexts = if command == Command::BlockStatus { self.negotiated.contexts } else { ContextSet::EMPTY };
        let mut request = Request { command, flags: header.flags, offset: header.offset, length: header.length, contexts };
        if self.negotiated.framing == Framing::Extended && header.flags.contains(CommandFlags::PAYLOAD_LEN) {
            request.flags.remove(CommandFlags::PAYLOAD_LEN);
            match command {
                Command::Write => {}
                Command::BlockStatus if !contexts.is_empty() => return Ok(self.begin_filter(header, request)),
                _ => return Ok(Some(self.refuse(header, Refusal::UNEXPECTED_PAYLOAD))),
            }
        }
        Ok(Some(match self.check(&request) {
            Ok(()) => {
                if header.payload > 0 {
                    self.phase = Phase::Payload { left: header.payload };
                }
                Incoming::Request { reply: self.reply(header.cookie, header.offset), request }
            }
            Err(refusal) => self.refuse(header, refusal),
        }))
    }

    fn begin_filter(&mut self, header: &Header, request: Request) -> Option<Incoming<'static>> {
        let length = header.payload as usize;
        let is_possible = (FILTER_HEAD + size_of::<U32>()..=FILTER_MAX).contains(&length) && length.is_multiple_of(size_of::<U32>());
        if !is_possible {
            return Some(self.refuse(header, Refusal::BAD_STATUS_PAYLOAD));
        }
        self.phase = Phase::Filter { cookie: header.cookie, request };
        self.gather.restart(u64::from(header.payload));
        None
    }

    /// A BLOCK_STATUS whose contexts have arrived.
    fn filtered(&self, cookie: u64, mut request: Request) -> Incoming<'static> {
        let reply = self.reply(cookie, request.offset);
        let checked = self.filter().and_then(|(length, contexts)| {
            (request.length, request.contexts) = (length, contexts);
            self.check(&request)
        });
        match checked {
            Ok(()) => Incoming::Request { reply, request },
            Err(refusal) => Incoming::Refused { reply, refusal },
        }
    }

    /// The length of the range and the contexts, from the payload of a BLOCK_STATUS.
    fn filter(&self) -> Result<(u64, ContextSet), Refusal> {
        let bytes = self.gather.bytes();
        let (length, ids) = U64::read_from_prefix(bytes).map_err(|_| Refusal::BAD_STATUS_PAYLOAD)?;
        let mut contexts = ContextSet::EMPTY;
        for id in ids.chunks_exact(size_of::<U32>()) {
            let id = U32::read_from_bytes(id).map_err(|_| Refusal::BAD_STATUS_PAYLOAD)?;
            let index = index_of(id.get()).filter(|&index| self.negotiated.contexts.contains(index) && !contexts.contains(index));
            contexts = contexts.with(index.ok_or(Refusal::BAD_FILTER)?);
        }
        Ok((length.get(), contexts))
    }

    fn check(&self, request: &Request) -> Result<(), Refusal> {
        if request.command == Command::BlockStatus && request.contexts.is_empty() {
            return Err(Refusal::NO_STATUS);
        }
        request.check(&self.negotiated.info)
    }

    fn refuse(&mut self, header: &Header, refusal: Refusal) -> Incoming<'static> {
        if header.payload > 0 {
            self.phase = Phase::Skip { left: header.payload };
        }
        Incoming::Refused { reply: self.reply(header.cookie, header.offset), refusal }
    }

    const fn reply(&self, cookie: u64, offset: u64) -> Reply {
        Reply::new(self.negotiated.framing, cookie, offset)
    }

    /// The message just collected; whoever restarted the gathering asked for its length, and zeroes stand in should that ever be wrong.
    fn message<M: FromBytes>(&self) -> M {
        M::read_from_prefix(self.gather.bytes()).map_or_else(|_| zerocopy::FromZeros::new_zeroed(), |(message, _)| message)
    }
}

const fn header_bytes(framing: Framing) -> u64 {
    match framing {
        Framing::Extended => size_of::<ExtendedRequestHeader>() as u64,
        Framing::Simple | Framing::Structured => size_of::<RequestHeader>() as u64,
    }
}

fn take<'i>(rest: &mut &'i [u8], count: u32) -> &'i [u8] {
    let (taken, after) = rest.split_at(rest.len().min(count as usize));
    *rest = after;
    taken
}
