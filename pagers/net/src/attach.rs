//! Is this server the one that has our pages? Decided by the superblock, each time a connection is made.
//!
//! The first page of the export says which boot of which guest it belongs to. Empty before the first attachment: it is ours. Empty later: the server was
//! restarted and lost everything. Another's: hands off.

use core::fmt;

use nbd::superblock::{Attachment, BadSuperblock, Superblock, SuperblockPage};

use crate::extents::EXTENT_BYTES;

/// What has to be done about a superblock that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Our pages are there.
    Ours,
    /// Write ours; nothing was there before.
    Claim,
    /// What was there is gone. Write ours.
    Lost,
    /// It isn't ours, and neither are its pages.
    Refused(Refusal),
}

/// Why an export isn't used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Foreign,
    NoSuperblock(BadSuperblock),
    Size { now: u64, before: u64 },
    ReadOnly,
    Blocks,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("the export belongs to another guest or another boot (foreign=take takes it)"),
            Self::NoSuperblock(why) => write!(f, "the export holds something else: {why}"),
            Self::Size { now, before } => write!(f, "the export has {now} bytes, {before} are needed"),
            Self::ReadOnly => f.write_str("the export is read-only"),
            Self::Blocks => f.write_str("the export doesn't take requests of single pages"),
        }
    }
}

/// What this boot knows of its attachment.
#[derive(Clone, Copy, Debug)]
pub struct Attach {
    boot_id: [u8; 16],
    /// Attachments so far; 0 before the first.
    epoch: u64,
    /// An export of another guest or boot may be taken.
    takes_foreign: bool,
}

impl Attach {
    /// Not attached yet.
    #[must_use]
    pub const fn new(boot_id: [u8; 16], takes_foreign: bool) -> Self {
        Self { boot_id, epoch: 0, takes_foreign }
    }

    /// Whether it ever was.
    #[must_use]
    pub const fn is_attached(&self) -> bool {
        self.epoch != 0
    }

    /// Judges the first page of the export.
    #[must_use]
    pub fn judge(&self, page: &SuperblockPage) -> Verdict {
        let absent = if self.is_attached() { Verdict::Lost } else { Verdict::Claim };
        match Superblock::attach(page, &self.boot_id) {
            Ok(Attachment::Empty) => absent,
            // An older epoch is a store that went back in time.
            Ok(Attachment::Ours(found)) if found.epoch == self.epoch && found.extent_bytes == EXTENT_BYTES => Verdict::Ours,
            Ok(Attachment::Ours(_)) => absent,
            Ok(Attachment::Foreign(_)) if self.takes_foreign && !self.is_attached() => Verdict::Claim,
            Ok(Attachment::Foreign(_)) => Verdict::Refused(Refusal::Foreign),
            Err(why) => Verdict::Refused(Refusal::NoSuperblock(why)),
        }
    }

    /// The page to be written, of the next epoch.
    pub fn claim(&self, page: &mut SuperblockPage) {
        Superblock { boot_id: self.boot_id, epoch: self.epoch + 1, extent_bytes: EXTENT_BYTES }.encode(page);
    }

    /// It was written.
    pub const fn claimed(&mut self) {
        self.epoch += 1;
    }
}

#[cfg(test)]
mod tests {
    use nbd::superblock::SUPERBLOCK_BYTES;

    use super::{Attach, Refusal, Verdict};

    #[test]
    fn an_emptied_an_older_and_a_foreign_export_are_told_apart() {
        let empty = [0; SUPERBLOCK_BYTES];
        let mut ours = Attach::new([1; 16], false);
        assert_eq!(ours.judge(&empty), Verdict::Claim);
        let mut first = empty;
        ours.claim(&mut first);
        ours.claimed();
        assert_eq!((ours.judge(&first), ours.judge(&empty)), (Verdict::Ours, Verdict::Lost));
        let mut second = empty;
        ours.claim(&mut second);
        ours.claimed();
        assert_eq!((ours.judge(&second), ours.judge(&first)), (Verdict::Ours, Verdict::Lost));
        let other = Attach::new([2; 16], false);
        assert_eq!(other.judge(&second), Verdict::Refused(Refusal::Foreign));
        assert_eq!(Attach::new([2; 16], true).judge(&second), Verdict::Claim);
        assert!(matches!(other.judge(&[9; SUPERBLOCK_BYTES]), Verdict::Refused(Refusal::NoSuperblock(_))));
    }
}
