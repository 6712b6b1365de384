//! What the kernel knows of a packet ring's indices, whatever EL0 writes into the shared page.
//!
//! Pure arithmetic. Indices run freely and wrap at 2^32; a slot is an index modulo the number of slots, a power of two. Devices may
//! give buffers back in any order, rings go forward in order, so what came early is kept until its turn.

use alloc::vec::Vec;

use vm::NoMemory;

/// The receive ring. Slots go round: posted to the device, filled, produced for the pager, consumed by it.
///
/// `consumed ≤ produced ≤ posted ≤ consumed + slots`; the device has `[produced, posted)`.
pub(crate) struct Receive {
    slots: u32,
    consumed: u32,
    produced: u32,
    posted: u32,
    /// By slot: bytes of the packet in it, for slots that the device gave back and whose turn hasn't come.
    filled: Vec<Option<u32>>,
}

/// The send ring. `consumed ≤ taken ≤ consumed + slots`; the device has `[consumed, taken)`.
pub(crate) struct Send {
    slots: u32,
    consumed: u32,
    taken: u32,
    /// By slot: the device is done with it.
    done: Vec<bool>,
}

/// How many slots a ring has, for the number that is wanted and the number that the device can have.
pub(crate) const fn slots(wanted: u32, device: usize) -> u32 {
    let most = if device < wanted as usize { device as u32 } else { wanted };
    match most.checked_ilog2() {
        Some(log2) => 1 << log2,
        None => 0,
    }
}

impl Receive {
    /// All slots are to be posted.
    pub(crate) fn new(slots: u32) -> Result<Self, NoMemory> {
        Ok(Self { slots, consumed: 0, produced: 0, posted: 0, filled: table(slots)? })
    }

    pub(crate) const fn produced(&self) -> u32 {
        self.produced
    }

    pub(crate) const fn consumed(&self) -> u32 {
        self.consumed
    }

    /// The pager says that it has consumed up to an index. False, and nothing happens, if it can't have.
    pub(crate) const fn consume(&mut self, to: u32) -> bool {
        let is_valid = to.wrapping_sub(self.consumed) <= self.produced.wrapping_sub(self.consumed);
        if is_valid {
            self.consumed = to;
        }
        is_valid
    }

    /// Nobody reads: all that was produced is free again.
    pub(crate) const fn discard(&mut self) {
        self.consumed = self.produced;
    }

    /// The next slot to give to the device.
    pub(crate) const fn to_post(&self) -> Option<u32> {
        if self.posted.wrapping_sub(self.consumed) < self.slots { Some(self.posted % self.slots) } else { None }
    }

    /// The device has it.
    pub(crate) const fn post(&mut self) {
        self.posted = self.posted.wrapping_add(1);
    }

    /// The device gave a slot back. False if it didn't have it.
    pub(crate) fn fill(&mut self, slot: u64, bytes: u32) -> bool {
        let Some(slot) = u32::try_from(slot).ok().filter(|slot| *slot < self.slots) else { return false };
        let ahead = slot.wrapping_sub(self.produced) % self.slots;
        let filled = &mut self.filled[slot as usize];
        if ahead >= self.posted.wrapping_sub(self.produced) || filled.is_some() {
            return false;
        }
        *filled = Some(bytes);
        true
    }

    /// The next slot that the pager can have, and the bytes of its packet.
    pub(crate) fn produce(&mut self) -> Option<(u32, u32)> {
        if self.produced == self.posted {
            return None;
        }
        let slot = self.produced % self.slots;
        let bytes = self.filled[slot as usize].take()?;
        self.produced = self.produced.wrapping_add(1);
        Some((slot, bytes))
    }

    /// Whether the device has no slot left.
    pub(crate) const fn is_starved(&self) -> bool {
        self.posted == self.produced
    }
}

impl Send {
    /// All slots are the pager's.
    pub(crate) fn new(slots: u32) -> Result<Self, NoMemory> {
        Ok(Self { slots, consumed: 0, taken: 0, done: table(slots)? })
    }

    pub(crate) const fn consumed(&self) -> u32 {
        self.consumed
    }

    pub(crate) const fn slots(&self) -> u32 {
        self.slots
    }

    pub(crate) const fn taken(&self) -> u32 {
        self.taken
    }

    /// The next slot to send, if the pager says that it has filled up to an index. None if it can't have.
    pub(crate) const fn to_send(&self, produced: u32) -> Option<u32> {
        let in_use = produced.wrapping_sub(self.consumed);
        let taken = self.taken.wrapping_sub(self.consumed);
        if in_use <= self.slots && taken < in_use { Some(self.taken % self.slots) } else { None }
    }

    /// The slot of `to_send` is the device's.
    pub(crate) const fn take(&mut self) {
        self.taken = self.taken.wrapping_add(1);
    }

    /// The device is done with a slot. False if it didn't have it.
    pub(crate) fn finish(&mut self, slot: u64) -> bool {
        let Some(slot) = u32::try_from(slot).ok().filter(|slot| *slot < self.slots) else { return false };
        let ahead = slot.wrapping_sub(self.consumed) % self.slots;
        let done = &mut self.done[slot as usize];
        if ahead >= self.taken.wrapping_sub(self.consumed) || *done {
            return false;
        }
        *done = true;
        true
    }

    /// Gives slots back to the pager, in order. True if there were any.
    pub(crate) fn consume(&mut self) -> bool {
        let before = self.consumed;
        while self.consumed != self.taken && core::mem::take(&mut self.done[(self.consumed % self.slots) as usize]) {
            self.consumed = self.consumed.wrapping_add(1);
        }
        self.consumed != before
    }
}

fn table<T: Clone + Default>(slots: u32) -> Result<Vec<T>, NoMemory> {
    let mut table = Vec::new();
    table.try_reserve_exact(slots as usize).map_err(|_| NoMemory)?;
    table.resize(slots as usize, T::default());
    Ok(table)
}

#[cfg(test)]
mod tests;
