//! The server's half of the handshake: from the greeting to a chosen export.
//!
//! A bad option is refused and the client may try another one; only what cannot be answered ends the connection.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use super::error::ServerError;
use super::exports::{Export, Exports, Found, Purpose};
use super::options::{self, Chosen, MALFORMED, NotDone, Sight, reply};
use super::sink::Sink;
use super::tls::{TlsMode, TlsState};
use crate::context::ContextSet;
use crate::export::ExportInfo;
use crate::flags::HandshakeFlags;
use crate::framing::Framing;
use crate::gather::Gather;
use crate::limits::{OPTION_DATA_MAX, OPTIONS_MAX, STRING_MAX};
use crate::wire::{Greeting, MAGIC_NBD, MAGIC_OPTION, OptionHeader, option, option_reply};

/// How much of an option's data is kept: two strings of the greatest length. A longer one is read, but refused.
const KEPT: usize = 2 * STRING_MAX;
const OFFERED: HandshakeFlags = HandshakeFlags::FIXED_NEWSTYLE.union(HandshakeFlags::NO_ZEROES);
/// The zeroes after the reply to EXPORT_NAME, which NO_ZEROES leaves out.
const PADDING: [u8; 124] = [0; 124];

/// What the handshake agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The export's id, from [`Export`].
    pub export: usize,
    /// Size and abilities as the client saw them.
    pub info: ExportInfo,
    /// How requests and replies are framed.
    pub framing: Framing,
    /// What BLOCK_STATUS may be asked about: indices into [`Export::contexts`].
    pub contexts: ContextSet,
    /// Whether TLS was started.
    pub is_secure: bool,
}

/// How a handshake ended, or why it stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Requests follow.
    Transmission(Negotiated),
    /// Send what was put into the sink, and do the TLS handshake on the bare stream; then call [`Handshake::secured`], and go on with
    /// what comes through TLS. Until then nothing can be received.
    StartTls,
    /// [`Exports::find`] said [`super::Found::Wait`]. Call [`Handshake::receive`] again, with the rest of the input or with none, when it
    /// will say something else.
    Wait,
    /// The client said goodbye. Send what was put into the sink, then close.
    Aborted,
}

#[derive(Clone, Copy, Debug)]
enum Expected {
    ClientFlags,
    OptionHeader,
    OptionData { option: u32, length: u32 },
}

/// A handshake in progress.
#[derive(Clone, Debug)]
pub struct Handshake {
    expected: Expected,
    gather: Gather<KEPT>,
    flags: HandshakeFlags,
    tls: TlsState,
    framing: Framing,
    chosen: Chosen,
    options: usize,
}

impl Handshake {
    /// Sends the greeting and waits for the client's flags.
    #[must_use]
    pub fn new(out: &mut impl Sink, tls: TlsMode) -> Self {
        let greeting = Greeting { magic: U64::new(MAGIC_NBD), style: U64::new(MAGIC_OPTION), flags: U16::new(OFFERED.bits()) };
        out.put(greeting.as_bytes());
        Self {
            expected: Expected::ClientFlags,
            gather: Gather::new(size_of::<U32>() as u64),
            flags: HandshakeFlags::empty(),
            tls: TlsState::Plain(tls),
            framing: Framing::Simple,
            chosen: Chosen::NOTHING,
            options: 0,
        }
    }

    /// Takes bytes from the client; returns how many were used, and the outcome once there is one. The bytes after those
    /// used then belong to [`super::Requests`]. What must be sent is put into `out`, also when this fails.
    ///
    /// # Errors
    /// The connection must be closed.
    pub fn receive(&mut self, input: &[u8], exports: &dyn Exports, out: &mut impl Sink) -> Result<(usize, Option<Outcome>), ServerError> {
        if self.tls == TlsState::Starting {
            return Err(ServerError::PlaintextAfterStartTls);
        }
        let mut rest = input;
        while self.gather.take(&mut rest) {
            let outcome = match self.expected {
                Expected::ClientFlags => self.client_flags()?,
                Expected::OptionHeader => self.option_header()?,
                Expected::OptionData { option, length } => self.option(option, length, exports, out)?,
            };
            if outcome == Some(Outcome::StartTls) && !rest.is_empty() {
                return Err(ServerError::PlaintextAfterStartTls);
            }
            if outcome.is_some() {
                return Ok((input.len() - rest.len(), outcome));
            }
        }
        Ok((input.len(), None))
    }

