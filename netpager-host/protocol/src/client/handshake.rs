//! The client's half of the handshake: from the greeting to a chosen export.
//!
//! Order: STRUCTURED_REPLY, then GO with a wish for block sizes; a server that knows no GO gets EXPORT_NAME. Any other
//! refusal ends the handshake with the server's own words and an ABORT to send.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use super::error::{ClientError, Refused, Violation};
use super::outbox::Outbox;
use crate::export::{BlockSizes, ExportInfo};
use crate::flags::{HandshakeFlags, TransmissionFlags};
use crate::gather::Gather;
use crate::limits::{CLIENT_NAME_MAX, ERROR_TEXT_KEPT, INFO_REPLIES_MAX, OPTION_REPLY_MAX};
use crate::text::Text;
use crate::wire::{Greeting, InfoBlockSize, InfoExport, MAGIC_NBD, MAGIC_OPTION, MAGIC_OPTION_REPLY, OptionHeader, OptionReplyHeader};
use crate::wire::{info, option, option_reply};

/// The zeroes after the reply to EXPORT_NAME, which NO_ZEROES leaves out.
const PADDING: u64 = 124;
/// Enough for every reply whose content matters, and for the part of a text that is kept.
const KEPT: usize = ERROR_TEXT_KEPT;

/// What the handshake agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The export, checked.
    pub export: ExportInfo,
    /// Whether READs are answered in chunks.
    pub structured: bool,
}

/// The next message from the server.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Greeting,
    ReplyHeader,
    ReplyBody { kind: u32, length: u32 },
    ExportNameReply,
}

/// A handshake in progress.
#[derive(Clone, Debug)]
pub(super) struct Handshake {
    name: [u8; CLIENT_NAME_MAX],
    name_length: usize,
    expected: Expected,
    asked: u32,
    gather: Gather<KEPT>,
    no_zeroes: bool,
    structured: bool,
    size_and_flags: Option<(u64, TransmissionFlags)>,
    block: BlockSizes,
    infos: usize,
}

impl Handshake {
    /// Waits for a greeting; `name` must be short enough.
    pub(super) fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; CLIENT_NAME_MAX];
        bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(Self {
            name: bytes,
            name_length: name.len(),
            expected: Expected::Greeting,
            asked: option::STRUCTURED_REPLY,
            gather: Gather::new(size_of::<Greeting>() as u64),
            no_zeroes: false,
            structured: false,
            size_and_flags: None,
            block: BlockSizes::ASSUMED,
            infos: 0,
        })
    }

    /// Takes input until the handshake is over or the input is used up.
    pub(super) fn receive(&mut self, rest: &mut &[u8], out: &mut Outbox) -> Result<Option<Session>, ClientError> {
        while self.gather.take(rest) {
            if let Some(session) = self.step(out)? {
                return Ok(Some(session));
            }
        }
        Ok(None)
    }

    fn step(&mut self, out: &mut Outbox) -> Result<Option<Session>, ClientError> {
        match self.expected {
            Expected::Greeting => self.greeting(out).map(|()| None),
            Expected::ReplyHeader => self.reply_header().map(|()| None),
            Expected::ReplyBody { kind, length } => self.reply(kind, length, out),
            Expected::ExportNameReply => {
                let reply = self.message::<InfoExport>()?;
                self.export_info(&reply);
                self.session().map(Some)
            }
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
        self.ask(option::STRUCTURED_REPLY, out);
        Ok(())
    }

    /// Sends an option and waits for what answers it.
    fn ask(&mut self, wanted: u32, out: &mut Outbox) {
        let name = &self.name[..self.name_length];
        self.asked = wanted;
        match wanted {
            option::GO => {
                put_option(out, option::GO, 4 + name.len() + 2 + 2);
                out.put(U32::new(name.len() as u32).as_bytes());
                out.put(name);
                out.put(U16::new(1).as_bytes());
                out.put(U16::new(info::BLOCK_SIZE).as_bytes());
            }
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

    fn reply(&mut self, kind: u32, length: u32, out: &mut Outbox) -> Result<Option<Session>, ClientError> {
        match (self.asked, kind) {
            (option::STRUCTURED_REPLY, option_reply::ACK) => {
                if length != 0 {
                    return Err(Violation::OptionReplyLength(length).into());
                }
                self.structured = true;
                self.ask(option::GO, out);
            }
            (option::STRUCTURED_REPLY, option_reply::ERR_UNSUP | option_reply::ERR_POLICY | option_reply::ERR_INVALID) => {
                self.ask(option::GO, out);
            }
            (option::GO, option_reply::INFO) => {
                self.information(length)?;
                self.expect_reply_header();
            }
            (option::GO, option_reply::ACK) => return self.session().map(Some),
            (option::GO, option_reply::ERR_UNSUP) => self.ask(option::EXPORT_NAME, out),
            (asked, error) if error & option_reply::ERROR_BIT != 0 => {
                put_option(out, option::ABORT, 0);
                let text = Text::new(self.gather.bytes());
                return Err(ClientError::Refused(Refused { option: asked, kind: error, text }));
            }
            (_, other) => return Err(Violation::OptionReplyKind(other).into()),
        }
        Ok(None)
    }

    fn information(&mut self, length: u32) -> Result<(), ClientError> {
        self.infos += 1;
        if self.infos > INFO_REPLIES_MAX {
            return Err(Violation::TooManyInfos.into());
        }
        let wrong_length = Violation::OptionReplyLength(length);
        let (kind, body) = U16::read_from_prefix(self.gather.bytes()).map_err(|_| wrong_length)?;
        let expected = match kind.get() {
            info::EXPORT => size_of::<InfoExport>(),
            info::BLOCK_SIZE => size_of::<InfoBlockSize>(),
            // Names, descriptions and whatever comes later do not concern us.
            _ => return Ok(()),
        };
        if length as usize != size_of::<U16>() + expected {
            return Err(wrong_length.into());
        }
        if kind.get() == info::EXPORT {
            let body = InfoExport::read_from_bytes(body).map_err(|_| wrong_length)?;
            self.export_info(&body);
        } else {
            let body = InfoBlockSize::read_from_bytes(body).map_err(|_| wrong_length)?;
            let InfoBlockSize { minimum, preferred, maximum } = body;
            self.block = BlockSizes { minimum: minimum.get(), preferred: preferred.get(), maximum: maximum.get() };
        }
        Ok(())
    }

    fn export_info(&mut self, body: &InfoExport) {
        self.size_and_flags = Some((body.size.get(), TransmissionFlags::from_bits_retain(body.flags.get())));
    }

    fn session(&self) -> Result<Session, ClientError> {
        let (size, flags) = self.size_and_flags.ok_or(Violation::NoExportInfo)?;
        let export = ExportInfo { size, flags, block: self.block }.accepted().map_err(Violation::from)?;
        Ok(Session { export, structured: self.structured })
    }

    /// The message just collected. The length was asked for by whoever set `expected`, so the error cannot happen; it is
    /// returned all the same because input must never make us panic.
    fn message<M: FromBytes>(&self) -> Result<M, Violation> {
        M::read_from_prefix(self.gather.bytes()).map(|(message, _)| message).map_err(|_| Violation::NotNbd)
    }
}

fn put_option(out: &mut Outbox, option: u32, length: usize) {
    let header = OptionHeader { magic: U64::new(MAGIC_OPTION), option: U32::new(option), length: U32::new(length as u32) };
    out.put(header.as_bytes());
}
