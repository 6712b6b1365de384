//! What the VM system asks of a machine's translation tables.
//!
//! One `Pmap` is one address space in hardware. The VM system remembers which frame is mapped where (`frame_table.rs`), so a pmap only has
//! to walk its own tables. `kernel/pmap` has the logic for AArch64, `kernel/aarch64` implements this trait with it, and
//! `crate::fake` implements it for tests, more strictly.

use abi::vm::Protection;
use frames::FrameNumber;

/// A translation that was removed, with what the hardware knows of its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The page's virtual address.
    pub address: u64,
    /// The frame it named.
    pub frame: FrameNumber,
}

/// There was no memory for a translation table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTables;

/// The translation tables of one address space. Implementations lock themselves; they never call back with their lock held.
pub trait Pmap: Send + Sync + 'static {
    /// Enters `address` -> `frame`. Replaces what was there (break-before-make where the architecture demands it).
    /// An executable page is made coherent with the instruction cache first; writable and executable together is refused by the VM system.
    /// The accessed flag is set.
    fn enter(&self, address: u64, frame: FrameNumber, protection: Protection) -> Result<(), NoTables>;

    /// Removes all translations in `start..end`. When this returns no CPU holds them in a TLB. `removed` is called for each
    /// after its invalidation, in batches, without the lock held.
    fn remove(&self, start: u64, end: u64, removed: &mut dyn FnMut(Removed));

    /// Takes away all rights but `protection` in `start..end`; never adds any.
    fn restrict(&self, start: u64, end: u64, protection: Protection);

    /// Whether the page at `address` was accessed since the last call; forgets it.
    fn take_accessed(&self, address: u64) -> bool;

    /// Sets the accessed flag of a valid translation (access-flag fault on hardware that doesn't). False if there is none.
    fn set_accessed(&self, address: u64) -> bool;
}
