//! The client half: what a pager drives over any byte stream.
//!
//! [`Client`] takes received bytes and yields [`Event`]s; bytes to send come from [`Client::transmit`] during the
//! handshake and from [`Client::encode`] afterwards. See the crate's documentation for a whole session.

mod coverage;
mod described;
mod error;
mod handshake;
mod options;
mod outbox;
mod replies;
mod status;
mod table;
mod wishes;

pub use error::{ClientError, Refused, Violation};
pub use handshake::Session;
pub use table::{Outstanding, Pending, RequestTable};
pub use wishes::{TlsWish, Wishes};

use handshake::{Handshake, Step};
use outbox::Outbox;
use replies::Replies;
use zerocopy::IntoBytes;

pub use crate::encoded::EncodedRequest;
use crate::error::NbdError;
use crate::flags::TransmissionFlags;
use crate::framing::Framing;
use crate::request::{Command, Refusal, Request};
use crate::text::Text;

/// What came out of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'i> {
    /// The server agreed to TLS. Start it on the bare stream; then call [`Client::secured`], and send and receive through it.
    StartTls,
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
    /// Part of the range of a BLOCK_STATUS. In each of its contexts they come in ascending order and without gaps from its beginning,
    /// though perhaps not to its end: ask again for the rest.
    Extent {
        /// Which BLOCK_STATUS.
        cookie: u64,
        /// In which context: an index into [`Wishes::contexts`].
        context: usize,
        /// Where in the export.
        offset: u64,
        /// How many bytes of what was asked about.
        length: u64,
        /// What they are, in the terms of the context.
        flags: u64,
    },
    /// The answer is complete: on success every byte of a READ has been delivered exactly once, and every context of a BLOCK_STATUS
    /// was told. On an error the data
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
        Self::with(name, &Wishes::DEFAULT)
    }

    /// The same, asking for more or for less; `None` also if there are too many contexts or their names are too long.
    #[must_use]
    pub fn with(name: &str, wishes: &Wishes) -> Option<Self> {
        Some(Self { state: State::Handshake(Handshake::new(name, wishes)?), outbox: Outbox::new() })
    }

    /// Says that TLS runs, after [`Event::StartTls`]; [`Client::transmit`] then holds what to send through it. At any other time this
    /// does nothing.
    pub fn secured(&mut self) {
        if let State::Handshake(handshake) = &mut self.state {
            handshake.secured(&mut self.outbox);
        }
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
        let result = self.take(&mut rest, outstanding);
        if result.is_err() {
            self.state = State::Failed;
        }
        result.map(|event| (input.len() - rest.len(), event))
    }

    fn take<'i>(&mut self, rest: &mut &'i [u8], outstanding: &mut impl Outstanding) -> Result<Option<Event<'i>>, ClientError> {
        let handshake = match &mut self.state {
            State::Handshake(handshake) => handshake,
            State::Transmission(_, replies) => return Ok(replies.receive(rest, outstanding)?),
            State::Failed => return Err(ClientError::AlreadyFailed),
        };
        Ok(match handshake.receive(rest, &mut self.outbox)? {
            None => None,
            Some(Step::StartTls) => Some(Event::StartTls),
            Some(Step::Ready(session, contexts)) => {
                self.state = State::Transmission(session, Replies::new(session.framing, contexts));
                Some(Event::Ready(session))
            }
        })
    }

    /// The header of a request, if the export takes such a request.
    ///
    /// Register the request under `cookie` before its header is sent.
    ///
    /// # Errors
    /// Why the export does not take it; nothing must be sent then.
    pub fn encode(&self, cookie: u64, request: &Request) -> Result<EncodedRequest, Refusal> {
        self.check(request)?;
        Ok(match &self.state {
            State::Transmission(session, replies) if needs_filter(request, session) => {
                request.encode_filtered(cookie, replies.contexts().ids(request.contexts))
            }
            State::Transmission(session, _) => request.encode(session.framing, cookie),
            _ => EncodedRequest::EMPTY,
        })
    }

    /// Whether the export takes a request, so that it can be checked before a cookie is spent on it.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(&self, request: &Request) -> Result<(), Refusal> {
        let session = self.session().ok_or(Refusal::NOT_READY)?;
        request.fits(session.framing)?;
        if request.command == Command::BlockStatus && session.contexts.is_empty() {
            return Err(Refusal::NO_STATUS);
        }
        if !session.contexts.contains_all(request.contexts) {
            return Err(Refusal::BAD_FILTER);
        }
        let can_filter = session.framing == Framing::Extended && self.can(TransmissionFlags::BLOCK_STATUS_PAYLOAD);
        if needs_filter(request, session) && !can_filter {
            return Err(Refusal::NO_FILTER);
        }
        request.check(&session.export)
    }

    /// Whether the export announced all these abilities.
    #[must_use]
    pub fn can(&self, flags: TransmissionFlags) -> bool {
        self.session().is_some_and(|session| session.export.can(flags))
    }

    /// The polite end of a session: no reply comes that matters, and nothing may be sent after it. Nothing at all if the connection
    /// has failed, or if TLS is about to be started.
    #[must_use]
    pub fn disconnect(&self) -> EncodedRequest {
        let mut bytes = EncodedRequest::EMPTY;
        match &self.state {
            State::Transmission(session, _) => return EncodedRequest::disconnect(session.framing),
            State::Handshake(handshake) if handshake.may_abort() => bytes.put(options::abort().as_bytes()),
            State::Handshake(_) | State::Failed => {}
        }
        bytes
    }
}

/// Whether a request is about some contexts of the session, and not about others.
fn needs_filter(request: &Request, session: &Session) -> bool {
    request.command == Command::BlockStatus && !request.contexts.is_empty() && request.contexts != session.contexts
}
