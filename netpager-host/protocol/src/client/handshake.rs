//! The client's half of the handshake: from the greeting to a chosen export.
//!
//! Order: STARTTLS, EXTENDED_HEADERS, STRUCTURED_REPLY if the server does not know that, LIST_META_CONTEXT, SET_META_CONTEXT, and GO
//! with a wish for block sizes; each only if [`Wishes`] ask for it. A server that knows no GO gets EXPORT_NAME. Any other refusal ends
//! the handshake with the server's own words and an ABORT to send.

use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

use super::described::Described;
use super::error::{ClientError, Refused, Violation};
use super::options::{put_go, put_option, put_queries};
use super::outbox::Outbox;
use super::wishes::{Contexts, TlsWish, Wishes};
use crate::context::ContextSet;
use crate::export::ExportInfo;
use crate::flags::HandshakeFlags;
use crate::framing::Framing;
use crate::gather::Gather;
use crate::limits::{CLIENT_NAME_MAX, ERROR_TEXT_KEPT, OPTION_REPLY_MAX};
use crate::text::Text;
use crate::wire::{Greeting, InfoExport, MAGIC_NBD, MAGIC_OPTION, MAGIC_OPTION_REPLY, OptionReplyHeader};
use crate::wire::{option, option_reply};

/// The zeroes after the reply to EXPORT_NAME, which NO_ZEROES leaves out.
const PADDING: u64 = 124;
/// Enough for every reply whose content matters, and for the part of a text that is kept.
const KEPT: usize = ERROR_TEXT_KEPT;
/// The longest name of a context that such a reply has room for.
pub(super) const CONTEXT_NAME_MAX: usize = KEPT - size_of::<U32>();

/// What the handshake agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The export, checked.
    pub export: ExportInfo,
    /// How requests and replies are framed.
    pub framing: Framing,
    /// What BLOCK_STATUS may be asked about: indices into [`Wishes::contexts`].
    pub contexts: ContextSet,
    /// What the server can do of what was asked: indices into [`Wishes::capabilities`].
    pub capabilities: ContextSet,
    /// Whether TLS was started.
    pub is_secure: bool,
}

/// How far the handshake has come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    StartTls,
    Ready(Session, Contexts),
}

/// The next message from the server.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Greeting,
    ReplyHeader,
    ReplyBody {
        kind: u32,
        length: u32,
    },
    ExportNameReply,
    /// Nothing, before TLS runs.
    Tls,
}

/// A handshake in progress.
#[derive(Clone, Debug)]
pub(super) struct Handshake {
    name: [u8; CLIENT_NAME_MAX],
    name_length: usize,
    wishes: Wishes,
    expected: Expected,
    asked: u32,
    gather: Gather<KEPT>,
    no_zeroes: bool,
    is_secure: bool,
    framing: Framing,
    contexts: Contexts,
    capabilities: ContextSet,
    described: Described,
}

impl Handshake {
    /// Waits for a greeting; name and wishes must be short enough.
    pub(super) fn new(name: &str, wishes: &Wishes) -> Option<Self> {
        let mut bytes = [0; CLIENT_NAME_MAX];
        bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        wishes.fit().then_some(Self {
            name: bytes,
            name_length: name.len(),
            wishes: *wishes,
            expected: Expected::Greeting,
            asked: 0,
            gather: Gather::new(size_of::<Greeting>() as u64),
            no_zeroes: false,
            is_secure: false,
            framing: Framing::Simple,
            contexts: Contexts::default(),
            capabilities: ContextSet::EMPTY,
            described: Described::NOTHING,
        })
    }

    /// Takes input until something is to be done or the input is used up.
    pub(super) fn receive(&mut self, rest: &mut &[u8], out: &mut Outbox) -> Result<Option<Step>, ClientError> {
        if matches!(self.expected, Expected::Tls) {
            return if rest.is_empty() { Ok(None) } else { Err(Violation::Unsolicited.into()) };
        }
        while self.gather.take(rest) {
            match self.step(out)? {
                // What comes behind this is an attacker's; so is this, if the question has not even left.
                Some(Step::StartTls) if !rest.is_empty() || !out.bytes().is_empty() => return Err(Violation::Unsolicited.into()),
                None => {}
                step => return Ok(step),
            }
        }
        Ok(None)
    }

    /// TLS runs; the handshake goes on through it. Does nothing unless TLS was about to be started.
    pub(super) fn secured(&mut self, out: &mut Outbox) {
        if matches!(self.expected, Expected::Tls) {
            self.is_secure = true;
            self.ask_for_framing(out);
        }
    }

    /// Whether the server waits for an option, or will after its next reply.
    pub(super) const fn may_abort(&self) -> bool {
        matches!(self.expected, Expected::ReplyHeader | Expected::ReplyBody { .. })
    }

