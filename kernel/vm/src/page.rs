//! One page of an object: where its contents are.

use abi::Code;
use frames::{Frame, FrameNumber};

use crate::core_state::Core;

/// The state of a page. `kept` says that its pager has the same contents; `dirty` that it hasn't.
#[derive(Debug, Default)]
pub(crate) enum Page {
    /// Never touched: zero, or what the object was copied from, or what its pager has.
    #[default]
    Empty,
    /// In RAM.
    Resident { frame: Frame, dirty: bool, kept: bool },
    /// In RAM, dirty, and its pager was asked where it shall go. A write makes it `Resident` again.
    Returning { frame: Frame },
    /// Being written from the frame, which the transfer owns meanwhile.
    Cleaning { frame: FrameNumber },
    /// Taken out to be sent to its pager as data, and not sent yet: whoever asks the pager now could be heard first.
    Leaving,
    /// At its pager only.
    Paged,
    /// At its pager, which was asked for it. `known` says that the pager must have it (it was `Paged`).
    Requested { known: bool },
    /// Being read into the frame, which the transfer owns meanwhile.
    Filling { frame: FrameNumber, known: bool },
    /// The pager failed; the next access is told and asks again after that.
    Failed { code: Code, known: bool },
    /// Only the default pager had it, and that is gone: whoever needs it is told.
    Lost { code: Code },
    /// The leaf's table of shared pages has it.
    Shared,
}

impl Page {
    /// The frame to read from, if it is in RAM.
    pub(crate) const fn frame(&self) -> Option<FrameNumber> {
        match self {
            Self::Resident { frame, .. } | Self::Returning { frame, .. } => Some(frame.number()),
            Self::Cleaning { frame } => Some(*frame),
            _ => None,
        }
    }

    /// Whether its pager has, or is getting, contents for it.
    pub(crate) const fn is_at_home(&self) -> bool {
        match self {
            Self::Resident { kept, .. } => *kept,
            Self::Requested { known } | Self::Filling { known, .. } | Self::Failed { known, .. } => *known,
            Self::Paged | Self::Leaving | Self::Returning { .. } | Self::Cleaning { .. } => true,
            Self::Empty | Self::Lost { .. } | Self::Shared => false,
        }
    }

    /// Whether something is under way that names it by its home: its pager or a device has yet to answer, or the pager has yet to be told.
    pub(crate) const fn is_waiting(&self) -> bool {
        matches!(self, Self::Requested { .. } | Self::Filling { .. } | Self::Returning { .. } | Self::Cleaning { .. } | Self::Leaving)
    }

    /// What a page is after its pager failed and the failure was told.
    pub(crate) const fn absent(known: bool) -> Self {
        if known { Self::Paged } else { Self::Empty }
    }

    /// Takes the frame that it owns, leaving it empty.
    pub(crate) fn take_frame(&mut self) -> Option<Frame> {
        match core::mem::take(self) {
            Self::Resident { frame, .. } | Self::Returning { frame, .. } => Some(frame),
            _ => None,
        }
    }

    /// The page is needed no more.
    pub(crate) fn discard(&mut self, core: &Core) {
        if matches!(self, Self::Returning { .. }) {
            core.add_returning(-1);
        }
        if let Some(frame) = self.take_frame() {
            core.pool().free(frame);
        }
    }
}
