//! The stream of requests, taken apart as it arrives and checked before anyone sees it.

use zerocopy::{FromBytes, FromZeros};

use super::error::ServerError;
use super::handshake::Negotiated;
use crate::gather::Gather;
use crate::request::{Command, Refusal, Request};
use crate::wire::{MAGIC_REQUEST, RequestHeader, command};

/// What came out of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'i> {
    /// A request the export takes: in bounds, with flags it knows. The data of a WRITE follows as [`Incoming::Payload`]
    /// before anything else does.
    Request {
        /// Returned with the reply.
        cookie: u64,
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
    /// A request the export does not take: answer with this error. The data of a refused WRITE is skipped.
    Refused {
        /// Returned with the reply.
        cookie: u64,
        /// The error, and a sentence.
        refusal: Refusal,
    },
    /// The client said goodbye: finish what is in flight, then close. Later input is dropped.
    Disconnect,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Header,
    Payload { left: u32 },
    Skip { left: u32 },
    Over,
}

/// The parser.
#[derive(Clone, Debug)]
pub struct Requests {
    negotiated: Negotiated,
    phase: Phase,
    gather: Gather<{ size_of::<RequestHeader>() }>,
}

impl Requests {
    /// Waits for the first request.
    #[must_use]
    pub const fn new(negotiated: Negotiated) -> Self {
        Self { negotiated, phase: Phase::Header, gather: Gather::new(size_of::<RequestHeader>() as u64) }
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
                Phase::Header => {
                    if !self.gather.take(&mut rest) {
                        return Ok((input.len(), None));
                    }
                    let incoming = self.header()?;
                    return Ok((input.len() - rest.len(), Some(incoming)));
                }
            }
        }
    }

    fn header(&mut self) -> Result<Incoming<'static>, ServerError> {
        let header = RequestHeader::read_from_bytes(self.gather.bytes()).unwrap_or_else(|_| RequestHeader::new_zeroed());
        self.gather.restart(size_of::<RequestHeader>() as u64);
        if header.magic.get() != MAGIC_REQUEST {
            return Err(ServerError::RequestMagic(header.magic.get()));
        }
        if header.command.get() == command::DISC {
            self.phase = Phase::Over;
            return Ok(Incoming::Disconnect);
        }
        let cookie = header.cookie.get();
        let Some(request) = Request::from_header(&header) else {
            return Ok(Incoming::Refused { cookie, refusal: Refusal::UNKNOWN_COMMAND });
        };
        let left = request.payload_length();
        let checked = self.check(&request);
        self.phase = match (left, checked) {
            (0, _) => Phase::Header,
            (_, Ok(())) => Phase::Payload { left },
            (_, Err(_)) => Phase::Skip { left },
        };
        Ok(match checked {
            Ok(()) => Incoming::Request { cookie, request },
            Err(refusal) => Incoming::Refused { cookie, refusal },
        })
    }

    fn check(&self, request: &Request) -> Result<(), Refusal> {
        if request.command == Command::BlockStatus && !self.negotiated.allocation {
            return Err(Refusal::NO_STATUS);
        }
        request.check(&self.negotiated.info)
    }
}

fn take<'i>(rest: &mut &'i [u8], count: u32) -> &'i [u8] {
    let (taken, after) = rest.split_at(rest.len().min(count as usize));
    *rest = after;
    taken
}