    fn step(&mut self, out: &mut Outbox) -> Result<Option<Step>, ClientError> {
        match self.expected {
            Expected::Greeting => self.greeting(out).map(|()| None),
            Expected::ReplyHeader => self.reply_header().map(|()| None),
            Expected::ReplyBody { kind, length } => self.reply(kind, length, out),
            Expected::ExportNameReply => {
                let reply = self.message::<InfoExport>()?;
                self.described.export(&reply);
                self.ready().map(Some)
            }
            Expected::Tls => Ok(None),
        }
    }

    fn greeting(&mut self, out: &mut Outbox) -> Result<(), ClientError> {
        let greeting = self.message::<Greeting>()?;
        if greeting.magic.get() != MAGIC_NBD {
            return Err(Violation::NotNbd.into());
        }
        if greeting.style.get() != MAGIC_OPTION {
            return Err(Violation::Oldstyle.into());
        }
        let offered = HandshakeFlags::from_bits_retain(greeting.flags.get());
        if !offered.contains(HandshakeFlags::FIXED_NEWSTYLE) {
            return Err(Violation::NotFixedNewstyle.into());
        }
        // Repeat only what we understand: a server must hang up on a client that claims more.
        let chosen = offered & (HandshakeFlags::FIXED_NEWSTYLE | HandshakeFlags::NO_ZEROES);
        self.no_zeroes = chosen.contains(HandshakeFlags::NO_ZEROES);
        out.put(U32::new(u32::from(chosen.bits())).as_bytes());
        match self.wishes.tls {
            TlsWish::Never => self.ask_for_framing(out),
            TlsWish::Prefer | TlsWish::Require => self.ask(option::STARTTLS, out),
        }
        Ok(())
    }

    fn ask_for_framing(&mut self, out: &mut Outbox) {
        match self.wishes.framing {
            Framing::Extended => self.ask(option::EXTENDED_HEADERS, out),
            Framing::Structured => self.ask(option::STRUCTURED_REPLY, out),
            Framing::Simple => self.ask(option::GO, out),
        }
    }

    /// What the server can do, if that is of interest.
    fn ask_for_capabilities(&mut self, out: &mut Outbox) {
        match self.wishes.capabilities {
            [] => self.ask_for_contexts(out),
            _ => self.ask(option::LIST_META_CONTEXT, out),
        }
    }

    fn ask_for_contexts(&mut self, out: &mut Outbox) {
        let has_wishes = !self.wishes.contexts.is_empty();
        self.ask(if has_wishes { option::SET_META_CONTEXT } else { option::GO }, out);
    }

    /// Sends an option and waits for what answers it.
    fn ask(&mut self, wanted: u32, out: &mut Outbox) {
        let name = &self.name[..self.name_length];
        self.asked = wanted;
        match wanted {
            option::GO => put_go(out, name),
            option::LIST_META_CONTEXT => put_queries(out, wanted, name, self.wishes.capabilities),
            option::SET_META_CONTEXT => put_queries(out, wanted, name, self.wishes.contexts),
            option::EXPORT_NAME => {
                put_option(out, option::EXPORT_NAME, name.len());
                out.put(name);
                self.expected = Expected::ExportNameReply;
                let padding = if self.no_zeroes { 0 } else { PADDING };
                self.gather.restart(size_of::<InfoExport>() as u64 + padding);
                return;
            }
            bare => put_option(out, bare, 0),
        }
        self.expect_reply_header();
    }

    fn expect_reply_header(&mut self) {
        self.expected = Expected::ReplyHeader;
        self.gather.restart(size_of::<OptionReplyHeader>() as u64);
    }

    fn reply_header(&mut self) -> Result<(), ClientError> {
        let header = self.message::<OptionReplyHeader>()?;
        if header.magic.get() != MAGIC_OPTION_REPLY {
            return Err(Violation::OptionReplyMagic(header.magic.get()).into());
        }
        if header.option.get() != self.asked {
            return Err(Violation::OptionMismatch { expected: self.asked, got: header.option.get() }.into());
        }
        let length = header.length.get();
        if length as usize > OPTION_REPLY_MAX {
            return Err(Violation::OptionReplyLength(length).into());
        }
        self.expected = Expected::ReplyBody { kind: header.kind.get(), length };
        self.gather.restart(u64::from(length));
        Ok(())
    }

    fn reply(&mut self, kind: u32, length: u32, out: &mut Outbox) -> Result<Option<Step>, ClientError> {
        if kind == option_reply::ACK && length != 0 && self.asked != option::GO {
            return Err(Violation::OptionReplyLength(length).into());
        }
        match self.asked {
            option::STARTTLS => return self.tls_reply(kind, out),
            option::GO => return self.go_reply(kind, length, out),
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => self.context_reply(kind, length, out)?,
            _ => self.framing_reply(kind, out)?,
        }
        Ok(None)
    }

    fn tls_reply(&mut self, kind: u32, out: &mut Outbox) -> Result<Option<Step>, ClientError> {
        match kind {
            option_reply::ACK => {
                self.expected = Expected::Tls;
                return Ok(Some(Step::StartTls));
            }
            error if is_error(error) && self.wishes.tls == TlsWish::Prefer => self.ask_for_framing(out),
            other => return Err(self.refused(other, out)),
        }
        Ok(None)
    }