    /// TLS runs: everything that is received from now on came through it. What was agreed on before is forgotten, for an attacker
    /// may have agreed on it. Does nothing unless TLS was about to be started.
    pub fn secured(&mut self) {
        if self.tls == TlsState::Starting {
            self.tls = TlsState::Running;
            self.framing = Framing::Simple;
            self.chosen = Chosen::NOTHING;
            self.expect_option();
        }
    }

    fn client_flags(&mut self) -> Result<Option<Outcome>, ServerError> {
        let bits = self.message::<U32>().get();
        let known = u16::try_from(bits).ok().and_then(HandshakeFlags::from_bits);
        self.flags = known.filter(|flags| OFFERED.contains(*flags)).ok_or(ServerError::ClientFlags(bits))?;
        self.expect_option();
        Ok(None)
    }

    fn expect_option(&mut self) {
        self.expected = Expected::OptionHeader;
        self.gather.restart(size_of::<OptionHeader>() as u64);
    }

    fn option_header(&mut self) -> Result<Option<Outcome>, ServerError> {
        let header = self.message::<OptionHeader>();
        let (option, length) = (header.option.get(), header.length.get());
        if header.magic.get() != MAGIC_OPTION {
            return Err(ServerError::OptionMagic(header.magic.get()));
        }
        if length as usize > OPTION_DATA_MAX {
            return Err(ServerError::OptionLength(length));
        }
        if !self.flags.contains(HandshakeFlags::FIXED_NEWSTYLE) && option != option::EXPORT_NAME {
            return Err(ServerError::NotFixedNewstyle(option));
        }
        self.options += 1;
        if self.options > OPTIONS_MAX {
            return Err(ServerError::TooManyOptions);
        }
        self.expected = Expected::OptionData { option, length };
        self.gather.restart(u64::from(length));
        Ok(None)
    }

    fn option(&mut self, option: u32, length: u32, exports: &dyn Exports, out: &mut impl Sink) -> Result<Option<Outcome>, ServerError> {
        let sight = Sight { exports, framing: self.framing, is_secure: self.tls.is_running() };
        let result = match option {
            option::ABORT => Ok(Some(Outcome::Aborted)),
            option::EXPORT_NAME => return self.export_name(length, sight, out),
            option::STARTTLS => self.start_tls(),
            _ if self.tls.is_missing() => Err(NotDone::Refused(option_reply::ERR_TLS_REQD, "start TLS first")),
            _ if length as usize > KEPT => Err(NotDone::Refused(option_reply::ERR_TOO_BIG, "the option's data is too long")),
            option::LIST => self.list(exports, out).map(|()| None),
            option::INFO | option::GO => self.describe(option, sight, out),
            option::STRUCTURED_REPLY | option::EXTENDED_HEADERS => self.agree(option).map(|()| None),
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => self.meta_context(option, sight, out).map(|()| None),
            _ => Err(NotDone::Refused(option_reply::ERR_UNSUP, "unknown option")),
        };
        let outcome = match result {
            Err(NotDone::Wait) => return Ok(Some(Outcome::Wait)),
            Ok(outcome) => {
                reply(out, option, option_reply::ACK, &[]);
                outcome
            }
            Err(NotDone::Refused(kind, text)) => {
                reply(out, option, kind, &[text.as_bytes()]);
                None
            }
            Err(NotDone::Export(refusal)) => {
                reply(out, option, refusal.kind().code(), &[refusal.text()]);
                None
            }
        };
        self.expect_option();
        Ok(outcome)
    }

    fn start_tls(&mut self) -> Result<Option<Outcome>, NotDone> {
        let refused = |kind, text| Err(NotDone::Refused(kind, text));
        match self.tls {
            TlsState::Plain(TlsMode::None) => refused(option_reply::ERR_UNSUP, "this server has no TLS"),
            TlsState::Running => refused(option_reply::ERR_INVALID, "TLS was already started"),
            _ if !self.gather.bytes().is_empty() => Err(MALFORMED),
            TlsState::Plain(_) | TlsState::Starting => {
                self.tls = TlsState::Starting;
                Ok(Some(Outcome::StartTls))
            }
        }
    }

