//! Transfers: frames on their way from a device (`supply.rs`) or to one (`returns.rs`).
//!
//! A transfer owns its frames until it is ended, so whatever becomes of their pages meanwhile, nobody else gets memory that a device still
//! reads or writes. Each page remembers only the number of its frame, and at the end has it back or does without.

use alloc::vec::Vec;

use frames::Frame;

use crate::home::Home;
use crate::leaf::Cell;
use crate::supply::Wake;
use crate::{Pmap, Vm};

/// Frames on their way from or to a device; nobody else owns them meanwhile.
pub struct Transfer {
    pub home: Home,
    pub first: u64,
    pub frames: Vec<Frame>,
    /// In which default pager's time it began.
    pub(crate) reign: u32,
}

impl Transfer {
    /// The page after its last.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }
}

/// Adds a frame to the last transfer, or begins another.
pub(crate) fn add(transfers: &mut Vec<Transfer>, reign: u32, home: &Home, page: u64, frame: Frame) -> Result<(), Frame> {
    if let Some(last) = transfers.last_mut().filter(|last| last.end() == page) {
        if last.frames.try_reserve(1).is_err() {
            return Err(frame);
        }
        last.frames.push(frame);
        return Ok(());
    }
    let mut frames = Vec::new();
    if frames.try_reserve(1).is_err() || transfers.try_reserve(1).is_err() {
        return Err(frame);
    }
    frames.push(frame);
    transfers.push(Transfer { home: home.clone(), first: page, frames, reign });
    Ok(())
}

impl<P: Pmap> Vm<P> {
    /// Hands each page of a transfer its frame back, and wakes who waits for it. What `settle` returns the page has no use for (any more).
    pub(crate) fn end_transfer(
        &self,
        transfer: Transfer,
        wake: Wake<'_>,
        mut settle: impl FnMut(&Home, u64, Cell<'_>, Frame) -> Option<Frame>,
    ) {
        let Transfer { home, first, frames, .. } = transfer;
        for (page, frame) in (first..).zip(frames) {
            let mut frame = Some(frame);
            let key = home.with(self.core, page, |cell| {
                let key = cell.key;
                frame = frame.take().and_then(|frame| settle(&home, page, cell, frame));
                key
            });
            if let Some(frame) = frame {
                self.core.pool().free(frame);
            }
            self.answered(&home, page);
            self.wake_both(&home, page, key, wake);
        }
    }

    /// Wakes who waits for a page: the page may have got another home since they began.
    fn wake_both(&self, home: &Home, page: u64, key: Option<u64>, wake: Wake<'_>) {
        let answer = home.key(page);
        wake(answer);
        if let Some(key) = key.filter(|key| *key != answer) {
            wake(key);
        }
    }
}