    fn framing_reply(&mut self, kind: u32, out: &mut Outbox) -> Result<(), ClientError> {
        match (self.asked, kind) {
            (option::EXTENDED_HEADERS, option_reply::ACK) => {
                self.framing = Framing::Extended;
                self.ask_for_capabilities(out);
            }
            (option::EXTENDED_HEADERS, error) if means_no(error) => self.ask(option::STRUCTURED_REPLY, out),
            (option::STRUCTURED_REPLY, option_reply::ACK) => {
                self.framing = Framing::Structured;
                self.ask_for_capabilities(out);
            }
            (option::STRUCTURED_REPLY, error) if means_no(error) => self.ask(option::GO, out),
            (_, other) => return Err(self.refused(other, out)),
        }
        Ok(())
    }

    /// Replies about contexts. That there are none is no reason to leave; whatever was told before an error does not count.
    fn context_reply(&mut self, kind: u32, length: u32, out: &mut Outbox) -> Result<(), ClientError> {
        match (self.asked, kind) {
            (_, option_reply::META_CONTEXT) => {
                self.context(length)?;
                self.expect_reply_header();
            }
            (option::LIST_META_CONTEXT, option_reply::ACK) => self.ask_for_contexts(out),
            (option::LIST_META_CONTEXT, error) if means_no_contexts(error) => {
                self.capabilities = ContextSet::EMPTY;
                self.ask_for_contexts(out);
            }
            (_, option_reply::ACK) => self.ask(option::GO, out),
            (_, error) if means_no_contexts(error) => {
                self.contexts = Contexts::default();
                self.ask(option::GO, out);
            }
            (_, other) => return Err(self.refused(other, out)),
        }
        Ok(())
    }

    fn go_reply(&mut self, kind: u32, length: u32, out: &mut Outbox) -> Result<Option<Step>, ClientError> {
        match kind {
            option_reply::INFO => {
                self.described.inform(self.gather.bytes(), length)?;
                self.expect_reply_header();
            }
            option_reply::ACK => return self.ready().map(Some),
            option_reply::ERR_UNSUP if self.framing != Framing::Extended => self.ask(option::EXPORT_NAME, out),
            other => return Err(self.refused(other, out)),
        }
        Ok(None)
    }

    /// A reply after which there is no way to go on: the server said no, or something that means nothing here.
    fn refused(&self, kind: u32, out: &mut Outbox) -> ClientError {
        if !is_error(kind) {
            return Violation::OptionReplyKind(kind).into();
        }
        put_option(out, option::ABORT, 0);
        ClientError::Refused(Refused { option: self.asked, kind, text: Text::new(self.gather.bytes()) })
    }

    /// One context that is granted, or one that is merely listed.
    fn context(&mut self, length: u32) -> Result<(), Violation> {
        let bytes = self.gather.bytes();
        let (id, name) = U32::read_from_prefix(bytes).map_err(|_| Violation::OptionReplyLength(length))?;
        // A name longer than what is kept is none that was asked for.
        let is_whole = length as usize == bytes.len();
        let among = |names: &[&str]| names.iter().position(|wish| is_whole && wish.as_bytes() == name);
        if self.asked == option::SET_META_CONTEXT {
            let index = among(self.wishes.contexts);
            return match index.is_some_and(|index| self.contexts.grant(index, id.get())) {
                true => Ok(()),
                false => Err(Violation::ContextNotAsked),
            };
        }
        // A server may list more than was asked for.
        if let Some(index) = among(self.wishes.capabilities) {
            self.capabilities = self.capabilities.with(index);
        }
        self.described.count()
    }

    fn ready(&self) -> Result<Step, ClientError> {
        let export = self.described.finish()?;
        let Self { framing, is_secure, contexts, capabilities, .. } = *self;
        Ok(Step::Ready(Session { export, framing, contexts: contexts.granted(), capabilities, is_secure }, contexts))
    }

    /// The message just collected. The length was asked for by whoever set `expected`, so the error cannot happen; it is
    /// returned all the same because input must never make us panic.
    fn message<M: FromBytes>(&self) -> Result<M, Violation> {
        M::read_from_prefix(self.gather.bytes()).map(|(message, _)| message).map_err(|_| Violation::NotNbd)
    }
}

const fn is_error(kind: u32) -> bool {
    kind & option_reply::ERROR_BIT != 0
}

/// Whether the server does not do what was asked, which is no reason to leave.
const fn means_no(kind: u32) -> bool {
    matches!(kind, option_reply::ERR_UNSUP | option_reply::ERR_POLICY | option_reply::ERR_INVALID)
}

/// The same for contexts; an export that is unknown will be reported by GO.
const fn means_no_contexts(kind: u32) -> bool {
    means_no(kind) || matches!(kind, option_reply::ERR_UNKNOWN | option_reply::ERR_TOO_BIG)
}
