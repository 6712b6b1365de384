//! The server's half of the handshake: from the greeting to a chosen export.
//!
//! A bad option is refused and the client may try another one; only what cannot be answered ends the connection.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use super::error::ServerError;
use super::exports::Exports;
use super::options::{self, MALFORMED, Refused, reply};
use super::sink::Sink;
use crate::export::ExportInfo;
use crate::flags::HandshakeFlags;
use crate::gather::Gather;
use crate::limits::{OPTION_DATA_MAX, OPTIONS_MAX, STRING_MAX};
use crate::wire::{Greeting, MAGIC_NBD, MAGIC_OPTION, OptionHeader, option, option_reply};

/// How much of an option's data is kept: two strings of the greatest length. A longer one is read, but refused.
const KEPT: usize = 2 * STRING_MAX;
const OFFERED: HandshakeFlags = HandshakeFlags::FIXED_NEWSTYLE.union(HandshakeFlags::NO_ZEROES);

/// What the handshake agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The export's id, from [`super::Export`].
    pub export: usize,
    /// Size and abilities as the client saw them.
    pub info: ExportInfo,
    /// Whether READs are answered in chunks.
    pub structured: bool,
    /// Whether BLOCK_STATUS may be asked, about `base:allocation`.
    pub allocation: bool,
}

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Requests follow.
    Transmission(Negotiated),
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
    structured: bool,
    /// The export for which `base:allocation` was chosen. It lapses when another export is entered.
    allocation: Option<usize>,
    options: usize,
}

impl Handshake {
    /// Sends the greeting and waits for the client's flags.
    #[must_use]
    pub fn new(out: &mut impl Sink) -> Self {
        let greeting = Greeting { magic: U64::new(MAGIC_NBD), style: U64::new(MAGIC_OPTION), flags: U16::new(OFFERED.bits()) };
        out.put(greeting.as_bytes());
        Self {
            expected: Expected::ClientFlags,
            gather: Gather::new(size_of::<U32>() as u64),
            flags: HandshakeFlags::empty(),
            structured: false,
            allocation: None,
            options: 0,
        }
    }

    /// Takes bytes from the client; returns how many were used, and the outcome once there is one. The bytes after those
    /// used then belong to [`super::Requests`]. What must be sent is put into `out`, also when this fails.
    ///
    /// # Errors
    /// The connection must be closed.
    pub fn receive(&mut self, input: &[u8], exports: &impl Exports, out: &mut impl Sink) -> Result<(usize, Option<Outcome>), ServerError> {
        let mut rest = input;
        while self.gather.take(&mut rest) {
            let outcome = match self.expected {
                Expected::ClientFlags => self.client_flags()?,
                Expected::OptionHeader => self.option_header()?,
                Expected::OptionData { option, length } => self.option(option, length, exports, out)?,
            };
            if outcome.is_some() {
                return Ok((input.len() - rest.len(), outcome));
            }
        }
        Ok((input.len(), None))
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

    fn option(&mut self, option: u32, length: u32, exports: &impl Exports, out: &mut impl Sink) -> Result<Option<Outcome>, ServerError> {
        let result = match option {
            option::EXPORT_NAME => return self.export_name(length, exports, out).map(Some),
            _ if length as usize > KEPT => Err((option_reply::ERR_TOO_BIG, "the option's data is too long")),
            option::ABORT => {
                reply(out, option, option_reply::ACK, &[]);
                return Ok(Some(Outcome::Aborted));
            }
            option::LIST => self.list(exports, out),
            option::INFO => options::describe(option, self.gather.bytes(), self.structured, exports, out).map(drop),
            option::GO => match self.go(exports, out) {
                Ok(negotiated) => {
                    reply(out, option, option_reply::ACK, &[]);
                    return Ok(Some(Outcome::Transmission(negotiated)));
                }
                Err(refused) => Err(refused),
            },
            option::STRUCTURED_REPLY => self.structured_reply(),
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => self.meta_context(option, exports, out),
            _ => Err((option_reply::ERR_UNSUP, "unknown option")),
        };
        match result {
            Ok(()) => reply(out, option, option_reply::ACK, &[]),
            Err((kind, text)) => reply(out, option, kind, &[text.as_bytes()]),
        }
        self.expect_option();
        Ok(None)
    }

    fn export_name(&mut self, length: u32, exports: &impl Exports, out: &mut impl Sink) -> Result<Outcome, ServerError> {
        let name = (length as usize <= STRING_MAX).then(|| core::str::from_utf8(self.gather.bytes()).ok()).flatten();
        let export = name.and_then(|name| exports.find(name)).ok_or(ServerError::UnknownExport)?;
        out.put(options::info_export(&export, self.structured).as_bytes());
        if !self.flags.contains(HandshakeFlags::NO_ZEROES) {
            out.put(&[0; 124]);
        }
        Ok(Outcome::Transmission(self.negotiated(&export)))
    }

    fn go(&self, exports: &impl Exports, out: &mut impl Sink) -> Result<Negotiated, Refused> {
        let export = options::describe(option::GO, self.gather.bytes(), self.structured, exports, out)?;
        Ok(self.negotiated(&export))
    }

    fn negotiated(&self, export: &super::Export<'_>) -> Negotiated {
        let flags = options::visible_flags(export, self.structured);
        Negotiated {
            export: export.id,
            info: ExportInfo { flags, ..export.info },
            structured: self.structured,
            allocation: self.allocation == Some(export.id),
        }
    }

    fn list(&self, exports: &impl Exports, out: &mut impl Sink) -> Result<(), Refused> {
        if !self.gather.bytes().is_empty() {
            return Err(MALFORMED);
        }
        exports.list(&mut |name| {
            let length = U32::new(name.len() as u32);
            reply(out, option::LIST, option_reply::SERVER, &[length.as_bytes(), name.as_bytes()]);
        });
        Ok(())
    }

    fn structured_reply(&mut self) -> Result<(), Refused> {
        if !self.gather.bytes().is_empty() {
            return Err(MALFORMED);
        }
        if self.structured {
            return Err((option_reply::ERR_INVALID, "structured replies were already negotiated"));
        }
        self.structured = true;
        Ok(())
    }

    fn meta_context(&mut self, option: u32, exports: &impl Exports, out: &mut impl Sink) -> Result<(), Refused> {
        if !self.structured {
            return Err((option_reply::ERR_INVALID, "metadata contexts need structured replies"));
        }
        if option == option::SET_META_CONTEXT {
            // Whatever comes of it, an earlier choice is gone.
            self.allocation = None;
        }
        let (export, chosen) = options::contexts(option, self.gather.bytes(), exports, out)?;
        if option == option::SET_META_CONTEXT && chosen {
            self.allocation = Some(export);
        }
        Ok(())
    }

    /// The message just collected; `expected` says how long it is, and zeroes stand in should that ever be wrong.
    fn message<M: FromBytes>(&self) -> M {
        M::read_from_prefix(self.gather.bytes()).map_or_else(|_| M::new_zeroed(), |(message, _)| message)
    }
}
