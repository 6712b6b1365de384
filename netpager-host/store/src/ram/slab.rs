//! The memory of one slab: two megabytes mapped from the system on its own, so that it goes back to the system when it is
//! dropped. (Memory from the allocator may stay with it: glibc learns not to map blocks of a size that was freed once.)

use std::io;

use memmap2::{Advice, MmapMut, MmapOptions};

use super::frames::{PAGE_BYTES, SLAB_FRAMES};

/// Bytes in a slab.
pub(super) const SLAB_BYTES: usize = SLAB_FRAMES * PAGE_BYTES;

/// How an arena treats its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArenaOptions {
    /// The system may not swap it out: a server that swaps what it sells is slow in ways its clients cannot know. Needs
    /// `RLIMIT_MEMLOCK` (`LimitMEMLOCK=` for systemd).
    pub lock_memory: bool,
    /// The system is asked to use huge pages, which makes access quicker; memory is then taken 2 MiB at a time.
    pub huge_pages: bool,
}

/// Maps a slab, all zeroes.
pub(super) fn map(options: ArenaOptions) -> io::Result<MmapMut> {
    let memory = MmapOptions::new().len(SLAB_BYTES).map_anon()?;
    if options.huge_pages {
        // A kernel without huge pages says no; the memory is as good, only slower.
        memory.advise(Advice::HugePage).ok();
    }
    if options.lock_memory {
        memory.lock()?;
    }
    Ok(memory)
}
