//! The client half: what a pager drives over any byte stream.
//!
//! [`Client`] takes received bytes and yields [`Event`]s; bytes to send come from [`Client::transmit`] during the
//! handshake and from [`Client::encode`] afterwards. See the crate's documentation for a whole session.

mod coverage;
mod error;
mod handshake;
mod outbox;
mod replies;
mod table;

pub use error::{ClientError, Refused, Violation};
pub use handshake::Session;
pub use table::{Outstanding, Pending, RequestTable};

use handshake::Handshake;
use outbox::Outbox;
use replies::Replies;
use zerocopy::IntoBytes;
use zerocopy::big_endian::{U16, U32, U64};

use crate::error::NbdError;
use crate::flags::{CommandFlags, TransmissionFlags};
use crate::request::{Command, Refusal, Request};
use crate::text::Text;
use crate::wire::{MAGIC_REQUEST, RequestHeader, command};

/// A request header, ready to send. After the header of a WRITE come its `length` bytes, with nothing in between.
pub type EncodedRequest = [u8; size_of::<RequestHeader>()];

/// What came out of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'i> {
    /// The handshake is over; requests may be sent.
    Ready(Session),
    /// Data for part of a READ begins. All of it follows as [`Event::Data`] before anything else does.
    Chunk {
        /// Which READ.
        cookie: u64,
        /// Where in the export.
        offset: u64,
        /// How many bytes.
        length: u32,
    },
    /// Some bytes of the chunk, straight from the input. Copy them to `offset - request.offset` of the buffer.
    Data {
        /// Which READ.
        cookie: u64,
        /// Where in the export.
        offset: u64,
        /// The bytes; never empty.
        bytes: &'i [u8],
    },
    /// Part of a READ is zeroes that were not sent.
    Hole {
        /// Which READ.
        cookie: u64,
        /// Where in the export.
        offset: u64,
        /// How many zeroes.
        length: u32,
    },
    /// The answer is complete: on success every byte of a READ has been delivered exactly once. On an error the data
    /// delivered so far must not be used. Take the request out of the table now.
    Done {
        /// Which request.
        cookie: u64,
        /// What came of it; [`Client::error_text`] has the server's words.
        result: Result<(), NbdError>,
    },
}

#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "one client per connection, and there is no heap to box it in")]
enum State {
    Handshake(Handshake),
    Transmission(Session, Replies),
    Failed,
}

/// One connection to a server.
#[derive(Clone, Debug)]
pub struct Client {
    state: State,
    outbox: Outbox,
}

impl Client {
    /// Starts a handshake for the export `name`; `None` if the name is longer than [`crate::limits::CLIENT_NAME_MAX`] bytes.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        Some(Self { state: State::Handshake(Handshake::new(name)?), outbox: Outbox::new() })
    }

    /// Bytes of the handshake that wait to be sent; may be non-empty after [`ClientError::Refused`] too.
    #[must_use]
    pub fn transmit(&self) -> &[u8] {
        self.outbox.bytes()
    }

    /// Says that the first `count` bytes of [`Client::transmit`] were sent.
    pub fn transmitted(&mut self, count: usize) {
        self.outbox.sent(count);
    }

    /// What the handshake agreed on, once it is over.
    #[must_use]
    pub const fn session(&self) -> Option<&Session> {
        match &self.state {
            State::Transmission(session, _) => Some(session),
            _ => None,
        }
    }

    /// The text the server sent with the error in the last [`Event::Done`].
    #[must_use]
    pub const fn error_text(&self) -> &Text {
        match &self.state {
            State::Transmission(_, replies) => replies.text(),
            _ => &Text::EMPTY,
        }
    }

    /// Whether the server may close here without cutting a message in two.
    #[must_use]
    pub fn is_between_replies(&self) -> bool {
        matches!(&self.state, State::Transmission(_, replies) if replies.is_between_replies())
    }

    /// Takes bytes from the server. Returns how many were used and the next event, if they held one.
    ///
    /// Call again with the rest of the input (even if it is empty) until there is no event: then all of it was used.
    ///
    /// # Errors
    /// The connection must be closed; see [`ClientError`]. Every request in flight then has an unknown outcome.
    pub fn receive<'i>(&mut self, input: &'i [u8], outstanding: &mut impl Outstanding) -> Result<(usize, Option<Event<'i>>), ClientError> {
        let mut rest = input;
        let result = match &mut self.state {
            State::Handshake(handshake) => handshake.receive(&mut rest, &mut self.outbox).map(|session| session.map(Event::Ready)),
            State::Transmission(_, replies) => replies.receive(&mut rest, outstanding).map_err(ClientError::from),
            State::Failed => Err(ClientError::AlreadyFailed),
        };
        match result {
            Ok(Some(Event::Ready(session))) => self.state = State::Transmission(session, Replies::new(session.structured)),
            Ok(_) => {}
            Err(_) => self.state = State::Failed,
        }
        result.map(|event| (input.len() - rest.len(), event))
    }

    /// The header of a request, if the export takes such a request.
    ///
    /// Register the request under `cookie` before its header is sent.
    ///
    /// # Errors
    /// Why the export does not take it; nothing must be sent then.
    pub fn encode(&self, cookie: u64, request: &Request) -> Result<EncodedRequest, Refusal> {
        self.check(request)?;
        Ok(bytes_of(&request.header(cookie)))
    }

    /// Whether the export takes a request, so that it can be checked before a cookie is spent on it.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(&self, request: &Request) -> Result<(), Refusal> {
        let session = self.session().ok_or(Refusal::NOT_READY)?;
        // The client negotiates no metadata context, and DF means something only to structured replies.
        if request.command == Command::BlockStatus {
            return Err(Refusal::NO_STATUS);
        }
        if request.flags.contains(CommandFlags::DF) && !session.structured {
            return Err(Refusal::UNKNOWN_FLAG);
        }
        request.check(&session.export)
    }

    /// Whether the export announced all these abilities.
    #[must_use]
    pub fn can(&self, flags: TransmissionFlags) -> bool {
        self.session().is_some_and(|session| session.export.can(flags))
    }

    /// The polite end of a session: no reply comes, and nothing may be sent after it.
    #[must_use]
    pub fn disconnect() -> EncodedRequest {
        bytes_of(&RequestHeader {
            magic: U32::new(MAGIC_REQUEST),
            flags: U16::new(0),
            command: U16::new(command::DISC),
            cookie: U64::new(0),
            offset: U64::new(0),
            length: U32::new(0),
        })
    }
}

fn bytes_of(header: &RequestHeader) -> EncodedRequest {
    let mut bytes = [0; size_of::<RequestHeader>()];
    bytes.copy_from_slice(header.as_bytes());
    bytes
}
