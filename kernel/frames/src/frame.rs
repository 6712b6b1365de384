//! Frames: the right to a page of RAM, and the number that names it.
//!
//! A number can be copied, compared and written into a translation table; a [`Frame`] can only be moved. Nothing happens when a frame
//! is dropped: it is lost, and `Pool::in_use` tells. Freeing in `drop` would need the pool from everywhere and hide where memory goes.

/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;
/// Bytes in a frame.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;

/// A physical address divided by the page size. A name, not a right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameNumber(pub u32);

impl FrameNumber {
    /// The frame that contains a physical address below 16 TiB; higher addresses have no frame number and are cut off.
    pub const fn from_phys(address: u64) -> Self {
        Self((address >> PAGE_SHIFT) as u32)
    }

    /// The physical address of its first byte.
    pub const fn phys(self) -> u64 {
        (self.0 as u64) << PAGE_SHIFT
    }
}

/// The one owner of a page of RAM. Give it back with `Pool::free`.
#[must_use = "a dropped frame is lost; give it back with Pool::free"]
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame(FrameNumber);

impl Frame {
    /// Its name.
    pub const fn number(&self) -> FrameNumber {
        self.0
    }

    /// Gives up the owner and keeps the name, for owners that are not Rust values: an entry of a translation table, a descriptor.
    pub const fn into_number(self) -> FrameNumber {
        self.0
    }

    /// Takes the ownership back that [`Frame::into_number`] gave up.
    ///
    /// # Safety
    /// `number` came from `into_number`, and nobody else has made or will make a frame of it until this one is given up again.
    pub const unsafe fn from_number(number: FrameNumber) -> Self {
        Self(number)
    }

    pub(crate) const fn owned(number: FrameNumber) -> Self {
        Self(number)
    }
}

/// The one owner of physically contiguous pages. Give it back with `Pool::free_run`, or split it into frames.
#[must_use = "a dropped run is lost; give it back with Pool::free_run"]
#[derive(Debug, PartialEq, Eq)]
pub struct FrameRun {
    first: FrameNumber,
    pages: u32,
}

#[allow(clippy::len_without_is_empty, reason = "a run owns at least one frame")]
impl FrameRun {
    pub(crate) const fn owned(first: FrameNumber, pages: u32) -> Self {
        Self { first, pages }
    }

    /// The lowest frame's name.
    pub const fn first(&self) -> FrameNumber {
        self.first
    }

    /// How many frames it owns.
    pub const fn len(&self) -> usize {
        self.pages as usize
    }

    /// Gives up the owner: the first frame's name and the number of frames.
    pub const fn into_parts(self) -> (FrameNumber, usize) {
        (self.first, self.pages as usize)
    }

    /// Takes the ownership back that [`FrameRun::into_parts`] gave up.
    ///
    /// # Safety
    /// The frames are those of one `into_parts` (or a part of them), and nobody else has made or will make frames or runs of them.
    pub const unsafe fn from_parts(first: FrameNumber, pages: usize) -> Self {
        Self { first, pages: pages as u32 }
    }

    /// Splits it before its `at`th frame. Gives it back unchanged where one part would be empty.
    pub fn split(self, at: usize) -> Result<(FrameRun, FrameRun), FrameRun> {
        if at == 0 || at >= self.len() {
            return Err(self);
        }
        let at = at as u32;
        let rest = FrameNumber(self.first.0 + at);
        Ok((Self::owned(self.first, at), Self::owned(rest, self.pages - at)))
    }

    /// Its frames, one by one and in order. Frames that are never taken from the iterator are lost.
    pub fn into_frames(self) -> impl ExactSizeIterator<Item = Frame> {
        let first = self.first.0;
        (0..self.pages).map(move |at| Frame::owned(FrameNumber(first + at)))
    }
}

impl From<Frame> for FrameRun {
    fn from(frame: Frame) -> Self {
        Self::owned(frame.number(), 1)
    }
}

/// Whom memory is for: how deep into the reserves the allocation may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Pages of ordinary tasks: stops at the highest reserve.
    User,
    /// Pages of tasks that free memory (pagers, and what they need to run): stops at a lower one.
    Pager,
    /// The kernel itself: down to the last frame.
    Kernel,
}
