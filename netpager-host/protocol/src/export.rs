//! What both sides know about an export once the handshake is over.

use thiserror::Error;

use crate::flags::TransmissionFlags;
use crate::limits::{BLOCK_MINIMUM_MAX, PAYLOAD_MAX};

/// The request sizes an export takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSizes {
    /// Offsets and lengths are multiples of this; a power of two.
    pub minimum: u32,
    /// What is fast; a power of two.
    pub preferred: u32,
    /// The largest payload of one READ or WRITE.
    pub maximum: u32,
}

impl BlockSizes {
    /// What the protocol lets a client assume when a server announces nothing.
    pub const ASSUMED: Self = Self { minimum: 512, preferred: 4096, maximum: PAYLOAD_MAX };

    /// Checks what a peer announced, and lowers the maximum to our own limit.
    ///
    /// # Errors
    /// The first rule of the protocol that the sizes break.
    pub fn accepted(self) -> Result<Self, BadExport> {
        let Self { minimum, preferred, maximum } = self;
        if !minimum.is_power_of_two() || minimum > BLOCK_MINIMUM_MAX {
            return Err(BadExport::Minimum(minimum));
        }
        if !preferred.is_power_of_two() || preferred < minimum {
            return Err(BadExport::Preferred(preferred));
        }
        if maximum < minimum || (maximum != u32::MAX && !maximum.is_multiple_of(minimum)) {
            return Err(BadExport::Maximum(maximum));
        }
        Ok(Self { maximum: maximum.min(PAYLOAD_MAX), ..self })
    }
}

/// An export as seen from the wire. A value returned by [`ExportInfo::accepted`] obeys the protocol's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportInfo {
    /// Bytes in the export.
    pub size: u64,
    /// What it can do.
    pub flags: TransmissionFlags,
    /// The request sizes it takes.
    pub block: BlockSizes,
}

impl ExportInfo {
    /// Checks what a peer announced.
    ///
    /// # Errors
    /// The first rule of the protocol that it breaks.
    pub fn accepted(self) -> Result<Self, BadExport> {
        if !self.flags.contains(TransmissionFlags::HAS_FLAGS) {
            return Err(BadExport::NoFlags);
        }
        if self.size > i64::MAX as u64 {
            return Err(BadExport::Size(self.size));
        }
        Ok(Self { block: self.block.accepted()?, ..self })
    }

    /// Whether all these flags are set.
    #[must_use]
    pub const fn can(&self, flags: TransmissionFlags) -> bool {
        self.flags.contains(flags)
    }
}

/// What is wrong with an announced export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadExport {
    /// The flag that is always set is not.
    #[error("the export's flags lack HAS_FLAGS")]
    NoFlags,
    /// Offsets would not fit a signed 64-bit number.
    #[error("an export of {0} bytes is larger than the protocol allows")]
    Size(u64),
    /// Not a power of two up to 64 KiB.
    #[error("{0} is no valid minimum block size")]
    Minimum(u32),
    /// Not a power of two, or smaller than the minimum.
    #[error("{0} is no valid preferred block size")]
    Preferred(u32),
    /// Smaller than the minimum, or not a multiple of it.
    #[error("{0} is no valid maximum block size")]
    Maximum(u32),
}
