//! Requests: one type for both halves, with the rules that say which of them an export takes.
//!
//! The client checks before it sends and the server checks what it receives with the very same function, so the two
//! cannot disagree about what is allowed.

use thiserror::Error;

use crate::context::ContextSet;
use crate::error::NbdError;
use crate::export::ExportInfo;
use crate::flags::{CommandFlags, TransmissionFlags};
use crate::framing::Framing;
use crate::wire::command;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Return bytes.
    Read,
    /// Store the bytes that follow.
    Write,
    /// Make every acknowledged write durable.
    Flush,
    /// The content is no longer needed and becomes undefined.
    Trim,
    /// Bring the range closer to the server; nothing is returned.
    Cache,
    /// Make the range read as zeroes.
    WriteZeroes,
    /// Describe the extents of the range.
    BlockStatus,
}

impl Command {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Read => command::READ,
            Self::Write => command::WRITE,
            Self::Flush => command::FLUSH,
            Self::Trim => command::TRIM,
            Self::Cache => command::CACHE,
            Self::WriteZeroes => command::WRITE_ZEROES,
            Self::BlockStatus => command::BLOCK_STATUS,
        }
    }

    /// What a number on the wire means. DISC is none of these: it has no reply.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            command::READ => Self::Read,
            command::WRITE => Self::Write,
            command::FLUSH => Self::Flush,
            command::TRIM => Self::Trim,
            command::CACHE => Self::Cache,
            command::WRITE_ZEROES => Self::WriteZeroes,
            command::BLOCK_STATUS => Self::BlockStatus,
            _ => return None,
        })
    }

    const fn changes_data(self) -> bool {
        matches!(self, Self::Write | Self::Trim | Self::WriteZeroes)
    }

    /// What an export must announce before this command may be sent to it.
    const fn needs(self) -> TransmissionFlags {
        match self {
            Self::Flush => TransmissionFlags::SEND_FLUSH,
            Self::Trim => TransmissionFlags::SEND_TRIM,
            Self::Cache => TransmissionFlags::SEND_CACHE,
            Self::WriteZeroes => TransmissionFlags::SEND_WRITE_ZEROES,
            Self::Read | Self::Write | Self::BlockStatus => TransmissionFlags::empty(),
        }
    }

    /// The flags this command knows, besides FUA, which every command takes.
    const fn knows(self) -> CommandFlags {
        match self {
            Self::Read => CommandFlags::DF,
            Self::WriteZeroes => CommandFlags::NO_HOLE.union(CommandFlags::FAST_ZERO),
            Self::BlockStatus => CommandFlags::REQ_ONE,
            _ => CommandFlags::empty(),
        }
    }
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub command: Command,
    /// How.
    pub flags: CommandFlags,
    /// Where; zero for FLUSH.
    pub offset: u64,
    /// How many bytes; zero for FLUSH. More than 32 bits only with [`Framing::Extended`].
    pub length: u64,
    /// What a BLOCK_STATUS is about: from a client, empty means all contexts of the session; a server always sees which ones.
    /// Empty for all other commands.
    pub contexts: ContextSet,
}

impl Request {
    const fn new(command: Command, offset: u64, length: u64) -> Self {
        Self { command, flags: CommandFlags::empty(), offset, length, contexts: ContextSet::EMPTY }
    }

    /// Reads `length` bytes at `offset`.
    #[must_use]
    pub const fn read(offset: u64, length: u32) -> Self {
        Self::new(Command::Read, offset, length as u64)
    }

    /// Writes `length` bytes at `offset`; they follow the header.
    #[must_use]
    pub const fn write(offset: u64, length: u32) -> Self {
        Self::new(Command::Write, offset, length as u64)
    }

    /// Makes all acknowledged writes durable.
    #[must_use]
    pub const fn flush() -> Self {
        Self::new(Command::Flush, 0, 0)
    }

    /// Gives up the content of a range.
    #[must_use]
    pub const fn trim(offset: u64, length: u64) -> Self {
        Self::new(Command::Trim, offset, length)
    }

    /// Makes a range read as zeroes; add [`CommandFlags::NO_HOLE`] to reserve the space.
    #[must_use]
    pub const fn write_zeroes(offset: u64, length: u64) -> Self {
        Self::new(Command::WriteZeroes, offset, length)
    }

    /// Asks the server to bring a range closer.
    #[must_use]
    pub const fn cache(offset: u64, length: u64) -> Self {
        Self::new(Command::Cache, offset, length)
    }

    /// Asks for the extents of a range, in all contexts of the session.
    #[must_use]
    pub const fn block_status(offset: u64, length: u64) -> Self {
        Self::new(Command::BlockStatus, offset, length)
    }

    /// The same request with more flags.
    #[must_use]
    pub const fn with(self, flags: CommandFlags) -> Self {
        Self { flags: self.flags.union(flags), ..self }
    }

    /// The same BLOCK_STATUS about these contexts only.
    #[must_use]
    pub const fn about(self, contexts: ContextSet) -> Self {
        Self { contexts, ..self }
    }

    /// The end of the range; never overflows for a request that was checked.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    /// How many bytes the caller sends behind the header.
    #[must_use]
    pub const fn payload_length(&self) -> u64 {
        match self.command {
            Command::Write => self.length,
            _ => 0,
        }
    }

