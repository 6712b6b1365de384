//! What a server tells about an export, piece by piece, until it has told enough.

use zerocopy::FromBytes;
use zerocopy::big_endian::U16;

use super::error::Violation;
use crate::export::{BlockSizes, ExportInfo};
use crate::flags::TransmissionFlags;
use crate::limits::INFO_REPLIES_MAX;
use crate::wire::{InfoBlockSize, InfoExport, info};

/// The export so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Described {
    size_and_flags: Option<(u64, TransmissionFlags)>,
    block: BlockSizes,
    replies: usize,
}

impl Described {
    pub(super) const NOTHING: Self = Self { size_and_flags: None, block: BlockSizes::ASSUMED, replies: 0 };

    /// Counts a reply of which a server may send any number, as far as the protocol goes.
    pub(super) const fn count(&mut self) -> Result<(), Violation> {
        self.replies += 1;
        if self.replies > INFO_REPLIES_MAX { Err(Violation::TooManyInfos) } else { Ok(()) }
    }

    /// Takes one piece of information; `bytes` are what was kept of its `length`.
    pub(super) fn inform(&mut self, bytes: &[u8], length: u32) -> Result<(), Violation> {
        self.count()?;
        let wrong_length = Violation::OptionReplyLength(length);
        let (kind, body) = U16::read_from_prefix(bytes).map_err(|_| wrong_length)?;
        let expected = match kind.get() {
            info::EXPORT => size_of::<InfoExport>(),
            info::BLOCK_SIZE => size_of::<InfoBlockSize>(),
            // Names, descriptions and whatever comes later do not concern us.
            _ => return Ok(()),
        };
        if length as usize != size_of::<U16>() + expected {
            return Err(wrong_length);
        }
        if kind.get() == info::EXPORT {
            self.export(&InfoExport::read_from_bytes(body).map_err(|_| wrong_length)?);
        } else {
            let InfoBlockSize { minimum, preferred, maximum } = InfoBlockSize::read_from_bytes(body).map_err(|_| wrong_length)?;
            self.block = BlockSizes { minimum: minimum.get(), preferred: preferred.get(), maximum: maximum.get() };
        }
        Ok(())
    }

    /// Takes size and flags.
    pub(super) const fn export(&mut self, body: &InfoExport) {
        self.size_and_flags = Some((body.size.get(), TransmissionFlags::from_bits_retain(body.flags.get())));
    }

    /// The export, checked.
    pub(super) fn finish(&self) -> Result<ExportInfo, Violation> {
        let (size, flags) = self.size_and_flags.ok_or(Violation::NoExportInfo)?;
        Ok(ExportInfo { size, flags, block: self.block }.accepted()?)
    }
}