    /// The old way to choose an export: the reply has no room for a refusal.
    fn export_name(&mut self, length: u32, sight: Sight<'_>, out: &mut impl Sink) -> Result<Option<Outcome>, ServerError> {
        if self.tls.is_missing() {
            return Err(ServerError::ExportNameWithoutTls);
        }
        if self.framing == Framing::Extended {
            return Err(ServerError::ExportNameAfterExtended);
        }
        let name = (length as usize <= STRING_MAX).then(|| core::str::from_utf8(self.gather.bytes()).ok()).flatten();
        let export = match sight.exports.find(name.ok_or(ServerError::ExportNameMalformed)?, Purpose::Enter) {
            Found::Export(export) => export,
            Found::Refused(refusal) => return Err(ServerError::ExportName(refusal.kind())),
            Found::Wait => return Ok(Some(Outcome::Wait)),
        };
        out.put(sight.info_export(&export, self.chosen.of(&export)).as_bytes());
        if !self.flags.contains(HandshakeFlags::NO_ZEROES) {
            out.put(&PADDING);
        }
        Ok(Some(Outcome::Transmission(self.negotiated(&export, sight))))
    }

    fn describe(&self, option: u32, sight: Sight<'_>, out: &mut impl Sink) -> Result<Option<Outcome>, NotDone> {
        let export = options::describe(option, self.gather.bytes(), sight, self.chosen, out)?;
        Ok((option == option::GO).then(|| Outcome::Transmission(self.negotiated(&export, sight))))
    }

    fn negotiated(&self, export: &Export<'_>, sight: Sight<'_>) -> Negotiated {
        let contexts = self.chosen.of(export);
        Negotiated {
            export: export.id,
            info: ExportInfo { flags: sight.flags(export, contexts), ..export.info },
            framing: self.framing,
            contexts,
            is_secure: self.tls.is_running(),
        }
    }

    fn list(&self, exports: &dyn Exports, out: &mut impl Sink) -> Result<(), NotDone> {
        if !self.gather.bytes().is_empty() {
            return Err(MALFORMED);
        }
        exports.list(&mut |name| {
            let length = U32::new(name.len() as u32);
            reply(out, option::LIST, option_reply::SERVER, &[length.as_bytes(), name.as_bytes()]);
        });
        Ok(())
    }

    /// STRUCTURED_REPLY and EXTENDED_HEADERS. There is no way back from the latter to the former.
    fn agree(&mut self, option: u32) -> Result<(), NotDone> {
        if !self.gather.bytes().is_empty() {
            return Err(MALFORMED);
        }
        let (wanted, kind) = match option {
            option::EXTENDED_HEADERS => (Framing::Extended, option_reply::ERR_INVALID),
            _ if self.framing == Framing::Extended => (Framing::Structured, option_reply::ERR_EXT_HEADER_REQD),
            _ => (Framing::Structured, option_reply::ERR_INVALID),
        };
        if self.framing >= wanted {
            return Err(NotDone::Refused(kind, "this was already negotiated"));
        }
        self.framing = wanted;
        Ok(())
    }

    fn meta_context(&mut self, option: u32, sight: Sight<'_>, out: &mut impl Sink) -> Result<(), NotDone> {
        if option == option::SET_META_CONTEXT {
            // Whatever comes of it, an earlier choice is gone.
            self.chosen = Chosen::NOTHING;
        }
        if !self.framing.has_chunks() {
            return Err(NotDone::Refused(option_reply::ERR_INVALID, "metadata contexts need structured replies or extended headers"));
        }
        let chosen = options::contexts(option, self.gather.bytes(), sight, out)?;
        if option == option::SET_META_CONTEXT {
            self.chosen = chosen;
        }
        Ok(())
    }

    /// The message just collected; `expected` says how long it is, and zeroes stand in should that ever be wrong.
    fn message<M: FromBytes>(&self) -> M {
        M::read_from_prefix(self.gather.bytes()).map_or_else(|_| M::new_zeroed(), |(message, _)| message)
    }
}