    /// Whether requests of this framing can carry it: lengths that fit, and nothing that only another framing has.
    ///
    /// # Errors
    /// Why not.
    pub fn fits(&self, framing: Framing) -> Result<(), Refusal> {
        if framing != Framing::Extended && self.length > u64::from(u32::MAX) {
            return Err(Refusal::NEEDS_EXTENDED);
        }
        if self.command == Command::BlockStatus && !framing.has_chunks() {
            return Err(Refusal::NO_STATUS);
        }
        if self.flags.contains(CommandFlags::DF) && !framing.has_chunks() {
            return Err(Refusal::UNKNOWN_FLAG);
        }
        Ok(())
    }

    /// Whether `export` takes this request.
    ///
    /// # Errors
    /// The error a server must answer with, and why.
    pub fn check(&self, export: &ExportInfo) -> Result<(), Refusal> {
        self.check_rights(export)?;
        self.check_flags(export)?;
        if self.command == Command::Flush {
            return match (self.offset, self.length) {
                (0, 0) => Ok(()),
                _ => Err(Refusal::FLUSH_RANGE),
            };
        }
        self.check_range(export)
    }

    fn check_rights(&self, export: &ExportInfo) -> Result<(), Refusal> {
        if self.command.changes_data() && export.can(TransmissionFlags::READ_ONLY) {
            return Err(Refusal::READ_ONLY);
        }
        if !export.can(self.command.needs()) {
            return Err(Refusal::NOT_ANNOUNCED);
        }
        Ok(())
    }

    fn check_flags(&self, export: &ExportInfo) -> Result<(), Refusal> {
        let announced = |flag, needs| if export.can(needs) { flag } else { CommandFlags::empty() };
        let takes = announced(CommandFlags::FUA, TransmissionFlags::SEND_FUA)
            | announced(CommandFlags::DF, TransmissionFlags::SEND_DF)
            | announced(CommandFlags::FAST_ZERO, TransmissionFlags::SEND_FAST_ZERO)
            | CommandFlags::NO_HOLE
            | CommandFlags::REQ_ONE;
        let knows = self.command.knows() | CommandFlags::FUA;
        match (knows & takes).contains(self.flags) {
            true => Ok(()),
            false => Err(Refusal::UNKNOWN_FLAG),
        }
    }

    fn check_range(&self, export: &ExportInfo) -> Result<(), Refusal> {
        if self.length == 0 {
            return Err(Refusal::EMPTY);
        }
        let block = u64::from(export.block.minimum);
        if !self.offset.is_multiple_of(block) || !self.length.is_multiple_of(block) {
            return Err(Refusal::UNALIGNED);
        }
        if matches!(self.command, Command::Read | Command::Write) && self.length > u64::from(export.block.maximum) {
            return Err(Refusal::TOO_LONG);
        }
        match self.offset.checked_add(self.length) {
            Some(end) if end <= export.size => Ok(()),
            _ if matches!(self.command, Command::Write | Command::WriteZeroes) => Err(Refusal::PAST_END_WRITE),
            _ => Err(Refusal::PAST_END),
        }
    }
}

/// Why an export does not take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct Refusal {
    /// The error on the wire.
    pub error: NbdError,
    /// A sentence for the client's log.
    pub reason: &'static str,
}

impl Refusal {
    const fn new(error: NbdError, reason: &'static str) -> Self {
        Self { error, reason }
    }

    pub(crate) const UNKNOWN_COMMAND: Self = Self::new(NbdError::Invalid, "unknown command");
    pub(crate) const NO_STATUS: Self = Self::new(NbdError::Invalid, "BLOCK_STATUS without a negotiated context");
    pub(crate) const BAD_FILTER: Self =
        Self::new(NbdError::Invalid, "BLOCK_STATUS names a context that was not negotiated, or names one twice");
    pub(crate) const NO_FILTER: Self = Self::new(NbdError::Invalid, "the server cannot be asked about some contexts only");
    pub(crate) const BAD_STATUS_PAYLOAD: Self = Self::new(NbdError::Invalid, "the payload of BLOCK_STATUS is malformed");
    pub(crate) const UNEXPECTED_PAYLOAD: Self = Self::new(NbdError::Invalid, "a payload where none belongs");
    const NEEDS_EXTENDED: Self = Self::new(NbdError::Overflow, "a length of more than 32 bits needs extended headers");
    pub(crate) const NOT_READY: Self = Self::new(NbdError::Invalid, "the handshake is not over");
    pub(crate) const UNKNOWN_FLAG: Self = Self::new(NbdError::Invalid, "unknown command flag");
    const READ_ONLY: Self = Self::new(NbdError::NotPermitted, "the export is read-only");
    const NOT_ANNOUNCED: Self = Self::new(NbdError::Invalid, "the export did not announce this command");
    const FLUSH_RANGE: Self = Self::new(NbdError::Invalid, "FLUSH takes no offset and no length");
    const EMPTY: Self = Self::new(NbdError::Invalid, "the range is empty");
    const UNALIGNED: Self = Self::new(NbdError::Invalid, "the range is not a multiple of the minimum block size");
    const TOO_LONG: Self = Self::new(NbdError::Invalid, "the payload is longer than the maximum block size");
    const PAST_END: Self = Self::new(NbdError::Invalid, "the range ends past the end of the export");
    const PAST_END_WRITE: Self = Self::new(NbdError::NoSpace, "the range ends past the end of the export");
}
